//! Decides the entries of one layer: their order, kinds, modes and links. Pure.
//!
//! Entries are sorted by the bytes of their tar name, in which a directory ends in `/`, so parents
//! precede their contents. The first of several files with equal content is stored; the others are hard
//! links to it, which the OCI layer specification requires to be in the same layer and after their
//! target.
//!
//! A directory entry replaces the owner and mode of a directory in the base image: after a layer with
//! `./tmp/` as 0755, only root can write to `/tmp`. So there are no entries for directories that base
//! images have, nor above the root.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap as FoldHashMap;

use crate::groups::LayerGroups;
use crate::image_path::ImagePath;
use crate::inputs::{Content, FileContent, ResolvedEntry};
use crate::metadata::Metadata;
use crate::settings::Settings;
use crate::show::{show, show_path};
use crate::wheel::{Stream, Wheels};
use bazel_worker::{Cancel, Cancelled};

/// Top-level directories that are symlinks in common base images. A directory entry would replace the
/// link, and thereby remove the base image's programs.
pub const BASE_IMAGE_SYMLINKS: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// The other top-level directories of base images, some with a special mode (`tmp`, `root`): Filesystem
/// Hierarchy Standard 3.0, chapter 3 and section 6.1.
const BASE_IMAGE_DIRECTORIES: [&str; 15] = [
    "boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr",
    "var",
];

/// Directories whose subdirectories belong to the base image too. `/home/app` has the owner that the base
/// image gave it, `/var/tmp`, `/run/lock` and `/dev/shm` are writable by everyone, and `/usr/lib` may be
/// a symlink like `/lib`. Subdirectories of `/opt` and `/srv` belong to applications.
const PARENTS_OF_BASE_IMAGE_DIRECTORIES: [&str; 6] = ["dev", "home", "run", "usr", "usr/local", "var"];

/// The maximum length of a symlink's target: Linux allows 4096 bytes (`PATH_MAX`) including the final NUL.
const MAX_LINK_TEXT: usize = 4095;

/// The maximum number of names for one stored file: the limit of ext2 and ext3. ext4 allows 65,000 and
/// btrfs 65,535, which leaves room for a store that adds a second tree of hard links to an unpacked image.
const MAX_NAMES: u32 = 32_000;

/// The content of landmarks.
pub const LANDMARK: u8 = 0x0f;

const DIRECTORY_MODE: u32 = 0o755;
/// Linux ignores the mode of a symlink and always reports this one.
const SYMLINK_MODE: u32 = 0o777;

/// Entries that cannot form a layer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(
        "two different files have the image path {path}: {first} and {second}; rename one, build them into separate images, or exclude both"
    )]
    Clash { path: ImagePath, first: String, second: String },
    #[error(
        "image path \"{0}\": names that begin with `.wh.` delete files in a container image (OCI image-spec, layer.md) and cannot be shipped; rename or exclude it"
    )]
    Whiteout(ImagePath),
    #[error("{path} is both a file and a directory ({below} is inside it); exclude one of them")]
    FileAndDirectory { path: ImagePath, below: ImagePath },
    #[error(
        "{path} is a symlink with a target of {length} bytes; Linux allows at most {MAX_LINK_TEXT}; shorten or exclude it"
    )]
    LinkText { path: ImagePath, length: usize },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// The ordered entries of one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerPlan {
    pub entries: Vec<TarEntry>,
    pub metadata: Metadata,
    /// The streams that may be lifted in place of contents, by the number of the entry.
    pub streams: HashMap<usize, Vec<Stream>>,
}

impl LayerPlan {
    /// Has the contents of files that are in `wheels` lifted from there.
    pub fn lift_from(&mut self, wheels: &Wheels) {
        let entries = self.entries.iter().enumerate();
        let streams = entries.filter_map(|(number, entry)| {
            let streams = wheels.streams(&entry.name, entry.content()?.size);
            (!streams.is_empty()).then(|| (number, streams.to_vec()))
        });
        self.streams = streams.collect();
    }

    /// The number of entries that are neither directories nor landmarks.
    pub fn file_count(&self) -> usize {
        self.entries.iter().filter(|entry| !matches!(entry.body, Body::Directory | Body::Landmark)).count()
    }
}

/// One tar entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarEntry {
    /// The name in the tar, such as `./app/main.py`; a directory's ends in `/`. A directory's name is a
    /// slice of a name inside it, because deep trees have many directories per file.
    pub name: Bytes,
    pub mode: u32,
    pub body: Body,
}

