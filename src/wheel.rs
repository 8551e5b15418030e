//! Finds the deflate streams in wheels that a gzip layer can contain as they are.
//!
//! A wheel is a zip archive (PyPA "Binary distribution format"), most of whose members are raw deflate
//! streams. Between a header and the CRC-32 and size that the archive's directory has too, such a stream is a
//! member of a gzip file (RFC 1952 §2.2). So a file that was installed from a wheel, and has not changed since,
//! need not be compressed again: its stream is *lifted* from the wheel.
//!
//! Nothing in a wheel is trusted. This module only selects candidates, by name and size; whether a stream
//! really decompresses to the file is decided by [`pipeline`](crate::pipeline), which compares all bytes. Members
//! that are stored, encrypted or compressed in other ways, and those whose local header contradicts the
//! directory, are no candidates.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rawzip::{CompressionMethod, ReaderAt, ZipArchive, ZipFileHeaderRecord, ZipLocator};

use crate::cache::Cache;
use crate::inputs::{self, FileContent, Inputs, LastingContent, Reader};
use crate::show::{show, show_path};
use bazel_worker::{Cancel, Cancelled};

/// The minimum size in bytes of files that are lifted. Smaller ones compress better together with others:
/// BENCHMARKS.md has the sizes and times.
pub const LIFT_FROM: u64 = 24 << 10;

/// The maximum number of candidates for one file. Wheels have one, or a few with the same name and size.
const MAX_CANDIDATES: usize = 8;

/// A deflate stream in a wheel, with what the wheel says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The wheel.
    pub wheel: Arc<FileContent>,
    /// Bytes from the start of the wheel.
    pub offset: u64,
    /// Compressed bytes.
    pub length: u64,
    /// CRC-32 of the decompressed content.
    pub crc: u32,
}

/// A member of a wheel that is a candidate for files with its name and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The last component of its path.
    pub name: Bytes,
    /// Decompressed bytes.
    pub size: u64,
    /// As in [`Stream`].
    pub offset: u64,
    pub length: u64,
    pub crc: u32,
}

/// Caches the members of wheels.
pub type KnownWheels = Cache<LastingContent, Arc<Vec<Member>>>;

/// Wheels, in order of preference.
#[derive(Default)]
pub struct Wheels {
    streams: HashMap<(Bytes, u64), Vec<Stream>>,
    /// The first wheel that cannot be read as one, with the reason, and how many there are.
    unreadable: Option<(PathBuf, String, usize)>,
}

impl Wheels {
    /// Reads the directories of the wheels at these exec paths. Files that are no wheels are of no use, and cause a
    /// [warning](Wheels::warning).
    pub fn open(paths: &[PathBuf], inputs: Inputs, known: &KnownWheels) -> Result<Wheels, inputs::Error> {
        let mut wheels = Wheels::default();
        for path in paths {
            let wheel = Arc::new(inputs.content(path)?);
            let key = wheel.lasting_key();
            let members = match key.as_ref().and_then(|key| known.get(key)) {
                Some(members) => members,
                None => {
                    let reader = Reader::open(&wheel)?;
                    let members = match members(&reader, wheel.size, inputs.cancel)? {
                        Ok(members) => Arc::new(members),
                        Err(problem) => {
                            let first = || (path.clone(), problem.to_string(), 0);
                            wheels.unreadable.get_or_insert_with(first).2 += 1;
                            continue;
                        }
                    };
                    if reader.is_unchanged()?
                        && let Some(key) = key
                    {
                        known.put(key, members.clone(), 1 + members.len() as u64);
                    }
                    members
                }
            };
            wheels.add(&wheel, &members);
        }
        Ok(wheels)
    }

    fn add(&mut self, wheel: &Arc<FileContent>, members: &[Member]) {
        for Member { name, size, offset, length, crc } in members {
            let streams = self.streams.entry((name.clone(), *size)).or_default();
            if streams.len() < MAX_CANDIDATES {
                streams.push(Stream { wheel: wheel.clone(), offset: *offset, length: *length, crc: *crc });
            }
        }
    }

