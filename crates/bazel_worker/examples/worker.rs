//! A persistent worker that converts text to upper case.

use bazel_worker::{Cancel, Protocol, Request, Response};

fn capitals(request: &Request, _cancel: &Cancel) -> Response {
    let [source, output] = &request.arguments[..] else { panic!("the arguments are SOURCE and OUTPUT") };
    let text = std::fs::read_to_string(request.path(source));
    match text.and_then(|text| std::fs::write(request.path(output), text.to_uppercase())) {
        Ok(()) => Response::default(),
        Err(error) => Response { exit_code: 1, output: format!("{}: {error}\n", source.escape_ascii()) },
    }
}

fn main() -> Result<(), bazel_worker::Error> {
    // A rule with `requires-worker-protocol: json` can pass `--worker_protocol=json` as a startup argument.
    let protocol =
        std::env::args().find_map(|argument| argument.strip_prefix("--worker_protocol=")?.parse().ok());
    bazel_worker::run(protocol.unwrap_or(Protocol::Proto), capitals)
}
