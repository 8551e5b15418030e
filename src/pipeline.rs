//! Reads and compresses a layer's chunks in parallel, and writes and hashes them in order.
//!
//! One [`Pool`] of threads serves all layers that are being written. Each thread takes the next
//! chunk of the next layer in turn, so a small layer is never stuck behind a large one. What a layer
//! has read but not yet written is bounded by [`IN_FLIGHT_BYTES`], whatever its size and however
//! many threads there are.
//!
//! Two stages of a layer are in order: the thread that asked for it writes the blob and hashes it,
//! a second one hashes the uncompressed stream for the diff ID.
//!
//! A worker's pool also has a [`ChunkCache`]. A chunk that it knows is not compressed again; and as
//! far as it knows a layer from the beginning, up to the first chunk that has changed, the layer is
//! neither read nor hashed again, only written.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tracing::{Span, trace_span};

use crate::cache::{Cache, Stats};
use crate::chunk::{self, Chunk, ChunkSizes, Key};
use crate::codec::{Codec, Compressor};
use crate::elf;
use crate::header;
use crate::inputs::{self, FileContent, Reader};
use crate::plan::LayerPlan;
use bazel_worker::Cancel;

/// Uncompressed bytes of one layer that may be in memory at a time, whatever the number of threads.
pub const IN_FLIGHT_BYTES: u64 = 64 << 20;
/// How many of the largest chunks may be in memory for each thread, so that threads find work while
/// one chunk is slow. More would only leave the processor's cache before they are hashed and written.
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
    #[error("cannot start a thread: {0}")]
    Start(io::Error),
    #[error("a thread of the pool failed; this is a bug in pylayer")]
    Thread,
}

/// What identifies a written layer, and what was seen on the way.
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
    /// The ELF images among the entries, by entry number, and the processor they are made for.
    pub machines: Vec<(usize, u16)>,
    pub times: Times,
}

/// What the stages cost together on all threads, as far as they did anything: they overlap, so this
/// is more than what passed on a clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// Reading inputs.
    pub read: Duration,
    pub compress: Duration,
    /// Hashing the uncompressed stream.
    pub hash: Duration,
    /// Hashing and writing the blob.
    pub write: Duration,
}

/// Does `work` inside `span`, and adds its time to `total`.
fn timed<T>(span: Span, total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = span.in_scope(work);
    *total += start.elapsed();
    value
}

/// Buffers that a layer keeps to use again. Each grows to its codec's largest chunk in time.
const MAX_SPARE_BUFFERS: usize = 8;

/// Digest states that are remembered, 300 bytes each: one per chunk, and a layer of a gigabyte has
/// some 1,800 chunks.
const MAX_STATES: u64 = 1 << 16;

/// What a worker remembers of the layers that it has written.
pub struct ChunkCache {
    chunks: Cache<Key, Arc<CompressedChunk>>,
    states: Cache<Key, StreamState>,
}

/// A chunk as it goes into a layer.
struct CompressedChunk {
    /// `None` where the codec leaves the bytes as they are.
    bytes: Option<Vec<u8>>,
    /// The ELF images that begin in the chunk, by entry number counted from the chunk's first entry.
    machines: Vec<(usize, u16)>,
}

/// Where hashing stands after a number of chunks.
#[derive(Clone, Default)]
struct StreamState {
    plain: Sha256,
    blob: Sha256,
    /// Bytes of the blob.
    size: u64,
}

impl ChunkCache {
    /// A cache that holds at most `budget` bytes of compressed chunks.
    pub fn new(budget: u64) -> ChunkCache {
        ChunkCache { chunks: Cache::new(budget), states: Cache::new(MAX_STATES) }
    }

    /// How often chunks were known, and the bytes that they take.
    pub fn stats(&self) -> Stats {
        self.chunks.stats()
    }

