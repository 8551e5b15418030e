//! Reads and compresses a layer's chunks in parallel, and writes and hashes them in order.
//!
//! One [`Pool`] of threads serves all layers that are being written. Each thread takes the next
//! chunk of the next layer in turn, so a small layer is never stuck behind a large one. What a layer
//! has read but not yet written is bounded by [`IN_FLIGHT_BYTES`], whatever its size and however
//! many threads there are.
//!
//! Two stages of a layer are in order: the thread that asked for it writes the blob and hashes it,
//! a second one hashes the uncompressed stream for the diff ID.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::chunk::{self, Chunk, ChunkSizes};
use crate::codec::{Codec, Compressor};
use crate::header;
use crate::inputs::{self, Reader};
use crate::listing;
use crate::plan::LayerPlan;
use crate::worker::Cancel;

/// Uncompressed bytes of one layer that may be in memory at a time: eight of zstd's chunks, so that
/// threads find work while one chunk is slow.
pub const IN_FLIGHT_BYTES: u64 = 64 << 20;

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Input(#[from] inputs::Error),
    #[error("cannot compress: {0}")]
    Compress(io::Error),
    #[error("cannot write the layer: {0}")]
    Write(io::Error),
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
}

/// The threads that read and compress.
pub struct Pool {
    shared: Arc<Shared>,
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
    pub fn new(threads: Option<usize>) -> io::Result<Pool> {
        let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let shared = Arc::new(Shared::default());
        let mut pool = Pool { shared: shared.clone(), threads: Vec::with_capacity(threads) };
        for number in 0..threads.max(1) {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("chunks-{number}"));
            pool.threads.push(thread.spawn(move || shared.serve())?);
        }
        Ok(pool)
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
        let chunks = chunk::chunks(&plan, ChunkSizes::of(codec));
        let count = chunks.len();
        let (to_write, packed) = mpsc::channel();
        let (to_hash, plain) = mpsc::channel();
        let layer = Arc::new(Layer {
            plan,
            chunks,
            codec,
            cancel: cancel.clone(),
            shared: self.shared.clone(),
            to_write,
            // A plain tar is its own uncompressed stream: one digest serves as both.
            to_hash: (codec != Codec::None).then(|| to_hash.clone()),
            state: Mutex::default(),
            idle: Condvar::new(),
        });
        std::thread::scope(|scope| {
            let hasher = layer.to_hash.is_some().then(|| scope.spawn(|| hash_in_order(plain, count)));
            self.shared.add(layer.clone());
            let written = write_in_order(packed, count, out, progress);
            self.shared.remove(&layer);
            // Wakes a hasher that waits for chunks which will not come; too late for one that has all.
            let _ = to_hash.send(None);
            let hashed = hasher.map(|hasher| hasher.join());
            let written = written?;
            let diff_id = match hashed {
                None => written.digest,
                Some(Ok(Some(diff_id))) => diff_id,
                Some(_) => return Err(Error::Thread),
            };
            Ok(Written { diff_id, ..written })
        })
    }
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
    codec: Codec,
    cancel: Cancel,
    shared: Arc<Shared>,
    to_write: Sender<Result<(usize, Packed), Error>>,
    to_hash: Option<Sender<ToHash>>,
    state: Mutex<State>,
    /// Told when no thread works for the layer any more.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    /// The first chunk that no thread has taken.
    next: usize,
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
        if state.in_flight_bytes > 0 && state.in_flight_bytes + length > IN_FLIGHT_BYTES {
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
                if let Some(to_hash) = &self.to_hash {
                    let _ = to_hash.send(Some((index, packed.plain.clone())));
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
        let buffer = lock(&self.state).spare.pop().unwrap_or_default();
        let mut plain = Plain { bytes: buffer, length: chunk.length(), layer: self.clone() };
        plain.bytes.clear();
        let mut machines = Vec::new();
        fill(&self.plan, chunk, &mut plain.bytes, &mut machines)?;
        let position = compressors.iter().position(|(codec, _)| *codec == self.codec).unwrap_or_else(|| {
            compressors.push((self.codec, self.codec.compressor()));
            compressors.len() - 1
        });
        let compressed = compressors[position].1.compress(&plain.bytes).map_err(Error::Compress)?;
        Ok(Packed { compressed, plain: Arc::new(plain), machines })
    }
}

