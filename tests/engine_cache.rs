//! A warm worker writes the bytes that a cold one writes, whatever it remembers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use pylayer::action::Engine;
use pylayer::inputs::Digests;
use pylayer::pipeline::{ChunkCache, Pool};
use pylayer::worker::Cancel;
use sha2::{Digest, Sha256};

/// The files of a layer: name to (seed, size). The content follows from the two.
type Files = BTreeMap<String, (u8, usize)>;

#[derive(Debug, Clone)]
enum Edit {
    Put(String, u8, usize),
    Remove(usize),
    /// Gives a file another name, with the same content.
    Rename(usize, String),
    Nothing,
}

fn apply(files: &mut Files, edit: &Edit) {
    let nth = |files: &Files, n: &usize| files.keys().nth(n % files.len().max(1)).cloned();
    match edit {
        Edit::Put(name, seed, size) => {
            files.insert(name.clone(), (*seed, *size));
        }
        Edit::Remove(n) => {
            nth(files, n).map(|name| files.remove(&name));
        }
        Edit::Rename(n, to) => {
            if let Some(content) = nth(files, n).and_then(|name| files.remove(&name)) {
                files.insert(to.clone(), content);
            }
        }
        Edit::Nothing => {}
    }
}

/// Compressible, and different for every seed.
fn content(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|index| (index / 3 % 251) as u8 ^ seed.wrapping_mul((index / 1000) as u8)).collect()
}

fn name() -> impl Strategy<Value = String> {
    "[a-c]/[a-z]{1,6}"
}

/// Mostly small files, some that are chunks of their own, some of several parts.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..10_000usize, 2 => 100_000..400_000usize, 1 => 1_000_000..2_500_000usize]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (name(), any::<u8>(), size()).prop_map(|(name, seed, size)| Edit::Put(name, seed, size)),
        1 => any::<usize>().prop_map(Edit::Remove),
        1 => (any::<usize>(), name()).prop_map(|(n, to)| Edit::Rename(n, to)),
        1 => Just(Edit::Nothing),
    ]
}

/// Writes the files to disk and their manifest beside them; returns their digests as Bazel gives them.
fn lay_out(directory: &Path, files: &Files) -> Digests {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap();
    let mut digests = Digests::default();
    let mut manifest = String::new();
    for (number, (name, (seed, size))) in files.iter().enumerate() {
        let content = content(*seed, *size);
        fs::write(directory.join(number.to_string()), &content).unwrap();
        manifest += &format!("f\tapp/{name}\t{number}\n");
        digests.insert(number.to_string().into(), hex(&content));
    }
    fs::write(directory.join("manifest"), &manifest).unwrap();
    digests.insert("manifest".into(), hex(manifest.as_bytes()));
    digests
}

fn hex(content: &[u8]) -> Bytes {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The layer, descriptor and listing that `engine` writes.
fn write(engine: &Engine, directory: &Path, digests: &Digests, compress: &str) -> Vec<Vec<u8>> {
    let mut arguments = vec![Bytes::from(format!("--compress={compress}"))];
    arguments.extend(
        ["--layer=default", "--manifest=manifest", "--output=layer", "--descriptor=json", "--listing=mtree"]
            .map(Bytes::from),
    );
    engine.run(&arguments, directory, digests, &Cancel::new()).unwrap();
    ["layer", "json", "mtree"].iter().map(|name| fs::read(directory.join(name)).unwrap()).collect()
}

fn engine(cache_bytes: Option<u64>) -> Engine {
    let cache = cache_bytes.map(|bytes| Arc::new(ChunkCache::new(bytes)));
    Engine::new(Pool::new(Some(2), cache).unwrap(), false)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn a_warm_engine_writes_what_a_cold_one_writes(
        edits in prop::collection::vec(edit(), 1..12),
        compress in prop_oneof![Just("gzip"), Just("zstd"), Just("none")],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let inputs = directory.path().join("inputs");
        // One remembers all, one forgets most at once, one has room for next to nothing.
        let warm = [engine(Some(1 << 30)), engine(Some(100_000)), engine(Some(1))];
        let mut files = Files::new();
        for edit in &edits {
            apply(&mut files, edit);
            let digests = lay_out(&inputs, &files);
            let cold = write(&engine(None), &inputs, &Digests::default(), compress);
            for engine in &warm {
                prop_assert!(write(engine, &inputs, &digests, compress) == cold, "{edit:?} changed what a warm engine writes");
            }
        }
    }
}

/// Without this the property above could hold because nothing is ever remembered.
#[test]
fn an_unchanged_layer_is_not_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = directory.path().join("inputs");
    let files = Files::from([("a/large".to_string(), (1, 3_000_000)), ("a/small".to_string(), (2, 300))]);
    let digests = lay_out(&inputs, &files);
    let engine = engine(Some(1 << 30));
    let first = write(&engine, &inputs, &digests, "gzip");
    for number in 0..files.len() {
        fs::remove_file(inputs.join(number.to_string())).unwrap();
    }
    fs::remove_file(inputs.join("manifest")).unwrap();
    assert!(write(&engine, &inputs, &digests, "gzip") == first);
}

/// The content of a large file is remembered without regard to its name or layer.
#[test]
fn a_large_file_is_compressed_once_for_two_images() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Arc::new(ChunkCache::new(1 << 30));
    let engine = Engine::new(Pool::new(Some(2), Some(cache.clone())).unwrap(), false);
    for name in ["one", "two"] {
        let inputs = directory.path().join(name);
        let digests = lay_out(&inputs, &Files::from([(format!("a/{name}"), (1, 3_000_000))]));
        write(&engine, &inputs, &digests, "gzip");
    }
    // A header, three parts and the archive's end each; of the second image only the header is new.
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (4, 5 + 1));
}