/// The kind and content of a tar entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Directory,
    File(Arc<FileContent>),
    EmptyFile,
    /// A file of one byte, [`LANDMARK`], which is not a file of the image: it tells readers that mount a layer
    /// without having all of it where to stop reading ahead.
    Landmark,
    Symlink(Vec<u8>),
    /// To the entry named `target`, which has the same content.
    HardLink {
        target: Bytes,
        content: Arc<FileContent>,
    },
}

impl TarEntry {
    /// The number of bytes of content after the entry's header.
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::File(content) => content.size,
            Body::Landmark => 1,
            Body::Directory | Body::EmptyFile | Body::Symlink(_) | Body::HardLink { .. } => 0,
        }
    }

    /// The file whose content follows the entry's header, if it has any.
    pub fn content(&self) -> Option<&FileContent> {
        match &self.body {
            Body::File(content) if content.size > 0 => Some(content),
            _ => None,
        }
    }
}

/// A symlink that is not in the layer because it leads to an excluded path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcludedLink {
    pub path: ImagePath,
    pub text: Vec<u8>,
}

/// Removes the links from `items`, the members of one layer, that would dangle because of `exclude`:
/// those whose target is an excluded path, or leads to or through another removed link.
///
/// An excluded package should leave nothing behind in a virtual environment: through a dangling link to
/// its metadata, `importlib.metadata` would find a distribution without name and version.
///
/// Links are resolved by their text, because the links of other layers are not known here. A link that
/// leads to an excluded path only through a link of another layer is kept. In the result, a link follows
/// the one that it leads to.
pub fn take_excluded_links(
    items: &mut Vec<ResolvedEntry>,
    groups: &LayerGroups,
    cancel: &Cancel,
) -> Result<Vec<ExcludedLink>, Cancelled> {
    let mut links: BTreeMap<&[u8], Link> = BTreeMap::new();
    for item in items.iter() {
        if let Content::Symlink(text) = &item.content
            && let Some(place) = item.path.named_by_link(text)
        {
            links.insert(item.path.as_bytes(), Link { path: &item.path, text, place });
        }
    }
    // Two contents for one path are an error, which `plan` reports.
    for item in items.iter() {
        if let Content::File(_) = item.content {
            links.remove(item.path.as_bytes());
        }
    }
    let mut taken: Vec<&Link> = Vec::new();
    for link in links.values() {
        cancel.check()?;
        if groups.excludes(&link.place) {
            taken.push(link);
        }
    }
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    // Grouped by the first link that each of them leads to or through.
    let mut leading_to: HashMap<&[u8], Vec<&Link>> = HashMap::new();
    for link in links.values() {
        cancel.check()?;
        if let Some((next, _)) = link.place.with_parents().find_map(|path| links.get_key_value(path)) {
            leading_to.entry(next).or_default().push(link);
        }
    }
    let mut known: HashSet<&[u8]> = taken.iter().map(|link| link.path.as_bytes()).collect();
    let mut done = 0;
    while let Some(link) = taken.get(done) {
        let more = leading_to.remove(link.path.as_bytes()).unwrap_or_default();
        taken.extend(more.into_iter().filter(|link| known.insert(link.path.as_bytes())));
        done += 1;
    }
    let excluded: Vec<ExcludedLink> = taken
        .into_iter()
        .map(|link| ExcludedLink { path: link.path.clone(), text: link.text.to_vec() })
        .collect();
    let paths: HashSet<&ImagePath> = excluded.iter().map(|link| &link.path).collect();
    items.retain(|item| !paths.contains(&item.path));
    Ok(excluded)
}

/// A symlink among the members of a layer.
struct Link<'a> {
    path: &'a ImagePath,
    text: &'a [u8],
    /// The image path that the text names.
    place: ImagePath,
}

