//! Compresses each chunk of a layer independently.
//!
//! gzip: one member per chunk (RFC 1952 §2.2: members "simply appear one after another in the
//! file"), written by libdeflate, which compresses better than zlib at the same level and is three
//! times as fast. zstd: one frame per chunk, with its content size (RFC 8878 §3.1.1.1). The result is a
//! pure function of the chunk's bytes and the level. Golden digests in the tests detect a library
//! version that produces different bytes.

use std::fmt;
use std::io;

use zstd::stream::raw::{self, Operation};

use crate::show::show;
use crate::tables::{CODECS, CodecRow, LAZY, Levels};
use bazel_worker::Cancel;

/// The lowest zstd level at which a chunk is compressed in slices, to react to cancellation. At lower
/// levels, a part of 8 MiB takes at most 0.1 seconds; at the highest level, up to 3. Slices increase the
/// size by 0.8 % at levels up to 15, and not at all above.
const SLICED_FROM_ZSTD_LEVEL: u8 = 5;
/// How much is compressed between two checks for cancellation: one zstd block (RFC 8878 §3.1.1.2),
/// which takes at most about 0.1 seconds. The result does not depend on this size.
const SLICE_BYTES: usize = 128 << 10;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Plain tar.
    None,
    /// Levels 0 (stored) to 9.
    Gzip { level: u8 },
    /// gzip with a table of contents, in which each file is in members of its own
    /// ([eStargz](crate::estargz)).
    Estargz { level: u8 },
    /// Levels 1 to 22.
    Zstd { level: u8 },
    /// zstd with a table of contents, in which each file is in frames of its own
    /// ([zstd:chunked](crate::zstd_chunked)).
    ZstdChunked { level: u8 },
}

/// An invalid codec name or level.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("unknown compression \"{name}\"; use {known}")]
    Unknown { name: String, known: String },
    #[error("{codec} has no compression level {level}; use {from} to {to}")]
    Level { codec: &'static str, level: u8, from: u8, to: u8 },
    #[error("compression \"{0}\" has no levels; remove the level")]
    NoLevels(String),
    #[error("unknown lazy format \"{name}\"; use {known}")]
    UnknownLazy { name: String, known: String },
    #[error("lazy {lazy} requires compression {required}, not {codec}")]
    Lazy { lazy: &'static str, required: &'static str, codec: &'static str },
}

impl Codec {
    /// The codec `name` (`gzip`, `zstd` or `none`) at `level`, or at its default level.
    pub fn new(name: &str, level: Option<u8>) -> Result<Codec, Error> {
        let Some(row) = CODECS.iter().find(|row| row.name == name) else {
            return Err(Error::Unknown { name: show(name.as_bytes()), known: names() });
        };
        let level = match (row.levels, level) {
            (None, Some(_)) => return Err(Error::NoLevels(row.name.clone())),
            (None, None) => 0,
            (Some(Levels { lowest, highest, .. }), Some(level)) if !(lowest..=highest).contains(&level) => {
                return Err(Error::Level { codec: &row.name, level, from: lowest, to: highest });
            }
            (Some(levels), level) => level.unwrap_or(levels.default),
        };
        match name {
            "gzip" => Ok(Codec::Gzip { level }),
            "zstd" => Ok(Codec::Zstd { level }),
            "none" => Ok(Codec::None),
            // A row of the table without a compressor.
            other => Err(Error::Unknown { name: other.to_string(), known: names() }),
        }
    }

    /// The same in the lazy format `name` (`estargz` or `zstd:chunked`).
    pub fn lazy(self, name: &str) -> Result<Codec, Error> {
        let Some(row) = LAZY.iter().find(|row| row.name == name) else {
            return Err(Error::UnknownLazy { name: show(name.as_bytes()), known: lazy_names() });
        };
        match (name, self) {
            ("estargz", Codec::Gzip { level }) => Ok(Codec::Estargz { level }),
            ("zstd:chunked", Codec::Zstd { level }) => Ok(Codec::ZstdChunked { level }),
            _ => Err(Error::Lazy { lazy: &row.name, required: &row.codec, codec: self.name() }),
        }
    }

    /// The name that [`Codec::new`] accepts.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip { .. } | Codec::Estargz { .. } => "gzip",
            Codec::Zstd { .. } | Codec::ZstdChunked { .. } => "zstd",
        }
    }

    /// The media type of a layer (OCI image-spec, `media-types.md`).
    pub fn media_type(self) -> &'static str {
        &self.row().media_type
    }

    /// The file extension of a layer.
    pub fn extension(self) -> &'static str {
        &self.row().extension
    }

    fn row(self) -> &'static CodecRow {
        let row = CODECS.iter().find(|row| row.name == self.name());
        row.expect("a codec has a row, or it could not be made")
    }

    /// Whether the layer ends with a table of contents.
    pub fn has_table(self) -> bool {
        matches!(self, Codec::Estargz { .. } | Codec::ZstdChunked { .. })
    }

    /// Whether the layer ends with everything in the tar but the contents of files.
    pub fn has_tar_split(self) -> bool {
        matches!(self, Codec::ZstdChunked { .. })
    }

    /// Whether the layer has a file that tells where to stop reading ahead.
    pub fn has_landmark(self) -> bool {
        matches!(self, Codec::Estargz { .. })
    }

    /// Whether files may be [lifted](crate::wheel) from wheels.
    pub fn lifts(self) -> bool {
        let (Codec::Gzip { level } | Codec::Estargz { level }) = self else { return false };
        self.row().lifted_levels.is_some_and(|levels| (levels.lowest..=levels.highest).contains(&level))
    }

    /// A compressor for one thread. It reuses its working memory for each chunk.
    pub fn compressor(self) -> Compressor {
        let inner = match self {
            Codec::None => Inner::None,
            Codec::Gzip { level } | Codec::Estargz { level } => {
                let level = libdeflater::CompressionLvl::new(i32::from(level))
                    .expect("0 to 9 are levels of libdeflate");
                Inner::Gzip(libdeflater::Compressor::new(level))
            }
            Codec::Zstd { level } | Codec::ZstdChunked { level } if level < SLICED_FROM_ZSTD_LEVEL => {
                Inner::Zstd(i32::from(level), None)
            }
            Codec::Zstd { level } | Codec::ZstdChunked { level } => Inner::SlicedZstd(i32::from(level), None),
        };
        Compressor { inner, room: Vec::new() }
    }
}

