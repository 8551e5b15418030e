//! The program as a persistent worker, and Bazel's side of the conversation.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use protobuf::{CodedOutputStream, Message};
pub use reference::worker_protocol::WorkResponse;

#[allow(warnings)]
mod reference {
    include!(concat!(env!("OUT_DIR"), "/reference/mod.rs"));
}

/// A request. Encoded by hand, because the reference takes only UTF-8 and paths are bytes.
#[derive(Clone, Default)]
pub struct Work {
    pub id: i32,
    pub arguments: Vec<String>,
    /// Exec paths and digests.
    pub inputs: Vec<(Vec<u8>, String)>,
    pub sandbox_dir: String,
}

impl Work {
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
        out.write_string(6, &self.sandbox_dir).unwrap();
        drop(out);
        bytes
    }
}

/// A running worker; killed when a test fails.
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
        command.arg("--persistent_worker").current_dir(directory);
        Worker(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn send(&mut self, work: &Work) {
        self.write(&work.encode());
    }

    pub fn cancel(&mut self, id: i32) {
        let mut bytes = Vec::new();
        let mut out = CodedOutputStream::vec(&mut bytes);
        out.write_int32(3, id).unwrap();
        out.write_bool(4, true).unwrap();
        drop(out);
        self.write(&bytes);
    }

    fn write(&mut self, message: &[u8]) {
        let mut frame = Vec::new();
        let mut out = CodedOutputStream::vec(&mut frame);
        out.write_bytes_no_tag(message).unwrap();
        drop(out);
        self.0.stdin.as_mut().unwrap().write_all(&frame).unwrap();
    }

    /// The next response, whichever request it is for.
    pub fn receive(&mut self) -> WorkResponse {
        let stdout = self.0.stdout.as_mut().unwrap();
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut message = vec![0; length];
        stdout.read_exact(&mut message).unwrap();
        WorkResponse::parse_from_bytes(&message).unwrap()
    }

    /// Asks for `work`, which succeeds without a warning.
    pub fn succeed(&mut self, work: &Work) {
        self.send(work);
        let response = self.receive();
        assert_eq!((response.exit_code, &*response.output, response.request_id), (0, "", work.id));
    }

    /// Ends stdin and expects the worker to end well.
    pub fn close(mut self) {
        self.0.stdin = None;
        assert!(self.0.wait().unwrap().success());
    }
}
