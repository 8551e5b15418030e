//! A persistent worker for Bazel that turns text into capitals.

use pylayer::worker::{self, Cancel, Protocol, Request, Response};

fn capitals(request: &Request, _cancel: &Cancel) -> Response {
    let [source, output] = &request.arguments[..] else { panic!("the arguments are SOURCE and OUTPUT") };
    let text = std::fs::read_to_string(request.path(source));
    match text.and_then(|text| std::fs::write(request.path(output), text.to_uppercase())) {
        Ok(()) => Response::default(),
        Err(error) => Response { exit_code: 1, output: format!("{}: {error}\n", source.escape_ascii()) },
    }
}

fn main() -> Result<(), worker::Error> {
    worker::run(Protocol::Proto, capitals)
}
