//! Parses a layer's manifest: which image paths the layer may contain, and where their contents come from.
//!
//! The Starlark rule writes one line per runfile, with tab-separated fields:
//!
//! ```text
//! f  <image path>  <exec path>     a file: its content
//! t  <image path>  <exec path>     a tree artifact: the files below it
//! l  <image path>  <exec path>     a declared symlink: its own target, even if it dangles
//! g  <image path>  <exec path>     `f` or `l`: an output for which Bazel 7 does not reveal the kind
//! s  <image path>  <target>        a symlink with this target
//! e  <image path>                  an empty file that does not exist on disk
//! ```
//!
//! Image paths are relative to the image's root (`app/bin.runfiles/_main/x.py`), exec paths to the
//! action's working directory. A tab, newline or backslash in a field is written `\t`, `\n` or `\\`.
//!
//! The manifest is separate from the flagfile because Bazel expands flagfile lines that begin with `@`,
//! and a runfile may be called `@types/node`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::exec_path;
use crate::image_path::{self, ImagePath};
use crate::show::show;

/// Why a manifest cannot be parsed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "line {line} of the manifest is malformed: \"{text}\"; expected a kind (f, t, l, g, s or e) and its fields, separated by tabs, with a backslash written `\\\\`, a tab `\\t` and a newline `\\n`"
    )]
    Line { line: usize, text: String },
    #[error("line {line} of the manifest: {error}")]
    Path { line: usize, error: image_path::Error },
    #[error("line {line} of the manifest: {error}")]
    Source { line: usize, error: exec_path::Error },
}

/// The typical overhead of a heap allocation.
const ALLOCATION_BYTES: usize = 16;

/// Where the content of an entry comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// The content of the file at this exec path, following symlinks.
    File(PathBuf),
    /// All files below the directory at this exec path.
    Tree(PathBuf),
    /// The target of the symlink at this exec path.
    DeclaredSymlink(PathBuf),
    /// The output at this exec path: [`Source::File`] or [`Source::DeclaredSymlink`].
    FileOrDeclaredSymlink(PathBuf),
    /// A symlink with this target.
    Symlink(Vec<u8>),
    /// An empty file.
    Empty,
}

/// One line of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ManifestEntry {
    pub path: ImagePath,
    pub source: Source,
}

/// A parsed manifest, in file order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    pub entries: Vec<ManifestEntry>,
}

impl Manifest {
    /// Parses a manifest file.
    pub fn parse(text: &[u8]) -> Result<Manifest, Error> {
        text.split(|&byte| byte == b'\n')
            .enumerate()
            .filter(|(_, line)| !line.is_empty())
            .map(|(index, line)| parse_line(index + 1, line))
            .collect::<Result<_, _>>()
            .map(|entries| Manifest { entries })
    }

    /// The exec paths of the entries' contents.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.entries.iter().filter_map(|entry| match &entry.source {
            Source::File(path)
            | Source::Tree(path)
            | Source::DeclaredSymlink(path)
            | Source::FileOrDeclaredSymlink(path) => Some(path.as_path()),
            Source::Symlink(_) | Source::Empty => None,
        })
    }

    /// The image paths of entries that are, or may be, symlinks.
    pub fn links(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter_map(|entry| match &entry.source {
            Source::Symlink(_) | Source::DeclaredSymlink(_) | Source::FileOrDeclaredSymlink(_) => {
                Some(entry.path.as_bytes())
            }
            Source::File(_) | Source::Tree(_) | Source::Empty => None,
        })
    }

    /// The manifest's approximate memory use in bytes.
    pub fn weight(&self) -> u64 {
        let texts = self.entries.iter().map(|entry| {
            let source = match &entry.source {
                Source::File(path)
                | Source::Tree(path)
                | Source::DeclaredSymlink(path)
                | Source::FileOrDeclaredSymlink(path) => path.as_os_str().len(),
                Source::Symlink(text) => text.len(),
                Source::Empty => 0,
            };
            entry.path.tar_name().len() + source
        });
        let lines = self.entries.len() * (size_of::<ManifestEntry>() + 2 * ALLOCATION_BYTES);
        (texts.sum::<usize>() + lines) as u64
    }
}