    /// A warning about files that are no wheels.
    pub fn warning(&self) -> Option<String> {
        let (path, problem, count) = self.unreadable.as_ref()?;
        let more = match count - 1 {
            0 => String::new(),
            1 => " (nor is another one)".to_string(),
            count => format!(" (nor are {count} others)"),
        };
        let (path, problem) = (show_path(path), show(problem.as_bytes()));
        Some(format!(
            "{path} is not a wheel: {problem}{more}; its files are compressed instead of lifted from it"
        ))
    }

    /// The streams that may decompress to a file with this path and size, in order of preference.
    ///
    /// Only the last component of the path counts, because an installer moves some directories
    /// (`NAME-VERSION.data/purelib`).
    pub fn streams(&self, path: &[u8], size: u64) -> &[Stream] {
        // Most layers have no wheels.
        if self.streams.is_empty() || size < LIFT_FROM {
            return &[];
        }
        let key = (Bytes::copy_from_slice(last_component(path)), size);
        self.streams.get(&key).map_or(&[], Vec::as_slice)
    }
}

fn last_component(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

/// The members of the wheel `archive`, of `size` bytes, that can be lifted.
///
/// # Errors
///
/// [`Cancelled`], or that of an archive without a readable directory.
pub fn members(
    archive: &impl ReaderAt,
    size: u64,
    cancel: &Cancel,
) -> Result<Result<Vec<Member>, rawzip::Error>, Cancelled> {
    let mut buffer = vec![0; rawzip::RECOMMENDED_BUFFER_SIZE];
    let archive = match ZipLocator::new().locate_in_reader(archive, &mut buffer, size) {
        Ok(archive) => archive,
        Err((_, error)) => return Ok(Err(error)),
    };
    let mut entries = archive.entries(&mut buffer);
    let (mut members, mut local) = (Vec::new(), vec![0; 2 * usize::from(u16::MAX)]);
    loop {
        cancel.check()?;
        match entries.next_entry() {
            Ok(Some(entry)) => members.extend(member(&archive, &entry, size, &mut local)),
            Ok(None) => return Ok(Ok(members)),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// The member with this record in the directory of `archive`, unless it cannot be lifted. `buffer` has room for
/// the longest local header.
fn member(
    archive: &ZipArchive<&impl ReaderAt>,
    record: &ZipFileHeaderRecord,
    size: u64,
    buffer: &mut [u8],
) -> Option<Member> {
    let is_deflated = record.compression_method() == CompressionMethod::DEFLATE;
    let (plain, compressed) = (record.uncompressed_size_hint(), record.compressed_size_hint());
    // A stream that is larger than the file would make the layer larger.
    if !is_deflated || is_encrypted(record.flags()) || plain < LIFT_FROM || compressed > plain {
        return None;
    }
    let entry = archive.get_entry(record.wayfinder()).ok()?;
    let (start, end) = entry.compressed_data_range();
    let local = entry.local_header(buffer).ok()?;
    // With a data descriptor, these fields are 0 in the local header (APPNOTE 4.4.4).
    let has_sizes = !local.flags().has_data_descriptor();
    let sizes = (local.crc32(), local.uncompressed_size_hint(), local.compressed_size_hint());
    let agrees = local.file_path().as_bytes() == record.file_path().as_bytes()
        && local.compression_method() == record.compression_method()
        && local.flags().has_data_descriptor() == record.flags().has_data_descriptor()
        && !is_encrypted(local.flags())
        && (!has_sizes || sizes == (record.crc32(), plain, compressed));
    (agrees && end <= size).then(|| Member {
        name: Bytes::copy_from_slice(last_component(record.file_path().as_bytes())),
        size: plain,
        offset: start,
        length: compressed,
        crc: record.crc32(),
    })
}

fn is_encrypted(flags: rawzip::EntryFlags) -> bool {
    flags.is_encrypted() || flags.has_strong_encryption()
}

impl ReaderAt for Reader<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_some(buffer, offset)
    }
}
