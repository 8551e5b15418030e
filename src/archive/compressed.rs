//! Compressed or plain file → uncompressed tar, digests, and the table of chunks.
//!
//! The format is recognized by its first bytes, as in container runtimes. gzip (RFC 1952): one or many
//! members, which may be empty, and zeros after them, as GNU gzip accepts. zstd (RFC 8878): one or many
//! frames, and skippable frames. The members and frames are decoded one by one, because their boundaries
//! tell how well each part of the tar is compressed.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use bazel_worker::Cancel;
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use super::block::{BLOCK_BYTES, Block, has_valid_checksum, is_empty};
use super::problem::Problem;
use crate::tables::CODECS;

/// How much is read from the file at a time: a system call costs little in comparison.
const INPUT_BYTES: usize = 128 << 10;
/// The largest accepted window of a zstd frame, as a power of two: 128 MiB, the default limit
/// of the `zstd` program. It is memory that a few bytes of input can claim.
const MAX_WINDOW_LOG: u32 = 27;
/// The largest number of members or frames. Each takes 16 bytes of memory. eStargz and zstd:chunked have
/// about one per file.
const MAX_CHUNKS: usize = 10_000_000;

/// Formats that are not layers: how they begin, what they are, and what to do.
const OTHER_FORMATS: [(&[u8], &str, &str); 9] = [
    (b"\xfd7zXZ\0", "an xz file", "decompress it with xz -d"),
    (b"BZh", "a bzip2 file", "decompress it with bzip2 -d"),
    (b"\x04\x22\x4d\x18", "an lz4 file", "decompress it with lz4 -d"),
    (b"LZIP", "an lzip file", "decompress it with lzip -d"),
    (b"\x1f\x9d", "a file of compress", "decompress it with uncompress"),
    (b"PK\x03\x04", "a zip archive", "name a layer or an image"),
    (b"hsqs", "a SquashFS image", "name a layer or an image"),
    (b"\x7fELF", "an ELF image", "name a layer or an image"),
    (b"{", "JSON", "name a layer, an image, or a file written by pylayer inspect --json"),
];

/// Calls back while a file is being read.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Is told how many bytes of the compressed file were read since the last call.
    pub progress: &'a (dyn Fn(u64) + Sync),
    pub cancel: &'a Cancel,
}

/// The compressed file: counts and hashes what is read.
struct Input<'a> {
    source: Box<dyn Read + 'a>,
    progress: &'a (dyn Fn(u64) + Sync),
    buffer: Vec<u8>,
    /// What has been read but not consumed.
    unread: Range<usize>,
    sha256: Sha256,
    /// The number of bytes read so far.
    read: u64,
}

impl<'a> Input<'a> {
    fn new(source: impl Read + 'a, progress: &'a (dyn Fn(u64) + Sync)) -> Input<'a> {
        Input { source: Box::new(source), progress, buffer: vec![0; INPUT_BYTES], ..Input::nothing() }
    }

    /// A placeholder that costs nothing.
    fn nothing() -> Input<'a> {
        let (source, sha256) = (Box::new(io::empty()), Sha256::new());
        Input { source, progress: &|_| (), buffer: Vec::new(), unread: 0..0, sha256, read: 0 }
    }

    /// The offset of the next byte in the file.
    fn position(&self) -> u64 {
        self.read - self.unread.len() as u64
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Reads more. Returns whether there was more.
    fn read_more(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let into = &mut self.buffer[self.unread.end..];
        let count = loop {
            match self.source.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Wrapped, so that it is not mistaken for an error of a decoder.
                Err(error) => return Err(Problem::Read(error).into()),
                Ok(count) => break count,
            }
        };
        self.sha256.update(&into[..count]);
        self.unread.end += count;
        self.read += count as u64;
        (self.progress)(count as u64);
        Ok(count > 0)
    }

    /// The next `count` bytes, or fewer at the end of the file.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.unread().len() < count && self.read_more()? {}
        Ok(&self.unread()[..count.min(self.unread().len())])
    }
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(into.len());
        into[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.unread().is_empty() {
            self.read_more()?;
        }
        Ok(self.unread())
    }

    fn consume(&mut self, count: usize) {
        self.unread.start += count;
    }
}

