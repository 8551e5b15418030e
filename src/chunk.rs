//! Splits a layer's tar stream into chunks that can be compressed independently. Pure.
//!
//! A boundary depends only on the entries, never on threads, caches or buffers, so the compressed
//! bytes are the same on every machine. Boundaries also *survive edits*, as in content-defined chunking:
//! a run of small files ends at a path whose hash is a multiple of `path_odds`. So inserting or removing
//! a file moves only nearby boundaries, and all other chunks keep their bytes.
//!
//! The content of a large file is split into parts that contain no headers. The same file under another
//! name, or in another image, yields the same parts.

use std::ops::Range;

use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::codec::Codec;
use crate::header;
use crate::inputs::FileContent;
use crate::metadata::Metadata;
use crate::plan::{Body, LayerPlan, TarEntry};
use crate::wheel::Stream;

/// The parameters of chunking. Sizes are in uncompressed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSizes {
    /// A run of at least this size ends at the next path whose hash is a multiple of `path_odds`.
    pub run_min: u64,
    /// The maximum size of a run.
    pub run_max: u64,
    /// One in this many paths can end a run. A power of two.
    pub path_odds: u64,
    /// The content of a file of at least this size, and of any that may be lifted, is split off from runs.
    pub large_file: u64,
    /// The content of a large file is split into equal parts of at most this size.
    pub part_max: u64,
    /// Whether a table of contents ends the archive, instead of the last run.
    pub toc_follows: bool,
}

/// gzip's window is 32 KiB, so small chunks cost little: 0.4 % of size compared to one stream for the layer.
pub const GZIP_CHUNKS: ChunkSizes = ChunkSizes {
    run_min: 128 << 10,
    run_max: 1 << 20,
    path_odds: 32,
    large_file: 64 << 10,
    part_max: 1 << 20,
    toc_follows: false,
};

/// In eStargz, each file is in members of its own. Readers fetch whole parts; 4 MiB is what its own tools use. The table
/// of contents is the last file.
pub const ESTARGZ_CHUNKS: ChunkSizes = ChunkSizes {
    run_min: u64::MAX,
    run_max: 1 << 20,
    path_odds: 1,
    large_file: 1,
    part_max: 4 << 20,
    toc_follows: true,
};

/// In zstd:chunked, the same, but the table of contents is not in the tar.
pub const ZSTD_CHUNKED_CHUNKS: ChunkSizes = ChunkSizes { toc_follows: false, ..ESTARGZ_CHUNKS };

/// zstd's window at level 3 is 2 MiB, so chunks have to be larger. These sizes cost 1.1 %.
pub const ZSTD_CHUNKS: ChunkSizes = ChunkSizes {
    run_min: 4 << 20,
    run_max: 16 << 20,
    path_odds: 32,
    large_file: 4 << 20,
    part_max: 8 << 20,
    toc_follows: false,
};

impl ChunkSizes {
    /// The sizes for `codec`. They do not affect the bytes of a plain tar.
    pub fn of(codec: Codec) -> ChunkSizes {
        match codec {
            Codec::None | Codec::Gzip { .. } => GZIP_CHUNKS,
            Codec::Estargz { .. } => ESTARGZ_CHUNKS,
            Codec::Zstd { .. } => ZSTD_CHUNKS,
            Codec::ZstdChunked { .. } => ZSTD_CHUNKED_CHUNKS,
        }
    }
}

/// A contiguous part of the tar stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Entries with their headers, contents and padding.
    Run {
        /// The padding of the large file before the run.
        leading_zeros: u64,
        entries: Range<usize>,
        /// Whether the last entry is a large file, whose content follows in [parts](Chunk::Part).
        content_follows: bool,
        /// Whether the run includes the end of the archive.
        ends_archive: bool,
        /// Uncompressed bytes.
        length: u64,
    },
    /// A part of the content of a large file, entry number `entry`.
    Part { entry: usize, offset: u64, length: u64 },
}

/// A piece of a chunk. A chunk's length, key and bytes are all derived from its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// This many zero bytes.
    Zeros(u64),
    /// The header blocks of the entry with this number.
    Header(usize),
    /// A part of an entry's content.
    Content { entry: usize, offset: u64, length: u64 },
}

impl Chunk {
    /// The number of the first entry with a piece in the chunk.
    pub fn first_entry(&self) -> usize {
        match self {
            Chunk::Run { entries, .. } => entries.start,
            Chunk::Part { entry, .. } => *entry,
        }
    }

    /// Uncompressed bytes.
    pub fn length(&self) -> u64 {
        match self {
            Chunk::Run { length, .. } | Chunk::Part { length, .. } => *length,
        }
    }

