//! A warm worker writes the same bytes as a cold one, whatever it has cached.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bazel_worker::Cancel;
use bytes::Bytes;
use proptest::prelude::*;
use pylayer::action::{Engine, Outcome};
use pylayer::codec::Codec;
use pylayer::descriptor::Descriptor;
use pylayer::inputs::{Digests, Inputs, KnownFiles, Links};
use pylayer::manifest::Manifest;
use pylayer::pipeline::{self, ChunkCache, Pool, Written};
use pylayer::plan::{self, LayerPlan};
use pylayer::settings::Settings;
use pylayer::stamp::Stamp;
use sha2::{Digest, Sha256};

use crate::support::wheel;

/// The files of a layer: name to (seed, size), which determine the content.
type Files = BTreeMap<String, (u8, usize)>;

#[derive(Debug, Clone)]
enum Edit {
    Put(String, u8, usize),
    Remove(usize),
    /// Renames a file.
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

/// Compressible content, different for every seed.
fn content(seed: u8, size: usize) -> Vec<u8> {
    (0..size).map(|index| (index / 3 % 251) as u8 ^ seed.wrapping_mul((index / 1000) as u8)).collect()
}

fn name() -> impl Strategy<Value = String> {
    "[a-c]/[a-z]{1,6}"
}

/// Mostly small files, some of one chunk, and some of several parts.
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

/// Writes the files and their manifest to disk. Returns their digests as Bazel would send them.
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
    settle(directory);
    digests
}

