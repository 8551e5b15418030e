//! The table of contents of a layer, with which a runtime mounts it, or fetches the files that it does not have. Pure.
//!
//! [eStargz](crate::estargz) and [zstd:chunked](crate::zstd_chunked) both have the table of CRFS, as JSON, with fields of
//! their own.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Range;

use crc::{CRC_64_GO_ISO, Crc};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::metadata::Metadata;
use crate::plan::{Body, LayerPlan, TarEntry};
use crate::show::{sha256, show};

static CRC_64: Crc<u64, crc::Table<16>> = Crc::<u64, crc::Table<16>>::new(&CRC_64_GO_ISO);

/// Why a layer has no table of contents.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{0}: the table of contents of the layer is JSON, and the name is not UTF-8; rename or exclude it"
    )]
    Name(String),
    #[error("mtime {0}: the table of contents of the layer cannot have times after the year 9999")]
    Time(u64),
    #[error("cannot compress: {0}")]
    Compress(#[from] io::Error),
}

/// A part of a file's content, and the gzip member or zstd frame that contains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The number of the entry.
    pub entry: usize,
    /// Bytes from the start of the content.
    pub offset: u64,
    /// Uncompressed bytes.
    pub length: u64,
    /// Where the member or frame is in the layer.
    pub place: Range<u64>,
    pub sums: Sums,
}

/// The checksums of a file or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    pub sha256: [u8; 32],
    /// CRC-64/GO-ISO. 0 if the format has none.
    pub crc64: u64,
}

/// Computes [`Sums`].
pub struct Summer {
    sha256: Sha256,
    crc64: Option<crc::Digest<'static, u64, crc::Table<16>>>,
}

impl Summer {
    pub fn new(has_crc64: bool) -> Summer {
        Summer { sha256: Sha256::new(), crc64: has_crc64.then(|| CRC_64.digest()) }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(crc64) = &mut self.crc64 {
            crc64.update(bytes);
        }
    }

    pub fn finish(self) -> Sums {
        Sums { sha256: self.sha256.finalize().into(), crc64: self.crc64.map_or(0, |crc64| crc64.finalize()) }
    }
}

/// What ends a layer that has a table of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The rest of the uncompressed tar.
    pub tar: Vec<u8>,
    /// The rest of the layer.
    pub blob: Vec<u8>,
    /// Annotations of the layer's descriptor, by which readers find and verify the table.
    pub annotations: BTreeMap<&'static str, String>,
}

/// What differs between the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Has names of owners. The part that ends a file has no size.
    Estargz,
    /// Has the ends of files in the layer. A file of a single part has no other fields about it.
    ZstdChunked,
}

/// What a table of contents is made from.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    pub plan: &'a LayerPlan,
    /// The parts of all files, in order.
    pub parts: &'a [Part],
    /// The checksums of the files with several parts, by the number of the entry.
    pub files: &'a HashMap<usize, Sums>,
}

/// The table of contents (`JTOC`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table<'a> {
    version: u8,
    entries: Vec<Entry<'a>>,
    /// In zstd:chunked, the digest of the compressed tar-split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tar_split_digest: Option<String>,
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
    #[serde(skip_serializing_if = "is_zero")]
    end_offset: u64,
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

impl<'a> Contents<'a> {
    /// The parts of each entry, in order. Most have none.
    pub fn parts_of_entries(self) -> impl Iterator<Item = (&'a TarEntry, &'a [Part])> {
        let mut rest = self.parts;
        self.plan.entries.iter().enumerate().map(move |(number, entry)| {
            let own = rest.iter().take_while(|part| part.entry == number).count();
            let (own, others) = rest.split_at(own);
            rest = others;
            (entry, own)
        })
    }

    /// The checksums of a file with these parts.
    pub fn sums(self, parts: &[Part]) -> Option<Sums> {
        let first = parts.first()?;
        Some(*self.files.get(&first.entry).unwrap_or(&first.sums))
    }

    /// The table of contents.
    pub fn table(self, dialect: Dialect) -> Result<Table<'a>, Error> {
        let mtime = self.plan.metadata.mtime;
        let time = time(mtime).ok_or(Error::Time(mtime))?;
        let mut entries = Vec::with_capacity(self.plan.entries.len());
        for (entry, parts) in self.parts_of_entries() {
            let mut row = row(entry, &self.plan.metadata, &time, dialect)?;
            row.digest = self.sums(parts).map_or(String::new(), |sums| sha256(&sums.sha256));
            let (name, start) = (row.name, entries.len());
            entries.push(row);
            let others = parts.iter().skip(1);
            entries.extend(others.map(|_| Entry { name, kind: "chunk", ..Entry::default() }));
            set_parts(&mut entries[start..], parts, dialect);
        }
        Ok(Table { version: 1, entries, tar_split_digest: None })
    }
}

fn row<'a>(
    entry: &'a TarEntry,
    metadata: &'a Metadata,
    time: &str,
    dialect: Dialect,
) -> Result<Entry<'a>, Error> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).map_err(|_| Error::Name(show(bytes)));
    let (kind, link): (_, &[u8]) = match &entry.body {
        Body::Directory => ("dir", b""),
        Body::File(_) | Body::EmptyFile | Body::Landmark => ("reg", b""),
        Body::Symlink(target) => ("symlink", target),
        Body::HardLink { target, .. } => ("hardlink", target),
    };
    let (user_name, group_name) = match dialect {
        Dialect::Estargz => (&*metadata.uname, &*metadata.gname),
        Dialect::ZstdChunked => ("", ""),
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
        user_name,
        group_name,
        ..Entry::default()
    })
}

/// Sets the fields about `parts` in the rows of a file: the row of the entry, and one for each part but the first.
fn set_parts(rows: &mut [Entry<'_>], parts: &[Part], dialect: Dialect) {
    for (row, part) in rows.iter_mut().zip(parts) {
        row.offset = part.place.start;
        row.chunk_offset = part.offset;
        if dialect == Dialect::Estargz || parts.len() > 1 {
            row.chunk_size = part.length;
            row.chunk_digest = sha256(&part.sums.sha256);
        }
    }
    let ([.., last], Some(part)) = (&mut *rows, parts.last()) else { return };
    match dialect {
        Dialect::Estargz => last.chunk_size = 0,
        Dialect::ZstdChunked => {
            last.end_offset = part.place.end;
            rows[0].end_offset = part.place.end;
        }
    }
}

/// The time of entries in the form of RFC 3339, which ends with the year 9999.
fn time(seconds: u64) -> Option<String> {
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
        return None;
    }
    let (hour, minute, second) = (rest / 3600, rest % 3600 / 60, rest % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0).unwrap(), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_399).unwrap(), "2000-02-28T23:59:59Z");
        assert_eq!(time(951_782_400).unwrap(), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_672_560_000).unwrap(), "2023-01-01T08:00:00Z");
        assert_eq!(time(4_107_542_400).unwrap(), "2100-03-01T00:00:00Z");
        assert_eq!(time(253_402_300_799).unwrap(), "9999-12-31T23:59:59Z");
        assert_eq!(time(253_402_300_800), None);
        assert_eq!(time(u64::from(u32::MAX) << 31), None);
    }

    #[test]
    fn the_crc_is_that_of_the_catalogue() {
        // The check value of CRC-64/GO-ISO in the catalogue of parametrised CRC algorithms.
        let mut summer = Summer::new(true);
        summer.update(b"1234");
        summer.update(b"56789");
        assert_eq!(summer.finish().crc64, 0xb909_56c7_75a4_1001);
        assert_eq!(Summer::new(false).finish().crc64, 0);
    }
}
