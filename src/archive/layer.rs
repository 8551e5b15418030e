//! A file → the contents of a layer.

use std::collections::HashMap;
use std::io::{BufReader, Read};

use sha2::{Digest, Sha256};

use super::compressed::{Decompressed, Watch};
use super::problem::Problem;
use super::tar::{Member, Tar};
use crate::contents::{Entry, Kind, LayerContents};
use crate::elf;
use crate::show::hex;

/// How much of the tar is read at a time.
const BUFFER_BYTES: usize = 128 << 10;
/// The maximum size of a `RECORD` that is kept. Those of the largest wheels have 2 MiB.
const MAX_RECORD_BYTES: u64 = 16 << 20;
/// The maximum size of all that are kept of a layer. A thousand distributions have about 20 MiB.
const MAX_RECORDS_BYTES: u64 = 64 << 20;

/// The table of contents, which is the last entry of an eStargz layer (`estargz.md` of stargz-snapshotter).
pub const ESTARGZ_TABLE: &str = "stargz.index.json";
/// In an eStargz layer, ends the files that are fetched at once.
pub const PREFETCH_LANDMARK: &str = ".prefetch.landmark";
/// In an eStargz layer that has no such files.
pub const NO_PREFETCH_LANDMARK: &str = ".no.prefetch.landmark";

/// A layer that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// All entries have component 0; what they belong to is for others to find out.
    pub contents: LayerContents,
    /// In the order of the tar. Larger ones, and those after the first 64 MiB, are left out.
    pub records: Vec<Record>,
}

/// The list of a distribution's files: `*.dist-info/RECORD` (PyPA specification, "Recording installed
/// projects").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The path of the entry.
    pub path: Vec<u8>,
    pub text: Vec<u8>,
}

impl Layer {
    /// Reads a layer to its end. Memory is proportional to the number of entries, not to their sizes.
    pub fn read(name: impl Into<String>, file: impl Read, watch: Watch) -> Result<Layer, Problem> {
        let stream = Decompressed::new(file, watch)?;
        let mut tar = Tar::new(BufReader::with_capacity(BUFFER_BYTES, stream));
        let mut entries = Vec::new();
        let mut ends = Vec::new();
        let mut records = Records::default();
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Some(member) = tar.next_member()? {
            entries.push(read_content(&mut tar, member, &mut buffer, &mut records)?);
            tar.skip_content()?;
            ends.push(tar.position());
        }
        let totals = tar.into_inner().into_inner().finish()?;
        for (entry, share) in entries.iter_mut().zip(totals.chunks.shares(ends)) {
            entry.compressed = share;
        }
        remove_estargz_files(&mut entries);
        set_hard_link_digests(&mut entries);
        let contents = LayerContents {
            name: name.into(),
            media_type: totals.media_type.to_string(),
            digest: format!("sha256:{}", hex(&totals.digest)),
            size: totals.size,
            diff_id: format!("sha256:{}", hex(&totals.diff_id)),
            tar_size: totals.tar_size,
            chunks: totals.chunks.count(),
            entries,
        };
        Ok(Layer { contents, records: records.kept })
    }
}

/// The `RECORD` files of a layer.
#[derive(Default)]
struct Records {
    kept: Vec<Record>,
    bytes: u64,
}

impl Records {
    /// A record for the content of `member`, if it is to be kept.
    fn begin(&mut self, member: &Member) -> Option<Record> {
        let Member { entry, content } = member;
        let directory = entry.path.strip_suffix(b"/RECORD")?;
        let is_wanted = entry.kind == Kind::File
            && directory.ends_with(b".dist-info")
            && *content <= MAX_RECORD_BYTES.min(MAX_RECORDS_BYTES - self.bytes);
        self.bytes += if is_wanted { *content } else { 0 };
        is_wanted.then(|| Record { path: entry.path.clone(), text: Vec::new() })
    }
}

/// Completes an entry with what follows from its content.
fn read_content<R: Read>(
    tar: &mut Tar<R>,
    member: Member,
    buffer: &mut [u8],
    records: &mut Records,
) -> Result<Entry, Problem> {
    let mut record = records.begin(&member);
    let Member { mut entry, content } = member;
    // A hard link's target has its content, if its own entry has none.
    let is_hashed = entry.kind == Kind::File || entry.kind == Kind::Hardlink && content > 0;
    if !is_hashed {
        return Ok(entry);
    }
    let mut sha256 = Sha256::new();
    let mut is_first = true;
    loop {
        let count = tar.read_content(buffer)?;
        if count == 0 {
            break;
        }
        let part = &buffer[..count];
        sha256.update(part);
        if is_first {
            entry.machine = elf::machine(part);
        }
        is_first = false;
        if let Some(record) = &mut record {
            record.text.extend_from_slice(part);
        }
    }
    entry.sha256 = Some(hex(&sha256.finalize()));
    records.kept.extend(record);
    Ok(entry)
}

/// Removes what is in a layer for readers that mount it.
fn remove_estargz_files(entries: &mut Vec<Entry>) {
    if entries.last().is_some_and(|entry| entry.path == ESTARGZ_TABLE.as_bytes()) {
        let files = [ESTARGZ_TABLE, PREFETCH_LANDMARK, NO_PREFETCH_LANDMARK];
        entries.retain(|entry| !files.iter().any(|file| entry.path == file.as_bytes()));
    }
}

