//! Encodes and decodes messages, in both encodings. No I/O.
//!
//! Binary: each message is preceded by its length as a varint. JSON: a sequence of objects, with optional
//! whitespace between them.

use bytes::{Buf as _, BytesMut};
use prost::Message as _;

#[cfg(feature = "json")]
use crate::json;
use crate::{
    error::Error,
    message::{Input, Protocol, Request, Response, path},
    proto,
};

pub use crate::message::Message;

/// The maximum length of a message.
///
/// A request lists every input of its action, at about 150 to 400 bytes each, so real ones reach tens of
/// megabytes. The limit only has to reject lengths decoded from garbage.
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// The maximum length of a varint: 64 bits in groups of seven.
const MAX_VARINT_BYTES: usize = 10;

/// Splits a byte stream into messages.
///
/// ```
/// use bytes::BytesMut;
/// use bazel_worker::{Protocol, wire::{Decoder, Message}};
///
/// let mut decoder = Decoder::new(Protocol::Proto);
/// let mut received = BytesMut::from(&b"\x05\x0a\x01-\x18\x07\x02"[..]);
/// let Some(Message::Work(request)) = decoder.decode(&mut received)? else { panic!() };
/// assert_eq!((&request.arguments[0][..], request.request_id), (&b"-"[..], 7));
/// assert!(decoder.decode(&mut received)?.is_none(), "one byte of a frame of two is there");
/// # Ok::<(), bazel_worker::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    protocol: Protocol,
    #[cfg(feature = "json")]
    scanner: json::Scanner,
}

impl Decoder {
    /// A decoder for the start of a stream.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            #[cfg(feature = "json")]
            scanner: json::Scanner::default(),
        }
    }

    /// Splits the first message off `received`, or leaves it unchanged if the message is incomplete. Bytes
    /// may be appended between calls, but not removed.
    ///
    /// # Errors
    ///
    /// If the bytes are not a message. The stream cannot be decoded any further then.
    pub fn decode(&mut self, received: &mut BytesMut) -> Result<Option<Message>, Error> {
        let message = match self.protocol {
            Protocol::Proto => decode_proto(received)?,
            #[cfg(feature = "json")]
            Protocol::Json => json::decode(&mut self.scanner, received)?,
        };
        if received.is_empty() {
            // The message owns the allocation. Keeping it here too would retain the largest buffer so far
            // for the worker's lifetime.
            *received = BytesMut::new();
        }
        Ok(message)
    }

    /// Checks at the end of the stream that no bytes remain.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if the stream ended inside a message.
    pub fn finish(&self, received: &BytesMut) -> Result<(), Error> {
        if received.is_empty() { Ok(()) } else { Err(Error::Truncated(received.len())) }
    }
}

fn decode_proto(received: &mut BytesMut) -> Result<Option<Message>, Error> {
    let Some((prefix, length)) = frame_length(received)? else { return Ok(None) };
    if received.len() - prefix < length {
        return Ok(None);
    }
    received.advance(prefix);
    let frame = received.split_to(length).freeze();
    let request = proto::WorkRequest::decode(frame).map_err(Error::MalformedProto)?;
    Ok(Some(if request.cancel {
        Message::Cancel { request_id: request.request_id }
    } else {
        Message::Work(request.into())
    }))
}

/// Decodes the length prefix: the number of its bytes, and its value; `None` if it is incomplete.
fn frame_length(received: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut length = 0;
    for (index, &byte) in received.iter().take(MAX_VARINT_BYTES).enumerate() {
        // u128, so that a corrupt length cannot overflow before it is rejected.
        length |= u128::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return Ok(Some((index + 1, check_length(length)?)));
        }
    }
    if received.len() < MAX_VARINT_BYTES { Ok(None) } else { Err(Error::EndlessLength) }
}

pub(crate) fn check_length(length: u128) -> Result<usize, Error> {
    usize::try_from(length).ok().filter(|&length| length <= MAX_MESSAGE_BYTES).ok_or(Error::TooLarge(length))
}

/// Encodes a `WorkResponse`.
pub fn encode_response(
    protocol: Protocol,
    request_id: i32,
    response: Response,
    was_cancelled: bool,
) -> Vec<u8> {
    let Response { exit_code, output } = response;
    match protocol {
        Protocol::Proto => proto::WorkResponse { exit_code, output, request_id, was_cancelled }
            .encode_length_delimited_to_vec(),
        #[cfg(feature = "json")]
        Protocol::Json => json::encode_response(request_id, exit_code, &output, was_cancelled),
    }
}

impl From<proto::WorkRequest> for Request {
    fn from(request: proto::WorkRequest) -> Self {
        let input = |proto::Input { path, digest }| Input { path, digest };
        Self {
            arguments: request.arguments,
            inputs: request.inputs.into_iter().map(input).collect(),
            request_id: request.request_id,
            verbosity: request.verbosity,
            sandbox_dir: path(&request.sandbox_dir),
        }
    }
}
