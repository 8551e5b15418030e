//! Reads the inputs in a manifest: the sizes, digests and link targets that planning needs, and later
//! the contents. The only module that reads inputs from disk.
//!
//! What kind an entry is comes from the manifest, not from the disk: in a sandbox every input is a
//! symlink, under remote execution none is, and mode bits differ between machines. So links are followed
//! for files and within trees, and only declared symlinks become links.
//!
//! The exception is outputs for which Bazel 7 does not say whether they are declared symlinks. A link on
//! disk is treated as one only if that is certain. If it is neither certain nor ruled out, the action
//! fails: see `Inputs::declared_text`.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use foldhash::HashMap as FoldHashMap;
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::elf;
use crate::image_path::{self, ImagePath};
use crate::manifest::{Manifest, ManifestEntry, Source};
use crate::settings::Settings;
use crate::show::{hex, show_path};
use crate::stamp::Stamp;
use bazel_worker::{Cancel, Cancelled};

/// The maximum depth of a tree artifact; a deeper one contains a symlink to a parent directory.
const MAX_TREE_DEPTH: usize = 256;
/// The maximum number of files in a tree artifact: ten times those of the largest wheels together. A
/// larger one has symlinks to directories with such links in turn, which double the tree at each level.
const MAX_TREE_FILES: usize = 4_000_000;
/// The minimum number of manifest entries per thread; with fewer, spawning costs more than it saves.
const MIN_SHARE: usize = 2048;
/// The buffer size for hashing or comparing whole files.
const BLOCK_BYTES: usize = 1 << 20;
/// The length of the longest magic number of a program.
const MAGIC_BYTES: usize = 4;

/// An unusable input.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {error}{}", show_path(path), hint(error))]
    Read { path: PathBuf, error: io::Error },
    #[error("{} is {what}, which cannot be put into a layer", show_path(path))]
    Kind { path: PathBuf, what: &'static str },
    #[error(
        "{} is nested more than {MAX_TREE_DEPTH} directories deep; does a symlink in it point back to a parent?",
        show_path(path)
    )]
    Depth { path: PathBuf },
    #[error(
        "{} has more than {MAX_TREE_FILES} files; do symlinks in it point to directories that contain such symlinks?",
        show_path(path)
    )]
    Fan { path: PathBuf },
    #[error("{} is a source directory, whose files Bazel does not track; in data, list the files instead of the directory: glob([\"{}/**\"])", show_path(path), show_path(path.file_name().unwrap_or_default()))]
    SourceDirectory { path: PathBuf },
    #[error("{} is a directory, and only files can be compared", show_path(path))]
    Directory { path: PathBuf },
    #[error(
        "{} is a symlink, and it is not known whether it was declared as a symlink or represents the file it points to; use --strategy=PyImageLayer=worker or sandboxed, or make it by ctx.actions.symlink(target_path = …), or build with Bazel 8",
        show_path(path)
    )]
    Ambiguous { path: PathBuf },
    #[error("{} changed while it was read; build again", show_path(path))]
    Changed { path: PathBuf },
    #[error("{}: {error}", show_path(tree))]
    Path { tree: PathBuf, error: image_path::Error },
    #[error("cancelled")]
    Cancelled(#[from] Cancelled),
}

/// Advice on an input that cannot be read.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOENT) => "; is it an input of the action?",
        Some(rustix::io::Errno::LOOP) => "; it is a symlink loop",
        Some(rustix::io::Errno::MFILE) => "; raise the limit of open files (ulimit -n)",
        Some(rustix::io::Errno::NFILE) => "; the machine has too many open files",
        _ => "",
    }
}

/// Bazel's digests, by exec path. Opaque: equal digests mean equal contents.
pub type Digests = FoldHashMap<Bytes, Bytes>;

/// An entry of the image, with everything that planning needs to know about its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedEntry {
    pub path: ImagePath,
    pub content: Content,
}