/// Gives each hard link the digest of its target, if the target is earlier in the layer.
fn set_hard_link_digests(entries: &mut [Entry]) {
    if !entries.iter().any(|entry| entry.kind == Kind::Hardlink) {
        return;
    }
    let mut files: HashMap<&[u8], usize> = HashMap::new();
    let mut targets = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let target = match entry.kind {
            _ if entry.sha256.is_some() => Some(index),
            Kind::Hardlink => entry.link.as_ref().and_then(|link| files.get(&link[..]).copied()),
            _ => None,
        };
        match target {
            Some(target) => drop(files.insert(&entry.path, target)),
            // What is at the path is no longer that file.
            None => drop(files.remove(&entry.path[..])),
        }
        if let Some(target) = target.filter(|target| *target != index) {
            targets.push((index, target));
        }
    }
    for (index, target) in targets {
        entries[index].sha256 = entries[target].sha256.clone();
        entries[index].machine = entries[target].machine;
    }
}

#[cfg(test)]
mod tests {
    use bazel_worker::Cancel;
    use tar::{Builder, EntryType, Header};

    use super::*;

    fn read(tar: &[u8]) -> Layer {
        let cancel = Cancel::new();
        Layer::read("l", tar, Watch { progress: &|_| (), cancel: &cancel }).unwrap()
    }

    fn tar(entries: &[(EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (kind, path, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            if *kind == EntryType::Regular {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, *content).unwrap();
            } else {
                header.set_size(0);
                builder.append_link(&mut header, path, std::str::from_utf8(content).unwrap()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn entries_share_the_size_of_the_file() {
        let bytes = tar(&[(EntryType::Regular, "a", &[1; 1000]), (EntryType::Regular, "b", b"")]);
        let contents = read(&bytes).contents;
        let shares: Vec<u64> = contents.entries.iter().map(|entry| entry.compressed).collect();
        assert_eq!((shares, contents.size), (vec![1536, 512], 3072));
        assert_eq!((contents.chunks, contents.digest == contents.diff_id), (1, true));
    }

    #[test]
    fn hard_links_have_the_digest_of_what_is_at_the_target() {
        let content = [&b"\x7fELF\x02\x01"[..], &[0; 12], &[62, 0]].concat();
        let bytes = tar(&[
            (EntryType::Link, "early", b"file"),
            (EntryType::Regular, "file", &content),
            (EntryType::Link, "link", b"./file"),
            (EntryType::Link, "link to link", b"link"),
            (EntryType::Symlink, "file", b"elsewhere"),
            (EntryType::Link, "late", b"file"),
        ]);
        let entries = read(&bytes).contents.entries;
        let found: Vec<_> = entries.iter().map(|entry| (entry.sha256.is_some(), entry.machine)).collect();
        let (file, none) = ((true, Some(62)), (false, None));
        assert_eq!(found, [none, file, file, file, none, none]);
        assert!(entries[1..4].iter().all(|entry| entry.sha256 == entries[1].sha256));
    }

    #[test]
    fn files_of_estargz_are_not_contents() {
        let files = [".no.prefetch.landmark", "a", "app/stargz.index.json", "stargz.index.json"];
        let entries = files.map(|file| (EntryType::Regular, file, &b"x"[..]));
        let paths = |entries: &[(EntryType, &str, &[u8])]| {
            let contents = read(&tar(entries)).contents;
            assert_eq!(contents.tar_size, 1024 * (entries.len() as u64 + 1));
            contents
                .entries
                .into_iter()
                .map(|entry| String::from_utf8(entry.path).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(paths(&entries), ["a", "app/stargz.index.json"]);
        // Files of other layers with such names.
        assert_eq!(paths(&entries[..3]), files[..3]);
        assert_eq!(paths(&[entries[3], entries[1]]), [files[3], files[1]]);
    }

    #[test]
    fn records_are_kept() {
        let (path, text) = ("app/numpy-1.26.4.dist-info/RECORD", &b"numpy/__init__.py,,\n"[..]);
        let layer = read(&tar(&[
            (EntryType::Regular, path, text),
            (EntryType::Regular, "app/numpy-1.26.4.dist-info/METADATA", text),
            (EntryType::Regular, "app/RECORD", text),
            (EntryType::Symlink, "b.dist-info/RECORD", b"a"),
        ]));
        assert_eq!(layer.records, [Record { path: path.into(), text: text.into() }]);
    }

    #[test]
    fn records_that_are_too_large_are_left_out() {
        let bytes = tar(&[(EntryType::Regular, "a.dist-info/RECORD", b"")]);
        let mut member = Tar::new(&bytes[..]).next_member().unwrap().unwrap();
        let mut records = Records::default();
        let mut is_kept = |content| {
            member.content = content;
            records.begin(&member).is_some()
        };
        let most = MAX_RECORD_BYTES;
        let kept = [most + 1, most, most, most, most - 1, 2, 1, 0].map(&mut is_kept);
        assert_eq!(kept, [false, true, true, true, true, false, true, true]);
    }
}
