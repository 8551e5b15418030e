//! A persistent worker for Bazel: the whole [protocol], for any kind of work.
//!
//! Bazel starts a program once with `--persistent_worker`, writes work requests to its stdin and
//! reads a response to each from its stdout. This crate is everything between those two streams
//! and a [`Handler`], and knows nothing of what the handler does:
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
//! What a worker gets from it:
//!
//! - Singleplex, multiplex and sandboxed multiplex workers, with cancellation, in both encodings.
//! - Every request is answered exactly once, also when it is cancelled, when its id is in use, and
//!   when the handler panics. (That needs unwinding: not `panic = "abort"`.)
//! - Reading never waits for work, so a cancellation arrives however busy the worker is.
//! - Paths are bytes: one that is not UTF-8 does not stop the worker.
//! - Nothing but responses reaches the real stdout.
//! - The end of stdin lets work finish; SIGTERM cancels it; damaged input and a broken pipe end the
//!   worker with an [`Error`] that says so.
//!
//! What is left to the handler: finding files by [`Request::path`], expanding `@file` arguments where
//! remote execution left them, looking at [`Cancel`], and not touching files after it has returned.
//!
//! What is left to `main`: doing one action and exiting where there is no `--persistent_worker` among
//! the arguments, as remote executors and other strategies of Bazel have it.
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
