//! The program as a persistent worker, and Bazel's side of the conversation.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use protobuf::{CodedOutputStream, Message};
pub use reference::worker_protocol::WorkResponse;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

#[path = "../../crates/bazel_worker/tests/reference/mod.rs"]
mod reference;

/// A request. Encoded by hand, because the reference implementation requires UTF-8, and paths are bytes.
#[derive(Clone, Default)]
pub struct Work {
    pub id: i32,
    pub arguments: Vec<String>,
    /// Exec paths and digests.
    pub inputs: Vec<(Vec<u8>, String)>,
    pub sandbox_dir: String,
    pub verbosity: i32,
}

impl Work {
    /// A request without digests.
    pub fn new(id: i32, arguments: Vec<String>) -> Work {
        Work { id, arguments, ..Work::default() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = CodedOutputStream::vec(&mut bytes);
        for argument in &self.arguments {
            out.write_bytes(1, argument.as_bytes()).unwrap();
        }
        for (path, digest) in &self.inputs {
            let mut input = Vec::new();
            let mut fields = CodedOutputStream::vec(&mut input);
            fields.write_bytes(1, path).unwrap();
            fields.write_bytes(2, digest.as_bytes()).unwrap();
            drop(fields);
            out.write_bytes(2, &input).unwrap();
        }
        out.write_int32(3, self.id).unwrap();
        out.write_int32(5, self.verbosity).unwrap();
        out.write_string(6, &self.sandbox_dir).unwrap();
        drop(out);
        bytes
    }
}

/// A running worker, killed if a test fails.
pub struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Worker {
    /// Starts a worker in `directory`.
    pub fn start(directory: &Path) -> Worker {
        let mut command = Command::new(super::PYLAYER);
        Worker::spawn(command.arg("--persistent_worker").current_dir(directory))
    }

    /// Starts a worker with a complete command.
    pub fn spawn(command: &mut Command) -> Worker {
        Worker(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Stops all threads of the process until it receives [`Signal::CONT`].
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let stopped = waitpid(Some(Pid::from_child(&self.0)), WaitOptions::UNTRACED).unwrap();
        assert!(stopped.is_some_and(|(_, status)| status.stopped()), "the worker has ended");
    }

    pub fn send(&mut self, work: &Work) {
        self.try_send(work).unwrap();
    }

    pub fn cancel(&mut self, id: i32) {
        let mut bytes = Vec::new();
        let mut out = CodedOutputStream::vec(&mut bytes);
        out.write_int32(3, id).unwrap();
        out.write_bool(4, true).unwrap();
        drop(out);
        self.write(&frame(&bytes));
    }

    /// Sends arbitrary bytes.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    /// Sends bytes to a worker that may have ended.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.stdin.as_mut().unwrap().write_all(bytes)
    }

    /// Sends a request to a worker that may have ended.
    pub fn try_send(&mut self, work: &Work) -> io::Result<()> {
        self.try_write(&frame(&work.encode()))
    }

    pub fn close_stdin(&mut self) {
        self.0.stdin = None;
    }

    pub fn close_stdout(&mut self) {
        self.0.stdout = None;
    }

    /// The next response, to any request.
    pub fn receive(&mut self) -> WorkResponse {
        self.receive_or_end().expect("a response")
    }

    /// The next response, or `None` at the end of stdout.
    pub fn receive_or_end(&mut self) -> Option<WorkResponse> {
        let stdout = self.0.stdout.as_mut().unwrap();
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            match stdout.read_exact(&mut byte) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof && shift == 0 => return None,
                other => other.unwrap(),
            }
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut message = vec![0; length];
        stdout.read_exact(&mut message).unwrap();
        Some(WorkResponse::parse_from_bytes(&message).unwrap())
    }

    /// All responses up to the end of stdout, in order of arrival.
    pub fn receive_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.0.stdout.as_mut().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// Requests `work`, and expects success without a warning.
    pub fn succeed(&mut self, work: &Work) {
        self.send(work);
        let response = self.receive();
        assert_eq!((response.exit_code, &*response.output, response.request_id), (0, "", work.id));
    }

    /// Requests `work`, and expects failure. Returns the message.
    pub fn fail(&mut self, work: &Work) -> String {
        self.send(work);
        let response = self.receive();
        assert_eq!((response.exit_code, response.request_id, response.was_cancelled), (1, work.id, false));
        response.output
    }

    /// Closes stdin, and expects the worker to succeed.
    pub fn close(mut self) {
        self.close_stdin();
        assert!(self.0.wait().unwrap().success());
    }

    /// Waits for the worker to end, for any reason. Returns its exit status, and its stderr if that is a pipe.
    /// Unread responses must fit into stdout's pipe.
    pub fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut log).unwrap();
        }
        (self.0.wait().unwrap(), log)
    }
}

/// `message`, preceded by its length.
fn frame(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut out = CodedOutputStream::vec(&mut frame);
    out.write_bytes_no_tag(message).unwrap();
    drop(out);
    frame
}
