//! Reads what the manifest names: the sizes, digests and link texts that planning needs, and later
//! the contents themselves. The only module that reads inputs from disk.
//!
//! What a file *is* comes from the manifest, never from the disk: in a sandbox every input is a
//! symlink, under remote execution none is, and mode bits differ from machine to machine. So files
//! are followed through any link, trees are walked through theirs, and only a declared symlink is
//! ever asked for its text.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap as FoldHashMap;
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::image_path::{self, ImagePath};
use crate::manifest::{self, Manifest, Source};
use crate::worker::Cancel;

/// How deep a tree artifact may be; deeper means a symlink that leads back to a parent.
const MAX_TREE_DEPTH: usize = 256;
/// A thread of its own is worth it from so many entries of a manifest on.
const MIN_SHARE: usize = 2048;
/// How much of a file is read at a time to hash it.
const HASH_BYTES: usize = 1 << 20;
/// The magic numbers of executable content are at most this long.
const MAGIC_BYTES: usize = 4;

/// Why an input cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {error}; is it an input of the action?", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{} is {what}, which cannot be put into a layer", path.display())]
    Kind { path: PathBuf, what: &'static str },
    #[error("{} is nested more than {MAX_TREE_DEPTH} directories deep; does a symlink in it lead back to a parent?", path.display())]
    Depth { path: PathBuf },
    #[error("{} changed while it was read; build again", path.display())]
    Changed { path: PathBuf },
    #[error("{}: {error}", tree.display())]
    Path { tree: PathBuf, error: image_path::Error },
    #[error("cancelled")]
    Cancelled,
}

/// The digests that Bazel knows, by exec path. Opaque: equal digests mean equal contents.
pub type Digests = FoldHashMap<Bytes, Bytes>;

/// One entry of the image, with all that planning needs to know of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub path: ImagePath,
    pub content: Content,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    File(Arc<FileContent>),
    Symlink(Vec<u8>),
    Empty,
}

/// A file whose content goes into the layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// Where to open it.
    pub file: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Equal for equal contents; `None` where nothing needs to know.
    pub digest: Option<Bytes>,
    /// Whether the content begins like something that can be executed; `None` where nobody asked.
    pub executable: Option<bool>,
}

/// What is asked about each file besides its size.
#[derive(Debug, Clone, Copy)]
pub struct Questions {
    /// Find contents of at least this size that are equal.
    pub dedupe_from: Option<u64>,
    /// Find executable content.
    pub executable: bool,
}

/// What a look at a file told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    pub size: u64,
    /// `None` where nobody asked.
    pub executable: Option<bool>,
}

/// What is known of files, by digest: an entry of some 150 bytes saves a system call or three.
pub type KnownFiles = Cache<Bytes, FileFacts>;

/// Where inputs are and what is known of them beforehand.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The directory to which exec paths are relative (a multiplex worker's `sandbox_dir`).
    pub base: &'a Path,
    /// May be empty.
    pub digests: &'a Digests,
    pub known: &'a KnownFiles,
    pub cancel: &'a Cancel,
}