/// Waits until the stamps of all files in `directory` have settled.
fn settle(directory: &Path) {
    let settled = |entry: fs::DirEntry| Stamp::of(&entry.metadata().unwrap()).is_settled(SystemTime::now());
    while !fs::read_dir(directory).unwrap().all(|entry| settled(entry.unwrap())) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn hex(content: &[u8]) -> Bytes {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The layer, descriptor and listing that `engine` writes.
fn write(engine: &Engine, directory: &Path, digests: &Digests, compress: &str) -> Vec<Vec<u8>> {
    run(engine, directory, digests, compress).unwrap();
    ["layer", "json", "mtree"].iter().map(|name| fs::read(directory.join(name)).unwrap()).collect()
}

fn run(engine: &Engine, directory: &Path, digests: &Digests, compress: &str) -> anyhow::Result<Outcome> {
    let settings = format!("{compress}.settings");
    fs::write(directory.join(&settings), format!(r#"{{"compress": "{compress}"}}"#)).unwrap();
    let settings = format!("--settings={settings}");
    let others =
        ["--layer=default", "--manifest=manifest", "--output=layer", "--descriptor=json", "--listing=mtree"];
    let arguments: Vec<Bytes> =
        [settings.as_str()].iter().chain(&others).map(|argument| argument.to_string().into()).collect();
    engine.run(&arguments, directory, digests, &Cancel::new())
}

/// An engine with a cache of this many bytes.
fn engine(cache_bytes: Option<u64>) -> Engine {
    match cache_bytes {
        Some(bytes) => engine_and_cache(bytes).0,
        None => Engine::new(Pool::new(Some(2), None).unwrap(), false),
    }
}

fn engine_and_cache(bytes: u64) -> (Engine, Arc<ChunkCache>) {
    let cache = Arc::new(ChunkCache::new(bytes));
    (Engine::new(Pool::new(Some(2), Some(cache.clone())).unwrap(), false), cache)
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
        // The first caches everything, the second evicts most entries, and the third has room for almost nothing.
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

/// Without this, the property above would also hold if nothing was ever cached.
#[test]
fn an_unchanged_layer_is_not_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let files = Files::from([("a/large".to_string(), (1, 3_000_000)), ("a/small".to_string(), (2, 300))]);
    let digests = lay_out(directory.path(), &files);
    let (engine, cache) = engine_and_cache(1 << 30);
    let first = write(&engine, directory.path(), &digests, "gzip");
    let misses = cache.stats().misses;
    assert!(write(&engine, directory.path(), &digests, "gzip") == first);
    assert_eq!(cache.stats().misses, misses);
    let Outcome { summary, .. } = run(&engine, directory.path(), &digests, "gzip").unwrap();
    assert!(summary.contains("then read 0.0ns, compressed 0.0ns, hashed 0.0ns"), "{summary}");
}

/// The content of a large file is cached independently of its name and layer.
#[test]
fn a_large_file_is_compressed_once_for_two_images() {
    let directory = tempfile::tempdir().unwrap();
    let (engine, cache) = engine_and_cache(1 << 30);
    let digests = lay_out(directory.path(), &Files::from([("a/one".to_string(), (1, 3_000_000))]));
    write(&engine, directory.path(), &digests, "gzip");
    fs::write(directory.path().join("manifest"), "f\tapp/a/two\t0\n").unwrap();
    let digests = Digests::from_iter([("0".into(), digests[b"0".as_slice()].clone())]);
    write(&engine, directory.path(), &digests, "gzip");
    // A header, three parts and the end of the archive each; of the second image, only the header is new.
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses), (4, 5 + 1));
}

/// A file of two parts and a wheel in `directory`, whose members have these contents. Returns the digests.
fn lay_out_with_wheel(directory: &Path, installed: u8, members: &[u8]) -> Digests {
    let mut digests = lay_out(directory, &Files::from([("a/file".to_string(), (installed, 1_500_000))]));
    let members: Vec<wheel::Member> =
        members.iter().map(|seed| wheel::Member::new("a/file", &content(*seed, 1_500_000))).collect();
    let wheel = wheel::wheel(&members);
    fs::write(directory.join("x.whl"), &wheel).unwrap();
    digests.insert("x.whl".into(), hex(&wheel));
    settle(directory);
    digests
}

fn write_lifted(engine: &Engine, directory: &Path, digests: &Digests) -> (Vec<u8>, String) {
    fs::write(directory.join("settings"), "{}").unwrap();
    let arguments =
        ["--layer=default", "--settings=settings", "--manifest=manifest", "--output=layer", "--wheel=x.whl"];
    let arguments: Vec<Bytes> = arguments.iter().map(|argument| argument.to_string().into()).collect();
    let outcome = engine.run(&arguments, directory, digests, &Cancel::new()).unwrap();
    assert_eq!(outcome.warnings, [] as [String; 0]);
    (fs::read(directory.join("layer")).unwrap(), outcome.summary)
}

#[test]
fn a_warm_engine_lifts_what_a_cold_one_lifts() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("inputs");
    // The last has room for no chunk, but remembers what it verified.
    let warm = [engine(Some(1 << 30)), engine(Some(1))];
    // The file, and the members of the wheel: the same, another first, another file, another wheel, both as before.
    for (installed, members) in [(1, &[1][..]), (1, &[2, 1]), (2, &[2, 1]), (2, &[1]), (1, &[1])] {
        let digests = lay_out_with_wheel(&directory, installed, members);
        let (cold, summary) = write_lifted(&engine(None), &directory, &Digests::default());
        let is_lifted = members.contains(&installed);
        assert_eq!(summary.contains("lifted 1500000 bytes from wheels"), is_lifted, "{summary}");
        for engine in &warm {
            for _ in 0..2 {
                assert!(write_lifted(engine, &directory, &digests).0 == cold, "{installed} {members:?}");
            }
        }
    }
}

#[test]
fn a_stream_is_verified_once() {
    let directory = tempfile::tempdir().unwrap();
    let digests = lay_out_with_wheel(directory.path(), 1, &[2, 1]);
    // Without room for chunks, so that they have to be lifted again.
    let engine = engine(Some(1));
    let (_, first) = write_lifted(&engine, directory.path(), &digests);
    let (_, second) = write_lifted(&engine, directory.path(), &digests);
    assert!(first.contains("verified in ") && !first.contains("verified in 0.0ns"), "{first}");
    assert!(second.contains("lifted 1500000 bytes from wheels, verified in 0.0ns"), "{second}");
}

/// The blob and its descriptor.
fn assert_consistent(directory: &Path, compress: &str) {
    let json = fs::read_to_string(directory.join("json")).unwrap();
    assert_describes(&json, &fs::read(directory.join("layer")).unwrap(), compress);
}

/// Checks that the descriptor `json` has the digests of `blob`, compressed and uncompressed.
fn assert_describes(json: &str, blob: &[u8], compress: &str) {
    let mut tar = Vec::new();
    match compress {
        "gzip" => drop(flate2::read::MultiGzDecoder::new(blob).read_to_end(&mut tar).unwrap()),
        "zstd" => tar = zstd::stream::decode_all(blob).unwrap(),
        _ => tar.extend(blob),
    }
    for content in [blob, &tar] {
        let digest = format!("sha256:{}", String::from_utf8(hex(content).to_vec()).unwrap());
        assert!(json.contains(&digest), "{json} does not describe what was written ({digest})");
    }
}

/// A modification of a file whose digest Bazel has computed.
#[derive(Debug, Clone, Copy)]
enum Lie {
    /// Writes different content of the same size.
    Overwrite,
    /// The same, and restores the modification time.
    OverwriteAndHide,
    Truncate,
    Grow,
    /// Replaces the file with another one.
    Replace,
}

fn lie() -> impl Strategy<Value = Lie> {
    use Lie::*;
    prop_oneof![Just(Overwrite), Just(OverwriteAndHide), Just(Truncate), Just(Grow), Just(Replace)]
}

/// When the file is modified: long enough before a request for its stamp to settle, right before it, or
/// while it is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    LongBefore,
    Before,
    Meanwhile,
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![Just(When::LongBefore), Just(When::Before), Just(When::Meanwhile)]
}

