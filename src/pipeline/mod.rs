//! Reads and compresses a layer's chunks in parallel, and writes and hashes them in order.
//!
//! One [`Pool`] of threads serves all layers that are being written. The threads take chunks from the
//! layers round-robin, so a small layer does not wait behind a large one. Backpressure: a layer has at
//! most [`IN_FLIGHT_BYTES`] in flight (read but not yet written), whatever its size and the number of
//! threads.
//!
//! Two stages of a layer run in order: the calling thread writes and hashes the blob, and a second thread
//! hashes the uncompressed stream for the diff ID.
//!
//! | module | |
//! |---|---|
//! | `pool` | threads that take pieces of work from several jobs round-robin |
//! | `lift` | a file and a stream in a wheel → whether they are equal → a gzip member |
//! | `memory` | compressed chunks, digest states and verified streams of earlier layers |
//! | `ordered` | results of parallel work, in order |
//! | this module | a layer as a job for these threads, and its two ordered stages |
//!
//! A worker's pool also has a [`ChunkCache`]. A cached chunk is not compressed again. Up to the first
//! changed chunk, a layer is neither read nor hashed again, only written.

mod lift;
mod memory;
mod ordered;
mod pool;

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracing::{Span, trace_span};

pub use self::lift::Comparison;
use self::lift::{Buffers, Lift, Lifts, Verdict};
pub use self::memory::ChunkCache;
use self::memory::{CompressedChunk, StreamState, prefix_keys};
use self::ordered::in_order;
use self::pool::{Job, Queue, Threads, lock};
use crate::cache::Stats;
use crate::chunk::{self, Chunk, ChunkSizes, Key, Piece};
use crate::codec::{Codec, Compressor};
use crate::elf;
use crate::estargz;
use crate::header;
use crate::inputs::{self, Reader};
use crate::plan::{LANDMARK, LayerPlan};
use crate::toc::{self, Contents, Part, Summer, Sums};
use crate::zstd_chunked;
use bazel_worker::{Cancel, Cancelled};

/// Maximum number of uncompressed bytes in flight per layer, whatever the number of threads.
pub const IN_FLIGHT_BYTES: u64 = 64 << 20;
/// Maximum number of maximum-size chunks in flight per thread. It keeps threads busy while one chunk is
/// slow. With more, chunks would be evicted from the CPU cache before they are hashed and written.
const IN_FLIGHT_CHUNKS: u64 = 4;

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Input(#[from] inputs::Error),
    #[error("cannot compress: {0}")]
    Compress(io::Error),
    #[error("cannot write the layer: {0}")]
    Write(io::Error),
    #[error(transparent)]
    Table(#[from] toc::Error),
    #[error("cannot start a thread: {0}")]
    Start(io::Error),
    #[error("a thread of the pool failed; this is a bug in pylayer")]
    Thread,
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The digests of a written layer, and facts about its contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// Length of the file in bytes.
    pub size: u64,
    /// SHA-256 of the uncompressed tar (OCI image-spec, `config.md`: "diff ID").
    pub diff_id: [u8; 32],
    /// Length of the uncompressed tar in bytes.
    pub uncompressed_size: u64,
    /// The entry number and processor of each ELF image.
    pub machines: Vec<(usize, u16)>,
    /// The annotations by which readers find and verify the table of contents, if the layer has one.
    pub annotations: BTreeMap<&'static str, String>,
    /// Uncompressed bytes that were lifted from wheels, other than those from a cache.
    pub lifted: u64,
    pub times: Times,
}

/// Time spent in each stage, summed over all threads. Stages overlap, so the sum exceeds the elapsed
/// time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Reading inputs.
    pub read: Duration,
    /// Verifying streams in wheels.
    pub verify: Duration,
    pub compress: Duration,
    /// Hashing the uncompressed stream.
    pub hash: Duration,
    /// Hashing and writing the blob.
    pub write: Duration,
}

/// Runs `work` inside `span`, and adds the time it takes to `total`.
fn timed<T>(span: Span, total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = span.in_scope(work);
    *total += start.elapsed();
    value
}

