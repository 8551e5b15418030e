//! Cancellation of requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The error of a handler that stops early because its request was cancelled.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("cancelled")]
pub struct Cancelled;

/// A flag that the server sets and a [`Handler`](crate::Handler) checks.
///
/// Clones share the flag, so a handler can pass one to each of its threads. The flag is never cleared.
///
/// ```
/// use bazel_worker::Cancel;
///
/// let cancel = Cancel::new();
/// let elsewhere = cancel.clone();
/// cancel.cancel();
/// assert!(elsewhere.is_cancelled());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set. Also suits work outside a worker, where it is never set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag.
    pub fn cancel(&self) {
        // Relaxed, because the flag guards no other data, and a small delay does not matter.
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns an error if the flag is set, for use with `?`.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Whether the flag is set. Costs one load, so it can be called for each file or chunk, or more often.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