/// The levels of all codecs that have any, for a help text.
pub fn levels() -> String {
    let rows = || CODECS.iter().filter_map(|row| Some((&row.name, row.levels?)));
    let ranges: Vec<String> =
        rows().map(|(name, levels)| format!("{name} {} to {}", levels.lowest, levels.highest)).collect();
    let defaults: Vec<String> = rows().map(|(name, levels)| format!("{name} {}", levels.default)).collect();
    format!("Compression level: {} [default: {}]", ranges.join(", "), defaults.join(", "))
}

/// The names of all codecs: `gzip, zstd or none`.
pub fn names() -> String {
    either(CODECS.iter().map(|row| &*row.name))
}

/// The names of all lazy formats: `estargz or zstd:chunked`.
pub fn lazy_names() -> String {
    either(LAZY.iter().map(|row| &*row.name))
}

fn either<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, [])) => last.to_string(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Codec::None => f.write_str(self.name()),
            Codec::Gzip { level } | Codec::Zstd { level } => write!(f, "{} -{level}", self.name()),
            Codec::Estargz { level } => write!(f, "estargz -{level}"),
            Codec::ZstdChunked { level } => write!(f, "zstd:chunked -{level}"),
        }
    }
}

/// Compresses chunks one after another. The result never depends on earlier chunks.
pub struct Compressor {
    inner: Inner,
    /// The output buffer, sized for the worst case.
    room: Vec<u8>,
}

