//! Makes the end of an eStargz layer: the table of contents, with which a runtime mounts the layer and fetches
//! files when they are first read. Pure.
//!
//! `estargz.md` of stargz-snapshotter defines the format. The table is the last file of the tar, in a member of its own,
//! and the footer, an empty member, contains the table's offset.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::header;
use crate::inputs::FileContent;
use crate::metadata::Metadata;
use crate::plan::{Body, LayerPlan, TarEntry};
use crate::show::{sha256, show};

/// The name of the table of contents in the tar.
const TOC: &str = "stargz.index.json";

/// What cannot be represented.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("{0}: the table of contents of eStargz is JSON, and the name is not UTF-8; rename or exclude it")]
    Name(String),
}

/// A part of a file's content, and the gzip member that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The number of the entry.
    pub entry: usize,
    /// Bytes from the start of the content.
    pub offset: u64,
    /// Uncompressed bytes.
    pub length: u64,
    /// Where the member begins in the layer.
    pub member: u64,
    /// SHA-256 of the part.
    pub digest: [u8; 32],
}

/// The table of contents (`JTOC`).
#[derive(Serialize)]
struct Table<'a> {
    version: u8,
    entries: Vec<Entry<'a>>,
}

/// An entry of the table (`TOCEntry`).
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "modtime", skip_serializing_if = "String::is_empty")]
    time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    link_name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group_name: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    chunk_digest: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The table of contents of a layer, as JSON. `parts` are those of all files, in order, and `digests` the SHA-256 of the
/// files with several parts, by entry.
pub fn table(plan: &LayerPlan, parts: &[Part], digests: &HashMap<usize, [u8; 32]>) -> Result<Vec<u8>, Error> {
    let time = time(plan.metadata.mtime);
    let mut parts = parts.iter().peekable();
    let mut entries = Vec::with_capacity(plan.entries.len());
    for (number, entry) in plan.entries.iter().enumerate() {
        let mut row = row(entry, &plan.metadata, &time)?;
        let mut own = std::iter::from_fn(|| parts.next_if(|part| part.entry == number)).peekable();
        let Some(first) = own.next() else {
            entries.push(row);
            continue;
        };
        let file = digests.get(&number).unwrap_or(&first.digest);
        row.digest = sha256(file);
        set_part(&mut row, first, own.peek().is_none());
        let name = row.name;
        entries.push(row);
        while let Some(part) = own.next() {
            let mut row = Entry { name, kind: "chunk", ..Entry::default() };
            set_part(&mut row, part, own.peek().is_none());
            entries.push(row);
        }
    }
    Ok(serde_json::to_vec(&Table { version: 1, entries }).expect("strings and numbers are JSON"))
}

fn row<'a>(entry: &'a TarEntry, metadata: &'a Metadata, time: &str) -> Result<Entry<'a>, Error> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Error::Name(show(bytes)));
    let (kind, link): (_, &[u8]) = match &entry.body {
        Body::Directory => ("dir", b""),
        Body::File(_) | Body::EmptyFile | Body::Landmark => ("reg", b""),
        Body::Symlink(target) => ("symlink", target),
        Body::HardLink { target, .. } => ("hardlink", target),
    };
    Ok(Entry {
        name: text(&entry.name)?,
        kind,
        size: entry.size(),
        time: time.to_string(),
        link_name: text(link)?,
        mode: u64::from(entry.mode),
        uid: u64::from(metadata.uid),
        gid: u64::from(metadata.gid),
        user_name: &metadata.uname,
        group_name: &metadata.gname,
        ..Entry::default()
    })
}

fn set_part(row: &mut Entry, part: &Part, is_last: bool) {
    row.offset = part.member;
    row.chunk_offset = part.offset;
    row.chunk_size = if is_last { 0 } else { part.length };
    row.chunk_digest = sha256(&part.digest);
}

/// The end of the tar: the table as its last file, and the end of the archive.
pub fn tar_end(table: &[u8], metadata: &Metadata) -> Vec<u8> {
    let mut tar = Vec::with_capacity(table.len() + 4096);
    let content = FileContent { size: table.len() as u64, ..FileContent::default() };
    let body = Body::File(Arc::new(content));
    let entry = TarEntry { name: TOC.into(), mode: metadata.mode.of_data(), body };
    header::encode(&entry, metadata, &mut tar);
    tar.extend_from_slice(table);
    let padding = header::padding(table.len() as u64) + header::END_OF_ARCHIVE_BYTES;
    tar.resize(tar.len() + padding as usize, 0);
    tar
}

/// The footer: an empty gzip member with the table's offset in an extra field.
pub fn footer(table_member: u64) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
    bytes.extend([26, 0, b'S', b'G', 22, 0]);
    bytes.extend(format!("{table_member:016x}STARGZ").bytes());
    // An empty stored block, and the CRC-32 and size of nothing.
    bytes.extend([1, 0, 0, 0xff, 0xff]);
    bytes.extend([0; 8]);
    bytes
}

/// The time of entries in the form of RFC 3339; empty for years that it cannot represent.
fn time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The proleptic Gregorian calendar in eras of 400 years, which begin in March ("days_from_civil", H. Hinnant).
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, year) = (if month < 10 { month + 3 } else { month - 9 }, era * 400 + year);
    let year = year + u64::from(month <= 2);
    if year > 9999 {
        return String::new();
    }
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(time(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_672_560_000), "2023-01-01T08:00:00Z");
        assert_eq!(time(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(time(253_402_300_799), "9999-12-31T23:59:59Z");
        assert_eq!(time(253_402_300_800), "");
        assert_eq!(time(u64::from(u32::MAX) << 31), "");
    }

    #[test]
    fn the_footer_is_an_empty_member_of_51_bytes() {
        let footer = footer(0x1234);
        assert_eq!(footer.len(), 51);
        let mut decoder = flate2::read::GzDecoder::new(&footer[..]);
        assert_eq!(std::io::copy(&mut decoder, &mut std::io::sink()).unwrap(), 0);
        let extra = decoder.header().unwrap().extra().unwrap();
        assert_eq!(extra, b"SG\x16\x000000000000001234STARGZ");
    }
}