/// Plans the layer that contains `items`, which are sorted by path. A layer without items contains its
/// root, unless that belongs to the base image.
pub fn plan(items: Vec<ResolvedEntry>, settings: &Settings, cancel: &Cancel) -> Result<LayerPlan, Error> {
    cancel.check()?;
    debug_assert!(items.is_sorted_by(|a, b| a.path <= b.path));
    for item in &items {
        cancel.check()?;
        check(item)?;
    }
    let items = without_repetitions(items, cancel)?;
    let mut entries: Vec<TarEntry> = Vec::with_capacity(items.len() + items.len() / 4);
    if items.is_empty() && !settings.root.is_empty() {
        let in_root = format!("./{}/", settings.root).into();
        entries.extend(new_directories(b"./", &in_root, settings));
    }
    let mut stored: FoldHashMap<(u64, Bytes), Stored> = FoldHashMap::default();
    for ResolvedEntry { path, content } in items {
        cancel.check()?;
        let name = Bytes::from(path.into_tar_name());
        let previous = entries.last().map_or(&b"./"[..], |entry| &entry.name);
        entries.extend(new_directories(previous, &name, settings));
        let (mode, body) = match content {
            Content::Empty => (settings.metadata.mode.of_data(), Body::EmptyFile),
            Content::Symlink(text) => (SYMLINK_MODE, Body::Symlink(text)),
            Content::File(content) => {
                let mode = match content.executable {
                    Some(true) => settings.metadata.mode.of_program(),
                    Some(false) | None => settings.metadata.mode.of_data(),
                };
                let identity = content
                    .digest
                    .clone()
                    .filter(|_| settings.dedupes(content.size))
                    .map(|digest| (content.size, digest));
                let first = identity.and_then(|identity| match stored.entry(identity) {
                    Occupied(known) => known.into_mut().add_name(entries.len()),
                    Vacant(unknown) => {
                        unknown.insert(Stored { first: entries.len(), names: 1 });
                        None
                    }
                });
                match first {
                    Some(first) => (mode, Body::HardLink { target: entries[first].name.clone(), content }),
                    None => (mode, Body::File(content)),
                }
            }
        };
        entries.push(TarEntry { name, mode, body });
    }
    Ok(LayerPlan { entries, metadata: settings.metadata.clone(), streams: HashMap::new() })
}

/// The first entry of `plan` that is at or below a path where base images often have a symlink.
pub fn shadows_base_image(plan: &LayerPlan) -> Option<&TarEntry> {
    plan.entries.iter().find(|entry| {
        let first = entry.name.split(|&byte| byte == b'/').nth(1);
        BASE_IMAGE_SYMLINKS.iter().any(|name| first == Some(name.as_bytes()))
    })
}

/// The stored copy to which the next file with the same content becomes a hard link.
struct Stored {
    /// The index of its entry.
    first: usize,
    names: u32,
}

impl Stored {
    /// The index of the entry that the entry `index` becomes a hard link to; `None` if this copy has the
    /// maximum number of names, and `index` is the next copy.
    fn add_name(&mut self, index: usize) -> Option<usize> {
        if self.names == MAX_NAMES {
            *self = Stored { first: index, names: 1 };
            return None;
        }
        self.names += 1;
        Some(self.first)
    }
}

/// Rejects entries that no image can contain.
fn check(ResolvedEntry { path, content }: &ResolvedEntry) -> Result<(), Error> {
    if path.is_whiteout() {
        return Err(Error::Whiteout(path.clone()));
    }
    match content {
        Content::Symlink(text) if text.len() > MAX_LINK_TEXT => {
            Err(Error::LinkText { path: path.clone(), length: text.len() })
        }
        _ => Ok(()),
    }
}