    /// The pieces of the chunk, in stream order.
    pub fn pieces<'a>(&self, plan: &'a LayerPlan) -> impl Iterator<Item = Piece> + use<'a> {
        let (leading_zeros, entries, follows, part, end) = match self {
            Chunk::Run { leading_zeros, entries, content_follows, ends_archive, length: _ } => {
                let end = if *ends_archive { header::END_OF_ARCHIVE_BYTES } else { 0 };
                (*leading_zeros, entries.clone(), content_follows.then_some(entries.end), None, end)
            }
            Chunk::Part { entry, offset, length } => {
                (0, 0..0, None, Some(Piece::Content { entry: *entry, offset: *offset, length: *length }), 0)
            }
        };
        let of_entry = move |number: usize| {
            let length = if follows == Some(number + 1) { 0 } else { plan.entries[number].size() };
            let content = (length > 0).then_some(Piece::Content { entry: number, offset: 0, length });
            [Some(Piece::Header(number)), content, zeros(header::padding(length))]
        };
        let entries = entries.flat_map(of_entry).flatten();
        zeros(leading_zeros).into_iter().chain(entries).chain(part).chain(zeros(end))
    }
}

fn zeros(length: u64) -> Option<Piece> {
    (length > 0).then_some(Piece::Zeros(length))
}

/// Identifies the compressed form of a chunk. Chunks with the same bytes, codec and level have the same
/// key, wherever they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// The key of a sequence of chunks: the sequence with the key `self`, and one more chunk.
    pub fn then(&self, next: &Key) -> Key {
        Key(Sha256::new().chain_update(self.0).chain_update(next.0).finalize().into())
    }
}

/// The key of `chunk`, or `None` if it contains a file that cannot be cached beyond the request.
pub fn key(plan: &LayerPlan, chunk: &Chunk, codec: Codec) -> Option<Key> {
    let mut hasher = Sha256::new();
    // Each field is preceded by its length, so different lists of fields have different bytes.
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(codec.to_string().as_bytes());
    if let Chunk::Run { .. } = chunk {
        let Metadata { uid, gid, uname, gname, mtime, mode: _ } = &plan.metadata;
        for number in [u64::from(*uid), u64::from(*gid), *mtime] {
            field(&number.to_le_bytes());
        }
        field(uname.as_bytes());
        field(gname.as_bytes());
    }
    for piece in chunk.pieces(plan) {
        match piece {
            Piece::Zeros(length) => {
                field(b"zeros");
                field(&length.to_le_bytes());
            }
            Piece::Header(entry) => {
                let TarEntry { name, mode, body } = &plan.entries[entry];
                field(name);
                field(&mode.to_le_bytes());
                match body {
                    Body::Directory => field(b"directory"),
                    Body::EmptyFile => field(b"empty"),
                    Body::Landmark => field(b"landmark"),
                    Body::File(content) => {
                        field(b"file");
                        field(&content.size.to_le_bytes());
                    }
                    Body::Symlink(target) => {
                        field(b"symlink");
                        field(target);
                    }
                    Body::HardLink { target, .. } => {
                        field(b"link");
                        field(target);
                    }
                }
            }
            Piece::Content { entry, offset, length } => {
                let mut lasting = |content: &FileContent| {
                    field(&content.stamp.to_bytes());
                    field(content.digest.as_ref().filter(|_| content.lasting)?);
                    Some(())
                };
                if plan.entries[entry].body == Body::Landmark {
                    field(b"landmark");
                    continue;
                }
                lasting(plan.entries[entry].content()?)?;
                let streams = plan.streams.get(&entry).map_or(&[][..], Vec::as_slice);
                for stream in streams {
                    lasting(&stream.wheel)?;
                }
                field(b"content");
                field(&offset.to_le_bytes());
                field(&length.to_le_bytes());
                for Stream { wheel: _, offset, length, crc } in streams {
                    field(&offset.to_le_bytes());
                    field(&length.to_le_bytes());
                    field(&crc.to_le_bytes());
                }
            }
        }
    }
    Some(Key(hasher.finalize().into()))
}

/// The chunks of `plan`, in stream order.
pub fn chunks(plan: &LayerPlan, sizes: ChunkSizes) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut run = Run::default();
    for (index, entry) in plan.entries.iter().enumerate() {
        let header = header::encoded_length(entry, &plan.metadata);
        let size = entry.size();
        if size >= sizes.large_file || plan.streams.contains_key(&index) {
            if run.length + header > sizes.run_max {
                chunks.push(run.close(index));
            }
            run.length += header;
            run.content_follows = true;
            chunks.push(run.close(index + 1));
            chunks.extend(parts(index, size, sizes.part_max));
            run.pad(header::padding(size));
            continue;
        }
        let length = header + size + header::padding(size);
        if run.length + length > sizes.run_max {
            chunks.push(run.close(index));
        }
        run.length += length;
        if run.length >= sizes.run_min && xxh3_64(&entry.name).is_multiple_of(sizes.path_odds) {
            chunks.push(run.close(index + 1));
        }
    }
    if !sizes.toc_follows {
        run.ends_archive = true;
        run.length += header::END_OF_ARCHIVE_BYTES;
    }
    if run.length > 0 {
        chunks.push(run.close(plan.entries.len()));
    }
    chunks
}