    /// How many of the first chunks are known together, by the keys of the first, the first two and
    /// so on; and the state after them.
    fn longest_prefix(&self, prefixes: &[Key]) -> (usize, StreamState) {
        let states = prefixes.iter().enumerate().rev().map(|(index, key)| (index + 1, self.states.get(key)));
        states.filter_map(|(count, state)| Some((count, state?))).next().unwrap_or_default()
    }
}

/// The threads that read and compress.
pub struct Pool {
    shared: Arc<Shared>,
    cache: Option<Arc<ChunkCache>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Told when a layer is added, has room again, or the pool closes.
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    layers: VecDeque<Arc<Layer>>,
    closed: bool,
}

impl Pool {
    /// Starts `threads` threads, or one for each processor.
    pub fn new(threads: Option<usize>, cache: Option<Arc<ChunkCache>>) -> io::Result<Pool> {
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let shared = Arc::new(Shared::default());
        let mut pool = Pool { shared: shared.clone(), cache, threads: Vec::with_capacity(threads) };
        for number in 0..threads.max(1) {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("chunks-{number}"));
            pool.threads.push(thread.spawn(move || shared.serve())?);
        }
        Ok(pool)
    }

    /// The memory for compressed chunks, in bytes; 0 without a cache.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, |cache| cache.chunks.budget())
    }

    /// What the pool's cache did, for a log.
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

    /// Writes the layer of `plan` to `out`. `progress` is called with the uncompressed bytes of each
    /// chunk that has been written. When this returns, no input is read any more.
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
        let (known, start) =
            self.cache.as_ref().map(|cache| cache.longest_prefix(&prefixes)).unwrap_or_default();
        let (to_write, packed) = mpsc::channel();
        let (to_hash, plain) = mpsc::channel();
        let layer = Arc::new(Layer {
            plan,
            chunks,
            keys,
            known,
            codec,
            cancel: cancel.clone(),
            cache: self.cache.clone(),
            shared: self.shared.clone(),
            to_write,
            to_hash: to_hash.clone(),
            in_flight_limit: IN_FLIGHT_BYTES
                .min(self.threads.len() as u64 * IN_FLIGHT_CHUNKS * sizes.run_max),
            state: Mutex::new(State {
                next: 0,
                lasting: usize::MAX,
                in_flight_bytes: 0,
                running: 0,
                spare: Vec::new(),
            }),
            idle: Condvar::new(),
        });
        std::thread::scope(|scope| {
            let numbers = known..layer.chunks.len();
            let hashing = start.plain.clone();
            let hash = || hash_in_order(plain, numbers, hashing, &layer.cancel);
            let hasher = std::thread::Builder::new().spawn_scoped(scope, hash).map_err(Error::Start)?;
            let mut writer = Writer::new(&layer, start, out, progress);
            let written = writer.write_remembered().and_then(|first| {
                lock(&layer.state).next = first;
                self.shared.add(layer.clone());
                let written = writer.write_in_order(first, packed);
                self.shared.remove(&layer);
                written
            });
            // Wakes a hasher that waits for chunks which will not come; too late for one that has all.
            let _ = to_hash.send(None);
            let hashed = hasher.join();
            written?;
            let Writer { mut written, mut states, .. } = writer;
            let (hashed, time) = match hashed {
                Ok(Some(hashed)) => hashed,
                Ok(None) => return Err(inputs::Error::Cancelled.into()),
                Err(_) => return Err(Error::Thread),
            };
            written.times.hash = time;
            for (state, plain) in states.iter_mut().zip(hashed) {
                if codec == Codec::None {
                    state.blob = plain.clone();
                }
                state.plain = plain;
            }
            let last = states.last().cloned().unwrap_or_default();
            if let Some(cache) = &self.cache {
                let lasting = &prefixes[..prefixes.len().min(lock(&layer.state).lasting)];
                // The first state is that after the known chunks, or that of an empty stream.
                for (key, state) in lasting.iter().skip(known).zip(states.into_iter().skip(1)) {
                    cache.states.put(*key, state, 1);
                }
            }
            let (digest, diff_id) = (last.blob.finalize().into(), last.plain.finalize().into());
            Ok(Written { digest, diff_id, size: last.size, ..written })
        })
    }
}