/// Maximum number of buffers that a layer keeps for reuse. Each grows to the largest chunk size over time.
const MAX_SPARE_BUFFERS: usize = 8;

/// The threads that read and compress.
pub struct Pool {
    threads: Threads<Layer>,
    cache: Option<Arc<ChunkCache>>,
}

impl Pool {
    /// Starts `threads` threads, or one per processor.
    pub fn new(threads: Option<usize>, cache: Option<Arc<ChunkCache>>) -> io::Result<Pool> {
        let count = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Pool { threads: Threads::start(count)?, cache })
    }

    /// The capacity for compressed chunks, in bytes; 0 without a cache.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.chunks.budget())
    }

    /// The cache's statistics, for a log.
    pub fn stats(&self) -> String {
        match &self.cache {
            None => "no cache".to_string(),
            Some(cache) => {
                let Stats { hits, misses, evictions, entries, cost } = cache.stats();
                format!(
                    "cache: {hits} hits, {misses} misses, {evictions} evictions, {entries} chunks of {cost} bytes"
                )
            }
        }
    }

    /// Writes the layer of `plan` to `out`. `progress` is called with the uncompressed size of each
    /// chunk that has been written. No input is read after this returns.
    pub fn write(
        &self,
        plan: Arc<LayerPlan>,
        codec: Codec,
        cancel: &Cancel,
        out: &mut dyn Write,
        progress: &dyn Fn(u64),
    ) -> Result<Written, Error> {
        let sizes = ChunkSizes::of(codec);
        let chunks = chunk::chunks(&plan, sizes);
        let keys: Vec<_> = match &self.cache {
            Some(_) => chunks.iter().map(|chunk| chunk::key(&plan, chunk, codec)).collect(),
            None => vec![None; chunks.len()],
        };
        let prefixes = prefix_keys(&keys);
        let lifts = Lifts::new(&plan, &chunks, codec);
        let verdicts = lifts.0.iter().map(|lift| {
            let key = keys[lift.chunks.start];
            self.cache.as_ref().zip(key).and_then(|(cache, key)| cache.verdicts.get(&key))
        });
        let verdicts = verdicts.collect();
        // A table of contents has the digests of all files, so all are read.
        let cache = self.cache.as_ref().filter(|_| !codec.has_table());
        let (known, start) = cache.map(|cache| cache.longest_prefix(&prefixes)).unwrap_or_default();
        let (to_write, packed) = mpsc::channel();
        let (to_hash, plain) = mpsc::channel();
        let layer = Arc::new(Layer {
            plan,
            chunks,
            lifts,
            keys,
            known,
            codec,
            cancel: cancel.clone(),
            cache: self.cache.clone(),
            queue: self.threads.queue().clone(),
            to_write,
            to_hash: to_hash.clone(),
            in_flight_limit: IN_FLIGHT_BYTES
                .min(self.threads.count() as u64 * IN_FLIGHT_CHUNKS * sizes.run_max),
            state: Mutex::new(State {
                next: 0,
                unverified: Vec::new(),
                verdicts,
                verify: Duration::ZERO,
                lasting: usize::MAX,
                in_flight_bytes: 0,
                spare: Vec::new(),
            }),
        });
        std::thread::scope(|scope| {
            let numbers = known..layer.chunks.len();
            let hashing = start.plain.clone();
            let hash = || hash_in_order(plain, numbers, hashing, &layer);
            let hasher = std::thread::Builder::new().spawn_scoped(scope, hash).map_err(Error::Start)?;
            let mut writer = Writer::new(&layer, start, out, progress);
            let written = writer.write_remembered().and_then(|first| {
                layer.begin(first);
                layer.queue.add(layer.clone());
                let written = writer.write_in_order(first, packed);
                layer.queue.remove(&layer);
                written
            });
            // Ends a hasher that waits for chunks that will never arrive. One that has all has ended.
            let _ = to_hash.send(None);
            let hashed = hasher.join();
            written?;
            let Writer { mut written, mut states, parts, .. } = writer;
            let Hashed { states: hashed, files, time } = match hashed {
                Ok(Some(hashed)) => hashed,
                Ok(None) => return Err(Cancelled.into()),
                Err(_) => return Err(Error::Thread),
            };
            written.times.hash = time;
            written.times.verify += lock(&layer.state).verify;
            for (state, plain) in states.iter_mut().zip(hashed) {
                if codec == Codec::None {
                    state.blob = plain.clone();
                }
                state.plain = plain;
            }
            let mut last = states.last().cloned().unwrap_or_default();
            if let Some(cache) = cache {
                let lasting = &prefixes[..prefixes.len().min(lock(&layer.state).lasting)];
                // The first state is the one after the known chunks, or of an empty stream.
                for (key, state) in lasting.iter().skip(known).zip(states.into_iter().skip(1)) {
                    cache.states.put(*key, state, 1);
                }
            }
            if codec.has_table() {
                let contents = Contents { plan: &layer.plan, parts: &parts, files: &files };
                write_table(&layer, contents, &mut last, &mut written, out)?;
            }
            let (digest, diff_id) = (last.blob.finalize().into(), last.plain.finalize().into());
            Ok(Written { digest, diff_id, size: last.size, ..written })
        })
    }
}

