//! The worker protocol in JSON: however a stream is split, it decodes to the same messages. Objects end
//! where they end for serde_json, and requests decode as in protobuf-json-mapping.

#![no_main]

#[path = "stream.rs"]
mod stream;

use bazel_worker::Protocol;
use libfuzzer_sys::fuzz_target;
use protobuf_json_mapping::{ParseOptions, parse_from_str_with_options};
use serde_json::Value;
use stream::{assert_same, decode, reference};

fuzz_target!(|bytes: &[u8]| {
    let whole = decode(Protocol::Json, bytes, &[]);
    assert_eq!(whole, decode(Protocol::Json, bytes, bytes), "cut into pieces");
    let (messages, error) = whole;
    // Both reference implementations require UTF-8.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let options = ParseOptions { ignore_unknown_fields: true, ..ParseOptions::default() };
    for message in messages {
        let start = values.byte_offset();
        // The program accepts control characters in strings, which JSON does not allow.
        let Some(Ok(value)) = values.next() else { return };
        assert!(value.is_object());
        let object = &text[start..values.byte_offset()];
        // The reference does not support everything.
        let Ok(expected) = parse_from_str_with_options::<reference::WorkRequest>(object, &options) else {
            continue;
        };
        assert_same(&message, &expected);
    }
    if error.is_none() {
        assert!(values.next().is_none());
    }
});