/// A format of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    None,
    Gzip,
    Zstd,
}

impl Format {
    /// The format of a file with this beginning, of at least a block if the file is so long.
    fn of(start: &[u8]) -> Result<Format, Problem> {
        let block = <&Block>::try_from(start);
        // Tars begin with the name of a file, which can be anything.
        if block.is_ok_and(|block| is_empty(block) || has_valid_checksum(block)) {
            return Ok(Format::None);
        }
        match start {
            [] => return Err(Problem::EmptyFile),
            [0x1f, 0x8b, ..] => return Ok(Format::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => return Ok(Format::Zstd),
            // A skippable frame.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => return Ok(Format::Zstd),
            _ => {}
        }
        let other = OTHER_FORMATS.iter().find(|(magic, ..)| start.starts_with(magic));
        let (is, advice) = other.map_or(
            ("a file of unknown format", "name a layer or an image, or build or copy it again"),
            |(_, is, advice)| (is, advice),
        );
        Err(Problem::NotALayer { is, advice })
    }

    /// The name of the codec in [`CODECS`].
    fn name(self) -> &'static str {
        match self {
            Format::None => "none",
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        }
    }

    /// The media type of a layer in this format.
    fn media_type(self) -> &'static str {
        let row = CODECS.iter().find(|row| row.name == self.name());
        &row.expect("the table has a row for each of the three").media_type
    }
}

/// Decodes one member or frame after the other.
enum Decoder<'a> {
    None(Input<'a>),
    Gzip(Box<GzDecoder<Input<'a>>>),
    Zstd(Box<Frames<'a>>),
}

impl<'a> Decoder<'a> {
    fn new(format: Format, input: Input<'a>) -> io::Result<Decoder<'a>> {
        Ok(match format {
            Format::None => Decoder::None(input),
            Format::Gzip => Decoder::Gzip(Box::new(GzDecoder::new(input))),
            Format::Zstd => {
                let mut decoder = ZstdDecoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG))?;
                Decoder::Zstd(Box::new(Frames { decoder, input, is_at_end: false }))
            }
        })
    }

    fn input(&mut self) -> &mut Input<'a> {
        match self {
            Decoder::None(input) => input,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zstd(frames) => &mut frames.input,
        }
    }

    /// Reads from the current member or frame; 0 at its end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Problem> {
        let (format, result) = match self {
            Decoder::None(input) => ("tar", input.read(into)),
            Decoder::Gzip(decoder) => ("gzip", decoder.read(into)),
            Decoder::Zstd(frames) => ("zstd", frames.read(into)),
        };
        result.map_err(|error| match error.downcast::<Problem>() {
            Ok(problem) => problem,
            Err(error) => Problem::Damaged { format, at: self.input().position(), error: error.to_string() },
        })
    }

    /// Goes on to the next member or frame, if there is one.
    fn next(&mut self) -> Result<bool, Problem> {
        if let Decoder::Gzip(_) = self {
            self.skip_padding()?;
        }
        if self.input().fill_buf()?.is_empty() {
            return Ok(false);
        }
        match self {
            Decoder::None(_) => {}
            Decoder::Gzip(decoder) => {
                let input = std::mem::replace(decoder.get_mut(), Input::nothing());
                decoder.reset(input);
            }
            Decoder::Zstd(frames) => frames.is_at_end = false,
        }
        Ok(true)
    }

    /// Skips zeros up to the end of the file. Tapes need them, and GNU gzip accepts them.
    fn skip_padding(&mut self) -> Result<(), Problem> {
        let input = self.input();
        if input.peek(2)? == [0x1f, 0x8b] {
            return Ok(());
        }
        loop {
            let rest = input.fill_buf()?;
            let count = rest.len();
            let garbage = rest.iter().position(|byte| *byte != 0);
            input.consume(garbage.unwrap_or(count));
            match garbage {
                Some(_) => return Err(Problem::TrailingGarbage { at: input.position() }),
                None if count == 0 => return Ok(()),
                None => {}
            }
        }
    }
}

