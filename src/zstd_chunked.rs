//! Makes the end of a zstd:chunked layer, of which podman and CRI-O fetch only the files that they do not have. Pure.
//!
//! The format is defined by its implementation in containers-storage (`pkg/chunked`). Frames that a decompressor skips
//! (RFC 8878 §3.1.2) contain the table of contents, the tar-split, and a footer with the offsets of both. The tar-split
//! is everything in the tar but the contents of files. From it and the files, a reader computes the diff ID without the
//! layer. Readers find the frames by annotations of the layer's descriptor.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::header;
use crate::plan::LayerPlan;
use crate::show::sha256;
use crate::toc::{Contents, Dialect, End, Error};

/// The type of the table: that of CRFS.
const TABLE_TYPE: u64 = 1;
const FOOTER_MAGIC: &[u8; 8] = b"GNUlInUx";
/// The magic number of a skippable frame, and its length in 4 bytes.
const FRAME_HEADER_BYTES: u64 = 8;
/// Levels above require windows that some readers refuse.
const MAX_LEVEL: u8 = 19;

/// The end of a layer that has `size` bytes before it.
pub fn end(contents: Contents<'_>, size: u64, level: u8) -> Result<End, Error> {
    let mut table = contents.table(Dialect::ZstdChunked)?;
    let tar_split = Compressed::new(level, |out| write_tar_split(contents, out))?;
    table.tar_split_digest = Some(tar_split.digest());
    let table =
        Compressed::new(level, |out| Ok(serde_json::to_writer(out, &table).map_err(io::Error::from)?))?;
    let mut blob = Vec::new();
    let table_position = table.append(size, &mut blob);
    let tar_split_position = tar_split.append(size, &mut blob);
    let numbers = [&table_position.numbers()[..], &[TABLE_TYPE], &tar_split_position.numbers()].concat();
    let mut footer: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    footer.extend_from_slice(FOOTER_MAGIC);
    append_frame(&footer, &mut blob);
    let annotations = BTreeMap::from([
        ("io.github.containers.zstd-chunked.manifest-checksum", table.digest()),
        ("io.github.containers.zstd-chunked.manifest-position", format!("{table_position}:{TABLE_TYPE}")),
        ("io.github.containers.zstd-chunked.tarsplit-position", tar_split_position.to_string()),
    ]);
    Ok(End { tar: Vec::new(), blob, annotations })
}

/// Where the content of a skippable frame is in the layer.
struct Position {
    offset: u64,
    length: u64,
    /// What it decompresses to, in bytes.
    uncompressed: u64,
}

impl Position {
    fn numbers(&self) -> [u64; 3] {
        [self.offset, self.length, self.uncompressed]
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.offset, self.length, self.uncompressed)
    }
}

/// Compressed content of a skippable frame.
struct Compressed {
    bytes: Vec<u8>,
    uncompressed: u64,
}

impl Compressed {
    /// Compresses what `write` writes.
    fn new(
        level: u8,
        write: impl FnOnce(&mut Counted<zstd::Encoder<'static, Vec<u8>>>) -> Result<(), Error>,
    ) -> Result<Compressed, Error> {
        let inner = zstd::Encoder::new(Vec::new(), i32::from(level.min(MAX_LEVEL)))?;
        let mut out = Counted { inner, count: 0 };
        write(&mut out)?;
        Ok(Compressed { bytes: out.inner.finish()?, uncompressed: out.count })
    }

    fn digest(&self) -> String {
        sha256(&Sha256::digest(&self.bytes).into())
    }

    /// Appends a frame to `blob`, which follows `before` bytes of the layer.
    fn append(&self, before: u64, blob: &mut Vec<u8>) -> Position {
        let offset = before + blob.len() as u64 + FRAME_HEADER_BYTES;
        append_frame(&self.bytes, blob);
        Position { offset, length: self.bytes.len() as u64, uncompressed: self.uncompressed }
    }
}

/// Appends a skippable frame. A table of 4 GiB would belong to a layer of hundreds of millions of files.
fn append_frame(content: &[u8], blob: &mut Vec<u8>) {
    blob.extend([0x50, 0x2a, 0x4d, 0x18]);
    blob.extend((content.len() as u32).to_le_bytes());
    blob.extend_from_slice(content);
}

/// Counts what is written.
struct Counted<W> {
    inner: W,
    count: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.count += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A line of a tar-split (`tar/storage` of github.com/vbatts/tar-split).
#[derive(Serialize)]
struct Piece<'a> {
    /// 1 for a file, 2 for bytes of the tar.
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    /// In base64: the CRC-64 of a file that is not empty, or the bytes.
    payload: Option<String>,
    /// The number of the line.
    position: usize,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn write_tar_split(contents: Contents<'_>, out: &mut impl Write) -> Result<(), Error> {
    let LayerPlan { metadata, .. } = contents.plan;
    let mut position = 0;
    let mut write = |kind, name, size, payload: Option<&[u8]>| -> Result<(), Error> {
        let payload = payload.map(|bytes| BASE64_STANDARD.encode(bytes));
        serde_json::to_writer(&mut *out, &Piece { kind, name, size, payload, position })
            .map_err(io::Error::from)?;
        out.write_all(b"\n")?;
        position += 1;
        Ok(())
    };
    // What precedes the next file's content: the padding of the last one, and headers.
    let mut bytes = Vec::new();
    for (entry, parts) in contents.parts_of_entries() {
        header::encode(entry, metadata, &mut bytes);
        write(2, "", 0, Some(&bytes))?;
        let crc = contents.sums(parts).map(|sums| sums.crc64.to_be_bytes());
        let name = std::str::from_utf8(&entry.name).unwrap_or_default();
        write(1, name, entry.size(), crc.as_ref().map(<[u8; 8]>::as_slice))?;
        bytes.clear();
        bytes.resize(header::padding(entry.size()) as usize, 0);
    }
    bytes.resize(bytes.len() + header::END_OF_ARCHIVE_BYTES as usize, 0);
    write(2, "", 0, Some(&bytes))
}