impl Inputs<'_> {
    /// The whole content of a small input such as the manifest.
    pub fn read(&self, exec_path: &Path) -> Result<Vec<u8>, Error> {
        let path = self.base.join(exec_path);
        std::fs::read(&path).map_err(|error| Error::Read { path, error })
    }

    /// The entries of `manifest` that `wanted` accepts by their image path, trees expanded, sorted by
    /// image path.
    pub fn items(
        &self,
        manifest: &Manifest,
        questions: Questions,
        wanted: impl Fn(&ImagePath) -> bool + Sync,
    ) -> Result<Vec<Item>, Error> {
        // To ask the system for a size takes some microseconds.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = manifest.entries.len().div_ceil(threads).max(MIN_SHARE);
        let mut items = std::thread::scope(|scope| {
            let wanted = &wanted;
            let shares = manifest.entries.chunks(share);
            let looks: Vec<_> =
                shares.map(|entries| scope.spawn(move || self.items_of(entries, wanted))).collect();
            let mut items = Vec::with_capacity(manifest.entries.len());
            for look in looks {
                items.extend(look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(items)
        })?;
        self.answer(&mut items, questions)?;
        Ok(items)
    }

    fn items_of(
        &self,
        entries: &[manifest::Entry],
        wanted: impl Fn(&ImagePath) -> bool,
    ) -> Result<Vec<Item>, Error> {
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            self.check_cancelled()?;
            if let Source::Tree(tree) = &entry.source {
                self.walk(tree, &entry.path, MAX_TREE_DEPTH, &mut |path, file, size| {
                    if wanted(&path) {
                        let facts = FileFacts { size, executable: None };
                        items.push(Item { path, content: self.file(file, self.digest(file), facts) });
                    }
                })?;
                continue;
            }
            if !wanted(&entry.path) {
                continue;
            }
            let content = match &entry.source {
                Source::File(file) => {
                    let digest = self.digest(file);
                    let facts = self.facts(file, digest.as_ref())?;
                    self.file(file, digest, facts)
                }
                Source::DeclaredSymlink(link) => Content::Symlink(self.link_text(link)?),
                Source::Symlink(text) => Content::Symlink(text.clone()),
                Source::Empty | Source::Tree(_) => Content::Empty,
            };
            items.push(Item { path: entry.path.clone(), content });
        }
        Ok(items)
    }

    /// The image paths that `manifest` stands for, trees expanded, without a look at any other input.
    pub fn paths(&self, manifest: &Manifest) -> Result<Vec<ImagePath>, Error> {
        let mut paths = Vec::with_capacity(manifest.entries.len());
        for entry in &manifest.entries {
            match &entry.source {
                Source::Tree(tree) => {
                    self.walk(tree, &entry.path, MAX_TREE_DEPTH, &mut |path, _, _| paths.push(path))?;
                }
                _ => paths.push(entry.path.clone()),
            }
        }
        Ok(paths)
    }

    fn file(&self, exec_path: &Path, digest: Option<Bytes>, facts: FileFacts) -> Content {
        let FileFacts { size, executable } = facts;
        Content::File(Arc::new(FileContent { file: self.base.join(exec_path), size, digest, executable }))
    }

    /// The digest of an input, where it is known.
    pub fn digest(&self, exec_path: &Path) -> Option<Bytes> {
        self.digests.get(exec_path.as_os_str().as_bytes()).cloned()
    }

    fn facts(&self, exec_path: &Path, digest: Option<&Bytes>) -> Result<FileFacts, Error> {
        if let Some(facts) = digest.and_then(|digest| self.known.get(digest)) {
            return Ok(facts);
        }
        let facts = FileFacts { size: self.size(exec_path)?, executable: None };
        self.remember(digest, facts);
        Ok(facts)
    }

    fn remember(&self, digest: Option<&Bytes>, facts: FileFacts) {
        if let Some(digest) = digest {
            // A copy: a slice of the request would keep all of it in memory.
            self.known.put(Bytes::copy_from_slice(digest), facts, 1);
        }
    }

    fn size(&self, exec_path: &Path) -> Result<u64, Error> {
        let path = self.base.join(exec_path);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
            Ok(metadata) if metadata.is_dir() => {
                Err(Error::Kind { path, what: "a directory where a file was expected" })
            }
            Ok(_) => Err(Error::Kind { path, what: "a device, pipe or socket" }),
            Err(error) => Err(Error::Read { path, error }),
        }
    }

    fn link_text(&self, exec_path: &Path) -> Result<Vec<u8>, Error> {
        let path = self.base.join(exec_path);
        match std::fs::read_link(&path) {
            Ok(text) => Ok(text.into_os_string().into_encoded_bytes()),
            Err(error) => Err(Error::Read { path, error }),
        }
    }

    /// Visits all files below `directory`, through links to files and directories, as Bazel does.
    fn walk(
        &self,
        directory: &Path,
        image_path: &ImagePath,
        depth: usize,
        visit: &mut dyn FnMut(ImagePath, &Path, u64),
    ) -> Result<(), Error> {
        let here = self.base.join(directory);
        if depth == 0 {
            return Err(Error::Depth { path: here });
        }
        let read = |error| Error::Read { path: here.clone(), error };
        for child in std::fs::read_dir(&here).map_err(read)? {
            let name = child.map_err(read)?.file_name();
            let child = directory.join(&name);
            let child_path = image_path
                .join(name.as_bytes())
                .map_err(|error| Error::Path { tree: here.clone(), error })?;
            let path = self.base.join(&child);
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => visit(child_path, &child, metadata.len()),
                Ok(metadata) if metadata.is_dir() => self.walk(&child, &child_path, depth - 1, visit)?,
                Ok(_) => return Err(Error::Kind { path, what: "a device, pipe or socket" }),
                Err(error) => return Err(Error::Read { path, error }),
            }
        }
        Ok(())
    }

    /// Fills in the digests of files that may be equal to another, and looks at the first bytes of
    /// files, as far as `questions` ask for it.
    fn answer(&self, items: &mut [Item], questions: Questions) -> Result<(), Error> {
        items.sort_by(|a, b| a.path.cmp(&b.path));
        let repeated: HashSet<ImagePath> = items
            .windows(2)
            .filter(|pair| pair[0].path == pair[1].path)
            .map(|pair| pair[0].path.clone())
            .collect();
        let mut same_size: HashMap<u64, Vec<&mut Arc<FileContent>>> = HashMap::new();
        for item in items {
            let Content::File(content) = &mut item.content else { continue };
            if questions.executable && content.executable.is_none() {
                self.check_cancelled()?;
                let executable = Some(looks_executable(&content.file)?);
                self.remember(content.digest.as_ref(), FileFacts { size: content.size, executable });
                Arc::make_mut(content).executable = executable;
            }
            let dedupe = questions.dedupe_from.is_some_and(|from| content.size >= from.max(1));
            if dedupe || repeated.contains(&item.path) {
                same_size.entry(content.size).or_default().push(content);
            }
        }
        for contents in same_size.into_values().filter(|contents| contents.len() > 1) {
            // Digests from two sources cannot be compared, so it is all or none.
            if contents.iter().all(|content| content.digest.is_some()) {
                continue;
            }
            for content in contents {
                let digest = self.sha256(content)?;
                Arc::make_mut(content).digest = Some(digest);
            }
        }
        Ok(())
    }

    fn sha256(&self, content: &FileContent) -> Result<Bytes, Error> {
        let mut reader = Reader::open(content)?;
        let mut hasher = Sha256::new();
        let mut buffer = Vec::new();
        for offset in (0..content.size).step_by(HASH_BYTES) {
            self.check_cancelled()?;
            buffer.clear();
            reader.append(offset, HASH_BYTES.min((content.size - offset) as usize), &mut buffer)?;
            hasher.update(&buffer);
        }
        Ok(Bytes::copy_from_slice(&hasher.finalize()))
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// ELF images and scripts.
fn looks_executable(path: &Path) -> Result<bool, Error> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    File::open(path)
        .and_then(|file| file.take(MAGIC_BYTES as u64).read_to_end(&mut magic))
        .map_err(|error| Error::Read { path: path.to_path_buf(), error })?;
    Ok(magic.starts_with(b"#!") || magic == b"\x7fELF")
}