/// Keeps one of several items with the same path. Rule sets list files more than once (rules_python's
/// precompiled files have two owners). A real file replaces an empty one.
fn without_repetitions(items: Vec<ResolvedEntry>, cancel: &Cancel) -> Result<Vec<ResolvedEntry>, Error> {
    let mut kept: Vec<ResolvedEntry> = Vec::with_capacity(items.len());
    for item in items {
        cancel.check()?;
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
    // A path that is both a file and a directory is a prefix of the paths inside it. These are sorted
    // after it, but not always immediately after it: `a`, `a-b`, `a/b`.
    let mut files: Vec<&ImagePath> = Vec::new();
    for item in &kept {
        cancel.check()?;
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
        Content::File(content) => show_path(&content.file),
        Content::Symlink(text) => format!("a symlink to {}", show(text)),
        Content::Empty => "an empty file".to_string(),
    }
}

/// Directory entries for the parents of `name` that are not parents of `previous`, the entry before it.
fn new_directories(previous: &[u8], name: &Bytes, settings: &Settings) -> Vec<TarEntry> {
    let parent = name.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    // Most files are in the same directory as the one before them.
    if previous.starts_with(&name[..=parent]) {
        return Vec::new();
    }
    let shared = previous.iter().zip(name).take_while(|(a, b)| a == b).count();
    let slashes = (shared..=parent).filter(|index| name[*index] == b'/');
    slashes
        .filter(|slash| is_ours(&name[2..*slash], settings))
        .map(|slash| TarEntry { name: name.slice(..=slash), mode: DIRECTORY_MODE, body: Body::Directory })
        .collect()
}

/// Whether layers contain an entry for the directory `path`.
fn is_ours(path: &[u8], settings: &Settings) -> bool {
    let is_in = |root: &str| {
        root.is_empty()
            || path.starts_with(root.as_bytes()) && matches!(path.get(root.len()), None | Some(b'/'))
    };
    // The layers that images share must not depend on `root`, so `runfiles_root` alone decides about the
    // directories above it.
    let is_for_runfiles = settings.runfiles_root.as_deref().is_some_and(|root| {
        let is_above = root.as_bytes().strip_prefix(path).is_some_and(|below| below.starts_with(b"/"));
        is_above || is_in(root)
    });
    (is_in(&settings.root) || is_for_runfiles) && !is_of_base_images(path)
}

/// Whether `path` is a directory that base images have.
fn is_of_base_images(path: &[u8]) -> bool {
    let is_one_of = |names: &[&str], path: &[u8]| names.iter().any(|name| name.as_bytes() == path);
    match path.iter().rposition(|&byte| byte == b'/') {
        None => is_one_of(&BASE_IMAGE_SYMLINKS, path) || is_one_of(&BASE_IMAGE_DIRECTORIES, path),
        Some(slash) => is_one_of(&PARENTS_OF_BASE_IMAGE_DIRECTORIES, &path[..slash]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(items: Vec<ResolvedEntry>, root: &str, cancel: &Cancel) -> Result<LayerPlan, Error> {
        let settings = Settings { root: root.to_string(), ..Settings::default() };
        plan(items, &settings, cancel)
    }

    fn item(path: &str, content: Content) -> ResolvedEntry {
        ResolvedEntry { path: ImagePath::new(path).unwrap(), content }
    }

    #[test]
    fn directories_of_shared_runfiles_do_not_depend_on_the_root() {
        let items = || {
            vec![
                item("opt/shared/.runfiles/pip/six.py", Content::Empty),
                item("srv/app/bin/server", Content::Empty),
            ]
        };
        let settings = |root: &str, runfiles_root: Option<&str>| Settings {
            root: root.to_string(),
            runfiles_root: runfiles_root.map(str::to_string),
            ..Settings::default()
        };
        let names = |settings: &Settings| -> Vec<String> {
            let plan = plan(items(), settings, &Cancel::new()).unwrap();
            let directories = plan.entries.into_iter().filter(|entry| entry.body == Body::Directory);
            directories.map(|entry| String::from_utf8(entry.name.to_vec()).unwrap()).collect()
        };
        assert_eq!(names(&settings("srv/app/bin", None)), ["./srv/app/bin/"]);
        let runfiles = ["./opt/shared/", "./opt/shared/.runfiles/", "./opt/shared/.runfiles/pip/"];
        for (root, others) in [
            ("srv/app/bin", &["./srv/app/bin/"][..]),
            ("opt/shared/x", &[]),
            ("opt", &[]),
            ("", &["./srv/app/", "./srv/app/bin/"]),
        ] {
            let found = names(&settings(root, Some("opt/shared/.runfiles")));
            assert_eq!(found, [&runfiles, others].concat(), "{root}");
        }
    }

    #[test]
    fn directories_that_base_images_come_with_are_known() {
        let known = [
            "bin",
            "dev",
            "dev/shm",
            "etc",
            "home",
            "home/app",
            "lib",
            "lib64",
            "opt",
            "root",
            "run",
            "run/lock",
            "srv",
            "tmp",
            "usr",
            "usr/lib",
            "usr/local",
            "usr/local/bin",
            "usr/src",
            "var",
            "var/lib",
            "var/tmp",
        ];
        let unknown = [
            "app",
            "bin/app",
            "etc/app",
            "home/app/x",
            "opt/app",
            "optional",
            "root/app",
            "srv/app",
            "tmp/app",
            "usr/lib/app",
            "usr/local/lib/app",
            "usr/src/app",
            "var/lib/app",
            "workspace",
            "x/tmp",
        ];
        for (paths, expected) in [(&known[..], true), (&unknown, false)] {
            for path in paths {
                assert_eq!(is_of_base_images(path.as_bytes()), expected, "{path}");
            }
        }
    }

    #[test]
    fn a_layer_without_files_holds_the_entries_that_one_with_files_has_for_its_root() {
        for root in ["", "srv", "app", "srv/app", "opt/my/app", "home/app", "tmp/a/b/c"] {
            let path = format!("{root}/x");
            let file = item(path.trim_start_matches('/'), Content::Empty);
            let mut with_files = planned(vec![file], root, &Cancel::new()).unwrap();
            with_files.entries.pop();
            assert_eq!(planned(Vec::new(), root, &Cancel::new()).unwrap(), with_files, "{root}");
            assert_eq!(with_files.file_count(), 0);
        }
    }

    fn file(name: &str, size: u64, digest: Option<&'static str>) -> Content {
        let digest = digest.map(|digest| Bytes::from_static(digest.as_bytes()));
        Content::File(Arc::new(FileContent { file: name.into(), size, digest, ..FileContent::default() }))
    }

    fn symlink(text: &str) -> Content {
        Content::Symlink(text.into())
    }

    fn entries(items: Vec<ResolvedEntry>, root: &str) -> Vec<TarEntry> {
        planned(items, root, &Cancel::new()).unwrap().entries
    }

    fn names(entries: &[TarEntry]) -> Vec<&str> {
        entries.iter().map(|entry| std::str::from_utf8(&entry.name).unwrap()).collect()
    }

    #[test]
    fn directories_come_once_and_before_their_contents() {
        let items = ["a/b/c/x", "a/b/y", "a/b-c/z", "a/bc"].map(|path| item(path, Content::Empty));
        let mut items = items.to_vec();
        items.sort_by(|a, b| a.path.cmp(&b.path));
        let all = ["./a/", "./a/b-c/", "./a/b-c/z", "./a/b/", "./a/b/c/", "./a/b/c/x", "./a/b/y", "./a/bc"];
        assert_eq!(names(&entries(items.clone(), "")), all);
        // None above the root.
        assert_eq!(
            names(&entries(items[1..3].to_vec(), "a/b")),
            ["./a/b/", "./a/b/c/", "./a/b/c/x", "./a/b/y"]
        );
    }

    #[test]
    fn equal_contents_are_stored_once() {
        let items = vec![
            item("a", file("1", 4096, Some("same"))),
            item("b", file("2", 4096, Some("same"))),
            item("c", file("3", 4097, Some("same"))),
            item("d", file("4", 4096, None)),
            item("e", file("5", 4095, Some("small"))),
            item("f", file("6", 4095, Some("small"))),
        ];
        let is_link =
            |entry: &TarEntry| matches!(&entry.body, Body::HardLink { target, .. } if target == "./a");
        let links: Vec<bool> = entries(items.clone(), "").iter().map(is_link).collect();
        assert_eq!(links, [false, true, false, false, false, false]);
        let settings = Settings { dedupe: false, ..Settings::default() };
        let plan = plan(items, &settings, &Cancel::new()).unwrap();
        assert!(plan.entries.iter().all(|entry| matches!(entry.body, Body::File(_))));
    }

    #[test]
    fn modes_depend_on_kind_and_content() {
        let of = |executable| FileContent { size: 1, executable, ..FileContent::default() };
        let items = vec![
            item("d/data", Content::File(Arc::new(of(Some(false))))),
            item("d/empty", Content::Empty),
            item("d/link", symlink("data")),
            item("d/program", Content::File(Arc::new(of(Some(true))))),
        ];
        let metadata = Metadata { mode: crate::metadata::ModeRule::DETECT, ..Metadata::default() };
        let settings = Settings { metadata, ..Settings::default() };
        let plan = plan(items, &settings, &Cancel::new()).unwrap();
        let modes: Vec<u32> = plan.entries.iter().map(|entry| entry.mode).collect();
        assert_eq!(modes, [0o755, 0o644, 0o644, 0o777, 0o755]);
    }

    #[test]
    fn one_path_has_one_content() {
        let twice = |first, second| planned(vec![item("x", first), item("x", second)], "", &Cancel::new());
        for (first, second) in [
            (file("1", 5, None), file("1", 5, None)),
            (file("1", 5, Some("same")), file("2", 5, Some("same"))),
            (Content::Empty, file("1", 5, None)),
            (file("1", 5, None), Content::Empty),
            (symlink("y"), symlink("y")),
        ] {
            let plan = twice(first.clone(), second.clone()).unwrap();
            assert!(
                plan.entries.len() == 1 && plan.entries[0].body != Body::EmptyFile,
                "{first:?} {second:?}"
            );
        }
        for (first, second, problem) in [
            (file("1", 5, None), file("2", 5, None), "two different files have the image path x: 1 and 2"),
            (file("1", 5, Some("a")), file("2", 5, Some("b")), "1 and 2"),
            (symlink("y"), file("2", 5, None), "a symlink to y and 2"),
        ] {
            let message = twice(first, second).unwrap_err().to_string();
            assert!(message.contains(problem), "{message}");
        }
    }

    #[test]
    fn what_no_image_can_contain_is_refused() {
        let refused = |items: &[(&str, Content)]| {
            let items = items.iter().map(|(path, content)| item(path, content.clone())).collect();
            planned(items, "", &Cancel::new()).unwrap_err().to_string()
        };
        let both = [("a", Content::Empty), ("a-b", Content::Empty), ("a/b", Content::Empty)];
        assert!(refused(&both).starts_with("a is both a file and a directory (a/b is inside it)"));
        assert!(refused(&[("d/.wh.x", Content::Empty)]).contains("delete files in a container image"));
        assert!(refused(&[("x", symlink(&"y".repeat(4096)))]).contains("a target of 4096 bytes"));
        assert_eq!(entries(vec![item("x", symlink(&"y".repeat(4095)))], "").len(), 1);
    }

    #[test]
    fn links_to_excluded_paths_are_taken_out_with_all_that_lead_to_them() {
        let exclude = vec!["/gone".to_string()];
        let groups = LayerGroups::compile(&Default::default(), &exclude).unwrap();
        let mut items = vec![
            item("a", symlink("b")),
            item("b", symlink("d/gone.py")),
            item("c", symlink("d/kept.py")),
            item("d/through", symlink("../b/x")),
            item("e", symlink("/d/gone.py")),
        ];
        let taken = take_excluded_links(&mut items, &groups, &Cancel::new()).unwrap();
        let taken: Vec<String> = taken.iter().map(|link| link.path.to_string()).collect();
        let kept: Vec<String> = items.iter().map(|item| item.path.to_string()).collect();
        assert_eq!((taken.len() + kept.len(), &kept[..1]), (5, &["c".to_string()][..]));
        let place = |path: &str| taken.iter().position(|taken| taken == path);
        assert!(place("b") < place("a") && place("b") < place("d/through"), "{taken:?}");
    }

    #[test]
    fn no_copy_gets_more_names_than_a_file_system_allows() {
        let digest = Bytes::from_static(b"the same");
        let content =
            FileContent { file: "f".into(), size: 4096, digest: Some(digest), ..FileContent::default() };
        let content = Arc::new(content);
        let files = 2 * MAX_NAMES + 2;
        let items: Vec<ResolvedEntry> = (0..files)
            .map(|number| item(&format!("d/{number:05}"), Content::File(content.clone())))
            .collect();
        let mut names: Vec<(Bytes, u32)> = Vec::new();
        for TarEntry { name, body, .. } in planned(items, "", &Cancel::new()).unwrap().entries {
            match body {
                Body::File(_) => names.push((name, 1)),
                Body::HardLink { target, .. } => {
                    let (copy, names) = names.last_mut().unwrap();
                    assert_eq!(*copy, target);
                    *names += 1;
                }
                _ => assert_eq!(body, Body::Directory),
            }
        }
        let names: Vec<u32> = names.into_iter().map(|(_, names)| names).collect();
        assert_eq!(names, [MAX_NAMES, MAX_NAMES, 2]);
    }

    #[test]
    fn a_cancelled_plan_ends_before_anything_is_looked_at() {
        let cancel = Cancel::new();
        cancel.cancel();
        let whiteout = || vec![item(".wh.x", Content::Empty)];
        assert_eq!(planned(whiteout(), "", &cancel), Err(Error::Cancelled(Cancelled)));
        let message = planned(whiteout(), "", &Cancel::new()).unwrap_err().to_string();
        assert!(message.starts_with("image path \".wh.x\""), "{message}");
    }
}