/// A chunk of the uncompressed stream; gives its buffer and its room back when it is dropped.
struct Plain {
    bytes: Vec<u8>,
    length: u64,
    layer: Arc<Layer>,
}

impl Drop for Plain {
    fn drop(&mut self) {
        let mut state = lock(&self.layer.state);
        state.in_flight_bytes -= self.length;
        state.spare.push(std::mem::take(&mut self.bytes));
        drop(state);
        // The lock makes sure that no thread is between finding no room and waiting for some.
        drop(lock(&self.layer.shared.queue));
        self.layer.shared.work.notify_one();
    }
}

/// A chunk as it goes into the file.
struct Packed {
    /// `None` where the codec leaves the bytes as they are.
    compressed: Option<Vec<u8>>,
    plain: Arc<Plain>,
    machines: Vec<(usize, u16)>,
}

/// Appends the bytes of `chunk` to `buffer`, and the ELF images that begin in it to `machines`.
fn fill(
    plan: &LayerPlan,
    chunk: &Chunk,
    buffer: &mut Vec<u8>,
    machines: &mut Vec<(usize, u16)>,
) -> Result<(), Error> {
    let mut note_machine = |entry: usize, content: &[u8]| {
        machines.extend(listing::elf_machine(content).map(|machine| (entry, machine)));
    };
    buffer.reserve_exact(chunk.length() as usize);
    match chunk {
        Chunk::Part { entry, offset, length } => {
            if let Some(content) = plan.entries[*entry].content() {
                buffer.resize(*length as usize, 0);
                Reader::open(content)?.read_at(*offset, buffer)?;
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
                buffer.resize(start + content.size as usize, 0);
                Reader::open(content)?.read_at(0, &mut buffer[start..])?;
                note_machine(number, &buffer[start..]);
                buffer.resize(buffer.len() + header::padding(content.size) as usize, 0);
            }
            buffer.resize(buffer.len() + end as usize, 0);
        }
    }
    debug_assert_eq!(buffer.len() as u64, chunk.length());
    Ok(())
}

/// Calls `each` with `count` values in the order of their numbers.
fn in_order<T, E>(
    mut next: impl FnMut() -> Result<(usize, T), E>,
    count: usize,
    mut each: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    for wanted in 0..count {
        let value = loop {
            if let Some(value) = early.remove(&wanted) {
                break value;
            }
            let (number, value) = next()?;
            early.insert(number, value);
        };
        each(value)?;
    }
    Ok(())
}

/// Writes and hashes the blob. The diff ID is left for the other stage.
fn write_in_order(
    packed: Receiver<Result<(usize, Packed), Error>>,
    count: usize,
    out: &mut dyn Write,
    progress: &dyn Fn(u64),
) -> Result<Written, Error> {
    let mut hasher = Sha256::new();
    let mut written = Written::default();
    in_order(
        || packed.recv().unwrap_or(Err(Error::Thread)),
        count,
        |packed: Packed| {
            let bytes = packed.compressed.as_ref().unwrap_or(&packed.plain.bytes);
            out.write_all(bytes).map_err(Error::Write)?;
            hasher.update(bytes);
            written.size += bytes.len() as u64;
            written.uncompressed_size += packed.plain.length;
            written.machines.extend(&packed.machines);
            progress(packed.plain.length);
            Ok(())
        },
    )?;
    written.digest = hasher.finalize().into();
    Ok(written)
}

/// The SHA-256 of the uncompressed stream; `None` when it ends early.
fn hash_in_order(plain: Receiver<ToHash>, count: usize) -> Option<[u8; 32]> {
    let mut hasher = Sha256::new();
    let next = || plain.recv().ok().flatten().ok_or(());
    in_order(next, count, |plain: Arc<Plain>| {
        hasher.update(&plain.bytes);
        Ok(())
    })
    .ok()?;
    Some(hasher.finalize().into())
}

/// Locks a mutex whose data stay consistent even if a holder panicked: no holder calls foreign code.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