/// Reads parts of one file, and insists that the file has the size that it was planned with.
pub struct Reader<'a> {
    content: &'a FileContent,
    file: File,
}

impl<'a> Reader<'a> {
    /// Opens the file.
    pub fn open(content: &'a FileContent) -> Result<Reader<'a>, Error> {
        match File::open(&content.file) {
            Ok(file) => Ok(Reader { content, file }),
            Err(error) => Err(Error::Read { path: content.file.clone(), error }),
        }
    }

    /// Appends `length` bytes from `offset` on to `buffer`. A part that reaches the end of the file
    /// also checks that the file ends there.
    pub fn append(&mut self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let start = buffer.len();
        // One byte more than is expected: a file that has grown shows without another system call.
        let beyond = usize::from(offset + length as u64 == self.content.size);
        buffer.reserve(length + beyond);
        let mut filled = 0;
        // A read of a regular file is short only at its end.
        while filled < length {
            let room = &mut buffer.spare_capacity_mut()[..length + beyond - filled];
            let read = match rustix::io::pread(&self.file, room, offset + filled as u64) {
                Ok((read, _)) => read.len(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    return Err(Error::Read { path: self.content.file.clone(), error: error.into() });
                }
            };
            if read == 0 {
                break;
            }
            filled += read;
            // SAFETY: the vector was `start + filled - read` bytes long, and the system call has
            // initialised the `read` bytes that follow these, which lie within the capacity.
            unsafe { buffer.set_len(start + filled) };
        }
        buffer.truncate(start + length);
        if filled == length { Ok(()) } else { Err(Error::Changed { path: self.content.file.clone() }) }
    }
}