/// The content of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    File(Arc<FileContent>),
    Symlink(Vec<u8>),
    Empty,
}

/// A file whose content goes into the layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileContent {
    /// The path to open.
    pub file: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Equal for equal contents; `None` if not needed.
    pub digest: Option<Bytes>,
    /// Whether the file is an ELF image or a script; `None` if not needed.
    pub executable: Option<bool>,
    /// The file's stamp when the layer was planned.
    pub stamp: Stamp,
    /// Whether digest and stamp together identify the content beyond this request: the digest is from
    /// the request, and the stamp is settled.
    pub lasting: bool,
}

impl FileContent {
    /// What identifies the content across requests, if anything does.
    pub fn lasting_key(&self) -> Option<LastingContent> {
        // A copy, because a slice would keep the whole request in memory.
        let digest = self.digest.as_ref().filter(|_| self.lasting)?;
        Some((Bytes::copy_from_slice(digest), self.stamp))
    }
}

/// Digest and stamp, which together identify content across requests.
pub type LastingContent = (Bytes, Stamp);

/// Caches whether files are ELF images or scripts. An entry takes about 250 bytes and saves three system
/// calls.
pub type KnownFiles = Cache<LastingContent, bool>;

/// What a symlink among the inputs can be, if neither its digest nor its target decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// A declared symlink: regular files are not links here, or are recognized by their targets.
    Declared,
    /// A declared symlink if it is relative: regular files are absolute links here.
    DeclaredIfRelative,
    /// A declared symlink or a regular file.
    Ambiguous,
}

/// The location of the inputs, and what is known about them in advance.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// The directory to which exec paths are relative (a multiplex worker's `sandbox_dir`).
    pub base: &'a Path,
    /// May be empty.
    pub digests: &'a Digests,
    pub known: &'a KnownFiles,
    pub cancel: &'a Cancel,
    /// A time before any file was accessed.
    pub now: SystemTime,
    /// See [`Inputs::compared_to`].
    pub links: Links,
}

