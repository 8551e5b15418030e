//! A worker as a process, with real pipes, signals and exit codes.
//!
//! This program has its own `main`, because it is also the worker: it serves if started with
//! `--persistent_worker`. Otherwise it runs the cases, which start it as a worker.

use std::{
    env,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use bazel_worker::{Cancel, Limits, Protocol, Request, Response};
use protobuf::Message as _;
use reference::worker_protocol::{WorkRequest, WorkResponse};
use rustix::process::{Pid, Signal, kill_process};

mod reference;

const CASES: [(&str, fn()); 10] = [
    ("requests_are_answered_until_stdin_ends", requests_are_answered_until_stdin_ends),
    ("noise_on_stdout_goes_to_stderr", noise_on_stdout_goes_to_stderr),
    ("stdin_and_stdout_are_not_inherited", stdin_and_stdout_are_not_inherited),
    ("a_panic_is_answered", a_panic_is_answered),
    ("a_request_of_60_megabytes", a_request_of_60_megabytes),
    ("half_a_request_at_the_end", half_a_request_at_the_end),
    ("a_broken_pipe", a_broken_pipe),
    ("terminated_idle", terminated_idle),
    ("terminated_busy", terminated_busy),
    ("terminated_with_a_handler_that_will_not_stop", terminated_with_a_handler_that_will_not_stop),
];

/// For handlers that stop: ample time, however busy the machine is.
const LONG_GRACE: Duration = Duration::from_secs(600);
/// For a handler that never stops.
const SHORT_GRACE: Duration = Duration::from_millis(200);
/// The argument that selects [`SHORT_GRACE`].
const IMPATIENT: &str = "--impatient";

fn main() -> ExitCode {
    if env::args().any(|argument| argument == "--persistent_worker") {
        return serve();
    }
    let is_given = |flag: &str| env::args().any(|argument| argument == flag);
    if is_given("--list") {
        // For test runners, which ask for ignored tests separately. There are none.
        CASES.iter().filter(|_| !is_given("--ignored")).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_meant = |name: &str, filter: &String| {
        if is_given("--exact") { name == filter } else { name.contains(filter.as_str()) }
    };
    let meant = |name: &str| filters.is_empty() || filters.iter().any(|filter| is_meant(name, filter));
    let cases: Vec<_> = CASES.iter().filter(|(name, _)| meant(name)).collect();
    for (name, case) in &cases {
        eprintln!("test {name} ...");
        case();
    }
    // The last line of the standard harness.
    println!("test result: ok. {} passed; 0 failed", cases.len());
    ExitCode::SUCCESS
}

/// The worker. The first argument of a request selects what it does.
fn serve() -> ExitCode {
    let grace = if env::args().any(|argument| argument == IMPATIENT) { SHORT_GRACE } else { LONG_GRACE };
    let limits = Limits { grace, ..Limits::default() };
    let ended = bazel_worker::run_with(Protocol::Proto, limits, |request: &Request, cancel: &Cancel| {
        let argument = request.arguments.first();
        let output = match argument.map_or(&b""[..], |argument| argument) {
            b"print" => {
                println!("noise");
                std::io::stdout().flush().unwrap();
                "printed".to_owned()
            }
            b"child" => {
                // `cat` would copy the rest of stdin to stdout.
                let status = Command::new("sh").args(["-c", "echo noise; exec cat"]).status();
                status.unwrap().to_string()
            }
            b"panic" => panic!("on request"),
            b"until-cancelled" => {
                eprintln!("started");
                while !cancel.is_cancelled() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                "gave up".to_owned()
            }
            b"forever" => {
                eprintln!("started");
                loop {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            _ => request.inputs.len().to_string(),
        };
        Response { exit_code: 0, output }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A worker process, killed if a case fails before it has ended.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Worker {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("--persistent_worker").args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn request(&mut self, request_id: i32, argument: &str) {
        let arguments = vec![argument.to_owned()];
        let message = WorkRequest { request_id, arguments, ..Default::default() };
        self.write(&message.write_length_delimited_to_bytes().unwrap());
    }

    /// Waits until the handler reports on stderr that it is running.
    fn started(&mut self) {
        let mut line = [0; "started\n".len()];
        self.0.stderr.as_mut().unwrap().read_exact(&mut line).unwrap();
        assert_eq!(&line, b"started\n");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for the worker to end. Returns all responses, whether it exited with 0, and stderr.
    fn end(mut self) -> (Vec<WorkResponse>, bool, String) {
        let (mut stdout, mut stderr) = (Vec::new(), String::new());
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_end(&mut stdout).unwrap();
        }
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let success = self.0.wait().unwrap().success();
        let mut stream = protobuf::CodedInputStream::from_bytes(&stdout);
        let mut responses = Vec::new();
        while !stream.eof().unwrap() {
            responses.push(stream.read_message::<WorkResponse>().expect("only responses on stdout"));
        }
        responses.sort_by_key(|response| response.request_id);
        (responses, success, stderr)
    }

    /// Closes stdin first.
    fn close(mut self) -> (Vec<WorkResponse>, bool, String) {
        self.0.stdin = None;
        self.end()
    }
}

fn response(request_id: i32, output: &str) -> WorkResponse {
    WorkResponse { request_id, output: output.to_owned(), ..Default::default() }
}

fn requests_are_answered_until_stdin_ends() {
    let mut worker = Worker::start();
    worker.write(b"\0");
    worker.request(2, "x");
    let expected = (vec![response(0, "0"), response(2, "0")], true, String::new());
    assert_eq!(worker.close(), expected);
}

fn noise_on_stdout_goes_to_stderr() {
    let mut worker = Worker::start();
    worker.request(1, "print");
    let expected = (vec![response(1, "printed")], true, "noise\n".to_owned());
    assert_eq!(worker.close(), expected);
}

fn stdin_and_stdout_are_not_inherited() {
    let mut worker = Worker::start();
    worker.request(1, "child");
    worker.request(2, "x");
    let expected = [response(1, "exit status: 0"), response(2, "0")];
    let (responses, success, stderr) = worker.close();
    assert_eq!((&responses[..], success, &*stderr), (&expected[..], true, "noise\n"));
}

fn a_panic_is_answered() {
    let mut worker = Worker::start();
    worker.request(1, "panic");
    worker.request(2, "x");
    let (responses, success, stderr) = worker.close();
    assert_eq!((responses[0].exit_code, &responses[1]), (1, &response(2, "0")));
    assert!(responses[0].output.contains("on request"), "{}", responses[0].output);
    assert!(success);
    assert!(stderr.contains("process.rs"), "the log says where: {stderr}");
}

fn a_request_of_60_megabytes() {
    let input = reference::worker_protocol::Input {
        path: "p".repeat(136),
        digest: vec![b'0'; 64],
        ..Default::default()
    };
    let message = WorkRequest { inputs: vec![input; 300_000], ..Default::default() };
    let mut worker = Worker::start();
    let frame = message.write_length_delimited_to_bytes().unwrap();
    assert!(frame.len() > 60_000_000);
    worker.write(&frame);
    assert_eq!(worker.close(), (vec![response(0, "300000")], true, String::new()));
}

fn half_a_request_at_the_end() {
    let mut worker = Worker::start();
    worker.request(1, "x");
    worker.write(b"\x05\x0a");
    let (responses, success, stderr) = worker.close();
    assert_eq!((responses, success), (vec![response(1, "0")], false));
    assert_eq!(stderr, "stdin ended in the middle of a work request, 2 bytes into it.\n");
}

fn a_broken_pipe() {
    let mut worker = Worker::start();
    worker.0.stdout = None;
    worker.request(1, "until-cancelled");
    worker.started();
    worker.request(2, "x");
    // stdin is still open.
    let (_, success, stderr) = worker.end();
    assert!(!success);
    assert!(stderr.starts_with("Writing work responses to stdout failed: "), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

fn terminated_idle() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut worker = Worker::start();
        worker.request(1, "x");
        // A worker that has answered has installed its signal handlers.
        let mut answer = [0; 6];
        worker.0.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        worker.signal(signal);
        assert_eq!(worker.end(), (vec![], true, String::new()));
    }
}

fn terminated_busy() {
    let mut worker = Worker::start();
    worker.request(1, "until-cancelled");
    worker.started();
    worker.signal(Signal::TERM);
    let expected = WorkResponse { was_cancelled: true, ..response(1, "gave up") };
    assert_eq!(worker.end(), (vec![expected], true, String::new()));
}

fn terminated_with_a_handler_that_will_not_stop() {
    let mut worker = Worker::start_with(&[IMPATIENT]);
    worker.request(1, "forever");
    worker.started();
    worker.signal(Signal::TERM);
    let (responses, success, stderr) = worker.end();
    assert_eq!((responses, success), (vec![], false));
    assert_eq!(stderr, "1 of the cancelled work requests had not stopped after 200ms.\n");
}