/// A numbered chunk to hash, or `None` if there will be no more.
type ToHash = Option<(usize, Arc<Plain>)>;

/// A layer that is being written.
struct Layer {
    plan: Arc<LayerPlan>,
    chunks: Vec<Chunk>,
    lifts: Lifts,
    /// `None` for chunks that cannot be cached.
    keys: Vec<Option<Key>>,
    /// The number of leading chunks that need not be hashed.
    known: usize,
    codec: Codec,
    cancel: Cancel,
    cache: Option<Arc<ChunkCache>>,
    queue: Arc<Queue<Layer>>,
    to_write: Sender<Result<(usize, Packed), Error>>,
    to_hash: Sender<ToHash>,
    /// Uncompressed bytes.
    in_flight_limit: u64,
    state: Mutex<State>,
}

struct State {
    /// The next chunk to be taken by a thread.
    next: usize,
    /// The numbers of the lifts that have to be verified; the last one is next.
    unverified: Vec<usize>,
    /// For each lift, once it is known.
    verdicts: Vec<Option<Verdict>>,
    /// Time spent on verification.
    verify: Duration,
    /// The first chunk whose files may have changed since they were planned. States after it are not
    /// cached.
    lasting: usize,
    in_flight_bytes: u64,
    /// Buffers for reuse.
    spare: Vec<Vec<u8>>,
}

/// What a thread reuses for all pieces of work.
#[derive(Default)]
struct Scratch {
    /// One for each codec that the thread has used.
    compressors: Vec<(Codec, Compressor)>,
    buffers: Buffers,
}

impl Scratch {
    fn compressor(&mut self, codec: Codec) -> &mut Compressor {
        let compressors = &mut self.compressors;
        let position = compressors.iter().position(|(other, _)| *other == codec).unwrap_or_else(|| {
            compressors.push((codec, codec.compressor()));
            compressors.len() - 1
        });
        &mut compressors[position].1
    }
}

/// The pieces of work are numbered: first the chunks, then the lifts to verify.
impl Job for Layer {
    type Scratch = Scratch;

    /// Claims the next lift to verify or, if there are no more, the next chunk, if there is one, it fits in the
    /// in-flight limit, and it is known whether it is lifted.
    fn take(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        if let Some(lift) = state.unverified.pop() {
            return Some(self.chunks.len() + lift);
        }
        let index = state.next;
        let length = self.chunks.get(index)?.length();
        let is_unverified = |lift: usize| self.lifts.0[lift].has_verdict() && state.verdicts[lift].is_none();
        if self.lifts.of_chunk(index).is_some_and(is_unverified) {
            return None;
        }
        if state.in_flight_bytes > 0 && state.in_flight_bytes + length > self.in_flight_limit {
            return None;
        }
        state.next += 1;
        state.in_flight_bytes += length;
        Some(index)
    }

