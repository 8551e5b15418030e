//! Lifting files from wheels: only the compressed bytes of a layer may change, never its contents.

use std::fs;
use std::process::Output;

use crate::support::readers;
use crate::support::wheel::{
    DATA_DESCRIPTOR, DEFLATED, ENCRYPTED, Header, Member, STORED, crc, deflate, wheel,
};
use crate::support::{Manifest, Workspace, noise};

/// Large enough to be lifted, with two parts.
const LARGE: usize = 1_100_000;

/// A package with two large files and a small one.
struct Package {
    workspace: Workspace,
    manifest: Manifest,
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Package {
    fn new() -> Package {
        Package::with_files(vec![
            ("a/core.so", noise(1, LARGE)),
            ("a/small.py", noise(2, 3000)),
            ("a/table.bin", noise(3, 70_000)),
        ])
    }

    fn with_files(files: Vec<(&'static str, Vec<u8>)>) -> Package {
        let (workspace, mut manifest) = (Workspace::new(), Manifest::new());
        for (name, content) in &files {
            workspace.write(format!("in/{name}"), content);
            manifest = manifest.file(format!("site-packages/{name}"), format!("in/{name}"));
        }
        Package { workspace, manifest, files }
    }

    fn members(&self) -> Vec<Member> {
        self.files.iter().map(|(name, content)| Member::new(name, content)).collect()
    }

    /// The layer made with a wheel of these members.
    fn layer(&self, members: &[Member]) -> Vec<u8> {
        self.workspace.write("x.whl", wheel(members));
        self.layer_with(&[])
    }

    fn layer_with(&self, options: &[&str]) -> Vec<u8> {
        let layer = self.workspace.outputs(&self.manifest, &[&["--wheel=x.whl"], options].concat()).layer;
        let plain = self.workspace.outputs(&self.manifest, &["--compress=none"]).layer;
        assert!(readers::decompressed(&layer) == plain, "whatever is in the wheel");
        layer
    }

    fn compressed(&self) -> Vec<u8> {
        self.workspace.outputs(&self.manifest, &[]).layer
    }
}

/// Whether `layer` contains the stream of `content`, as a gzip member.
fn contains(layer: &[u8], content: &[u8]) -> bool {
    let member = [
        &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255][..],
        &deflate(content),
        &crc(content).to_le_bytes(),
        &(content.len() as u32).to_le_bytes(),
    ];
    memchr(layer, &member.concat())
}

fn memchr(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn large_files_are_lifted_and_small_ones_are_compressed() {
    let package = Package::new();
    let layer = package.layer(&package.members());
    let lifted: Vec<bool> = package.files.iter().map(|(_, content)| contains(&layer, content)).collect();
    assert_eq!(lifted, [true, false, true]);
}

#[test]
fn a_wheel_of_other_files_changes_nothing() {
    let package = Package::new();
    let others = [("a/core.so", noise(9, LARGE)), ("b/table.bin", noise(3, 69_999)), ("c", noise(8, LARGE))];
    let members = others.map(|(name, content)| Member::new(name, &content));
    assert!(package.layer(&members) == package.compressed());
    assert!(package.layer(&[]) == package.compressed());
}

#[test]
fn files_are_found_wherever_an_installer_puts_them() {
    let package = Package::with_files(vec![("a/core.so", noise(1, LARGE))]);
    let layer = package.layer(&[Member::new("a-1.0.data/platlib/a/core.so", &package.files[0].1)]);
    assert!(contains(&layer, &package.files[0].1));
}

#[test]
fn one_of_several_candidates_is_the_file() {
    let package = Package::with_files(vec![("a/core.so", noise(1, LARGE))]);
    let mut others: Vec<Member> = (2..7).map(|seed| Member::new("a/core.so", &noise(seed, LARGE))).collect();
    // This one differs only in its last byte.
    let mut almost = package.files[0].1.clone();
    *almost.last_mut().unwrap() ^= 1;
    others.push(Member::new("b/core.so", &almost));
    others.push(Member::new("c/core.so", &package.files[0].1));
    assert!(contains(&package.layer(&others), &package.files[0].1));
}

#[test]
fn a_patched_file_is_compressed() {
    let package = Package::new();
    let members = package.members();
    for place in [0, LARGE / 2, LARGE - 1] {
        let mut patched = package.files[0].1.clone();
        patched[place] ^= 1;
        package.workspace.write("in/a/core.so", &patched);
        let layer = package.layer(&members);
        assert!(!contains(&layer, &package.files[0].1), "{place}");
        assert!(contains(&layer, &package.files[2].1), "the others are lifted");
    }
}

#[test]
fn layers_of_other_codecs_and_higher_levels_need_no_wheels() {
    let package = Package::new();
    package.workspace.write("x.whl", wheel(&package.members()));
    for options in
        [&["--compress=zstd"][..], &["--compress=none"], &["--level=0"], &["--level=7"], &["--level=9"]]
    {
        let without = package.workspace.outputs(&package.manifest, options).layer;
        assert!(package.layer_with(options) == without, "{options:?}");
    }
    for level in ["--level=1", "--level=6"] {
        assert!(contains(&package.layer_with(&[level]), &package.files[0].1), "{level}");
    }
}

/// Members of every kind that a reader of zip archives may meet.
#[test]
fn members_that_are_not_deflate_streams_are_not_lifted() {
    let package = Package::with_files(vec![("core.so", noise(1, LARGE))]);
    let content = &package.files[0].1;
    let compressed = package.compressed();
    let stored = Member::with_data("core.so", content, content.clone(), STORED);
    let encrypted = Member::new("core.so", content).flags(ENCRYPTED);
    let strongly_encrypted = Member::new("core.so", content).flags(ENCRYPTED | 1 << 6);
    for member in [stored, encrypted, strongly_encrypted] {
        assert!(package.layer(&[member]) == compressed);
    }
    // Shrunk, deflate64, bzip2, LZMA, zstd, xz, and one that does not exist.
    for method in [1, 9, 12, 14, 93, 95, 60_000] {
        let member = Member::with_data("core.so", content, deflate(content), method);
        assert!(package.layer(&[member]) == compressed, "method {method}");
    }
}

#[test]
fn data_descriptors_and_zip64_are_read() {
    let package = Package::with_files(vec![("core.so", noise(1, LARGE))]);
    let content = &package.files[0].1;
    for (flags, zip64) in [(DATA_DESCRIPTOR, false), (0, true), (DATA_DESCRIPTOR, true)] {
        let member = Member { zip64, ..Member::new("core.so", content).flags(flags) };
        assert!(contains(&package.layer(&[member]), content), "{flags} {zip64}");
    }
}

#[test]
fn a_wheel_behind_other_data_is_read() {
    let package = Package::with_files(vec![("core.so", noise(1, LARGE))]);
    // Offsets in such a wheel are relative to its own start.
    let bytes = [&b"#!/usr/bin/env python3\n"[..], &wheel(&package.members())].concat();
    package.workspace.write("x.whl", bytes);
    assert!(contains(&package.layer_with(&[]), &package.files[0].1));
}

/// Headers that contradict each other, or say something that is wrong.
#[test]
fn members_that_lie_are_not_lifted() {
    let package = Package::with_files(vec![("core.so", noise(1, LARGE))]);
    let content = &package.files[0].1;
    let compressed = package.compressed();
    let lies: [fn(&mut Header); 7] = [
        |header| header.name = "other".to_string(),
        |header| header.flags = ENCRYPTED,
        |header| header.flags = DATA_DESCRIPTOR,
        |header| header.method = STORED,
        |header| header.crc ^= 1,
        |header| header.compressed -= 1,
        |header| header.size -= 1,
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let honest = Member::new("core.so", content);
        let (mut local, mut record, mut both) = (honest.clone(), honest.clone(), honest);
        lie(&mut local.local);
        lie(&mut record.record);
        lie(&mut both.local);
        lie(&mut both.record);
        assert!(package.layer(&[local]) == compressed, "the local header lies: {number}");
        assert!(package.layer(&[record]) == compressed, "the directory lies: {number}");
        // With other names or data descriptors in both, it is just another wheel.
        if ![0, 2].contains(&number) {
            assert!(package.layer(&[both]) == compressed, "both lie: {number}");
        }
    }
}

/// A stream whose decompressed size and CRC-32 are right, but not its content.
#[test]
fn a_stream_with_the_checksum_of_another_file_is_not_lifted() {
    let package = Package::with_files(vec![("core.so", noise(1, LARGE))]);
    let content = &package.files[0].1;
    let mut forged = content.clone();
    forged[1000] ^= 0x55;
    // The CRC-32 of two messages differs by that of their difference, so four bytes can restore it.
    force_crc(&mut forged, LARGE - 4, crc(content));
    assert_eq!((crc(&forged), forged == *content), (crc(content), false));
    let member = Member::with_data("core.so", content, deflate(&forged), DEFLATED);
    assert!(package.layer(&[member]) == package.compressed());
}

/// Changes four bytes at `place` so that the message has this CRC-32.
fn force_crc(message: &mut [u8], place: usize, wanted: u32) {
    let zero = crc_with(message, place, 0);
    // The effect of each bit is independent of the others: solve by elimination.
    let mut rows: Vec<(u32, u32)> =
        (0..32).map(|bit| (crc_with(message, place, 1 << bit) ^ zero, 1 << bit)).collect();
    let (mut rest, mut bits) = (zero ^ wanted, 0);
    for column in (0..32).rev() {
        let Some(pivot) = rows.iter().position(|(effect, _)| effect >> column & 1 == 1) else { continue };
        let (effect, bit) = rows.swap_remove(pivot);
        for row in &mut rows {
            if row.0 >> column & 1 == 1 {
                *row = (row.0 ^ effect, row.1 ^ bit);
            }
        }
        if rest >> column & 1 == 1 {
            (rest, bits) = (rest ^ effect, bits ^ bit);
        }
    }
    crc_with(message, place, bits);
}

fn crc_with(message: &mut [u8], place: usize, bytes: u32) -> u32 {
    message[place..place + 4].copy_from_slice(&bytes.to_le_bytes());
    crc(message)
}

/// Streams that are longer than the member, end too early, or contain more than the file.
#[test]
fn streams_of_the_wrong_length_are_not_lifted() {
    let package = Package::with_files(vec![("core.so", noise(1, LARGE))]);
    let content = &package.files[0].1;
    let compressed = package.compressed();
    let stream = deflate(content);
    let more = deflate(&[content, &b"x"[..]].concat());
    let less = deflate(&content[..LARGE - 1]);
    let followed = [&stream[..], b"x"].concat();
    let truncated = stream[..stream.len() - 1].to_vec();
    for data in [more, less, followed, truncated, Vec::new(), vec![3, 0]] {
        let member = Member::with_data("core.so", content, data, DEFLATED);
        assert!(package.layer(&[member]) == compressed);
    }
    // Empty stored blocks before the stream: valid, but larger than the file.
    let padded = [[0, 0, 0, 0xff, 0xff].repeat(LARGE / 4), stream].concat();
    assert!(package.layer(&[Member::with_data("core.so", content, padded, DEFLATED)]) == compressed);
}

/// Any damage leads to the right layer, or to a warning and the right layer.
#[test]
fn a_damaged_byte_anywhere_does_no_harm() {
    let package = Package::with_files(vec![("core.so", noise(1, 70_000))]);
    let member = Member::new("core.so", &package.files[0].1);
    let intact = wheel(std::slice::from_ref(&member));
    let (compressed, lifted) = (package.compressed(), package.layer(&[member]));
    assert!(compressed != lifted);
    // All headers, and some bytes of the stream.
    let headers = 30 + "core.so".len();
    let directory = intact.len() - 22 - 46 - "core.so".len();
    let places = (0..headers).chain((headers..directory).step_by(997)).chain(directory..intact.len());
    let mut counts = [0; 3];
    for place in places {
        let mut damaged = intact.clone();
        damaged[place] ^= 0x10;
        package.workspace.write("x.whl", damaged);
        let Output { status, stderr, .. } = package.workspace.run(&package.manifest, &["--wheel=x.whl"]);
        assert!(status.success(), "{place}: {}", String::from_utf8_lossy(&stderr));
        let layer = fs::read(package.workspace.path("out/layer")).unwrap();
        let message = String::from_utf8(stderr).unwrap();
        match layer {
            layer if layer == lifted => counts[0] += 1,
            layer if layer == compressed && message.is_empty() => counts[1] += 1,
            layer if layer == compressed && message.contains("x.whl is not a wheel: ") => counts[2] += 1,
            _ => panic!("{place}: {message}"),
        }
    }
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_file_that_is_not_a_wheel_causes_a_warning() {
    let package = Package::with_files(vec![("core.so", noise(1, 70_000))]);
    let compressed = package.compressed();
    let whole = wheel(&package.members());
    let pointer = b"version https://git-lfs.github.com/spec/v1\n".to_vec();
    for content in [Vec::new(), pointer, whole[..whole.len() / 2].to_vec(), noise(5, 1_000_000)] {
        package.workspace.write("x.whl", &content);
        package.workspace.write("y.whl", &content);
        let Output { status, stderr, .. } =
            package.workspace.run(&package.manifest, &["--wheel=x.whl", "--wheel=y.whl"]);
        let message = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{message}");
        assert!(message.contains("x.whl is not a wheel: "), "{message}");
        assert!(message.contains("(nor is another one)"), "{message}");
        assert!(fs::read(package.workspace.path("out/layer")).unwrap() == compressed);
    }
}

#[test]
fn a_wheel_that_does_not_exist_is_an_error() {
    let package = Package::with_files(vec![("core.so", noise(1, 70_000))]);
    let message = package.workspace.error(&package.manifest, &["--wheel=x.whl"]);
    assert!(message.contains("cannot read") && message.contains("x.whl"), "{message}");
}

/// The result depends on the content of the wheels, not on where they are, and not on threads.
#[test]
fn lifted_layers_are_the_same_everywhere() {
    let package = Package::new();
    let layer = package.layer(&package.members());
    let other = Package::new();
    other.workspace.write("elsewhere/y.whl", wheel(&package.members()));
    let moved = other.workspace.outputs(&other.manifest, &["--wheel=elsewhere/y.whl"]).layer;
    assert!(layer == moved);
    other.workspace.link("z.whl", other.workspace.path("elsewhere/y.whl").as_os_str().as_encoded_bytes());
    assert!(layer == other.workspace.outputs(&other.manifest, &["--wheel=z.whl"]).layer);
}
