//! Headers of tar entries: two independent readers decode what was encoded.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pylayer::header::{BLOCK_BYTES, encode, encoded_length};
use pylayer::image_path::ImagePath;
use pylayer::inputs::FileContent;
use pylayer::plan::{Body, TarEntry};
use pylayer::metadata::Metadata;
use tar_core::EntryType;
use tar_core::parse::{Limits, ParseEvent, Parser};

type Input = (u8, u16, (u32, u32), (String, String), u64, u64, Vec<u8>, Vec<u8>);

fuzz_target!(|input: Input| {
    let (kind, mode, (uid, gid), (uname, gname), mtime, size, path, target) = input;
    let Ok(path) = ImagePath::new(path) else { return };
    if target.is_empty() || target.contains(&0) {
        return;
    }
    let Some(metadata) = metadata(uid, gid, uname, gname, mtime) else { return };
    let name = [b"./", path.as_bytes()].concat();
    let content = |size| Arc::new(FileContent { file: "f".into(), size, ..FileContent::default() });
    let (name, body) = match kind % 5 {
        0 => ([&name[..], b"/"].concat(), Body::Directory),
        // The largest possible file has 2^63 - 1 bytes.
        1 => (name, Body::File(content(size >> 1))),
        2 => (name, Body::EmptyFile),
        3 => (name, Body::Symlink(target)),
        _ => (name, Body::HardLink { target: target.into(), content: content(size) }),
    };
    let entry = TarEntry { name: name.into(), mode: u32::from(mode & 0o7777), body };
    let mut bytes = b"what was there before".to_vec();
    let before = bytes.len();
    encode(&entry, &metadata, &mut bytes);
    let header = &bytes[before..];
    assert_eq!(header.len() as u64, encoded_length(&entry, &metadata));
    assert_eq!(header.len() as u64 % BLOCK_BYTES, 0);
    let expected = Found::of(&entry, &metadata);
    assert_eq!(by_tar_core(header), expected);
    // The tar crate treats a newline as the end of a PAX record.
    let newline = |text: &[u8]| text.contains(&b'\n');
    let texts = [&expected.name, &expected.target, &expected.uname, &expected.gname];
    if header.len() as u64 == BLOCK_BYTES || !texts.into_iter().any(|text| newline(text)) {
        assert_eq!(by_tar_crate(header), expected);
    }
});

fn metadata(uid: u32, gid: u32, uname: String, gname: String, mtime: u64) -> Option<Metadata> {
    let metadata = Metadata { uid, gid, uname, gname, mtime, ..Metadata::default() };
    let is_text = |text: &str| !text.contains('\0');
    (is_text(&metadata.uname) && is_text(&metadata.gname)).then_some(metadata)
}

/// A decoded header.
#[derive(Debug, PartialEq)]
struct Found {
    name: Vec<u8>,
    kind: char,
    mode: u32,
    uid: u64,
    gid: u64,
    uname: Vec<u8>,
    gname: Vec<u8>,
    mtime: u64,
    size: u64,
    target: Vec<u8>,
}

impl Found {
    fn of(entry: &TarEntry, metadata: &Metadata) -> Found {
        let (kind, size, target) = match &entry.body {
            Body::Directory => ('d', 0, &b""[..]),
            Body::File(content) => ('f', content.size, &b""[..]),
            Body::EmptyFile => ('f', 0, &b""[..]),
            Body::Landmark => ('f', 1, &b""[..]),
            Body::Symlink(target) => ('l', 0, &target[..]),
            Body::HardLink { target, .. } => ('h', 0, &target[..]),
        };
        Found {
            name: entry.name.to_vec(),
            kind,
            mode: entry.mode,
            uid: metadata.uid.into(),
            gid: metadata.gid.into(),
            uname: metadata.uname.clone().into_bytes(),
            gname: metadata.gname.clone().into_bytes(),
            mtime: metadata.mtime,
            size,
            target: target.to_vec(),
        }
    }
}

fn by_tar_core(header: &[u8]) -> Found {
    let mut parser = Parser::new(Limits::permissive());
    let ParseEvent::Entry { consumed, entry } = parser.parse(header).unwrap() else { panic!() };
    assert_eq!(consumed, header.len());
    Found {
        name: entry.path.to_vec(),
        kind: match entry.entry_type {
            EntryType::Directory => 'd',
            EntryType::Regular => 'f',
            EntryType::Symlink => 'l',
            EntryType::Link => 'h',
            other => panic!("{other:?}"),
        },
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        uname: entry.uname.unwrap_or_default().to_vec(),
        gname: entry.gname.unwrap_or_default().to_vec(),
        mtime: entry.mtime,
        size: entry.size,
        target: entry.link_target.unwrap_or_default().to_vec(),
    }
}

fn by_tar_crate(header: &[u8]) -> Found {
    let mut archive = tar::Archive::new(header);
    let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
    let records: Vec<(String, Vec<u8>)> = entry
        .pax_extensions()
        .unwrap()
        .into_iter()
        .flatten()
        .map(|record| record.unwrap())
        .map(|record| (record.key().unwrap().to_string(), record.value_bytes().to_vec()))
        .collect();
    // The crate itself applies only names, sizes and owner IDs of PAX headers.
    let record = |key: &str| records.iter().find(|record| record.0 == key).map(|record| record.1.clone());
    let header = entry.header();
    let text = |key: &str, field: Option<&[u8]>| record(key).unwrap_or(field.unwrap_or(b"").to_vec());
    Found {
        name: entry.path_bytes().to_vec(),
        kind: match header.entry_type() {
            tar::EntryType::Directory => 'd',
            tar::EntryType::Regular => 'f',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Link => 'h',
            other => panic!("{other:?}"),
        },
        mode: header.mode().unwrap(),
        uid: header.uid().unwrap(),
        gid: header.gid().unwrap(),
        uname: text("uname", header.username_bytes()),
        gname: text("gname", header.groupname_bytes()),
        mtime: match record("mtime") {
            Some(mtime) => String::from_utf8(mtime).unwrap().parse().unwrap(),
            None => header.mtime().unwrap(),
        },
        size: entry.size(),
        target: entry.link_name_bytes().unwrap_or_default().to_vec(),
    }
}