    /// Reads and compresses a chunk, and passes it on; or verifies a lift.
    fn work(self: &Arc<Layer>, number: usize, scratch: &mut Scratch) {
        let attempt = std::panic::AssertUnwindSafe(|| match number.checked_sub(self.chunks.len()) {
            Some(lift) => self.verify(lift, &mut scratch.buffers).map(|()| None),
            None => self.pack(number, scratch).map(|packed| Some((number, packed))),
        });
        let result = std::panic::catch_unwind(attempt).unwrap_or(Err(Error::Thread));
        // A receiver that is gone has reported its own error.
        let _ = match result {
            Ok(None) => Ok(()),
            Ok(Some((index, packed))) => {
                if index >= self.known {
                    let _ = self.to_hash.send(Some((index, packed.plain.clone())));
                }
                self.to_write.send(Ok((index, packed)))
            }
            Err(error) => self.to_write.send(Err(error)),
        };
    }
}

impl Layer {
    /// Lets threads begin at chunk number `first`.
    fn begin(&self, first: usize) {
        let mut state = lock(&self.state);
        state.next = first;
        let lifts = self.lifts.0.iter().enumerate();
        let unverified = lifts.filter(|(_, lift)| lift.has_verdict() && lift.chunks.end > first);
        let unverified = unverified.map(|(number, _)| number);
        state.unverified = unverified.filter(|number| state.verdicts[*number].is_none()).collect();
        // The largest file first, so that no thread has to wait for it at the end.
        let size = |number: &usize| self.lifts.0[*number].chunks.len();
        state.unverified.sort_by_key(size);
    }

    /// Continues the verification of a lift.
    fn verify(&self, number: usize, buffers: &mut Buffers) -> Result<(), Error> {
        let Lift { entry, chunks, verification } = &self.lifts.0[number];
        let Some(content) = self.plan.entries[*entry].content() else { return Ok(()) };
        let (parts, streams) = (&self.chunks[chunks.clone()], &self.plan.streams[entry]);
        let mut time = Duration::ZERO;
        let verdict = timed(trace_span!("verify", entry), &mut time, || {
            lock(verification).advance(content, parts, streams, buffers, &self.cancel)
        })?;
        let memory = self.cache.as_ref().zip(self.keys[chunks.start]);
        if let Some(((cache, key), verdict)) = memory.zip(verdict.as_ref()) {
            cache.verdicts.put(key, verdict.clone(), lift::weight(verdict));
        }
        let mut state = lock(&self.state);
        state.verify += time;
        match verdict {
            Some(_) => state.verdicts[number] = verdict,
            None => state.unverified.push(number),
        }
        drop(state);
        self.queue.has_work();
        Ok(())
    }

