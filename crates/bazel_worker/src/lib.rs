//! A complete implementation of Bazel's persistent worker [protocol], for any kind of work.
//!
//! Bazel starts a program once with `--persistent_worker`, writes work requests to its stdin, and reads
//! the responses from its stdout. This crate implements everything between these streams and a
//! [`Handler`], which does the work:
//!
//! ```no_run
#![doc = include_str!("../examples/worker.rs")]
//! ```
//!
//! | step | from → to |
//! |---|---|
//! | [`run`] | the process's stdin, stdout and signals → streams for [`serve()`] |
//! | [`wire`] | bytes → [`Message`](wire::Message); response → bytes. Protobuf and, with the feature `json`, JSON |
//! | [`serve()`] | messages → handlers on threads, [`Cancel`] flags → answers |
//!
//! Features:
//!
//! - Singleplex, multiplex and sandboxed multiplex workers, with cancellation, in both encodings.
//! - Every request is answered exactly once, even if it is cancelled, reuses an ID, or its handler
//!   panics. (This requires unwinding, not `panic = "abort"`.)
//! - Reading never waits for work, so a cancellation arrives however busy the worker is.
//! - Paths are bytes and need not be UTF-8.
//! - Only responses reach the real stdout.
//! - At the end of stdin, accepted work finishes. SIGTERM and SIGINT cancel it. Corrupt input and a
//!   broken pipe end the worker with an [`Error`].
//!
//! The handler must locate files with [`Request::path`], expand `@file` arguments, which remote execution
//! leaves to the worker, check [`Cancel`], and not touch files after it has returned.
//!
//! `main` must run a single action and exit if `--persistent_worker` is not among the arguments. Remote
//! executors and Bazel's other strategies start the program that way.
//!
//! [protocol]: https://bazel.build/remote/creating

mod cancel;
mod error;
#[cfg(feature = "json")]
mod json;
mod message;
mod process;
#[allow(missing_docs, unreachable_pub, reason = "written by prost-build")]
#[rustfmt::skip]
mod proto;
mod serve;
pub mod wire;

pub use cancel::{Cancel, Cancelled};
pub use error::Error;
pub use message::{Input, Protocol, Request, Response};
pub use process::{cancel_on_signals, run, run_with};
pub use serve::{Handler, Limits, serve};

/// Compiles the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
