//! Messages as JSON objects, in the proto3 JSON mapping: names in camelCase, `bytes` in base64. Fields
//! that are absent or `null` have their default, and unknown fields are ignored.
//!
//! Bazel writes objects without separators. This module relies neither on that, nor on line ends, nor on
//! where reads split the stream.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    error::Error,
    message::{Input, Message, Request, path},
    wire::check_length,
};

/// Finds the end of an object without parsing it.
///
/// A parser would have to start over at each read, which is quadratic in the length of a message that
/// arrives in pieces. The scanner examines each byte once and keeps its position. For malformed JSON it
/// finds some end, and the parser then reports the error.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// The length of the object that `received` begins with, or `None` if it is incomplete. After `None`,
    /// the next call must pass the same bytes followed by more.
    fn object_end(&mut self, received: &[u8]) -> Option<usize> {
        for (index, &byte) in received.iter().enumerate().skip(self.scanned) {
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                match byte {
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                if self.depth == 0 {
                    *self = Self::default();
                    return Some(index + 1);
                }
            }
        }
        self.scanned = received.len();
        None
    }
}

/// Splits the first object off `received`, or leaves it unchanged if the object is incomplete.
pub(crate) fn decode(scanner: &mut Scanner, received: &mut BytesMut) -> Result<Option<Message>, Error> {
    // Whitespace is skipped before a message is scanned, so it does not affect the scanner's position.
    let blanks = received.iter().take_while(|byte| b" \t\n\r".contains(byte)).count();
    received.advance(blanks);
    match received.first() {
        None => return Ok(None),
        Some(b'{') => {}
        Some(&byte) => return Err(Error::NotJson(byte)),
    }
    let Some(length) = scanner.object_end(received) else {
        check_length(received.len() as u128)?;
        return Ok(None);
    };
    decode_request(&received.split_to(length)).map(Some).map_err(Error::MalformedJson)
}

/// `WorkRequest`. The aliases are the schema's names, which a proto3 JSON parser must accept, too.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WorkRequest {
    #[serde(deserialize_with = "or_default")]
    arguments: Vec<Bytes>,
    #[serde(deserialize_with = "or_default")]
    inputs: Vec<WorkInput>,
    #[serde(alias = "request_id", deserialize_with = "or_default")]
    request_id: i32,
    #[serde(deserialize_with = "or_default")]
    cancel: bool,
    #[serde(deserialize_with = "or_default")]
    verbosity: i32,
    #[serde(alias = "sandbox_dir", deserialize_with = "or_default")]
    sandbox_dir: Bytes,
}

/// `Input`. `Bytes` accepts the bytes of a JSON string unchanged, valid UTF-8 or not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WorkInput {
    #[serde(deserialize_with = "or_default")]
    path: Bytes,
    #[serde(deserialize_with = "base64")]
    digest: Bytes,
}

/// `WorkResponse`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WorkResponse<'a> {
    exit_code: i32,
    output: &'a str,
    request_id: i32,
    /// Only written if true: the field is newer than the others, and some parsers reject unknown fields.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    was_cancelled: bool,
}

fn decode_request(object: &[u8]) -> Result<Message, serde_json::Error> {
    let request: WorkRequest = serde_json::from_slice(object)?;
    if request.cancel {
        return Ok(Message::Cancel { request_id: request.request_id });
    }
    let input = |WorkInput { path, digest }| Input { path, digest };
    Ok(Message::Work(Request {
        arguments: request.arguments,
        inputs: request.inputs.into_iter().map(input).collect(),
        request_id: request.request_id,
        verbosity: request.verbosity,
        sandbox_dir: path(&request.sandbox_dir),
    }))
}

pub(crate) fn encode_response(request_id: i32, exit_code: i32, output: &str, was_cancelled: bool) -> Vec<u8> {
    let response = WorkResponse { exit_code, output, request_id, was_cancelled };
    let mut object = serde_json::to_vec(&response)
        .expect("numbers, text and booleans under fixed names are always valid JSON");
    // For line-based readers, and for debugging.
    object.push(b'\n');
    object
}

/// Deserializes `null` as the default, as in proto3 JSON.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// proto3 JSON parsers accept both alphabets of RFC 4648, with or without padding.
fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

    let text: Bytes = or_default(deserializer)?;
    let engine = if text.iter().any(|byte| b"-_".contains(byte)) { &URL_SAFE } else { &STANDARD };
    engine.decode(&text).map(Bytes::from).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::Scanner;

    #[test]
    fn braces_in_strings_do_not_count() {
        let object = br#"{"a}": ["\"}", {"b": "\\"}]}"#;
        let stream = [&object[..], b"{"].concat();
        assert_eq!(Scanner::default().object_end(&stream), Some(object.len()));
    }

    #[test]
    fn the_scanner_resumes_where_it_stopped() {
        let object = br#"{"a": "\"}", "b": [1, 2]}"#;
        let mut scanner = Scanner::default();
        for end in 0..object.len() {
            assert_eq!(scanner.object_end(&object[..end]), None);
            assert_eq!(scanner.scanned, end);
        }
        assert_eq!(scanner.object_end(object), Some(object.len()));
        assert_eq!(scanner.object_end(b"{}"), Some(2), "ready for the next");
    }
}