/// An open run.
#[derive(Default)]
struct Run {
    start: usize,
    leading_zeros: u64,
    content_follows: bool,
    ends_archive: bool,
    length: u64,
}

impl Run {
    fn pad(&mut self, padding: u64) {
        self.leading_zeros = padding;
        self.length = padding;
    }

    /// Ends the run before entry number `end`, and begins a new one there.
    fn close(&mut self, end: usize) -> Chunk {
        let Run { start, leading_zeros, content_follows, ends_archive, length } =
            std::mem::replace(self, Run { start: end, ..Run::default() });
        Chunk::Run { leading_zeros, entries: start..end, content_follows, ends_archive, length }
    }
}

fn parts(entry: usize, size: u64, part_max: u64) -> impl Iterator<Item = Chunk> {
    let part = size.div_ceil(size.div_ceil(part_max));
    (0..size).step_by(part as usize).map(move |offset| Chunk::Part {
        entry,
        offset,
        length: part.min(size - offset),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    const SMALL: ChunkSizes = ChunkSizes {
        run_min: 4096,
        run_max: 16384,
        path_odds: 4,
        large_file: 8192,
        part_max: 10_000,
        toc_follows: false,
    };

    fn plan_of(files: &[(String, u64)]) -> LayerPlan {
        let entries = files.iter().map(|(name, size)| {
            let content = FileContent { file: name.into(), size: *size, ..FileContent::default() };
            TarEntry { name: name.clone().into(), mode: 0o755, body: Body::File(Arc::new(content)) }
        });
        LayerPlan { entries: entries.collect(), ..LayerPlan::default() }
    }

    /// What a chunk's compressed bytes depend on.
    fn identity(plan: &LayerPlan, chunk: &Chunk) -> String {
        match chunk {
            Chunk::Run { entries, leading_zeros, ends_archive, .. } => {
                format!("{leading_zeros} {ends_archive} {:?}", &plan.entries[entries.clone()])
            }
            Chunk::Part { entry, offset, length } => {
                format!("{:?} {offset} {length}", plan.entries[*entry].body)
            }
        }
    }

    fn files() -> impl Strategy<Value = Vec<(String, u64)>> {
        prop::collection::btree_map("[a-d]{1,3}/[a-z]{1,8}", 0u64..30_000, 1..200)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn chunks_cover_the_stream_in_order(files in files()) {
            let plan = plan_of(&files);
            let (mut next_entry, mut open_part, mut pad, mut total) = (0, 0, 0, 0);
            for chunk in chunks(&plan, SMALL) {
                prop_assert!(chunk.length() <= SMALL.run_max + header::END_OF_ARCHIVE_BYTES);
                let length = chunk.pieces(&plan).map(|piece| match piece {
                    Piece::Zeros(length) | Piece::Content { length, .. } => length,
                    Piece::Header(entry) => header::encoded_length(&plan.entries[entry], &plan.metadata),
                });
                prop_assert_eq!(length.sum::<u64>(), chunk.length());
                total += chunk.length();
                match chunk {
                    Chunk::Run { entries, leading_zeros, .. } => {
                        prop_assert_eq!((open_part, pad), (0, leading_zeros));
                        prop_assert_eq!(entries.start, next_entry);
                        next_entry = entries.end;
                        pad = 0;
                        let size = next_entry.checked_sub(1).map_or(0, |last| files[last].1);
                        open_part = if size >= SMALL.large_file && !entries.is_empty() { size } else { 0 };
                    }
                    Chunk::Part { entry, length, offset } => {
                        prop_assert_eq!(entry + 1, next_entry);
                        prop_assert_eq!(offset + open_part, files[entry].1);
                        open_part -= length;
                        pad = header::padding(files[entry].1);
                    }
                }
            }
            prop_assert_eq!((next_entry, open_part), (files.len(), 0));
            let expected: u64 = files.iter().map(|(_, size)| 512 + size + header::padding(*size)).sum();
            prop_assert_eq!(total, expected + 1024);
        }

        #[test]
        fn an_insertion_leaves_far_chunks_alone(files in files(), name in "[a-d]{1,3}/[a-z]{9}", size in 0u64..8000) {
            let before = plan_of(&files);
            let mut edited = files.clone();
            let at = edited.partition_point(|(other, _)| *other < name);
            edited.insert(at, (name, size));
            let after = plan_of(&edited);
            let old: std::collections::HashSet<_> = chunks(&before, SMALL).iter().map(|c| identity(&before, c)).collect();
            let new: Vec<_> = chunks(&after, SMALL).iter().map(|c| identity(&after, c)).collect();
            let changed = new.iter().filter(|chunk| !old.contains(*chunk)).count();
            // The run with the new file, and those after it up to the next boundary set by a path. In a
            // long row of paths that set none, runs end by size, and each of these boundaries may shift.
            prop_assert!(changed <= 1 + new.len() / 2 || changed <= 8, "{changed} of {}", new.len());
        }
    }

    /// Size distribution of a site-packages directory: how many files of a thousand are below each size.
    const TYPICAL_SIZES: [(u64, u64); 6] =
        [(300, 1 << 10), (610, 4 << 10), (830, 16 << 10), (950, 64 << 10), (995, 1 << 20), (1000, 8 << 20)];

    fn random(parts: impl std::hash::Hash) -> u64 {
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        parts.hash(&mut hasher);
        hasher.digest()
    }

    /// Paths and contents of a binary with `count` files. A content is a size and a version.
    fn typical_files(count: u64) -> std::collections::BTreeMap<String, (u64, u64)> {
        (0..count).map(|n| (format!("./app/package_{}/{n}.py", n / 40), (typical_size(n), 0))).collect()
    }

    fn typical_size(n: u64) -> u64 {
        let place = random(("place", n)) % 1000;
        let at = TYPICAL_SIZES.iter().position(|(share, _)| place < *share).unwrap();
        let least = if at == 0 { 0 } else { TYPICAL_SIZES[at - 1].1 };
        least + random(("size", n)) % (TYPICAL_SIZES[at].1 - least)
    }

    fn keys_of(
        files: &std::collections::BTreeMap<String, (u64, u64)>,
        codec: Codec,
    ) -> std::collections::HashSet<Key> {
        let entries = files.iter().map(|(name, content)| {
            let digest = Some(format!("{name} {content:?}").into());
            let content = FileContent {
                file: name.into(),
                size: content.0,
                digest,
                lasting: true,
                ..FileContent::default()
            };
            TarEntry { name: name.clone().into(), mode: 0o755, body: Body::File(Arc::new(content)) }
        });
        let plan = LayerPlan { entries: entries.collect(), ..LayerPlan::default() };
        chunks(&plan, ChunkSizes::of(codec)).iter().map(|chunk| key(&plan, chunk, codec).unwrap()).collect()
    }

    #[test]
    fn changing_a_small_file_affects_one_chunk_in_the_median() {
        const FILES: u64 = 4000;
        for codec in [Codec::Gzip { level: 6 }, Codec::Zstd { level: 3 }] {
            let before = typical_files(FILES);
            let old = keys_of(&before, codec);
            let mut changed: Vec<usize> = (0..99)
                .map(|n| {
                    let mut after = before.clone();
                    let path = before.keys().nth((random(("file", n)) % FILES) as usize).unwrap();
                    let size = random(("new size", n)) % 10_000;
                    match n % 3 {
                        0 => after.insert(path.clone(), (size, 1)),
                        1 => after.insert(format!("{path}i"), (size, 1)),
                        _ => after.remove(path),
                    };
                    keys_of(&after, codec).difference(&old).count()
                })
                .collect();
            changed.sort();
            assert_eq!(changed[changed.len() / 2], 1, "{codec}: {changed:?}");
            assert!(changed[changed.len() * 9 / 10] <= 3, "{codec}: {changed:?}");
        }
    }

    #[test]
    fn an_empty_layer_is_two_zero_blocks() {
        let chunks = chunks(&plan_of(&[]), GZIP_CHUNKS);
        let only = Chunk::Run {
            leading_zeros: 0,
            entries: 0..0,
            content_follows: false,
            ends_archive: true,
            length: 1024,
        };
        assert_eq!(chunks, [only]);
    }

    #[test]
    fn pieces_of_a_large_file_and_its_neighbour() {
        let plan = plan_of(&[("a".to_string(), 10_000), ("b".to_string(), 7)]);
        let pieces: Vec<Vec<Piece>> =
            chunks(&plan, SMALL).iter().map(|chunk| chunk.pieces(&plan).collect()).collect();
        let content = |entry, length| Piece::Content { entry, offset: 0, length };
        let rest =
            [Piece::Zeros(240), Piece::Header(1), content(1, 7), Piece::Zeros(505), Piece::Zeros(1024)];
        assert_eq!(pieces, [vec![Piece::Header(0)], vec![content(0, 10_000)], rest.to_vec()]);
    }

    #[test]
    fn a_large_file_is_split_in_equal_parts() {
        let chunks = chunks(&plan_of(&[("a".to_string(), 25_000)]), SMALL);
        let lengths: Vec<_> = chunks.iter().map(Chunk::length).collect();
        assert_eq!(lengths, [512, 8334, 8334, 8332, header::padding(25_000) + 1024]);
    }
}
