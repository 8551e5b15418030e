//! Truncated and damaged files: an error, or the same result.

use std::io::Write;

use crate::support::noise;
use crate::{entries, layer};

/// A tar with long names, extended headers and content.
fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (index, path) in ["a", &"long/".repeat(40), "c"].into_iter().enumerate() {
        let content = noise(index as u64, 300 * index);
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_pax_extensions([("mtime", &b"1.5"[..]), ("uname", b"me")]).unwrap();
        builder.append_data(&mut header, path.trim_end_matches('/'), &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn truncated_tars() {
    let tar = tar();
    let whole = entries(&layer(&tar[..]).unwrap());
    let mut lengths = Vec::new();
    for length in (512..=tar.len()).step_by(512) {
        match layer(&tar[..length]) {
            Ok(layer) => {
                let found = entries(&layer);
                assert_eq!(found, whole[..found.len()]);
                lengths.push(found.len());
            }
            Err(problem) => assert!(problem.to_string().contains("the tar ends at byte"), "{problem}"),
        }
    }
    // At the end of each entry, and within the two blocks at the end.
    assert_eq!(lengths, [1, 2, 3, 3, 3]);
}

#[test]
fn every_changed_byte() {
    let tar = tar();
    let whole = entries(&layer(&tar[..]).unwrap());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&tar).unwrap();
    let mut zstd = zstd::stream::Encoder::new(Vec::new(), 19).unwrap();
    zstd.include_checksum(true).unwrap();
    zstd.write_all(&tar).unwrap();
    for file in [gzip.finish().unwrap(), zstd.finish().unwrap()] {
        for index in 0..file.len() {
            let mut damaged = file.clone();
            damaged[index] ^= 1 << (index % 8);
            if let Ok(layer) = layer(&damaged[..]) {
                assert_eq!(entries(&layer), whole, "byte {index}");
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_tar() {
    let tar = tar();
    // Zeros are mostly padding.
    for index in (0..tar.len()).filter(|index| tar[*index] != 0 || index % 7 == 0) {
        let mut damaged = tar.clone();
        damaged[index] ^= 1 << (index % 8);
        // No checksum covers contents, so only a panic is a failure.
        let _ = layer(&damaged[..]);
    }
}
