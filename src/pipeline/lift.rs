//! Lifts files from wheels: verifies that a deflate stream decompresses to a file, and makes a gzip member of
//! it.
//!
//! A wheel can be damaged, or made to deceive, so every stream is decompressed and compared with all bytes of
//! the file before any of it is written. zlib-rs does that, which is as strict as zlib about malformed streams,
//! so that every reader accepts what it accepts, and needs no memory for the whole file.
//!
//! A layer's chunks are the same with and without a lift: each part of a large file also has a slice of the
//! stream, and together they are one gzip member. The verification hashes parts and slices, because they are
//! read again when they are written, and may have changed by then.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Crc;
use xxhash_rust::xxh3::xxh3_64;

use super::Error;
use crate::chunk::Chunk;
use crate::codec::Codec;
use crate::inputs::{self, FileContent, Reader};
use crate::plan::LayerPlan;
use crate::wheel::Stream;
use bazel_worker::Cancel;

/// How many parts a thread verifies before it takes other work: at most about 0.03 seconds.
const PARTS_AT_ONCE: usize = 16;
/// The size of the buffer for decompressed bytes. Larger ones do not fit into a processor's cache.
const BUFFER_BYTES: usize = 128 << 10;

/// The header of a gzip member: deflate, without name and time, by an unknown operating system (RFC 1952 §2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The entries for which there are streams in wheels.
pub(super) struct Lifts(pub(super) Vec<Lift>);

/// The chunks that may be lifted together.
pub(super) struct Lift {
    pub(super) entry: usize,
    /// The numbers of the chunks with the entry's content.
    pub(super) chunks: Range<usize>,
    pub(super) verification: Mutex<Verification>,
}

impl Lift {
    /// Whether the lift is verified before its chunks are made. A single one is verified when it is made, because
    /// then it is in memory.
    pub(super) fn has_verdict(&self) -> bool {
        self.chunks.len() > 1
    }
}

impl Lifts {
    pub(super) fn new(plan: &LayerPlan, chunks: &[Chunk], codec: Codec) -> Lifts {
        let mut lifts: Vec<Lift> = Vec::new();
        // Most layers have none.
        if plan.streams.is_empty() {
            return Lifts(lifts);
        }
        for (number, chunk) in chunks.iter().enumerate() {
            let Chunk::Part { entry, .. } = chunk else { continue };
            match lifts.last_mut() {
                Some(lift) if lift.entry == *entry => lift.chunks.end = number + 1,
                _ if plan.streams.contains_key(entry) => {
                    lifts.push(Lift {
                        entry: *entry,
                        chunks: number..number + 1,
                        verification: Mutex::default(),
                    });
                }
                _ => {}
            }
        }
        // With a table of contents, each part is a member of its own.
        lifts.retain(|lift| !codec.has_table() || !lift.has_verdict());
        Lifts(lifts)
    }

    /// The number of the lift that may make chunk `number`.
    pub(super) fn of_chunk(&self, number: usize) -> Option<usize> {
        let next = self.0.partition_point(|lift| lift.chunks.end <= number);
        self.0.get(next).filter(|lift| lift.chunks.contains(&number)).map(|_| next)
    }
}

/// Appends the end of a gzip member: CRC-32 and size, modulo 2^32 (RFC 1952 §2.3.1).
fn end_member(stream: &Stream, content: &FileContent, member: &mut Vec<u8>) {
    member.extend_from_slice(&stream.crc.to_le_bytes());
    member.extend_from_slice(&(content.size as u32).to_le_bytes());
}