    fn pack(self: &Arc<Layer>, index: usize, scratch: &mut Scratch) -> Result<Packed, Error> {
        self.cancel.check()?;
        let chunk = &self.chunks[index];
        let mut plain = Plain { bytes: Vec::new(), length: chunk.length(), layer: self.clone() };
        let memory = self.cache.as_ref().zip(self.keys[index]);
        let remembered = memory.and_then(|(cache, key)| cache.chunks.get(&key));
        let mut machines = Vec::new();
        let mut times = Times::default();
        let mut changed = None;
        if remembered.is_none() || index >= self.known {
            plain.bytes = lock(&self.state).spare.pop().unwrap_or_default();
            plain.bytes.clear();
            changed = timed(trace_span!("read", chunk = index), &mut times.read, || {
                fill(&self.plan, chunk, &mut plain.bytes, &mut machines)
            })?;
        }
        // Cached results are only valid for the files as they were planned.
        let (remembered, memory) = match changed {
            None => (remembered, memory),
            // Hashing resumes from a cached state, which may not match these bytes.
            Some(path) if index < self.known => return Err(inputs::Error::Changed { path }.into()),
            Some(_) => {
                let mut state = lock(&self.state);
                state.lasting = state.lasting.min(index);
                (None, None)
            }
        };
        let mut lifted = 0;
        let compressed = match remembered {
            Some(compressed) => compressed,
            None => {
                let lift = self.lifted(index, &plain.bytes, &mut scratch.buffers, &mut times)?;
                let (bytes, wheel_has_changed) = match lift {
                    Some((bytes, has_changed)) => {
                        lifted = plain.length;
                        (Some(bytes), has_changed)
                    }
                    None => {
                        let bytes =
                            timed(trace_span!("compress", chunk = index), &mut times.compress, || {
                                scratch.compressor(self.codec).compress(&plain.bytes, &self.cancel)
                            });
                        (bytes.map_err(Error::Compress)?, false)
                    }
                };
                let size = bytes.as_ref().map_or(0, Vec::len);
                let sums = self.has_sums(index).then(|| {
                    let mut summer = Summer::new(self.codec.has_tar_split());
                    summer.update(&plain.bytes);
                    summer.finish()
                });
                let compressed = Arc::new(CompressedChunk { bytes, sums, machines });
                if let Some((cache, key)) = memory.filter(|_| size > 0 && !wheel_has_changed) {
                    cache.chunks.put(key, compressed.clone(), size as u64);
                }
                compressed
            }
        };
        Ok(Packed { compressed, plain: Arc::new(plain), lifted, times })
    }

    /// Whether a table of contents has the checksums of chunk `index`.
    fn has_sums(&self, index: usize) -> bool {
        self.codec.has_table() && matches!(self.chunks[index], Chunk::Part { .. })
    }

    /// The compressed form of chunk `index` from a wheel, and whether the wheel may have changed since it was
    /// planned. `None` if the chunk is not lifted.
    fn lifted(
        &self,
        index: usize,
        plain: &[u8],
        buffers: &mut Buffers,
        times: &mut Times,
    ) -> Result<Option<(Vec<u8>, bool)>, Error> {
        let Some(number) = self.lifts.of_chunk(index) else { return Ok(None) };
        let lift = &self.lifts.0[number];
        let Some(content) = self.plan.entries[lift.entry].content() else { return Ok(None) };
        let streams = &self.plan.streams[&lift.entry];
        if !lift.has_verdict() {
            return timed(trace_span!("verify", lift.entry), &mut times.verify, || {
                lift::whole_member(content, plain, streams, buffers)
            });
        }
        let Some(lifted) = lock(&self.state).verdicts[number].clone().flatten() else { return Ok(None) };
        let mut member = Vec::new();
        let has_changed = lifted.append(index - lift.chunks.start, content, plain, streams, &mut member)?;
        Ok(Some((member, has_changed)))
    }
}

/// A chunk of the uncompressed stream. Dropping it releases its buffer and its share of the in-flight
/// limit.
struct Plain {
    /// Empty if the chunk need not be read.
    bytes: Vec<u8>,
    length: u64,
    layer: Arc<Layer>,
}

impl Drop for Plain {
    fn drop(&mut self) {
        let mut state = lock(&self.layer.state);
        state.in_flight_bytes -= self.length;
        if state.spare.len() < MAX_SPARE_BUFFERS {
            state.spare.push(std::mem::take(&mut self.bytes));
        }
        drop(state);
        self.layer.queue.has_room();
    }
}

/// A chunk to be written.
struct Packed {
    compressed: Arc<CompressedChunk>,
    plain: Arc<Plain>,
    /// Uncompressed bytes that were lifted from a wheel.
    lifted: u64,
    times: Times,
}