fn parse_line(number: usize, line: &[u8]) -> Result<ManifestEntry, Error> {
    let malformed = || Error::Line { line: number, text: show(line) };
    let exec_path = |path| exec_path::input(path).map_err(|error| Error::Source { line: number, error });
    let fields: Vec<_> =
        line.split(|&byte| byte == b'\t').map(unescape).collect::<Option<_>>().ok_or_else(malformed)?;
    let fields: Vec<&[u8]> = fields.iter().map(AsRef::as_ref).collect();
    let (path, source) = match fields[..] {
        [b"f", path, file] => (path, Source::File(exec_path(file)?)),
        [b"t", path, tree] => (path, Source::Tree(exec_path(tree)?)),
        [b"l", path, link] => (path, Source::DeclaredSymlink(exec_path(link)?)),
        [b"g", path, output] => (path, Source::FileOrDeclaredSymlink(exec_path(output)?)),
        // A tar header would silently truncate the target at a NUL.
        [b"s", path, text] if !text.is_empty() && !text.contains(&0) => {
            (path, Source::Symlink(text.to_vec()))
        }
        [b"e", path] => (path, Source::Empty),
        _ => return Err(malformed()),
    };
    let path = ImagePath::new(path).map_err(|error| Error::Path { line: number, error })?;
    Ok(ManifestEntry { path, source })
}

/// Undoes the escapes of a field; `None` if a backslash does not begin a valid escape.
fn unescape(field: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !field.contains(&b'\\') {
        return Some(Cow::Borrowed(field));
    }
    let mut plain = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b't' => b'\t',
                b'n' => b'\n',
                b'\\' => b'\\',
                _ => return None,
            },
            other => other,
        });
    }
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, source: Source) -> ManifestEntry {
        ManifestEntry { path: ImagePath::new(path).unwrap(), source }
    }

    #[test]
    fn every_kind_is_read() {
        let text = b"f\tapp/a b\tbazel-out/a b\nt\tapp/tree\tout/tree\nl\tapp/l\tout/l\ng\tapp/g\tout/g\ns\tapp/s\t../x\ne\tapp/__init__.py\n";
        assert_eq!(
            Manifest::parse(text).unwrap().entries,
            [
                entry("app/a b", Source::File("bazel-out/a b".into())),
                entry("app/tree", Source::Tree("out/tree".into())),
                entry("app/l", Source::DeclaredSymlink("out/l".into())),
                entry("app/g", Source::FileOrDeclaredSymlink("out/g".into())),
                entry("app/s", Source::Symlink(b"../x".to_vec())),
                entry("app/__init__.py", Source::Empty),
            ]
        );
    }

    #[test]
    fn escapes_and_at_signs_survive() {
        let entries = Manifest::parse(b"f\t@types/a\\tb\\nc\\\\d\t@x\n").unwrap().entries;
        assert_eq!(entries, [entry("@types/a\tb\nc\\d", Source::File("@x".into()))]);
    }

    #[test]
    fn malformed_lines_are_named() {
        for text in
            ["x\ta\tb", "f\ta", "e\ta\tb", "f\ta\tb\tc", "s\ta\t", "s\ta\tb\0c", "f", "f\ta\\q\tb", "f\ta\\"]
        {
            let error = Manifest::parse(format!("e\tok\n{text}\n").as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("line 2 of the manifest is malformed"), "{text}: {error}");
        }
        for kind in ["f", "t", "l", "g"] {
            let error = Manifest::parse(format!("{kind}\ta\t../../b").as_bytes()).unwrap_err();
            assert!(
                error.to_string().starts_with("line 1 of the manifest: exec path \"../../b\": "),
                "{error}"
            );
        }
        let error = Manifest::parse(b"f\t/a\tb").unwrap_err();
        assert!(error.to_string().starts_with("line 1 of the manifest: image path \"/a\": "), "{error}");
    }
}
