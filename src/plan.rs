//! Decides the entries of one layer: their order, kinds, modes and links. Pure.
//!
//! Entries are sorted by the bytes of their tar name, in which a directory ends in `/`, so parents
//! stand before what is in them. Files of equal content are stored once, by the first of them; the
//! others are hard links to it, which the OCI layer specification wants in the same layer and after
//! their target.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap as FoldHashMap;

use crate::image_path::ImagePath;
use crate::inputs::{Content, FileContent, Item};
use crate::request::{Metadata, ModeRule, Settings};

/// Directories of the image's root that are symlinks in common base images. A directory entry would
/// replace the link, and with it the base image's programs.
pub const BASE_IMAGE_SYMLINKS: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

const DIRECTORY_MODE: u32 = 0o755;
/// Linux ignores the mode of a symlink and always shows this one.
const SYMLINK_MODE: u32 = 0o777;

/// Why the entries cannot be one layer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "two different files want the image path {path}: {first} and {second}; exclude one or build them into separate images"
    )]
    Clash { path: ImagePath, first: String, second: String },
    #[error(
        "image path \"{0}\": names that begin with `.wh.` delete files in a container image (OCI image-spec, layer.md) and cannot be shipped; rename or exclude it"
    )]
    Whiteout(ImagePath),
    #[error("{path} is both a file and a directory ({below} is inside it); exclude one of them")]
    FileAndDirectory { path: ImagePath, below: ImagePath },
}

/// The ordered entries of one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerPlan {
    pub entries: Vec<Entry>,
    pub metadata: Metadata,
}

/// One tar entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name in the tar: `./app/main.py`, a directory with a final `/`.
    pub name: Vec<u8>,
    pub mode: u32,
    pub body: Body,
}

/// What a tar entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Directory,
    File(Arc<FileContent>),
    EmptyFile,
    Symlink(Vec<u8>),
    /// To the entry named `target`, which has the same content.
    HardLink {
        target: Vec<u8>,
        content: Arc<FileContent>,
    },
}

impl Entry {
    /// The file whose content follows the entry's header, if it has any.
    pub fn content(&self) -> Option<&FileContent> {
        match &self.body {
            Body::File(content) if content.size > 0 => Some(content),
            _ => None,
        }
    }
}

/// Plans the layer that holds `items`.
pub fn plan(mut items: Vec<Item>, settings: &Settings) -> Result<LayerPlan, Error> {
    items.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(item) = items.iter().find(|item| item.path.is_whiteout()) {
        return Err(Error::Whiteout(item.path.clone()));
    }
    let items = without_repetitions(items)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len() + items.len() / 4);
    let mut first_with: FoldHashMap<(u64, Bytes), usize> = FoldHashMap::default();
    for Item { path, content } in items {
        let previous = entries.last().map_or(&b"./"[..], |entry| &entry.name);
        entries.extend(new_directories(previous, path.tar_name(), &settings.root));
        let (mode, body) = match content {
            Content::Empty => (file_mode(settings.metadata.mode, Some(false)), Body::EmptyFile),
            Content::Symlink(text) => (SYMLINK_MODE, Body::Symlink(text)),
            Content::File(content) => {
                let mode = file_mode(settings.metadata.mode, content.executable);
                let identity = settings
                    .dedupe_from
                    .filter(|from| content.size >= (*from).max(1))
                    .and_then(|_| content.digest.clone().map(|digest| (content.size, digest)));
                match identity.map(|identity| *first_with.entry(identity).or_insert(entries.len())) {
                    Some(first) if first < entries.len() => {
                        (mode, Body::HardLink { target: entries[first].name.clone(), content })
                    }
                    _ => (mode, Body::File(content)),
                }
            }
        };
        entries.push(Entry { name: path.into_tar_name(), mode, body });
    }
    Ok(LayerPlan { entries, metadata: settings.metadata.clone() })
}

/// The first path of `plan` that lies where base images often have a symlink.
pub fn shadows_base_image(plan: &LayerPlan) -> Option<&Entry> {
    plan.entries.iter().find(|entry| {
        let first = entry.name.split(|&byte| byte == b'/').nth(1);
        BASE_IMAGE_SYMLINKS.iter().any(|name| first == Some(name.as_bytes()))
    })
}

fn file_mode(rule: ModeRule, executable: Option<bool>) -> u32 {
    match (rule, executable) {
        (ModeRule::Fixed(mode), _) => mode,
        (ModeRule::Detect, Some(true)) => 0o755,
        (ModeRule::Detect, _) => 0o644,
    }
}

/// Keeps one of several items at the same path. Rule sets list files more than once (rules_python's
/// precompiled files come with two owners); an empty file gives way to a real one.
fn without_repetitions(items: Vec<Item>) -> Result<Vec<Item>, Error> {
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        match kept.last_mut() {
            Some(last) if last.path == item.path => {
                if last.content == Content::Empty {
                    last.content = item.content;
                } else if item.content != Content::Empty && !same_content(&last.content, &item.content) {
                    return Err(Error::Clash {
                        first: describe(&last.content),
                        second: describe(&item.content),
                        path: item.path,
                    });
                }
            }
            _ => kept.push(item),
        }
    }
    // A file's path, were it a directory, would be a prefix of the paths inside it. They follow it
    // in the order, though not always at once: `a`, `a-b`, `a/b`.
    let mut files: Vec<&ImagePath> = Vec::new();
    for item in &kept {
        let path = item.path.as_bytes();
        files.retain(|file| path.starts_with(file.as_bytes()));
        if let Some(file) = files.iter().find(|file| path[file.as_bytes().len()] == b'/') {
            return Err(Error::FileAndDirectory { path: (*file).clone(), below: item.path.clone() });
        }
        files.push(&item.path);
    }
    Ok(kept)
}

fn same_content(a: &Content, b: &Content) -> bool {
    match (a, b) {
        (Content::File(a), Content::File(b)) => {
            a.file == b.file || (a.size == b.size && a.digest.is_some() && a.digest == b.digest)
        }
        (a, b) => a == b,
    }
}

fn describe(content: &Content) -> String {
    match content {
        Content::File(content) => content.file.display().to_string(),
        Content::Symlink(text) => format!("a symlink to {}", String::from_utf8_lossy(text)),
        Content::Empty => "an empty file".to_string(),
    }
}

/// Directory entries for the parents of `name` that `previous`, the entry before it, does not share.
fn new_directories(previous: &[u8], name: &[u8], root: &str) -> Vec<Entry> {
    let parent = name.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    // Most files are beside the one before them.
    if previous.starts_with(&name[..=parent]) {
        return Vec::new();
    }
    let shared = previous.iter().zip(name).take_while(|(a, b)| a == b).count();
    let slashes = (shared..=parent).filter(|index| name[*index] == b'/');
    slashes
        .filter(|slash| is_ours(&name[2..*slash], root))
        .map(|slash| Entry { name: name[..=slash].to_vec(), mode: DIRECTORY_MODE, body: Body::Directory })
        .collect()
}

/// Whether a layer may say what the directory `path` is: those above `root` belong to the base image.
fn is_ours(path: &[u8], root: &str) -> bool {
    if root.is_empty() {
        return !BASE_IMAGE_SYMLINKS.iter().any(|name| name.as_bytes() == path);
    }
    path.starts_with(root.as_bytes()) && matches!(path.get(root.len()), None | Some(b'/'))
}
