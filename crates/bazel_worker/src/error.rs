//! Errors that end a worker.

use std::{io, time::Duration};

use crate::wire::MAX_MESSAGE_BYTES;

/// Why a worker ended, other than by the end of stdin or a signal from Bazel.
///
/// A failed action is not an error but a [`Response`](crate::Response).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A length prefix or JSON object that exceeds any real request.
    #[error(
        "A work request has {0} bytes or more, which exceeds the limit of {MAX_MESSAGE_BYTES}: \
         stdin does not carry the worker protocol, or is corrupt."
    )]
    TooLarge(u128),

    /// A length prefix with more bytes than a varint can have.
    #[error(
        "The length prefix of a work request is too long: stdin does not carry the worker protocol, or is \
         corrupt."
    )]
    EndlessLength,

    /// The stream ended inside a message.
    #[error("stdin ended in the middle of a work request, {0} bytes into it.")]
    Truncated(usize),

    /// The frame is not a `WorkRequest`.
    #[error("A work request cannot be decoded as a WorkRequest message: {0}.")]
    MalformedProto(#[source] prost::DecodeError),

    /// The object is not a `WorkRequest`.
    #[cfg(feature = "json")]
    #[error("A work request cannot be decoded as a WorkRequest in JSON: {0}.")]
    MalformedJson(#[source] serde_json::Error),

    /// Something other than an object at the start of a message.
    #[cfg(feature = "json")]
    #[error(
        "A work request in JSON begins with byte {0:#04x}, not with `{{`: is the worker started \
         with the protocol that the action's `requires-worker-protocol` names?"
    )]
    NotJson(u8),

    /// Reading a request failed.
    #[error("Reading work requests from stdin failed: {0}.")]
    Read(#[source] io::Error),

    /// Writing a response failed.
    #[error("Writing work responses to stdout failed: {0}.")]
    Write(#[source] io::Error),

    /// Setting up the process failed.
    #[error("The worker could not be set up: {0}.")]
    Setup(#[source] io::Error),

    /// Handlers did not react to their [`Cancel`](crate::Cancel) flag.
    #[error("{count} of the cancelled work requests had not stopped after {grace:?}.")]
    Unstoppable {
        /// The number of handlers.
        count: usize,
        /// How long the server waited for them.
        grace: Duration,
    },
}
