//! Bytes ↔ messages, in both encodings. No I/O.
//!
//! Binary: the length of the message as a varint, then the message. JSON: one object after another,
//! with nothing dependable between them.

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

/// The longest message accepted.
///
/// A request lists every input of its action at some 150 to 400 bytes each, so real ones reach tens
/// of megabytes. The limit only has to reject a length that was decoded from garbage.
pub const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// The longest varint: ten groups of seven bits hold 64.
const MAX_VARINT_BYTES: usize = 10;

/// Cuts a stream of bytes into messages.
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
    /// A decoder at the beginning of a stream.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            #[cfg(feature = "json")]
            scanner: json::Scanner::default(),
        }
    }

    /// Takes the first message off `received`, or leaves it alone if the message is not all there.
    /// Bytes may be appended between calls, but not taken away.
    ///
    /// # Errors
    ///
    /// If the bytes are no message. The stream is of no use afterwards.
    pub fn decode(&mut self, received: &mut BytesMut) -> Result<Option<Message>, Error> {
        let message = match self.protocol {
            Protocol::Proto => decode_proto(received)?,
            #[cfg(feature = "json")]
            Protocol::Json => json::decode(&mut self.scanner, received)?,
        };
        if received.is_empty() {
            // The message has the allocation; holding on to it here too would make the buffer of
            // the largest request so far that of the whole worker's life.
            *received = BytesMut::new();
        }
        Ok(message)
    }

    /// To be asked at the end of the stream: is what remains nothing, rather than half a message?
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if it is half a message.
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

/// How long the length at the start of `received` is, and what it says; `None` if it is cut off.
fn frame_length(received: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut length = 0;
    for (index, &byte) in received.iter().take(MAX_VARINT_BYTES).enumerate() {
        // u128, so that no corrupt length overflows on its way to being refused.
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

/// The bytes of a `WorkResponse`, ready to be written.
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