/// The gzip member of a file of one part, `plain`, and whether the wheel may have changed since it was planned.
/// `None` if none of the `streams` is its content.
pub(super) fn whole_member(
    content: &FileContent,
    plain: &[u8],
    streams: &[Stream],
    buffers: &mut Buffers,
) -> Result<Option<(Vec<u8>, bool)>, Error> {
    for stream in streams {
        let mut member = Vec::with_capacity(stream.length as usize + HEADER.len() + 8);
        member.extend_from_slice(&HEADER);
        let mut reader = Reader::open(&stream.wheel)?;
        reader.append(stream.offset, stream.length as usize, &mut member)?;
        let has_changed = !reader.is_unchanged()?;
        let mut slices = std::iter::once(&member[HEADER.len()..]);
        let next_slice = |input: &mut Vec<u8>| {
            let slice = slices.next();
            input.extend_from_slice(slice.unwrap_or_default());
            Ok::<_, Error>(slice.is_some())
        };
        if Comparison::new(stream.crc).compare(plain, true, next_slice, &mut buffers.decompressed)? {
            end_member(stream, content, &mut member);
            return Ok(Some((member, has_changed)));
        }
    }
    Ok(None)
}

/// Whether one of an entry's streams is its content.
pub(super) type Verdict = Option<Arc<Lifted>>;

/// A verified stream.
pub(super) struct Lifted {
    /// The number of the stream among those of the entry.
    candidate: usize,
    /// For each part.
    hashes: Vec<Hashes>,
}

/// The approximate size of a verdict in bytes.
pub(super) fn weight(verdict: &Verdict) -> u64 {
    let parts = verdict.as_ref().map_or(0, |lifted| lifted.hashes.len());
    100 + (parts * size_of::<Hashes>()) as u64
}

/// What a part of the file and its slice of the stream were when they were verified.
#[derive(Clone, Copy, Default)]
struct Hashes {
    plain: u64,
    slice: u64,
}

impl Lifted {
    /// Appends part `number` of the member to `member`. `plain` is that part of the file, and `streams` are those
    /// of the entry. Returns whether the wheel may have changed since it was planned.
    pub(super) fn append(
        &self,
        number: usize,
        content: &FileContent,
        plain: &[u8],
        streams: &[Stream],
        member: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let changed =
            |content: &FileContent| Error::from(inputs::Error::Changed { path: content.file.clone() });
        let (stream, parts) = (&streams[self.candidate], self.hashes.len());
        let slice = slice(stream.length, number, parts);
        if number == 0 {
            member.extend_from_slice(&HEADER);
        }
        let start = member.len();
        let mut reader = Reader::open(&stream.wheel)?;
        reader.append(stream.offset + slice.start, (slice.end - slice.start) as usize, member)?;
        if xxh3_64(plain) != self.hashes[number].plain {
            return Err(changed(content));
        }
        if xxh3_64(&member[start..]) != self.hashes[number].slice {
            return Err(changed(&stream.wheel));
        }
        if number + 1 == parts {
            end_member(stream, content, member);
        }
        Ok(!reader.is_unchanged()?)
    }
}

/// The slice of a stream of `length` bytes that belongs to part `number` of `parts`.
fn slice(length: u64, number: usize, parts: usize) -> Range<u64> {
    let at = |number: usize| (u128::from(length) * number as u128 / parts as u128) as u64;
    at(number)..at(number + 1)
}

/// The comparison of a file with its candidates, one after another.
#[derive(Default)]
pub(super) struct Verification {
    candidate: usize,
    /// That of the candidate, once it has begun.
    comparison: Option<Comparison>,
    hashes: Vec<Hashes>,
}

/// What a thread reuses for verifications.
#[derive(Default)]
pub(super) struct Buffers {
    plain: Vec<u8>,
    decompressed: Vec<u8>,
}

