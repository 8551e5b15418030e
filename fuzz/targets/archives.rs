//! Layers and images: the result does not depend on how a file is read, and the entries' shares of the
//! compressed file are never more than the file.
//!
//! The first byte of the input tells what is done with the rest, because a mutation rarely produces a valid
//! checksum or compressed data.

#![no_main]

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

use bazel_worker::Cancel;
use libfuzzer_sys::fuzz_target;
use pylayer::archive::{Image, Layer, Problem, Source, Watch};

/// Whether the checksums of headers are corrected.
const CORRECT: u8 = 1;
/// How the rest is compressed: in one piece or in two.
const GZIP: u8 = 2;
const ZSTD: u8 = 4;
const IN_TWO: u8 = 8;

fuzz_target!(|input: &[u8]| {
    let Some((&what, rest)) = input.split_first() else { return };
    let mut tar = rest.to_vec();
    if what & CORRECT != 0 {
        correct_checksums(&mut tar);
    }
    let (first, second) = tar.split_at(if what & IN_TWO != 0 { tar.len() / 2 } else { tar.len() });
    let file = match what & (GZIP | ZSTD) {
        0 => tar,
        GZIP => [gzip(first), gzip(second)].concat(),
        _ => [zstd(first), zstd(second)].concat(),
    };
    let layer = read(&file[..]);
    assert_eq!(layer, read(InPieces(&file, 1 + usize::from(what))));
    if let Ok(layer) = &layer {
        check_shares(layer);
    }
    check_image(&file);
});

fn correct_checksums(tar: &mut [u8]) {
    let (blocks, _) = tar.as_chunks_mut::<512>();
    for block in blocks.iter_mut().filter(|block| block[257..].starts_with(b"ustar")) {
        let mut header = tar::Header::from_byte_slice(&block[..]).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(content, 1).unwrap()
}

/// Returns at most so many bytes at a time.
struct InPieces<'a>(&'a [u8], usize);

impl Read for InPieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = into.len().min(self.1);
        self.0.read(&mut into[..count])
    }
}

fn read(file: impl Read) -> Result<Layer, String> {
    let cancel = Cancel::new();
    let result = Layer::read("layer", file, Watch { progress: &|_| (), cancel: &cancel });
    result.map_err(|problem: Problem| message(problem.to_string()))
}

/// A message is short and printable.
fn message(text: String) -> String {
    assert!(text.chars().count() < 3000 && !text.contains(char::is_control), "{text:?}");
    text
}

fn check_shares(layer: &Layer) {
    let sum: u64 = layer.contents.entries.iter().map(|entry| entry.compressed).sum();
    assert!(sum <= layer.contents.size, "{sum} of {}", layer.contents.size);
}

/// A file without a name.
static FILE: LazyLock<Mutex<File>> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("pylayer-archives-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    Mutex::new(file)
});

/// Reads the bytes as what they are: a layer, an image, or the output of `pylayer inspect`.
fn check_image(bytes: &[u8]) {
    let mut file = FILE.lock().unwrap();
    file.set_len(0).unwrap();
    file.rewind().unwrap();
    file.write_all(bytes).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let cancel = Cancel::new();
    let source = Source::open(&[path], None);
    let image = source.and_then(|source| source.read(Watch { progress: &|_| (), cancel: &cancel }));
    match image {
        Ok(Image::Layers { layers, .. }) => layers.iter().for_each(check_shares),
        Ok(Image::Contents(_)) => {}
        Err(error) => drop(message(error.to_string())),
    }
}