impl Inputs<'_> {
    /// The same inputs, with `links` inferred from `regular`, a regular file among them.
    pub fn compared_to(self, regular: &Path) -> Self {
        let links = match std::fs::read_link(self.base.join(regular)) {
            Ok(text) if is_sandbox_link(&text, regular) => Links::Declared,
            Ok(_) => Links::DeclaredIfRelative,
            // If Bazel runs actions locally and without a sandbox, outputs are as their actions left
            // them, including links.
            Err(_) if is_execution_root() => Links::Ambiguous,
            Err(_) => Links::Declared,
        };
        Inputs { links, ..self }
    }

    /// The whole content of a small input such as the manifest, and its stamp after reading.
    pub fn read(&self, exec_path: &Path) -> Result<(Vec<u8>, Stamp), Error> {
        let path = self.base.join(exec_path);
        let mut file = open(&path)?;
        let before = stamp(&file, &path)?;
        let mut text = Vec::new();
        if let Err(error) = file.read_to_end(&mut text) {
            return Err(Error::Read { path, error });
        }
        let after = stamp(&file, &path)?;
        if before.has_same_content(&after) { Ok((text, after)) } else { Err(Error::Changed { path }) }
    }

    /// Digest and stamp of an input, if they identify its content across requests.
    pub fn lasting(&self, exec_path: &Path) -> Option<LastingContent> {
        let digest = self.digest(exec_path)?;
        let metadata = std::fs::metadata(self.base.join(exec_path)).ok()?;
        let stamp = Stamp::of(&metadata);
        // A copy, because a slice would keep the whole request in memory.
        stamp.is_settled(self.now).then(|| (Bytes::copy_from_slice(&digest), stamp))
    }

    /// The entries of `manifest` whose image paths are `wanted`, with trees expanded, sorted by image
    /// path. `settings` determine what is read of their contents.
    pub fn entries(
        &self,
        manifest: &Manifest,
        settings: &Settings,
        wanted: impl Fn(&ImagePath) -> bool + Sync,
    ) -> Result<Vec<ResolvedEntry>, Error> {
        // Each `stat` takes a few microseconds.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = manifest.entries.len().div_ceil(threads).max(MIN_SHARE);
        let mut items = std::thread::scope(|scope| {
            let wanted = &wanted;
            let look = |entries| move || self.entries_of(entries, wanted);
            let looks = manifest.entries.chunks(share).map(|entries| {
                let thread = std::thread::Builder::new().spawn_scoped(scope, look(entries));
                // If no thread can be started, this one does the work.
                thread.map_err(|_| self.entries_of(entries, wanted))
            });
            let looks: Vec<_> = looks.collect();
            let mut items = Vec::with_capacity(manifest.entries.len());
            for look in looks {
                items.extend(match look {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                    Err(done) => done?,
                });
            }
            Ok::<_, Error>(items)
        })?;
        self.check_contents(&mut items, settings)?;
        Ok(items)
    }

    fn entries_of(
        &self,
        entries: &[ManifestEntry],
        wanted: impl Fn(&ImagePath) -> bool,
    ) -> Result<Vec<ResolvedEntry>, Error> {
        let mut items = Vec::with_capacity(entries.len());
        for entry in entries {
            self.cancel.check()?;
            if let Source::Tree(tree) = &entry.source {
                self.walk(tree, &entry.path, &mut |path, file, stamp| {
                    if wanted(&path) {
                        items.push(ResolvedEntry { path, content: self.file(file, stamp)? });
                    }
                    Ok(())
                })?;
                continue;
            }
            if !wanted(&entry.path) {
                continue;
            }
            let content = match &entry.source {
                Source::File(file) => self.file(file, self.stamp(file)?)?,
                Source::FileOrDeclaredSymlink(output) => match self.declared_text(output)? {
                    Some(text) => Content::Symlink(text),
                    None => self.file(output, self.stamp(output)?)?,
                },
                Source::DeclaredSymlink(link) => Content::Symlink(self.link_text(link)?),
                Source::Symlink(text) => Content::Symlink(text.clone()),
                Source::Empty | Source::Tree(_) => Content::Empty,
            };
            items.push(ResolvedEntry { path: entry.path.clone(), content });
        }
        Ok(items)
    }

    /// The image paths of `entries`, with trees expanded. No other input is accessed.
    pub fn paths<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a ManifestEntry>,
    ) -> Result<Vec<ImagePath>, Error> {
        let mut paths = Vec::new();
        for entry in entries {
            self.cancel.check()?;
            match &entry.source {
                Source::Tree(tree) => self.walk(tree, &entry.path, &mut |path, _, _| {
                    paths.push(path);
                    Ok(())
                })?,
                _ => paths.push(entry.path.clone()),
            }
        }
        Ok(paths)
    }

    /// Whether the files at two exec paths have the same content.
    ///
    /// Equal digests save reading. Different ones prove nothing: those of declared symlinks are computed
    /// from their targets. Files that differ do so in size or early on, so reading them costs little.
    pub fn have_same_content(&self, a: &Path, b: &Path) -> Result<bool, Error> {
        self.cancel.check()?;
        let file = |exec_path: &Path| {
            let stamp = self.stamp(exec_path).map_err(|error| match error {
                Error::SourceDirectory { path } => Error::Directory { path },
                other => other,
            })?;
            let (file, size, digest) = (self.base.join(exec_path), stamp.size, self.digest(exec_path));
            Ok::<_, Error>(FileContent { file, size, digest, stamp, ..FileContent::default() })
        };
        let (a, b) = (file(a)?, file(b)?);
        if a.digest.is_some() && a.digest == b.digest {
            return Ok(true);
        }
        if a.size != b.size {
            return Ok(false);
        }
        let (mut readers, mut buffers) = ([Reader::open(&a)?, Reader::open(&b)?], [Vec::new(), Vec::new()]);
        for (offset, length) in blocks(a.size) {
            self.cancel.check()?;
            for (reader, buffer) in readers.iter_mut().zip(&mut buffers) {
                buffer.clear();
                reader.append(offset, length, buffer)?;
            }
            if buffers[0] != buffers[1] {
                return Ok(false);
            }
        }
        for reader in readers {
            reader.is_unchanged()?;
        }
        Ok(true)
    }

    /// The target of the output at `exec_path` if it is a declared symlink, `None` if it is a file.
    ///
    /// A declared symlink has its own target wherever it is an input. A file may be a link too: in a
    /// sandbox, or if its action created one. Bazel's digest distinguishes them: a declared symlink's is
    /// computed from its target, a file's from the content that the link resolves to.
    fn declared_text(&self, exec_path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let path = self.base.join(exec_path);
        let text = match std::fs::read_link(&path) {
            Ok(text) if is_sandbox_link(&text, exec_path) => return Ok(None),
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None), // not a link
            Err(error) => return Err(Error::Read { path, error }),
        };
        // A link that stands for a file resolves to one. A declared link need not resolve here: it is
        // correct at its place in the runfiles.
        let target = std::fs::metadata(&path).ok().filter(Metadata::is_file);
        let is_declared = match (self.digest(exec_path), self.links, target) {
            (None, Links::DeclaredIfRelative, _) => text.is_relative(),
            (_, _, None) => true,
            (Some(digest), _, Some(_)) if digest == declared_digest(&text) => true,
            (Some(digest), _, Some(target)) => {
                let stamp = Stamp::of(&target);
                let content =
                    FileContent { file: path.clone(), size: stamp.size, stamp, ..FileContent::default() };
                // Bazel may use another hash function (--digest_function).
                if digest != hex(&self.sha256(&content)?) {
                    return Err(Error::Ambiguous { path });
                }
                false
            }
            (None, Links::Declared, Some(_)) => true,
            (None, Links::Ambiguous, Some(_)) => return Err(Error::Ambiguous { path }),
        };
        Ok(is_declared.then(|| text.into_os_string().into_encoded_bytes()))
    }

    /// The file at `exec_path`.
    pub fn content(&self, exec_path: &Path) -> Result<FileContent, Error> {
        Ok(self.stamped_content(exec_path, self.stamp(exec_path)?))
    }

    fn stamped_content(&self, exec_path: &Path, stamp: Stamp) -> FileContent {
        let digest = self.digest(exec_path);
        let lasting = digest.is_some() && stamp.is_settled(self.now);
        let file = self.base.join(exec_path);
        FileContent { file, size: stamp.size, digest, executable: None, stamp, lasting }
    }

    /// The file at `exec_path`, which has this stamp, as an entry of the image.
    fn file(&self, exec_path: &Path, stamp: Stamp) -> Result<Content, Error> {
        let mut content = self.stamped_content(exec_path, stamp);
        // Empty files are not opened when the layer is written, so this is the only check.
        if content.size == 0 {
            content.executable = Some(self.looks_executable(&content)?);
        }
        Ok(Content::File(Arc::new(content)))
    }

    /// The digest of an input, if known.
    fn digest(&self, exec_path: &Path) -> Option<Bytes> {
        self.digests.get(exec_path.as_os_str().as_bytes()).cloned()
    }

    fn stamp(&self, exec_path: &Path) -> Result<Stamp, Error> {
        let path = self.base.join(exec_path);
        match std::fs::metadata(&path) {
            Ok(metadata) => regular(&metadata, &path),
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

    /// Visits all files below `tree`, following links to files and directories, as Bazel does.
    fn walk(&self, tree: &Path, image_path: &ImagePath, visit: Visit) -> Result<(), Error> {
        let mut left = MAX_TREE_FILES;
        self.walk_directory(tree, image_path, MAX_TREE_DEPTH, &mut |path, file, stamp| {
            left = left.checked_sub(1).ok_or_else(|| Error::Fan { path: self.base.join(tree) })?;
            visit(path, file, stamp)
        })
    }

    fn walk_directory(
        &self,
        directory: &Path,
        image_path: &ImagePath,
        depth: usize,
        visit: Visit,
    ) -> Result<(), Error> {
        let here = self.base.join(directory);
        if depth == 0 {
            return Err(Error::Depth { path: here });
        }
        let read = |error| Error::Read { path: here.clone(), error };
        for child in std::fs::read_dir(&here).map_err(read)? {
            self.cancel.check()?;
            let name = child.map_err(read)?.file_name();
            let child = directory.join(&name);
            let child_path = image_path
                .join(name.as_bytes())
                .map_err(|error| Error::Path { tree: here.clone(), error })?;
            let path = self.base.join(&child);
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    self.walk_directory(&child, &child_path, depth - 1, visit)?;
                }
                Ok(metadata) => visit(child_path, &child, regular(&metadata, &path)?)?,
                Err(error) => return Err(Error::Read { path, error }),
            }
        }
        Ok(())
    }

    /// Sorts `items`, computes missing digests of files that may be equal, and reads the first bytes of
    /// files, as far as `settings` require it.
    fn check_contents(&self, items: &mut [ResolvedEntry], settings: &Settings) -> Result<(), Error> {
        items.sort_by(|a, b| a.path.cmp(&b.path));
        let repeated: HashSet<ImagePath> = items
            .windows(2)
            .filter(|pair| pair[0].path == pair[1].path)
            .map(|pair| pair[0].path.clone())
            .collect();
        let mut same_size: HashMap<u64, Vec<&mut Arc<FileContent>>> = HashMap::new();
        for item in items {
            let Content::File(content) = &mut item.content else { continue };
            if settings.metadata.mode.depends_on_content() && content.executable.is_none() {
                self.cancel.check()?;
                Arc::make_mut(content).executable = Some(self.looks_executable(content)?);
            }
            if settings.dedupes(content.size) || repeated.contains(&item.path) {
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
        for (offset, length) in blocks(content.size) {
            self.cancel.check()?;
            buffer.clear();
            reader.append(offset, length, &mut buffer)?;
            hasher.update(&buffer);
        }
        reader.is_unchanged()?;
        Ok(Bytes::copy_from_slice(&hasher.finalize()))
    }

    /// Whether `content` is an ELF image or a script.
    fn looks_executable(&self, content: &FileContent) -> Result<bool, Error> {
        let key = content.lasting_key();
        if let Some(known) = key.as_ref().and_then(|key| self.known.get(key)) {
            return Ok(known);
        }
        let mut reader = Reader::open(content)?;
        let mut magic = Vec::new();
        reader.append(0, MAGIC_BYTES.min(content.size as usize), &mut magic)?;
        let executable = magic.starts_with(b"#!") || magic == elf::MAGIC;
        if reader.is_unchanged()?
            && let Some(key) = key
        {
            self.known.put(key, executable, 1);
        }
        Ok(executable)
    }
}

/// Offsets and lengths of the blocks in which a file of `size` bytes is read.
fn blocks(size: u64) -> impl Iterator<Item = (u64, usize)> {
    let offsets = (0..size).step_by(BLOCK_BYTES);
    offsets.map(move |offset| (offset, (BLOCK_BYTES as u64).min(size - offset) as usize))
}

/// Called with each file of a tree: its image path, exec path and stamp.
type Visit<'a> = &'a mut dyn FnMut(ImagePath, &Path, Stamp) -> Result<(), Error>;

/// Opens a file without blocking: nobody may be at the other end of a pipe. [`stamp`] checks that it is a regular file.
fn open(path: &Path) -> Result<File, Error> {
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
    match OpenOptions::new().read(true).custom_flags(flags as i32).open(path) {
        Ok(file) => Ok(file),
        // A socket, or a device without a driver.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            Err(Error::Kind { path: path.to_path_buf(), what: NO_FILE })
        }
        Err(error) => Err(Error::Read { path: path.to_path_buf(), error }),
    }
}

