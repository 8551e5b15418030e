//! Wheels: a stream that is found equal to a file is decompressed to that file by libdeflate too, from a gzip member.
//!
//! The first byte of the input tells what the rest is, and how the stream and the file are cut.

#![no_main]

use bazel_worker::Cancel;
use libfuzzer_sys::fuzz_target;
use pylayer::pipeline::Comparison;
use pylayer::wheel::{self, LIFT_FROM, Member};

/// The rest is a file, which is compressed for the stream.
const FILE: u8 = 1;
/// The rest is a stream.
const STREAM: u8 = 2;

/// Streams in inputs decompress to at most so much.
const MAX_PLAIN: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&what, rest)) = input.split_first() else { return };
    let cut = 1 + usize::from(what >> 2);
    match what & (FILE | STREAM) {
        FILE => {
            let (plain, stream) = (rest, deflate(rest));
            assert!(equal(plain, &stream, crc(plain), cut));
            assert!(!equal(plain, &stream, !crc(plain), cut));
            assert!(!equal(plain, &stream[..stream.len() - 1], crc(plain), cut));
            assert!(!equal(&[plain, b"x"].concat(), &stream, crc(plain), cut));
        }
        STREAM => {
            let Some(plain) = inflate(rest) else { return };
            if equal(&plain, rest, crc(&plain), cut) {
                check_member(&plain, rest);
            }
        }
        _ => {
            for member in wheel::members(&rest, rest.len() as u64, &Cancel::new()).unwrap().unwrap_or_default() {
                let Member { name, size, offset, length, crc: _ } = member;
                assert!(size >= LIFT_FROM && length <= size && !name.contains(&b'/'));
                assert!(offset + length <= rest.len() as u64);
            }
        }
    }
});

/// What a comparison finds, with parts and slices of about `cut` bytes.
fn equal(plain: &[u8], stream: &[u8], crc: u32, cut: usize) -> bool {
    let mut comparison = Comparison::new(crc);
    let mut slices = stream.chunks(cut);
    let mut next_slice = |input: &mut Vec<u8>| {
        let Some(slice) = slices.next() else { return Ok::<_, ()>(false) };
        input.extend_from_slice(slice);
        Ok(true)
    };
    let mut buffer = Vec::new();
    let count = plain.len().div_ceil(cut * 3).max(1);
    (0..count).all(|number| {
        let part = &plain[number * cut * 3..plain.len().min((number + 1) * cut * 3)];
        comparison.compare(part, number + 1 == count, &mut next_slice, &mut buffer).unwrap()
    })
}

/// Checks that libdeflate decompresses a gzip member of `stream` to `plain`.
fn check_member(plain: &[u8], stream: &[u8]) {
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let trailer = [crc(plain).to_le_bytes(), (plain.len() as u32).to_le_bytes()].concat();
    let mut room = vec![0; plain.len()];
    let member = [&header[..], stream, &trailer].concat();
    let length = libdeflater::Decompressor::new().gzip_decompress(&member, &mut room).unwrap();
    assert!(room[..length] == *plain);
}

/// What libdeflate decompresses the start of `stream` to.
fn inflate(stream: &[u8]) -> Option<Vec<u8>> {
    let mut room = vec![0; MAX_PLAIN.min(1032 * stream.len())];
    let length = libdeflater::Decompressor::new().deflate_decompress(stream, &mut room).ok()?;
    room.truncate(length);
    Some(room)
}

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut room = vec![0; compressor.deflate_compress_bound(plain.len())];
    let length = compressor.deflate_compress(plain, &mut room).unwrap();
    room.truncate(length);
    room
}

fn crc(plain: &[u8]) -> u32 {
    libdeflater::crc32(plain)
}
