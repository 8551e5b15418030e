//! What the layers of an image contain: read from tars, written and read as JSON.
//!
//! `pylayer inspect --json` and the report of an image have this form, and `diff` and `explain` read it
//! (`docs/formats.md`, "Contents of an image").

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::groups::{Groups, LayerGroup};

/// The value of [`ImageContents::schema`]. Changes with each incompatible change of the format.
pub const SCHEMA: &str = "pylayer.image.v1";

/// An image, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageContents {
    pub schema: String,
    /// The label of the target, or what was read.
    pub name: String,
    /// What the entries belong to, in the order of their first entries.
    #[serde(default)]
    pub components: Vec<Component>,
    /// From bottom to top.
    pub layers: Vec<LayerContents>,
    /// How files were divided among the layers. Unknown for images that were read from tars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Partition>,
}

/// An interpreter, a distribution, a repository, or another directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    pub kind: ComponentKind,
    /// The normalized name of a distribution (`numpy`), `python`, the name of a repository (`_main`), or a
    /// top-level directory (`/usr`).
    pub name: String,
    /// Of an interpreter (`3.11`) or a distribution (`1.26.4`), if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentKind {
    Interpreter,
    Distribution,
    Repository,
    Directory,
}

impl ImageContents {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("strings and numbers are JSON");
        text.push('\n');
        text
    }
}

impl std::fmt::Display for Component {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        match &self.version {
            Some(version) => write!(formatter, "{} {version}", self.name),
            None => formatter.write_str(&self.name),
        }
    }
}

/// A layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerContents {
    /// The name of a layer of `py_image_layer`, the name of a file without its extension, or `layer 3`.
    pub name: String,
    pub media_type: String,
    /// Of the file: `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Of the file, in bytes.
    pub size: u64,
    /// Of the uncompressed tar.
    pub diff_id: String,
    /// Of the uncompressed tar, in bytes.
    pub tar_size: u64,
    /// The number of gzip members or zstd frames; 1 for a plain tar.
    pub chunks: u64,
    /// In the order of the tar.
    pub entries: Vec<Entry>,
}

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Relative to the image's root, without a leading `./` or a trailing slash.
    #[serde(with = "text")]
    pub path: Vec<u8>,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The bytes of content in the tar: 0 for anything but a file.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// An estimate: the entry's share of the compressed chunks that it is in, by uncompressed bytes with
    /// headers and padding. The shares of all entries add up to almost the size of the layer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub compressed: u64,
    /// Of a file's content, 64 hexadecimal digits; that of a hard link's target in the same layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The text of a symlink, or the path of a hard link's target in the form of `path`.
    #[serde(default, with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub link: Option<Vec<u8>>,
    /// `e_machine` of an ELF image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<u16>,
    /// Major and minor number of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Permission bits, including setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uname: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gname: String,
    /// Seconds since 1970, and nanoseconds after that.
    pub mtime: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nanoseconds: u64,
    /// Extended attributes (`SCHILY.xattr.…` in a PAX header), by name; values are escaped like paths.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// Index into [`ImageContents::components`].
    #[serde(default)]
    pub component: usize,
}

impl Entry {
    /// An entry without content, owned by root.
    pub fn new(path: &[u8], kind: Kind) -> Entry {
        Entry {
            path: path.to_vec(),
            kind,
            size: 0,
            compressed: 0,
            sha256: None,
            link: None,
            machine: None,
            device: None,
            mode: 0,
            uid: 0,
            gid: 0,
            uname: String::new(),
            gname: String::new(),
            mtime: 0,
            nanoseconds: 0,
            xattrs: BTreeMap::new(),
            component: 0,
        }
    }
}

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Directory,
    File,
    Symlink,
    Hardlink,
    /// Deletes `path` of the layers below (OCI image-spec, `layer.md`). `path` has no `.wh.` prefix.
    Whiteout,
    /// Deletes everything below the directory `path` that is in the layers below.
    Opaque,
    Character,
    Block,
    Fifo,
}

/// How the files of an image were divided among its layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Partition {
    /// With patterns as they were matched: the placeholders are filled in.
    pub groups: Groups,
    /// Patterns of excluded paths, likewise.
    pub exclude: Vec<String>,
    /// Default groups whose files are not in the image.
    pub dropped: Vec<String>,
    /// What is in no layer because it or what it leads to is excluded, or because its group is dropped.
    pub left_out: Vec<LeftOut>,
    /// The target that the image was built for.
    pub target: Option<Target>,
}

/// A file or symlink that is in no layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    #[serde(with = "text")]
    pub path: Vec<u8>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// The text of a symlink that is not excluded itself, but leads to an excluded path.
    #[serde(default, with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub link: Option<Vec<u8>>,
}

/// A `py_image_layer`, with its attributes as they are in the BUILD file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Target {
    /// `//app:layers`.
    pub label: String,
    /// Relative to its workspace: `app/BUILD.bazel`.
    pub build_file: String,
    /// In the same order as [`Groups::layer_groups`].
    pub layer_groups: Vec<LayerGroup>,
    /// In the same order as [`Partition::exclude`].
    pub exclude: Vec<ExcludePattern>,
    /// The platform's processor, as in `@platforms//cpu`.
    pub cpu: Option<String>,
    pub max_layers: Option<u32>,
}

/// A pattern of excluded paths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExcludePattern {
    /// `exclude` or `tar_args`.
    pub attribute: String,
    pub pattern: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Bytes as text: a backslash is written `\\`, and a byte that is not UTF-8 `\xNN`.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::to_text(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::from_text(&text).ok_or_else(|| {
            de::Error::custom("a backslash in a path is written \\\\, and a byte that is not UTF-8 \\xNN")
        })
    }
}

/// The same for bytes that may be absent.
mod optional_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_some(&super::to_text(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        #[derive(Deserialize)]
        struct Text(#[serde(with = "super::text")] Vec<u8>);
        Ok(Option::<Text>::deserialize(deserializer)?.map(|Text(bytes)| bytes))
    }
}

/// Bytes as text that [`from_text`] reads back.
pub fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for part in chunk.valid().split_inclusive('\\') {
            text.push_str(part);
            if part.ends_with('\\') {
                text.push('\\');
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The bytes that [`to_text`] wrote as `text`.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('\\') {
            bytes.push(b'\\');
            rest = after;
        } else {
            let digits = rest.strip_prefix('x')?.get(..2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[3..];
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_be_read_back() {
        for bytes in [&b"app/caf\xc3\xa9 menu.json"[..], b"a\\b\xff\\x41", b"", b"\\", b"\xff\xfe"] {
            assert_eq!(from_text(&to_text(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(to_text(b"a\\b\xff"), "a\\\\b\\xff");
        for text in ["a\\", "\\xf", "\\xgg", "\\n", "\\x€"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}
