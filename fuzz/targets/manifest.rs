//! Manifests and listings: a parsed manifest can be written and parsed again, and the listing of a layer
//! matches the layer.

#![no_main]

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use bazel_worker::Cancel;
use libfuzzer_sys::fuzz_target;
use pylayer::groups::{Groups, LayerGroups};
use pylayer::inputs::{Content, FileContent, ResolvedEntry};
use pylayer::listing::{Kind, ListedEntry, Listing, listing, parse};
use pylayer::manifest::{Manifest, ManifestEntry, Source};
use pylayer::metadata::Metadata;
use pylayer::plan::{Body, plan, take_excluded_links};
use pylayer::settings::{DEDUPE_FROM, Settings};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        // Check only the round trip.
        let _ = parse(text, &Cancel::new());
    }
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let lines: Vec<u8> = manifest.entries.iter().flat_map(line).collect();
    assert_eq!(Manifest::parse(&lines).as_ref(), Ok(&manifest));

    let settings = Settings {
        exclude: vec!["x".to_string()],
        metadata: Metadata { uname: "a b".to_string(), ..Metadata::default() },
        ..Settings::default()
    };
    let groups = LayerGroups::compile(&Groups::default(), &settings.exclude).unwrap();
    let mut items: Vec<ResolvedEntry> = manifest.entries.into_iter().map(item).collect();
    items.sort_by(|a, b| a.path.cmp(&b.path));
    let excluded_links = take_excluded_links(&mut items, &groups, &Cancel::new()).unwrap();
    let Ok(plan) = plan(items, &settings, &Cancel::new()) else { return };
    let machines: Vec<(usize, u16)> = plan
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.body, Body::File(_)))
        .map(|(index, _)| (index, index as u16))
        .collect();
    let entries = plan
        .entries
        .iter()
        .enumerate()
        .map(|(index, entry)| {
            let path = entry.name.strip_prefix(b"./").unwrap();
            let kind = match &entry.body {
                Body::Directory => Kind::Directory,
                Body::File(content) => Kind::File { size: content.size, machine: Some(index as u16) },
                Body::EmptyFile | Body::Landmark => Kind::File { size: 0, machine: None },
                Body::HardLink { content, .. } => Kind::File { size: content.size, machine: None },
                Body::Symlink(text) => Kind::Symlink(text.clone()),
            };
            ListedEntry { path: path.strip_suffix(b"/").unwrap_or(path).to_vec(), kind }
        })
        .collect();
    let text = listing(&plan, &machines, &excluded_links);
    let excluded_links =
        excluded_links.into_iter().map(|link| (link.path.as_bytes().to_vec(), link.text)).collect();
    assert_eq!(parse(&text, &Cancel::new()), Ok(Listing { entries, excluded_links }));
});

/// The manifest line of an entry.
fn line(entry: &ManifestEntry) -> Vec<u8> {
    let (kind, source) = match &entry.source {
        Source::File(path) => (b'f', Some(path.as_os_str().as_bytes())),
        Source::Tree(path) => (b't', Some(path.as_os_str().as_bytes())),
        Source::DeclaredSymlink(path) => (b'l', Some(path.as_os_str().as_bytes())),
        Source::FileOrDeclaredSymlink(path) => (b'g', Some(path.as_os_str().as_bytes())),
        Source::Symlink(text) => (b's', Some(&text[..])),
        Source::Empty => (b'e', None),
    };
    let mut line = vec![kind];
    for field in [Some(entry.path.as_bytes()), source].into_iter().flatten() {
        line.push(b'\t');
        for byte in field {
            match byte {
                b'\t' => line.extend(br"\t"),
                b'\n' => line.extend(br"\n"),
                b'\\' => line.extend(br"\\"),
                other => line.push(*other),
            }
        }
    }
    line.push(b'\n');
    line
}

/// The inputs on disk, with each file's own path as its content.
fn item(entry: ManifestEntry) -> ResolvedEntry {
    let content = match entry.source {
        Source::File(file) | Source::FileOrDeclaredSymlink(file) | Source::Tree(file) => {
            let path = file.as_os_str().as_bytes().to_vec();
            let size = DEDUPE_FROM + path.len() as u64;
            Content::File(Arc::new(FileContent {
                file,
                size,
                digest: Some(path.into()),
                ..FileContent::default()
            }))
        }
        Source::DeclaredSymlink(link) => Content::Symlink(link.as_os_str().as_bytes().to_vec()),
        Source::Symlink(text) => Content::Symlink(text),
        Source::Empty => Content::Empty,
    };
    ResolvedEntry { path: entry.path, content }
}
