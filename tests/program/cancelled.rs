//! After a layer is cancelled, no work begins except what a thread had already committed to. Measured by
//! the spans of a trace, so the result does not depend on the machine or its load.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use crate::support::Workspace;
use bazel_worker::Cancel;
use bytes::Bytes;
use pylayer::action::Engine;
use pylayer::inputs::Digests;
use pylayer::pipeline::Pool;
use tracing::Subscriber;
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;

/// Cancels when the nth span with a given name begins, and counts the spans that begin after that.
struct Watch {
    name: &'static str,
    countdown: usize,
    cancel: Cancel,
    begun: BTreeMap<&'static str, usize>,
}

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);

struct Watcher;

impl<S: Subscriber> Layer<S> for Watcher {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut watch = lock(&WATCH);
        let Some(watch) = &mut *watch else { return };
        let name = span.metadata().name();
        if watch.cancel.is_cancelled() {
            *watch.begun.entry(name).or_default() += 1;
        } else if name == watch.name {
            watch.countdown -= 1;
            if watch.countdown == 0 {
                watch.cancel.cancel();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a layer on `threads` threads, cancelled when the nth span called `name` begins. Returns the
/// number of spans that begin after that, by name.
fn begun_after_cancellation(
    threads: usize,
    options: &[&str],
    name: &'static str,
    nth: usize,
) -> BTreeMap<&'static str, usize> {
    // A process has only one global subscriber.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = lock(&ALONE);
    static SUBSCRIBED: Once = Once::new();
    SUBSCRIBED.call_once(|| tracing_subscriber::registry().with(Watcher).init());

    let (workspace, manifest) = Workspace::slow(96);
    let arguments = workspace.arguments(&manifest, &[options, &["--no-dedupe"]].concat());
    let arguments: Vec<_> = arguments.into_iter().map(Bytes::from).collect();
    let cancel = Cancel::new();
    *lock(&WATCH) = Some(Watch { name, countdown: nth, cancel: cancel.clone(), begun: BTreeMap::new() });
    let engine = Engine::new(Pool::new(Some(threads), None).unwrap(), false);
    let outcome = engine.run(&arguments, &workspace.path(""), &Digests::default(), &cancel);
    let watch = lock(&WATCH).take().unwrap();
    assert!(outcome.is_err() && cancel.is_cancelled(), "{options:?}, {name} {nth}: {outcome:?}");
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
    watch.begun
}

const CODECS: [[&str; 2]; 3] =
    [["--compress=none", "--mode=0755"], ["--compress=gzip", "--level=6"], ["--compress=zstd", "--level=3"]];

#[test]
fn cancelled_work_stops_at_once() {
    for options in CODECS {
        for (name, nth) in [("read", 1), ("read", 3), ("write", 2), ("hash", 2)] {
            for threads in [1, 4] {
                let begun = begun_after_cancellation(threads, &options, name, nth);
                let what = format!("{options:?}, {threads} threads, {name} {nth}: {begun:?}");
                // Each thread may have claimed a chunk, and so may the writer and the hasher. A thread that
                // is cancelled while it reads still compresses what it has read.
                let count = |name| begun.get(name).copied().unwrap_or_default();
                assert!(count("read") <= threads, "{what}");
                assert!(count("compress") <= threads, "{what}");
                assert!(count("write") <= 1 && count("hash") <= 1, "{what}");
                let others =
                    begun.keys().filter(|name| !["read", "compress", "write", "hash"].contains(name));
                assert_eq!(others.count(), 0, "{what}");
            }
        }
    }
}

#[test]
fn a_thread_that_is_cancelled_finishes_its_chunk_and_begins_no_other() {
    for options in &CODECS[1..] {
        let mut begun = begun_after_cancellation(1, options, "compress", 3);
        // Chunks that are ready may already be in flight.
        for name in ["write", "hash"] {
            assert!(begun.remove(name).unwrap_or_default() <= 1, "{options:?}: {name}");
        }
        assert_eq!(begun, BTreeMap::new(), "{options:?}");
    }
}

#[test]
fn nothing_is_read_for_a_layer_that_is_cancelled_before() {
    for (name, begun) in [("manifest", &[("inputs", 1)][..]), ("inputs", &[]), ("plan", &[])] {
        let begun = begun.iter().copied().collect();
        assert_eq!(begun_after_cancellation(2, &CODECS[1], name, 1), begun, "cancelled at {name}");
    }
}
