//! What can be wrong with a layer or an image.

use std::io;

use bazel_worker::Cancelled;

use super::image::{MAX_IMAGES, SELECT};
use super::name::Invalid;
use super::store::MAX_JSON_BYTES;
use super::tar::{MAX_ENTRIES, MAX_EXTENSION_BYTES, MAX_TEXT_BYTES};
use crate::contents::SCHEMA;
use crate::show::show;

/// Why something cannot be read. Messages are of bounded length and printable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{file}: {problem}")]
    File {
        /// The file, and what in it.
        file: String,
        problem: Problem,
    },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// `problem` in `file`.
    pub fn new(file: impl Into<String>, problem: impl Into<Problem>) -> Error {
        match problem.into() {
            Problem::Cancelled(cancelled) => Error::Cancelled(cancelled),
            problem => Error::File { file: file.into(), problem },
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot be read: {0}")]
    Read(io::Error),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error("the file is empty; build or copy it again")]
    EmptyFile,
    #[error("this is {is}, not a layer, which is a tar or one compressed with gzip or zstd; {advice}")]
    NotALayer { is: &'static str, advice: &'static str },
    #[error("the {format} data is damaged or incomplete at byte {at}: {}; build or copy the file again", show(error.as_bytes()))]
    Damaged { format: &'static str, at: u64, error: String },
    #[error(
        "the gzip data ends before byte {at}, and what follows is neither gzip data nor zeros; build or copy the file again"
    )]
    TrailingGarbage { at: u64 },
    #[error(
        "the zstd data needs a window of more than 128 MiB, the limit of the zstd program; compress it again without --long"
    )]
    Window,
    #[error("has more than {0} gzip members or zstd frames; compress it again as one")]
    Chunks(u64),
    #[error(
        "the tar is damaged at byte {at}: the checksum of a header is wrong; build or copy the file again"
    )]
    Checksum { at: u64 },
    #[error("the tar ends at byte {at}, in {within}; build or copy the file again")]
    Truncated { at: u64, within: String },
    #[error("the tar is damaged at byte {at}: one empty block, and then more; build or copy the file again")]
    LoneEmptyBlock { at: u64 },
    #[error("the entry {entry} has an invalid {field}; create the tar with another program")]
    Field { entry: String, field: &'static str },
    #[error("the entry {entry} has {invalid}, which is not a path in an image; create the tar without it")]
    Path { entry: String, invalid: Invalid },
    #[error("the entry {0} is a sparse file, which pylayer does not read; create the tar without --sparse")]
    Sparse(String),
    #[error("the entry {0} continues a file of another volume; create the tar without --multi-volume")]
    MultiVolume(String),
    #[error(
        "the extension headers before byte {at} have more than {MAX_EXTENSION_BYTES} bytes; create the tar with shorter names and fewer extended attributes"
    )]
    LongExtension { at: u64 },
    #[error("has more than {MAX_ENTRIES} entries; divide the files among several layers")]
    Entries,
    #[error("{0} has more than {MAX_JSON_BYTES} bytes; name an image, or build it again")]
    LongJson(String),
    #[error("{0} is not valid: {error}; build or copy the image again", error = show(.1.as_bytes()))]
    Json(String, String),
    #[error("has no {0}, so the image is incomplete; build or copy it again")]
    Missing(String),
    #[error("the digest of {of} is {found}, and should be {expected}; build or copy the image again")]
    Digest { of: String, found: String, expected: String },
    #[error(
        "the diff ID of {of}, which is the digest of its uncompressed tar, is {found}, and in the image's configuration it is {expected}; build or copy the image again"
    )]
    DiffId { of: String, found: String, expected: String },
    #[error(
        "the number of layers is {layers}, and that of diff IDs in the configuration {diff_ids}; build or copy the image again"
    )]
    DiffIdCount { layers: usize, diff_ids: usize },
    #[error("{} is not a SHA-256 digest (sha256: and 64 hexadecimal digits); convert the image with skopeo copy", show(.0.as_bytes()))]
    DigestForm(String),
    #[error("{of} is encrypted; decrypt the image with skopeo copy --decryption-key")]
    Encrypted { of: String },
    #[error(
        "{of} is not part of the image: its media type {media_type} is that of layers that are stored elsewhere; pull the image with its foreign layers"
    )]
    Foreign { of: String, media_type: String },
    #[error("{of} has the media type {}, which is not that of a layer; name another image", show(media_type.as_bytes()))]
    MediaType { of: String, media_type: String },
    #[error("contains several images: {0}; choose one with {SELECT}={1}")]
    Several(String, String),
    #[error("there is no choice of images here; omit {SELECT}")]
    NothingToSelect,
    #[error("contains no image {}, only {choices}; choose one with {SELECT}", show(select.as_bytes()))]
    NoSuchImage { select: String, choices: String },
    #[error("contains no image; name one that does")]
    NoImage,
    #[error(
        "has more than {MAX_IMAGES} images and indexes, or indexes nested too deeply; name a smaller image, or layers"
    )]
    Images,
    #[error(
        "the directory is not an OCI layout (oci-layout and index.json), and contains no layers (*.tar, *.tar.gz, *.tgz, *.tar.zst or *.tzst); name an image, a layer or a directory of them"
    )]
    NoLayers,
    #[error("this is neither a file nor a directory; save the layer or image to a file first")]
    NotAFile,
    #[error("this is the archive of an image, and compressed as a whole; decompress it first")]
    CompressedImage,
    #[error("its schema is {}, and this program reads {SCHEMA}; write it again with pylayer inspect --json", show(.0.as_bytes()))]
    Schema(String),
    #[error("is not the output of pylayer inspect --json: {}; write it again, or name an image", show(.0.as_bytes()))]
    Contents(String),
    #[error("describes a whole image, and cannot be one of several layers; name it alone")]
    ContentsAmongOthers,
    #[error(
        "the paths and attributes have more than {MAX_TEXT_BYTES} bytes in total; divide the files among several layers"
    )]
    Text,
}

/// A problem that travelled through [`io::Read`], or an error of the operating system.
impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        error.downcast().unwrap_or_else(Problem::Read)
    }
}

/// Takes a problem through [`io::Read`].
impl From<Problem> for io::Error {
    fn from(problem: Problem) -> io::Error {
        io::Error::other(problem)
    }
}