/// Decodes zstd frames.
struct Frames<'a> {
    decoder: ZstdDecoder<'static>,
    input: Input<'a>,
    /// Whether the current frame has been read to its end.
    is_at_end: bool,
}

impl Frames<'_> {
    /// Reads from the current frame; 0 at its end.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.is_at_end {
            let mut from = InBuffer::around(self.input.fill_buf()?);
            let is_file_at_end = from.src.is_empty();
            let mut to = OutBuffer::around(&mut *into);
            let rest = self.decoder.run(&mut from, &mut to).map_err(|error| {
                // The text of ZSTD_error_frameParameter_windowTooLarge.
                if error.to_string().contains("too much memory") { Problem::Window.into() } else { error }
            })?;
            let (consumed, count) = (from.pos(), to.pos());
            self.input.consume(consumed);
            self.is_at_end = rest == 0;
            if count > 0 {
                return Ok(count);
            }
            if is_file_at_end && !self.is_at_end {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a frame is incomplete"));
            }
        }
        Ok(0)
    }
}

/// Where each chunk ends in the compressed file, and in the tar.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunks(Vec<(u64, u64)>);

impl Chunks {
    /// The number of gzip members or zstd frames; 1 for a plain tar.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn push(&mut self, compressed_end: u64, end: u64) -> Result<(), Problem> {
        if self.0.len() == MAX_CHUNKS {
            return Err(Problem::Chunks(MAX_CHUNKS as u64));
        }
        self.0.push((compressed_end, end));
        Ok(())
    }

    /// Estimates the compressed size of each of the consecutive parts of the tar that end at `ends`, in
    /// bytes.
    ///
    /// Each chunk is taken to be compressed evenly. Every end is rounded down to a byte of the compressed
    /// file, so the sum is never more than the file.
    pub fn shares(&self, ends: impl IntoIterator<Item = u64>) -> impl Iterator<Item = u64> {
        let (mut index, mut start, mut before) = (0, (0, 0), 0);
        ends.into_iter().map(move |end| {
            while let Some(chunk) = self.0.get(index).filter(|(_, chunk_end)| *chunk_end <= end) {
                start = *chunk;
                index += 1;
            }
            let (compressed_start, chunk_start) = start;
            let inside = self.0.get(index).map_or(0, |(compressed_end, chunk_end)| {
                let part = u128::from(compressed_end - compressed_start) * u128::from(end - chunk_start);
                // At most the compressed size of the chunk.
                (part / u128::from(chunk_end - chunk_start)) as u64
            });
            let share = compressed_start + inside - before;
            before += share;
            share
        })
    }
}

/// Sizes and digests of a file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Of a layer in this format (OCI image-spec, `media-types.md`).
    pub media_type: &'static str,
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// Length of the file in bytes.
    pub size: u64,
    /// SHA-256 of the uncompressed tar.
    pub diff_id: [u8; 32],
    /// Length of the uncompressed tar in bytes.
    pub tar_size: u64,
    pub chunks: Chunks,
}

/// The uncompressed content of a file.
pub struct Decompressed<'a> {
    format: Format,
    decoder: Decoder<'a>,
    cancel: &'a Cancel,
    chunks: Chunks,
    sha256: Sha256,
    /// The number of uncompressed bytes so far.
    size: u64,
    is_at_end: bool,
}

