//! Round trip of random images: the layer contains exactly the image's files.
//!
//! Newlines are tested in `names`: the tar crate treats them as the end of a PAX record.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Mutex;

use crate::support::readers::{check_form, decompressed, tar_crate_members};
use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, OUTPUTS, Workspace, noise, sha256};
use proptest::prelude::*;

/// An entry of the image.
#[derive(Clone, Debug)]
enum Node {
    /// Content by seed and length. There are few seeds, so that some contents are equal.
    File(u64, usize),
    Empty,
    Symlink(Vec<u8>),
}

fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        // Few names, so that paths share directories, and not in the order of their characters.
        6 => prop::sample::select(vec!["a", "a-b", "a.b", "a b", "b", "\u{e9}", "@", "-"]).prop_map(Vec::from),
        1 => (90..110_usize).prop_map(|length| vec![b'n'; length]),
        1 => prop::collection::vec((1..=255_u8).prop_map(|byte| if b"/\n.".contains(&byte) { b'_' } else { byte }), 1..12),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let length = prop_oneof![
        4 => 0..2000_usize,
        4 => prop::sample::select(vec![4095_usize, 4096, 4097, 8192]),
        1 => 250_000..300_000_usize,
    ];
    prop_oneof![
        8 => (0..3_u64, length).prop_map(|(seed, length)| Node::File(seed, length)),
        1 => Just(Node::Empty),
        1 => prop::collection::vec(11..=255_u8, 1..150).prop_map(Node::Symlink),
    ]
}

/// Paths and entries; nothing is below a file.
fn image() -> impl Strategy<Value = BTreeMap<Vec<u8>, Node>> {
    let path = prop::collection::vec(component(), 1..5).prop_map(|components| components.join(&b'/'));
    prop::collection::btree_map(path, node(), 0..40).prop_map(|mut nodes| {
        let directories: BTreeSet<Vec<u8>> = nodes.keys().flat_map(|path| parents(path)).collect();
        nodes.retain(|path, _| !directories.contains(path));
        nodes
    })
}

fn parents(path: &[u8]) -> Vec<Vec<u8>> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    slashes.map(|slash| path[..slash].to_vec()).collect()
}

/// An entry of a layer.
#[derive(Debug, PartialEq)]
enum Found {
    Directory,
    Content(Vec<u8>),
    Symlink(Vec<u8>),
}

/// The entries of a layer as the tar crate reads them, by path below `./app/`. Follows hard links.
fn found(tar: &[u8]) -> BTreeMap<Vec<u8>, Found> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = |bytes: &[u8]| bytes.strip_prefix(b"./app/").unwrap().to_vec();
        let path = name(&entry.path_bytes());
        let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        let node = match entry.header().entry_type() {
            tar::EntryType::Directory => Found::Directory,
            tar::EntryType::Symlink => Found::Symlink(target),
            tar::EntryType::Link => match &found[&name(&target)] {
                Found::Content(content) => Found::Content(content.clone()),
                other => panic!("a hard link to {other:?}"),
            },
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                Found::Content(content)
            }
        };
        found.insert(path, node);
    }
    found
}

#[test]
fn a_layer_holds_exactly_the_files_of_its_image() {
    // One worker for all cases, so that its caches could affect later cases.
    let worker = Mutex::new(Worker::start(&std::env::temp_dir()));
    let config = ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(image in image(), as_tree in any::<bool>(), with_digests in any::<bool>())| {
        let workspace = Workspace::new();
        let mut manifest = Manifest::new();
        let mut inputs = Vec::new();
        std::fs::create_dir(workspace.path("in")).unwrap();
        for (path, node) in &image {
            let image_path = [b"app/", &path[..]].concat();
            match node {
                Node::File(seed, length) => {
                    let exec = [b"in/", &path[..]].concat();
                    let content = noise(*seed, *length);
                    workspace.write(&exec, &content);
                    if with_digests {
                        inputs.push((exec.clone(), sha256(&content)));
                    }
                    if !as_tree {
                        manifest = manifest.file(image_path, exec);
                    }
                }
                Node::Empty => manifest = manifest.empty(image_path),
                Node::Symlink(text) => manifest = manifest.symlink(image_path, text),
            }
        }
        if as_tree {
            manifest = manifest.tree("app", "in");
        }
        let layer = |options: &[&str]| {
            let arguments = workspace.arguments(&manifest.clone().shuffled(), options);
            let sandbox_dir = workspace.sandbox_dir();
            let mut worker = worker.lock().unwrap();
            worker.send(&Work { id: 1, arguments, inputs: inputs.clone(), sandbox_dir, ..Work::default() });
            let response = worker.receive();
            assert_eq!(response.exit_code, 0, "{}", response.output);
            let layer = std::fs::read(workspace.path("out/layer")).unwrap();
            assert_eq!(workspace.leftovers().len(), OUTPUTS.len());
            layer
        };
        let plain = layer(&["--root=/app", "--compress=none"]);
        check_form(&plain, &tar_crate_members(&plain));
        prop_assert!(decompressed(&layer(&["--root=/app", "--compress=gzip", "--level=1"])) == plain);
        prop_assert!(decompressed(&layer(&["--root=/app", "--compress=zstd", "--level=1"])) == plain);

        // The root exists even if it is empty.
        let mut expected = BTreeMap::from([(Vec::new(), Found::Directory)]);
        for (path, node) in &image {
            for directory in parents(path) {
                expected.insert([&directory, &b"/"[..]].concat(), Found::Directory);
            }
            expected.insert(path.clone(), match node {
                Node::File(seed, length) => Found::Content(noise(*seed, *length)),
                Node::Empty => Found::Content(Vec::new()),
                Node::Symlink(text) => Found::Symlink(text.clone()),
            });
        }
        prop_assert!(found(&plain) == expected);
        // Equal contents are stored once.
        let large = image.values().filter(|node| matches!(node, Node::File(_, length) if *length >= 4096));
        let distinct: BTreeSet<String> = large.clone().map(|node| format!("{node:?}")).collect();
        let links = tar_crate_members(&plain).iter().filter(|member| member.kind == 'h').count();
        prop_assert_eq!(links, large.count() - distinct.len());
    });
    worker.into_inner().unwrap().close();
}
