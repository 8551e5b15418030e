//! The binary worker protocol: however a stream is split, it decodes to the same messages, and to those of
//! protobuf-codegen's decoder.

#![no_main]

#[path = "stream.rs"]
mod stream;

use bazel_worker::Protocol;
use bazel_worker::wire::MAX_MESSAGE_BYTES;
use libfuzzer_sys::fuzz_target;
use protobuf::{CodedInputStream, Message as _};
use stream::{assert_same, decode, reference};

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(Protocol::Proto, bytes, &[]);
    assert_eq!(whole, decode(Protocol::Proto, bytes, bytes), "cut into pieces");
    let (messages, _) = whole;
    let mut frames = CodedInputStream::from_bytes(bytes);
    let mut found = messages.into_iter();
    while !frames.eof().unwrap() {
        // A length of more than 64 bits is malformed for the reference, and too large for the program.
        let Ok(length) = frames.read_raw_varint64() else { break };
        if length > MAX_MESSAGE_BYTES as u64 {
            break;
        }
        let Ok(frame) = frames.read_raw_bytes(length as u32) else { break };
        let message = found.next();
        // The reference requires UTF-8, unlike the program.
        if let Ok(mut expected) = reference::WorkRequest::parse_from_bytes(&frame) {
            if let Some(message) = &message {
                assert_same(message, &expected);
            }
            // As Bazel would send it. A known field of another type is an unknown field for the
            // reference, and an error for the program.
            expected.mut_unknown_fields().clear();
            for input in &mut expected.inputs {
                input.mut_unknown_fields().clear();
            }
            let sent = expected.write_length_delimited_to_bytes().unwrap();
            let (messages, error) = decode(Protocol::Proto, &sent, &[]);
            assert_eq!((messages.len(), error), (1, None));
            assert_same(&messages[0], &expected);
        }
        if message.is_none() {
            break;
        }
    }
    assert_eq!(found.next(), None);
});