/// The keys of the first chunk, the first two chunks and so on, up to the first without a key.
fn prefix_keys(keys: &[Option<Key>]) -> Vec<Key> {
    let mut prefix = Key([0; 32]);
    let keys = keys.iter().map_while(|key| *key);
    keys.map(|key| {
        prefix = prefix.then(&key);
        prefix
    })
    .collect()
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has already said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn add(&self, layer: Arc<Layer>) {
        lock(&self.queue).layers.push_back(layer);
        self.work.notify_all();
    }

    /// Takes `layer` out of the queue and waits until no thread works for it.
    fn remove(&self, layer: &Arc<Layer>) {
        lock(&self.queue).layers.retain(|other| !Arc::ptr_eq(other, layer));
        let mut state = lock(&layer.state);
        while state.running > 0 {
            state = layer.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The life of one thread.
    fn serve(&self) {
        let mut compressors: Vec<(Codec, Compressor)> = Vec::new();
        while let Some((layer, index)) = self.next() {
            layer.work(index, &mut compressors);
        }
    }

    /// The next chunk of the next layer that has one to give; `None` when the pool closes.
    fn next(&self) -> Option<(Arc<Layer>, usize)> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            for _ in 0..queue.layers.len() {
                queue.layers.rotate_left(1);
                let layer = queue.layers.back()?;
                if let Some(index) = layer.take() {
                    return Some((layer.clone(), index));
                }
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A numbered chunk to hash, or `None`: there will be no more.
type ToHash = Option<(usize, Arc<Plain>)>;

/// A layer that is being written.
struct Layer {
    plan: Arc<LayerPlan>,
    chunks: Vec<Chunk>,
    /// `None` for chunks that cannot be remembered.
    keys: Vec<Option<Key>>,
    /// How many of the first chunks need not be hashed.
    known: usize,
    codec: Codec,
    cancel: Cancel,
    cache: Option<Arc<ChunkCache>>,
    shared: Arc<Shared>,
    to_write: Sender<Result<(usize, Packed), Error>>,
    to_hash: Sender<ToHash>,
    /// Uncompressed bytes.
    in_flight_limit: u64,
    state: Mutex<State>,
    /// Told when no thread works for the layer any more.
    idle: Condvar,
}

struct State {
    /// The first chunk that no thread has taken.
    next: usize,
    /// The first chunk whose files may have changed since they were planned: what is known of the
    /// stream from here on holds for this request alone.
    lasting: usize,
    in_flight_bytes: u64,
    running: usize,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

impl Layer {
    /// Gives the next chunk away if there is one and room for it.
    fn take(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        let index = state.next;
        let length = self.chunks.get(index)?.length();
        if state.in_flight_bytes > 0 && state.in_flight_bytes + length > self.in_flight_limit {
            return None;
        }
        state.next += 1;
        state.in_flight_bytes += length;
        state.running += 1;
        Some(index)
    }

    /// Reads and compresses a chunk that [`Layer::take`] gave, and passes it on.
    fn work(self: &Arc<Layer>, index: usize, compressors: &mut Vec<(Codec, Compressor)>) {
        let attempt = std::panic::AssertUnwindSafe(|| self.pack(index, compressors));
        let result = std::panic::catch_unwind(attempt).unwrap_or(Err(Error::Thread));
        // Receivers that are gone have ended for a reason of their own.
        let _ = match result {
            Ok(packed) => {
                if index >= self.known {
                    let _ = self.to_hash.send(Some((index, packed.plain.clone())));
                }
                self.to_write.send(Ok((index, packed)))
            }
            Err(error) => self.to_write.send(Err(error)),
        };
        let mut state = lock(&self.state);
        state.running -= 1;
        if state.running == 0 {
            self.idle.notify_all();
        }
    }

    fn pack(
        self: &Arc<Layer>,
        index: usize,
        compressors: &mut Vec<(Codec, Compressor)>,
    ) -> Result<Packed, Error> {
        if self.cancel.is_cancelled() {
            return Err(inputs::Error::Cancelled.into());
        }
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
        // What is remembered holds for the files as they were planned.
        let (remembered, memory) = match changed {
            None => (remembered, memory),
            // The digests go on from a state that these bytes may not lead to.
            Some(path) if index < self.known => return Err(inputs::Error::Changed { path }.into()),
            Some(_) => {
                let mut state = lock(&self.state);
                state.lasting = state.lasting.min(index);
                (None, None)
            }
        };
        let compressed = match remembered {
            Some(compressed) => compressed,
            None => {
                let position =
                    compressors.iter().position(|(codec, _)| *codec == self.codec).unwrap_or_else(|| {
                        compressors.push((self.codec, self.codec.compressor()));
                        compressors.len() - 1
                    });
                let compressor = &mut compressors[position].1;
                let bytes = timed(trace_span!("compress", chunk = index), &mut times.compress, || {
                    compressor.compress(&plain.bytes, &self.cancel).map_err(Error::Compress)
                })?;
                let size = bytes.as_ref().map_or(0, Vec::len);
                let compressed = Arc::new(CompressedChunk { bytes, machines });
                if let Some((cache, key)) = memory.filter(|_| size > 0) {
                    cache.chunks.put(key, compressed.clone(), size as u64);
                }
                compressed
            }
        };
        Ok(Packed { compressed, plain: Arc::new(plain), times })
    }
}

/// A chunk of the uncompressed stream; gives its buffer and its room back when it is dropped.
struct Plain {
    /// Empty for a chunk that need not be read.
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
        // The lock makes sure that no thread is between finding no room and waiting for some.
        drop(lock(&self.layer.shared.queue));
        self.layer.shared.work.notify_one();
    }
}

/// A chunk on its way into the file.
struct Packed {
    compressed: Arc<CompressedChunk>,
    plain: Arc<Plain>,
    times: Times,
}

/// Appends the bytes of `chunk` to `buffer`, and the ELF images that begin in it to `machines`. Returns
/// the first file, if there is one, that was to last and may have changed since it was planned.
fn fill(
    plan: &LayerPlan,
    chunk: &Chunk,
    buffer: &mut Vec<u8>,
    machines: &mut Vec<(usize, u16)>,
) -> Result<Option<PathBuf>, Error> {
    let mut changed = None;
    let mut read = |content: &FileContent, offset: u64, length: u64, buffer: &mut Vec<u8>| {
        let mut reader = Reader::open(content)?;
        reader.append(offset, length as usize, buffer)?;
        if !reader.is_unchanged()? && content.lasting {
            changed.get_or_insert_with(|| content.file.clone());
        }
        Ok::<(), Error>(())
    };
    let mut note_machine = |entry: usize, content: &[u8]| {
        machines.extend(elf::machine(content).map(|machine| (entry - chunk.first_entry(), machine)));
    };
    // A reader looks one byte beyond the end.
    buffer.reserve_exact(chunk.length() as usize + 1);
    match chunk {
        Chunk::Part { entry, offset, length } => {
            if let Some(content) = plan.entries[*entry].content() {
                read(content, *offset, *length, buffer)?;
                if *offset == 0 {
                    note_machine(*entry, buffer);
                }
            }
        }
        Chunk::Run { entries, leading_padding, last, length } => {
            let end = if *last { header::END_OF_ARCHIVE_BYTES } else { 0 };
            buffer.resize(*leading_padding as usize, 0);
            for number in entries.clone() {
                let entry = &plan.entries[number];
                header::encode(entry, &plan.metadata, buffer);
                let Some(content) = entry.content() else { continue };
                // The content of a large file comes in parts of its own, after the run.
                if buffer.len() as u64 + content.size + end > *length {
                    continue;
                }
                let start = buffer.len();
                read(content, 0, content.size, buffer)?;
                note_machine(number, &buffer[start..]);
                buffer.resize(buffer.len() + header::padding(content.size) as usize, 0);
            }
            buffer.resize(buffer.len() + end as usize, 0);
        }
    }
    debug_assert_eq!(buffer.len() as u64, chunk.length());
    Ok(changed)
}

/// Calls `each` with the values of `numbers`, in order, whatever the order in which `next` gives them.
fn in_order<T, E>(
    numbers: Range<usize>,
    mut next: impl FnMut() -> Result<(usize, T), E>,
    mut each: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    for wanted in numbers {
        let value = loop {
            if let Some(value) = early.remove(&wanted) {
                break value;
            }
            let (number, value) = next()?;
            early.insert(number, value);
        };
        each(wanted, value)?;
    }
    Ok(())
}

/// Writes the blob, and hashes it from the first chunk that is not known on.
struct Writer<'a> {
    layer: &'a Layer,
    out: &'a mut dyn Write,
    progress: &'a dyn Fn(u64),
    written: Written,
    /// Where hashing stood at first, and after each chunk that was not known. Their plain halves are
    /// left to the other stage, and so are the digests.
    states: Vec<StreamState>,
    blob: Sha256,
    size: u64,
}

impl<'a> Writer<'a> {
    fn new(
        layer: &'a Layer,
        start: StreamState,
        out: &'a mut dyn Write,
        progress: &'a dyn Fn(u64),
    ) -> Writer<'a> {
        let (blob, size) = (start.blob.clone(), start.size);
        Writer { layer, out, progress, written: Written::default(), states: vec![start], blob, size }
    }

    /// Writes the first chunks, as far as they are known and their compressed forms are remembered:
    /// no thread has anything to do for them. Returns how many these were.
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

    /// Writes the chunks from number `first` on, as threads deliver them.
    fn write_in_order(
        &mut self,
        first: usize,
        packed: Receiver<Result<(usize, Packed), Error>>,
    ) -> Result<(), Error> {
        in_order(
            first..self.layer.chunks.len(),
            || packed.recv().unwrap_or(Err(Error::Thread)),
            |index, Packed { compressed, plain, times }| {
                self.written.times.read += times.read;
                self.written.times.compress += times.compress;
                self.write_chunk(index, &compressed, &plain.bytes)
            },
        )
    }

    fn write_chunk(&mut self, index: usize, compressed: &CompressedChunk, plain: &[u8]) -> Result<(), Error> {
        let Layer { chunks, known, codec, cancel, .. } = self.layer;
        // What is in flight already would take longer than whoever cancels wants to wait.
        if cancel.is_cancelled() {
            return Err(inputs::Error::Cancelled.into());
        }
        let bytes = compressed.bytes.as_deref().unwrap_or(plain);
        timed(trace_span!("write", chunk = index), &mut self.written.times.write, || {
            // A plain tar is its own uncompressed stream, which the other stage hashes.
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

/// Hashes the uncompressed stream from the chunks `numbers` on, where hashing stands at `start`.
/// Returns `start` and the states after each of them, and the time it took; `None` when the stream
/// ends early.
fn hash_in_order(
    plain: Receiver<ToHash>,
    numbers: Range<usize>,
    start: Sha256,
    cancel: &Cancel,
) -> Option<(Vec<Sha256>, Duration)> {
    let mut states = vec![start.clone()];
    let mut hasher = start;
    let mut time = Duration::ZERO;
    in_order(
        numbers,
        || plain.recv().ok().flatten().ok_or(()),
        |index, plain: Arc<Plain>| {
            if cancel.is_cancelled() {
                return Err(());
            }
            timed(trace_span!("hash", chunk = index), &mut time, || hasher.update(&plain.bytes));
            states.push(hasher.clone());
            Ok(())
        },
    )
    .ok()?;
    Some((states, time))
}

/// Locks a mutex whose data stay consistent even if a holder panicked: no holder calls foreign code.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
