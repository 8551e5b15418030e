//! Why a worker stops before Bazel is done with it.

use std::{io, time::Duration};

use crate::wire::MAX_MESSAGE_BYTES;

/// The end of a worker that did not come from Bazel closing its stdin or terminating it.
///
/// A failed action is none of these: it is a [`Response`](crate::Response).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A length, or a JSON object, beyond every real request.
    #[error(
        "A work request of {0} bytes or more is announced, above the limit of {MAX_MESSAGE_BYTES}: \
         stdin does not carry the worker protocol, or is corrupt."
    )]
    TooLarge(u128),

    /// More bytes than a length can have.
    #[error(
        "The length of a work request has no end: stdin does not carry the worker protocol, or is \
         corrupt."
    )]
    EndlessLength,

    /// The stream ended inside a message.
    #[error("stdin ended in the middle of a work request, {0} bytes into it.")]
    Truncated(usize),

    /// The frame is no `WorkRequest`.
    #[error("A work request cannot be decoded as a WorkRequest message: {0}.")]
    MalformedProto(#[source] prost::DecodeError),

    /// The object is no `WorkRequest`.
    #[cfg(feature = "json")]
    #[error("A work request cannot be decoded as a WorkRequest in JSON: {0}.")]
    MalformedJson(#[source] serde_json::Error),

    /// Something other than an object where one has to begin.
    #[cfg(feature = "json")]
    #[error(
        "A work request in JSON begins with byte {0:#04x}, not with `{{`: is the worker started \
         with the protocol that the action's `requires-worker-protocol` names?"
    )]
    NotJson(u8),

    /// A request cannot be read.
    #[error("Reading work requests from stdin failed: {0}.")]
    Read(#[source] io::Error),

    /// An answer cannot be written.
    #[error("Writing work responses to stdout failed: {0}.")]
    Write(#[source] io::Error),

    /// The process could not be prepared.
    #[error("The worker could not be set up: {0}.")]
    Setup(#[source] io::Error),

    /// Handlers did not heed their [`Cancel`](crate::Cancel).
    #[error("{count} of the cancelled work requests had not stopped after {grace:?}.")]
    Unstoppable {
        /// How many.
        count: usize,
        /// How long they were waited for.
        grace: Duration,
    },
}