fn tell(lie: Lie, file: &Path) {
    let before = fs::metadata(file).unwrap();
    let content = fs::read(file).unwrap();
    let other: Vec<u8> = content.iter().map(|byte| !byte).collect();
    let hide = || {
        let file = fs::File::options().write(true).open(file).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    };
    match lie {
        Lie::Overwrite => fs::write(file, other).unwrap(),
        Lie::OverwriteAndHide => {
            fs::write(file, other).unwrap();
            hide();
        }
        Lie::Truncate => {
            fs::write(file, b"").unwrap();
            hide();
        }
        Lie::Grow => fs::write(file, [content, other].concat()).unwrap(),
        Lie::Replace => {
            let beside = file.with_extension("new");
            fs::write(&beside, other).unwrap();
            fs::rename(beside, file).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// Files change before or while a layer is written, although the request has their old digests. Later
    /// they are restored. No correct request may be affected.
    #[test]
    fn a_lie_is_forgotten(
        files in prop::collection::btree_map(name(), (any::<u8>(), size()), 1..8),
        lies in prop::collection::vec((any::<prop::sample::Index>(), lie(), when()), 1..4),
        compress in prop_oneof![Just("gzip"), Just("zstd"), Just("none")],
        with_digests in any::<bool>(),
        warm in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let digests = lay_out(directory, &files);
        let honest = write(&engine(None), directory, &Digests::default(), compress);
        let given = if with_digests { digests.clone() } else { Digests::default() };
        for engine in [engine(Some(1 << 30)), engine(Some(100_000)), engine(Some(1))] {
            if warm {
                prop_assert!(write(&engine, directory, &given, compress) == honest);
            }
            for (index, lie, when) in &lies {
                let file = directory.join(index.index(files.len()).to_string());
                let content = fs::read(&file).unwrap();
                std::thread::scope(|scope| {
                    let request = || run(&engine, directory, &given, compress);
                    let meanwhile = (*when == When::Meanwhile).then(|| scope.spawn(request));
                    tell(*lie, &file);
                    if *when == When::LongBefore {
                        settle(directory);
                    }
                    let result = meanwhile.map_or_else(request, |request| request.join().unwrap());
                    // It may fail, since files change while it runs. Otherwise its descriptor must match the layer.
                    if result.is_ok() {
                        assert_consistent(directory, compress);
                    }
                });
                fs::write(&file, content).unwrap();
                prop_assert!(write(&engine, directory, &digests, compress) == honest, "right after {lie:?} {when:?}");
                settle(directory);
                prop_assert!(write(&engine, directory, &digests, compress) == honest, "after {lie:?} {when:?}");
                prop_assert!(write(&engine, directory, &digests, compress) == honest, "again after {lie:?} {when:?}");
            }
        }
    }
}

/// The plan of a layer with the files that [`lay_out`] has written to `directory`.
fn plan(directory: &Path, digests: &Digests) -> Arc<LayerPlan> {
    let (known, cancel) = (KnownFiles::new(0), Cancel::new());
    let (now, links) = (SystemTime::now(), Links::Declared);
    let inputs = Inputs { base: directory, digests, known: &known, cancel: &cancel, now, links };
    let manifest = Manifest::parse(&fs::read(directory.join("manifest")).unwrap()).unwrap();
    let settings = Settings { dedupe: false, ..Settings::default() };
    let entries = inputs.entries(&manifest, &settings, |_| true).unwrap();
    Arc::new(plan::plan(entries, &settings, &cancel).unwrap())
}

/// Checks that the reported digests of a blob are correct.
fn assert_described(written: &Written, blob: &[u8], compress: &str) {
    let json = Descriptor::new(Codec::new(compress, None).unwrap(), written).to_json();
    assert_describes(&json, blob, compress);
}

/// Two files of one chunk each. The second is overwritten after the layer was planned, and differs only in
/// its change time.
fn overwritten_after_planning(
    compress: &str,
    edit_the_first: bool,
) -> (Result<Written, pipeline::Error>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let pool = Pool::new(Some(2), Some(Arc::new(ChunkCache::new(1 << 30)))).unwrap();
    let codec = Codec::new(compress, None).unwrap();
    let files = [("a/one".to_string(), (1, 300_000)), ("a/two".to_string(), (2, 300_000))];
    let mut digests = lay_out(directory, &Files::from(files));
    let write = |plan| {
        let mut blob = Vec::new();
        let written = pool.write(plan, codec, &Cancel::new(), &mut blob, &|_| ());
        (written, blob)
    };
    write(plan(directory, &digests)).0.unwrap();
    if edit_the_first {
        let edited = content(3, 300_000);
        fs::write(directory.join("0"), &edited).unwrap();
        digests.insert("0".into(), hex(&edited));
        settle(directory);
    }
    let planned = plan(directory, &digests);
    tell(Lie::OverwriteAndHide, &directory.join("1"));
    write(planned)
}

#[test]
fn a_cached_chunk_of_a_changed_file_is_compressed_again() {
    for compress in ["gzip", "zstd", "none"] {
        let (written, blob) = overwritten_after_planning(compress, true);
        assert_described(&written.unwrap(), &blob, compress);
    }
}

/// The state from which hashing resumes does not match the bytes.
#[test]
fn a_changed_file_is_an_error_where_it_is_not_hashed_again() {
    let (written, _) = overwritten_after_planning("none", false);
    assert!(written.unwrap_err().to_string().ends_with("changed while it was read; build again"));
}

/// `PYLAYER_LIES` sets a higher number of cases than the default.
fn cases() -> u32 {
    std::env::var("PYLAYER_LIES").map_or(6, |cases| cases.parse().unwrap())
}
