//! Shared by the targets for the two worker protocols.

use bazel_worker::Protocol;
use bazel_worker::wire::{Decoder, Message};
use bytes::BytesMut;

#[path = "../../crates/bazel_worker/tests/reference/mod.rs"]
mod generated;
pub use generated::worker_protocol as reference;

/// The messages of a stream that arrives in pieces of these sizes, and then the rest at once; and the error
/// that ended it, if any.
pub fn decode(protocol: Protocol, stream: &[u8], pieces: &[u8]) -> (Vec<Message>, Option<String>) {
    let mut decoder = Decoder::new(protocol);
    let mut received = BytesMut::new();
    let mut messages = Vec::new();
    let mut rest = stream;
    let mut pieces = pieces.iter().map(|piece| usize::from(*piece));
    loop {
        loop {
            match decoder.decode(&mut received) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error.to_string())),
            }
        }
        if rest.is_empty() {
            let error = decoder.finish(&received).err();
            return (messages, error.map(|error| error.to_string()));
        }
        let piece = pieces.next().unwrap_or(usize::MAX).min(rest.len());
        received.extend_from_slice(&rest[..piece]);
        rest = &rest[piece..];
    }
}

/// Whether the program and the reference decode a message to the same value.
pub fn assert_same(message: &Message, expected: &reference::WorkRequest) {
    let request = match message {
        Message::Work(request) if !expected.cancel => request,
        Message::Cancel { request_id } if expected.cancel => {
            return assert_eq!(*request_id, expected.request_id);
        }
        message => panic!("{message:?}, {expected:?}"),
    };
    assert_eq!(request.request_id, expected.request_id);
    assert_eq!(request.verbosity, expected.verbosity);
    assert_eq!(request.sandbox_dir.as_os_str().as_encoded_bytes(), expected.sandbox_dir.as_bytes());
    assert!(request.arguments.iter().eq(&expected.arguments), "{request:?}, {expected:?}");
    let inputs = request.inputs.iter().map(|input| (&input.path[..], &input.digest[..]));
    let expected = expected.inputs.iter().map(|input| (input.path.as_bytes(), &input.digest[..]));
    assert!(inputs.eq(expected), "{request:?}");
}