fn stamp(file: &File, path: &Path) -> Result<Stamp, Error> {
    match file.metadata() {
        Ok(metadata) => regular(&metadata, path),
        Err(error) => Err(Error::Read { path: path.to_path_buf(), error }),
    }
}

const NO_FILE: &str = "a device, pipe or socket";

/// The stamp of the file at `path`, if it is a regular file.
fn regular(metadata: &Metadata, path: &Path) -> Result<Stamp, Error> {
    match metadata {
        metadata if metadata.is_file() => Ok(Stamp::of(metadata)),
        metadata if metadata.is_dir() => Err(Error::SourceDirectory { path: path.to_path_buf() }),
        _ => Err(Error::Kind { path: path.to_path_buf(), what: NO_FILE }),
    }
}

/// Whether a link with this target is how Bazel puts the input at `exec_path` into a sandbox.
fn is_sandbox_link(text: &Path, exec_path: &Path) -> bool {
    text.is_absolute() && text.ends_with(exec_path)
}

/// Whether the process runs in Bazel's execution root, `<output base>/execroot/<workspace>`.
fn is_execution_root() -> bool {
    let directory = std::env::current_dir().unwrap_or_default();
    directory.parent().and_then(Path::file_name).is_some_and(|name| name == "execroot")
}

/// Bazel's digest of a declared symlink: the hash of its target with the first byte inverted, to differ
/// from that of a file with this content (`FileArtifactValue.UnresolvedSymlinkArtifactValue`).
fn declared_digest(text: &Path) -> String {
    let mut digest = Sha256::digest(text.as_os_str().as_bytes());
    digest[0] = !digest[0];
    hex(&digest)
}

