//! Whether a request is still wanted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Why a handler stopped early: its request is no longer wanted.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("cancelled")]
pub struct Cancelled;

/// A flag that the server raises and a [`Handler`](crate::Handler) looks at.
///
/// Clones share the flag, so a handler can give one to each of its threads. Once raised it stays
/// raised.
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
    /// A flag that is not raised; one that nobody raises suits work outside a worker.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag.
    pub fn cancel(&self) {
        // Relaxed: the flag guards no other data, and a reader that sees it a moment late is a
        // reader that was cancelled a moment later.
        self.0.store(true, Ordering::Relaxed);
    }

    /// An error if the flag is raised, for loops that end with `?`.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Whether the flag is raised. Costs one load: ask once per file or chunk, or oftener.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