enum Inner {
    None,
    Gzip(libdeflater::Compressor),
    Zstd(i32, Option<zstd::bulk::Compressor<'static>>),
    SlicedZstd(i32, Option<raw::Encoder<'static>>),
}

impl Compressor {
    /// The compressed form of `chunk`, or `None` if the codec does not compress.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Interrupted`] if `cancel` is set in time.
    pub fn compress(&mut self, chunk: &[u8], cancel: &Cancel) -> io::Result<Option<Vec<u8>>> {
        let Compressor { inner, room } = self;
        let length = match inner {
            Inner::None => return Ok(None),
            Inner::Gzip(compressor) => {
                grow(room, compressor.gzip_compress_bound(chunk.len()));
                compressor.gzip_compress(chunk, room).map_err(io::Error::other)?
            }
            Inner::Zstd(level, compressor) => {
                let compressor = match compressor {
                    Some(compressor) => compressor,
                    empty => empty.insert(zstd::bulk::Compressor::new(*level)?),
                };
                grow(room, zstd::zstd_safe::compress_bound(chunk.len()));
                compressor.compress_to_buffer(chunk, &mut room[..])?
            }
            Inner::SlicedZstd(level, encoder) => {
                let encoder = match encoder {
                    Some(encoder) => encoder,
                    empty => empty.insert(raw::Encoder::new(*level)?),
                };
                grow(room, zstd::zstd_safe::compress_bound(chunk.len()));
                compress_in_slices(encoder, chunk, room, || cancel.is_cancelled())?
            }
        };
        Ok(Some(room[..length].to_vec()))
    }
}

fn grow(room: &mut Vec<u8>, length: usize) {
    if room.len() < length {
        room.resize(length, 0);
    }
}

/// Writes one frame with its content size, and returns its length. `is_cancelled` is called before each
/// slice.
fn compress_in_slices(
    encoder: &mut raw::Encoder<'_>,
    chunk: &[u8],
    frame: &mut [u8],
    mut is_cancelled: impl FnMut() -> bool,
) -> io::Result<usize> {
    encoder.reinit()?;
    encoder.set_pledged_src_size(Some(chunk.len() as u64))?;
    let mut output = raw::OutBuffer::around(frame);
    for slice in chunk.chunks(SLICE_BYTES) {
        if is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut input = raw::InBuffer::around(slice);
        while input.pos() < slice.len() {
            encoder.run(&mut input, &mut output)?;
        }
    }
    while encoder.finish(&mut output, true)? > 0 {}
    Ok(output.pos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_codec() {
        for row in CODECS.iter() {
            let codec = Codec::new(&row.name, None).unwrap();
            assert_eq!((codec.name(), codec.extension()), (&*row.name, &*row.extension));
        }
        for row in LAZY.iter() {
            let codec = Codec::new(&row.codec, None).unwrap();
            let lazy = codec.lazy(&row.name).unwrap();
            assert_eq!((lazy.name(), lazy.has_table()), (codec.name(), true));
            assert_eq!(lazy.to_string(), codec.to_string().replace(&*row.codec, &row.name));
        }
    }
    use sha2::{Digest, Sha256};
    use std::io::Read;

    fn compress(codec: Codec, chunks: &[&[u8]]) -> Vec<u8> {
        let mut compressor = codec.compressor();
        chunks.iter().flat_map(|chunk| compressor.compress(chunk, &Cancel::new()).unwrap().unwrap()).collect()
    }

    #[test]
    fn gzip_members_are_one_stream() {
        for level in 0..=9 {
            let bytes = compress(Codec::Gzip { level }, &[b"hello ", b"", b"world"]);
            assert_eq!(&bytes[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "no name, no time");
            let mut text = String::new();
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
            assert_eq!(text, "hello world");
        }
    }

    #[test]
    fn zstd_frames_are_one_stream() {
        let bytes = compress(Codec::Zstd { level: 3 }, &[b"hello ", b"world"]);
        assert_eq!(zstd::stream::decode_all(&bytes[..]).unwrap(), b"hello world");
    }

    #[test]
    fn a_chunk_does_not_depend_on_those_before_it() {
        for codec in [Codec::Gzip { level: 6 }, Codec::Zstd { level: 3 }, Codec::Zstd { level: 19 }] {
            let mut warm = codec.compressor();
            let (wanted, cancelled) = (Cancel::new(), Cancel::new());
            cancelled.cancel();
            let cold = codec.compressor().compress(b"abc", &wanted).unwrap();
            warm.compress(&[7; 1_000_000], &wanted).unwrap();
            assert_eq!(warm.compress(b"abc", &wanted).unwrap(), cold);
            let _ = warm.compress(&[7; 1_000_000], &cancelled);
            assert_eq!(warm.compress(b"abc", &wanted).unwrap(), cold);
        }
    }

    #[test]
    fn no_slice_is_begun_once_a_slow_chunk_is_cancelled() {
        let Inner::SlicedZstd(level, _) = (Codec::Zstd { level: 19 }).compressor().inner else {
            panic!("a chunk of a slow level is one slice");
        };
        let mut encoder = raw::Encoder::new(level).unwrap();
        let chunk = [7; 9 * SLICE_BYTES + 1];
        let mut frame = vec![0; zstd::zstd_safe::compress_bound(chunk.len())];
        let mut questions = 0;
        let mut is_cancelled = |at| {
            questions += 1;
            questions == at
        };
        let error = compress_in_slices(&mut encoder, &chunk, &mut frame, || is_cancelled(3)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        let length = compress_in_slices(&mut encoder, &chunk, &mut frame, || is_cancelled(0)).unwrap();
        assert_eq!(zstd::stream::decode_all(&frame[..length]).unwrap(), chunk);
        assert_eq!(questions, 3 + 10, "once before each slice, and never after that");
    }

    /// Layers written by two releases should have the same digests. If a new version of a library
    /// compresses differently, update these digests and the changelog.
    #[test]
    fn compressed_bytes_never_change() {
        let text: Vec<u8> =
            (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> (24 + n % 7)) as u8).collect();
        let digest = |codec: Codec| {
            let bytes = compress(codec, &[&text]);
            let digest = Sha256::digest(&bytes);
            format!(
                "{} {}",
                bytes.len(),
                digest[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
            )
        };
        let gzip = [1, 4, 6, 9].map(|level| digest(Codec::Gzip { level }));
        let zstd = [1, 3, 9, 19].map(|level| digest(Codec::Zstd { level }));
        assert_eq!(
            gzip,
            [
                "21603 1329ada54ddd4c2e",
                "13903 75969ab89082e565",
                "11335 9609d9b1ae8baae8",
                "10480 670f92784d0d36f8"
            ]
        );
        assert_eq!(
            zstd,
            [
                "5640 49fa2b952eac09e9",
                "15632 496b61277f56e66a",
                "4050 764df34db01eed95",
                "2686 5c6bfec80409a940"
            ]
        );
    }

    #[test]
    fn slow_levels_can_be_cancelled() {
        let cancel = Cancel::new();
        cancel.cancel();
        for level in SLICED_FROM_ZSTD_LEVEL..=22 {
            let error = Codec::Zstd { level }.compressor().compress(b"abc", &cancel).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        }
    }

    #[test]
    fn sliced_frames_are_complete_and_have_their_size() {
        let text: Vec<u8> = (0..1_000_000u32).map(|n| (n % 1000 / 3) as u8).collect();
        for length in [0, 1, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, text.len()] {
            let frame = compress(Codec::Zstd { level: SLICED_FROM_ZSTD_LEVEL }, &[&text[..length]]);
            assert_eq!(zstd::zstd_safe::get_frame_content_size(&frame).unwrap(), Some(length as u64));
            assert_eq!(zstd::zstd_safe::find_frame_compressed_size(&frame).unwrap(), frame.len());
            assert_eq!(zstd::stream::decode_all(&frame[..]).unwrap(), text[..length]);
        }
    }

    #[test]
    fn compressed_chunks_have_no_spare_capacity() {
        for codec in [Codec::Gzip { level: 6 }, Codec::Zstd { level: 3 }, Codec::Zstd { level: 19 }] {
            let bytes = codec.compressor().compress(&[7; 1_000_000], &Cancel::new()).unwrap().unwrap();
            assert_eq!(bytes.capacity(), bytes.len(), "{codec}");
        }
    }

    #[test]
    fn names_and_levels_are_checked() {
        assert_eq!(Codec::new("gzip", None), Ok(Codec::Gzip { level: 6 }));
        assert_eq!(Codec::new("zstd", Some(19)), Ok(Codec::Zstd { level: 19 }));
        let bad = |name, level| Codec::new(name, level).unwrap_err().to_string();
        assert_eq!(bad("gzip", Some(10)), "gzip has no compression level 10; use 0 to 9");
        assert!(bad("zstd", Some(0)).contains("1 to 22"));
        assert!(bad("none", Some(1)).contains("has no levels"));
        assert!(bad("bzip2", None).contains("gzip, zstd or none"));
    }
}