/// Appends the bytes of `chunk` to `buffer`, and the ELF images that begin in it to `machines`. Returns
/// the first cacheable file that may have changed since it was planned, if there is one.
fn fill(
    plan: &LayerPlan,
    chunk: &Chunk,
    buffer: &mut Vec<u8>,
    machines: &mut Vec<(usize, u16)>,
) -> Result<Option<PathBuf>, Error> {
    let mut changed = None;
    // A reader tries to read one byte past the end.
    buffer.reserve_exact(chunk.length() as usize + 1);
    for piece in chunk.pieces(plan) {
        match piece {
            Piece::Zeros(length) => buffer.resize(buffer.len() + length as usize, 0),
            Piece::Header(entry) => header::encode(&plan.entries[entry], &plan.metadata, buffer),
            Piece::Content { entry, offset, length } => {
                let Some(content) = plan.entries[entry].content() else {
                    // A landmark.
                    buffer.push(LANDMARK);
                    continue;
                };
                let start = buffer.len();
                let mut reader = Reader::open(content)?;
                reader.append(offset, length as usize, buffer)?;
                if !reader.is_unchanged()? && content.lasting {
                    changed.get_or_insert_with(|| content.file.clone());
                }
                if let Some(machine) = elf::machine(&buffer[start..]).filter(|_| offset == 0) {
                    machines.push((entry - chunk.first_entry(), machine));
                }
            }
        }
    }
    debug_assert_eq!(buffer.len() as u64, chunk.length());
    Ok(changed)
}

/// Writes the blob, and hashes it from the first chunk that is not known.
struct Writer<'a> {
    layer: &'a Layer,
    out: &'a mut dyn Write,
    progress: &'a dyn Fn(u64),
    written: Written,
    /// The initial state, and the state after each chunk that was not known. The other stage fills in
    /// their `plain` hashes.
    states: Vec<StreamState>,
    blob: Sha256,
    size: u64,
    /// What a table of contents says about the chunks.
    parts: Vec<Part>,
}

impl<'a> Writer<'a> {
    fn new(
        layer: &'a Layer,
        start: StreamState,
        out: &'a mut dyn Write,
        progress: &'a dyn Fn(u64),
    ) -> Writer<'a> {
        let (blob, size) = (start.blob.clone(), start.size);
        Writer {
            layer,
            out,
            progress,
            written: Written::default(),
            states: vec![start],
            blob,
            size,
            parts: Vec::new(),
        }
    }

    /// Writes the leading chunks that are known and whose compressed forms are cached, without involving
    /// the pool. Returns their number.
    fn write_remembered(&mut self) -> Result<usize, Error> {
        let Layer { cache, keys, known, .. } = self.layer;
        let keys = keys.iter().take(*known).enumerate();
        for (index, key) in keys {
            match cache.as_ref().zip(*key).and_then(|(cache, key)| cache.chunks.get(&key)) {
                Some(compressed) => self.write_chunk(index, &compressed, &[])?,
                None => return Ok(index),
            }
        }
        Ok(*known)
    }

    /// Writes the chunks starting at number `first`, as the threads deliver them.
    fn write_in_order(
        &mut self,
        first: usize,
        packed: Receiver<Result<(usize, Packed), Error>>,
    ) -> Result<(), Error> {
        in_order(
            first..self.layer.chunks.len(),
            || packed.recv().unwrap_or(Err(Error::Thread)),
            |index, Packed { compressed, plain, lifted, times }| {
                self.written.lifted += lifted;
                self.written.times.read += times.read;
                self.written.times.verify += times.verify;
                self.written.times.compress += times.compress;
                self.write_chunk(index, &compressed, &plain.bytes)
            },
        )
    }

    fn write_chunk(&mut self, index: usize, compressed: &CompressedChunk, plain: &[u8]) -> Result<(), Error> {
        let Layer { chunks, known, codec, cancel, .. } = self.layer;
        // A cancelled request does not wait until everything in flight is written.
        cancel.check()?;
        let bytes = compressed.bytes.as_deref().unwrap_or(plain);
        if let (Some(sums), Chunk::Part { entry, offset, length }) = (compressed.sums, &chunks[index]) {
            let (entry, offset, length) = (*entry, *offset, *length);
            let place = self.size..self.size + bytes.len() as u64;
            self.parts.push(Part { entry, offset, length, place, sums });
        }
        timed(trace_span!("write", chunk = index), &mut self.written.times.write, || {
            // For a plain tar, the blob is the uncompressed stream, which the other stage hashes.
            if index >= *known && *codec != Codec::None {
                self.blob.update(bytes);
            }
            self.out.write_all(bytes).map_err(Error::Write)
        })?;
        let (first, length) = (chunks[index].first_entry(), chunks[index].length());
        let machines = compressed.machines.iter().map(|(entry, machine)| (first + entry, *machine));
        self.written.machines.extend(machines);
        self.written.uncompressed_size += length;
        if index >= *known {
            self.size += bytes.len() as u64;
            let (blob, size) = (self.blob.clone(), self.size);
            self.states.push(StreamState { blob, size, ..StreamState::default() });
        }
        (self.progress)(length);
        Ok(())
    }
}