impl Verification {
    /// Continues with a few parts. `parts` are all parts of `content`. Returns the verdict once it is certain.
    pub(super) fn advance(
        &mut self,
        content: &FileContent,
        parts: &[Chunk],
        streams: &[Stream],
        buffers: &mut Buffers,
        cancel: &Cancel,
    ) -> Result<Option<Verdict>, Error> {
        let mut file = Reader::open(content)?;
        for _ in 0..PARTS_AT_ONCE {
            cancel.check()?;
            let Some(stream) = streams.get(self.candidate) else { return Ok(Some(None)) };
            let comparison = self.comparison.get_or_insert_with(|| Comparison::new(stream.crc));
            let mut wheel = Reader::open(&stream.wheel)?;
            let number = comparison.parts;
            buffers.plain.clear();
            if let Chunk::Part { offset, length, .. } = parts[number] {
                file.append(offset, length as usize, &mut buffers.plain)?;
            }
            if self.hashes.len() == number {
                self.hashes.resize(number + 1, Hashes::default());
            }
            self.hashes[number].plain = xxh3_64(&buffers.plain);
            let mut slices = comparison.slices;
            let next_slice = |input: &mut Vec<u8>| {
                if slices == parts.len() {
                    return Ok(false);
                }
                let slice = slice(stream.length, slices, parts.len());
                wheel.append(stream.offset + slice.start, (slice.end - slice.start) as usize, input)?;
                if self.hashes.len() == slices {
                    self.hashes.resize(slices + 1, Hashes::default());
                }
                self.hashes[slices].slice = xxh3_64(input);
                slices += 1;
                Ok::<_, Error>(true)
            };
            let is_last = number + 1 == parts.len();
            let equal = comparison.compare(&buffers.plain, is_last, next_slice, &mut buffers.decompressed)?;
            comparison.slices = slices;
            wheel.is_unchanged()?;
            if !equal {
                *self = Verification { candidate: self.candidate + 1, ..Verification::default() };
            } else if is_last {
                file.is_unchanged()?;
                // Leaves no buffers behind.
                let Verification { candidate, hashes, .. } = std::mem::take(self);
                return Ok(Some(Some(Arc::new(Lifted { candidate, hashes }))));
            }
        }
        file.is_unchanged()?;
        Ok(None)
    }
}

/// The comparison of a file with what a deflate stream decompresses to.
pub struct Comparison {
    /// The CRC-32 that the content should have.
    crc: u32,
    decompress: Decompress,
    computed: Crc,
    /// A slice of the stream, and how much of it has been used.
    input: Vec<u8>,
    used: usize,
    /// The numbers of parts that were equal, and of slices that were read.
    parts: usize,
    slices: usize,
}

impl Comparison {
    /// A comparison that has not begun. `crc` is the CRC-32 that the content should have.
    pub fn new(crc: u32) -> Comparison {
        let (decompress, computed) = (Decompress::new(false), Crc::new());
        Comparison { crc, decompress, computed, input: Vec::new(), used: 0, parts: 0, slices: 0 }
    }

    /// Whether `part` is what the stream continues with and, if it is the last part, what it ends with.
    ///
    /// `next_slice` appends the next slice of the stream to an empty buffer, or returns `false` at its end.
    pub fn compare<E>(
        &mut self,
        part: &[u8],
        is_last: bool,
        mut next_slice: impl FnMut(&mut Vec<u8>) -> Result<bool, E>,
        buffer: &mut Vec<u8>,
    ) -> Result<bool, E> {
        buffer.resize(BUFFER_BYTES, 0);
        self.computed.update(part);
        let mut rest = part;
        while !rest.is_empty() || is_last {
            while self.used == self.input.len() {
                self.input.clear();
                self.used = 0;
                if !next_slice(&mut self.input)? {
                    break;
                }
            }
            // After the last part, the stream must end, so one more byte is one too many.
            let room = rest.len().clamp(1, BUFFER_BYTES);
            let (before_in, before_out) = (self.decompress.total_in(), self.decompress.total_out());
            let input = &self.input[self.used..];
            let result = self.decompress.decompress(input, &mut buffer[..room], FlushDecompress::None);
            let Ok(status) = result else { return Ok(false) };
            let consumed = (self.decompress.total_in() - before_in) as usize;
            let produced = (self.decompress.total_out() - before_out) as usize;
            self.used += consumed;
            match rest.split_at_checked(produced) {
                Some((expected, after)) if *expected == buffer[..produced] => rest = after,
                _ => return Ok(false),
            }
            if status == Status::StreamEnd {
                let ends = rest.is_empty() && is_last && self.used == self.input.len();
                return Ok(ends && !next_slice(&mut Vec::new())? && self.computed.sum() == self.crc);
            }
            // The stream is truncated.
            if consumed == 0 && produced == 0 {
                return Ok(false);
            }
        }
        self.parts += 1;
        Ok(true)
    }
}