impl<'a> Decompressed<'a> {
    /// Recognizes the format of `file`.
    pub fn new(file: impl Read + 'a, watch: Watch<'a>) -> Result<Decompressed<'a>, Problem> {
        let mut input = Input::new(file, watch.progress);
        let format = Format::of(input.peek(BLOCK_BYTES)?)?;
        Ok(Decompressed {
            format,
            decoder: Decoder::new(format, input)?,
            cancel: watch.cancel,
            chunks: Chunks::default(),
            sha256: Sha256::new(),
            size: 0,
            is_at_end: false,
        })
    }

    fn read_chunks(&mut self, into: &mut [u8]) -> Result<usize, Problem> {
        while !self.is_at_end && !into.is_empty() {
            self.cancel.check()?;
            let count = self.decoder.read(into)?;
            if count > 0 {
                self.size += count as u64;
                // A plain tar has already been hashed.
                if self.format != Format::None {
                    self.sha256.update(&into[..count]);
                }
                return Ok(count);
            }
            self.chunks.push(self.decoder.input().position(), self.size)?;
            self.is_at_end = !self.decoder.next()?;
        }
        Ok(0)
    }

    /// Reads the rest of the file.
    pub fn finish(mut self) -> Result<Totals, Problem> {
        let mut rest = vec![0; INPUT_BYTES];
        while self.read_chunks(&mut rest)? > 0 {}
        let input = self.decoder.input();
        let digest: [u8; 32] = std::mem::take(&mut input.sha256).finalize().into();
        Ok(Totals {
            media_type: self.format.media_type(),
            digest,
            size: input.read,
            diff_id: if self.format == Format::None { digest } else { self.sha256.finalize().into() },
            tar_size: self.size,
            chunks: self.chunks,
        })
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_chunks(into)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(file: &[u8]) -> Result<(Vec<u8>, Totals), Problem> {
        let cancel = Cancel::new();
        let mut stream = Decompressed::new(file, Watch { progress: &|_| (), cancel: &cancel })?;
        let mut tar = Vec::new();
        stream.read_to_end(&mut tar)?;
        Ok((tar, stream.finish()?))
    }

    fn problem(file: &[u8]) -> String {
        read(file).unwrap_err().to_string()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(content, 1).unwrap()
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        Sha256::digest(bytes).into()
    }

    /// Content that compresses in parts.
    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * index / 1000) as u8).collect()
    }

    #[test]
    fn members_and_frames_are_chunks() {
        let parts = [sample(300_000), Vec::new(), b"b".to_vec(), sample(70_000)];
        for (compress, media_type) in [(gzip as fn(&[u8]) -> Vec<u8>, "+gzip"), (zstd, "+zstd")] {
            let chunks: Vec<Vec<u8>> = parts.iter().map(|part| compress(part)).collect();
            let (file, tar) = (chunks.concat(), parts.concat());
            let (read, totals) = read(&file).unwrap();
            assert!(read == tar, "{media_type}");
            assert!(totals.media_type.ends_with(media_type), "{}", totals.media_type);
            assert_eq!((totals.size, totals.tar_size), (file.len() as u64, tar.len() as u64));
            assert_eq!((totals.digest, totals.diff_id), (sha256(&file), sha256(&tar)));
            let mut ends = Vec::new();
            for (chunk, part) in chunks.iter().zip(&parts) {
                let (before, before_part) = ends.last().copied().unwrap_or_default();
                ends.push((before + chunk.len() as u64, before_part + part.len() as u64));
            }
            assert_eq!(totals.chunks, Chunks(ends));
        }
    }

    #[test]
    fn a_plain_tar_is_one_chunk() {
        let tar = vec![0; 300_000];
        let (read, totals) = read(&tar).unwrap();
        assert!(read == tar);
        assert_eq!((totals.digest, totals.diff_id), (sha256(&tar), sha256(&tar)));
        assert_eq!(totals.chunks, Chunks(vec![(300_000, 300_000)]));
        assert_eq!(totals.media_type, "application/vnd.oci.image.layer.v1.tar");
    }

    #[test]
    fn gzip_may_be_padded_with_zeros_only() {
        let member = gzip(b"a");
        let padded = [&member[..], &[0; 1000]].concat();
        let (tar, totals) = read(&padded).unwrap();
        assert_eq!((&tar[..], totals.size), (&b"a"[..], padded.len() as u64));
        assert_eq!(totals.chunks, Chunks(vec![(member.len() as u64, 1)]));
        for garbage in [&b"x"[..], b"\0\0x", b"\x1f", b"\0\x1f\x8b"] {
            let message = problem(&[&member[..], garbage].concat());
            assert!(message.contains("what follows is neither gzip data nor zeros"), "{message}");
        }
    }

    #[test]
    fn zstd_may_have_skippable_frames() {
        let skippable = b"\x5a\x2a\x4d\x18\x03\0\0\0abc";
        let file = [skippable, &zstd(b"a")[..], skippable, &zstd(b"b")].concat();
        let (tar, totals) = read(&file).unwrap();
        assert_eq!((&tar[..], totals.chunks.count()), (&b"ab"[..], 4));
        let message = problem(&[&zstd(b"a")[..], b"garbage"].concat());
        assert!(message.contains("zstd data is damaged"), "{message}");
    }

    #[test]
    fn zstd_windows_are_limited() {
        // RFC 8878 §3.1.1.1: no flags, a window of 2^(10 + exponent), and an empty raw block, the last.
        let frame = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0];
        assert_eq!(read(&frame(27)).unwrap().0, b"");
        assert!(matches!(read(&frame(28)), Err(Problem::Window)));
    }

    #[test]
    fn incomplete_files_are_errors() {
        let (gzip, zstd) = (gzip(&sample(5000)), zstd(&sample(5000)));
        for (format, file) in [("gzip", gzip), ("zstd", zstd)] {
            for length in (4..file.len()).step_by(7) {
                let message = problem(&file[..length]);
                assert!(message.contains(format) && message.contains("damaged or incomplete"), "{message}");
            }
        }
    }

    #[test]
    fn other_formats_are_named() {
        let cases: [(&[u8], &str); 6] = [
            (
                b"\xfd7zXZ\0\0",
                "this is an xz file, not a layer, which is a tar or one compressed with gzip or zstd; decompress it",
            ),
            (b"BZh91AY", "bzip2 -d"),
            (b"PK\x03\x04", "a zip archive"),
            (b"", "the file is empty"),
            (b"hello", "a file of unknown format"),
            (&[1; 2000], "a file of unknown format"),
        ];
        for (file, expected) in cases {
            let message = problem(file);
            assert!(message.contains(expected), "{message}");
        }
        // A tar begins with the name of a file.
        let mut header = tar::Header::new_ustar();
        header.set_path("BZh").unwrap();
        header.set_cksum();
        assert!(read(header.as_bytes()).is_ok());
    }

    #[test]
    fn cancellation_and_errors_of_the_file_are_not_damage() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
        }
        let cancel = Cancel::new();
        let watch = Watch { progress: &|_| (), cancel: &cancel };
        // More than the beginning, by which the format is recognized.
        let file = gzip(&sample(100_000));
        let mut stream = Decompressed::new(file.chain(Failing), watch).unwrap();
        let error = Problem::from(stream.read_to_end(&mut Vec::new()).unwrap_err());
        assert!(matches!(error, Problem::Read(_)), "{error:?}");
        let mut stream = Decompressed::new(&file[..], watch).unwrap();
        cancel.cancel();
        let error = Problem::from(stream.read(&mut [0]).unwrap_err());
        assert!(matches!(error, Problem::Cancelled(_)), "{error:?}");
    }

    #[test]
    fn progress_is_the_size_of_the_file() {
        let total = std::sync::atomic::AtomicU64::new(0);
        let progress = |bytes| {
            total.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        };
        let (file, cancel) = (gzip(&sample(1_000_000)), Cancel::new());
        let stream = Decompressed::new(&file[..], Watch { progress: &progress, cancel: &cancel }).unwrap();
        stream.finish().unwrap();
        assert_eq!(total.into_inner(), file.len() as u64);
    }

    #[test]
    fn shares_add_up_to_the_chunks() {
        let chunks = Chunks(vec![(10, 0), (20, 100), (23, 100), (24, 1100), (1024, 1101)]);
        let shares = |ends: &[u64]| chunks.shares(ends.iter().copied()).collect::<Vec<_>>();
        assert_eq!(shares(&[50, 100, 600, 1100, 1101]), [15, 8, 0, 1, 1000]);
        assert_eq!(shares(&[1101]), [1024]);
        assert_eq!(shares(&[0, 0, 1]), [10, 0, 0]);
        assert_eq!(shares(&[]), [0; 0]);
        let huge = Chunks(vec![(u64::MAX, u64::MAX)]);
        assert_eq!(huge.shares([u64::MAX / 2, u64::MAX]).sum::<u64>(), u64::MAX);
        let every = shares(&(0..=1101).collect::<Vec<_>>());
        assert_eq!((every.iter().sum::<u64>(), every.iter().max()), (1024, Some(&1000)));
    }
}