/// Hashes the chunks `numbers` of the uncompressed stream, resuming from the state `start`. Returns `None` if the
/// stream ends early.
fn hash_in_order(
    plain: Receiver<ToHash>,
    numbers: Range<usize>,
    start: Sha256,
    layer: &Layer,
) -> Option<Hashed> {
    let mut files = Files::new(layer.codec);
    let mut states = vec![start.clone()];
    let mut hasher = start;
    let mut time = Duration::ZERO;
    in_order(
        numbers,
        || plain.recv().ok().flatten().ok_or(()),
        |index, plain: Arc<Plain>| {
            if layer.cancel.is_cancelled() {
                return Err(());
            }
            timed(trace_span!("hash", chunk = index), &mut time, || {
                hasher.update(&plain.bytes);
                if layer.has_sums(index) {
                    files.add(&layer.chunks[index], layer.chunks.get(index + 1), &plain.bytes);
                }
            });
            states.push(hasher.clone());
            Ok(())
        },
    )
    .ok()?;
    Some(Hashed { states, files: files.sums, time })
}

/// What the stage that hashes the uncompressed stream has found.
struct Hashed {
    /// The initial state, and the state after each chunk.
    states: Vec<Sha256>,
    /// As in [`Files`].
    files: HashMap<usize, Sums>,
    time: Duration,
}

/// The checksums of files with several parts, by entry, if a table of contents has them.
struct Files {
    sums: HashMap<usize, Sums>,
    codec: Codec,
    /// Of the file that is not complete.
    summer: Summer,
}

impl Files {
    fn new(codec: Codec) -> Files {
        Files { sums: HashMap::new(), codec, summer: Summer::new(codec.has_tar_split()) }
    }

    /// Adds a part, which the chunk `next` follows.
    fn add(&mut self, part: &Chunk, next: Option<&Chunk>, bytes: &[u8]) {
        let Chunk::Part { entry, offset, .. } = *part else { return };
        let is_last = !matches!(next, Some(Chunk::Part { entry: other, .. }) if *other == entry);
        if offset == 0 && is_last {
            return;
        }
        self.summer.update(bytes);
        if is_last {
            let next = Summer::new(self.codec.has_tar_split());
            self.sums.insert(entry, std::mem::replace(&mut self.summer, next).finish());
        }
    }
}

/// Writes the end of a layer with a table of contents, and updates `state` and `written` accordingly.
fn write_table(
    layer: &Layer,
    contents: Contents<'_>,
    state: &mut StreamState,
    written: &mut Written,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let end = match layer.codec {
        Codec::ZstdChunked { level } => zstd_chunked::end(contents, state.size, level),
        codec => estargz::end(contents, state.size, written.uncompressed_size, |tar| {
            Ok(codec.compressor().compress(tar, &layer.cancel)?.unwrap_or_default())
        }),
    }?;
    state.plain.update(&end.tar);
    written.uncompressed_size += end.tar.len() as u64;
    state.blob.update(&end.blob);
    state.size += end.blob.len() as u64;
    written.annotations = end.annotations;
    out.write_all(&end.blob).map_err(Error::Write)
}