/// Reads parts of a file, and checks that it has not changed since the layer was planned.
pub struct Reader<'a> {
    content: &'a FileContent,
    file: File,
}

impl<'a> Reader<'a> {
    /// Opens the file. That it still is a regular file is checked by [`Reader::is_unchanged`].
    pub fn open(content: &'a FileContent) -> Result<Reader<'a>, Error> {
        open(&content.file).map(|file| Reader { content, file })
    }

    /// Whether the bytes read are certainly those that the file contained when the layer was planned.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`] if the content has probably changed.
    pub fn is_unchanged(&self) -> Result<bool, Error> {
        let now = stamp(&self.file, &self.content.file)?;
        match self.content.stamp {
            planned if !planned.has_same_content(&now) => {
                Err(Error::Changed { path: self.content.file.clone() })
            }
            planned => Ok(planned == now),
        }
    }

    /// Reads into `buffer` from `offset`, and returns how many bytes were read: 0 at the end of the file.
    pub fn read_some(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Appends `length` bytes at `offset` to `buffer`. If they are the file's last, also checks that the
    /// file ends there.
    pub fn append(&mut self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let start = buffer.len();
        // One byte more than expected, to detect a file that has grown without another system call.
        let beyond = usize::from(offset + length as u64 == self.content.size);
        buffer.reserve(length + beyond);
        let mut filled = 0;
        loop {
            let room = &mut buffer.spare_capacity_mut()[..length + beyond - filled];
            let read = match rustix::io::pread(&self.file, room, offset + filled as u64) {
                Ok((read, _)) => read.len(),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    return Err(Error::Read { path: self.content.file.clone(), error: error.into() });
                }
            };
            filled += read;
            // SAFETY: the vector was `start + filled - read` bytes long, and the system call has
            // initialized the `read` bytes after these, which are within the capacity.
            unsafe { buffer.set_len(start + filled) };
            // A read of a regular file is short only at its end.
            if read == 0 || filled >= length {
                break;
            }
        }
        buffer.truncate(start + length);
        if filled == length { Ok(()) } else { Err(Error::Changed { path: self.content.file.clone() }) }
    }
}
