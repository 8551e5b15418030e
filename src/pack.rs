//! Packs a binary that Bazel has built, and its runfiles tree, into layers: the engine without
//! Bazel, for people and scripts.
//!
//! The runfiles tree that Bazel leaves beside a binary holds an absolute symlink for every runfile,
//! so absolute links are followed; relative ones are declared symlinks and are kept. The layers are
//! those that the Bazel rule makes of the same binary.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tracing::info_span;

use crate::action::{self, LayerFiles};
use crate::codec::{self, Codec};
use crate::groups::{self, DEFAULT_GROUP, LayerGroups};
use crate::image_path::{self, ImagePath};
use crate::inputs::{Content, Digests, Inputs, Item, KnownFiles};
use crate::manifest::{Entry, Manifest, Source};
use crate::output::Descriptor;
use crate::pipeline::Pool;
use crate::plan;
use crate::request::{self, DEFAULT_DEDUPE_FROM, DEFAULT_MTIME, Metadata, ModeRule, Settings};
use crate::worker::Cancel;

/// Packs a built binary and its runfiles tree into layers.
#[derive(Debug, Args)]
pub struct Options {
    /// The binary that Bazel built, such as bazel-bin/app/server
    #[arg(long, value_name = "PATH")]
    pub binary: PathBuf,
    /// Where the layers go: DIR/<group>.tar.gz, .tar.zst or .tar
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The runfiles tree, or any directory to take its place [default: PATH.runfiles]
    #[arg(long, value_name = "DIR")]
    pub runfiles: Option<PathBuf>,
    /// The binary's path below the root [default: what follows bazel-bin/ in PATH, or its last part]
    #[arg(long, value_name = "PKG/BIN")]
    pub name: Option<String>,
    /// Directory of the image in which everything is put
    #[arg(long, default_value = "/", value_name = "DIR", value_parser = request::parse_root)]
    pub root: String,
    /// A layer of its own for the paths in which REGEX is found; the first such group takes a path
    #[arg(long = "group", value_name = "NAME=REGEX", value_parser = request::parse_group)]
    pub groups: Vec<(String, String)>,
    /// Leave out the paths in which REGEX is found
    #[arg(long, value_name = "REGEX")]
    pub exclude: Vec<String>,
    /// gzip, zstd or none
    #[arg(long, default_value = "gzip", value_name = "NAME")]
    pub compress: String,
    /// Compression level: gzip 0 to 9, zstd 1 to 22 [default: gzip 6, zstd 3]
    #[arg(long, value_name = "N")]
    pub level: Option<u8>,
    /// Owner of every entry
    #[arg(long, default_value_t = 0, value_name = "UID")]
    pub owner: u32,
    /// Group of every entry
    #[arg(long, default_value_t = 0, value_name = "GID")]
    pub group_id: u32,
    /// Time of every entry, in seconds since 1970
    #[arg(long, default_value_t = DEFAULT_MTIME, value_name = "SECONDS", value_parser = request::parse_mtime)]
    pub mtime: u64,
    /// Permissions of files, in octal; ELF images and scripts (`#!`) can also be executed wherever they can be read
    #[arg(long, default_value = "0755", value_name = "MODE", value_parser = request::parse_mode)]
    pub mode: ModeRule,
    /// Store copies of equal files, not hard links
    #[arg(long)]
    pub no_dedupe: bool,
    /// Threads [default: the machine's processors]
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// Print JSON, not a table
    #[arg(long)]
    pub json: bool,
}

/// Why nothing was packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--binary {}: it has no file name", .0.display())]
    NoName(PathBuf),
    #[error("{}: {error}", path.display())]
    Disk { path: PathBuf, error: std::io::Error },
    #[error("{} is not there; build the binary with runfiles (Bazel's default on Linux is --enable_runfiles), or name a directory with --runfiles", .0.display())]
    NoRunfiles(PathBuf),
    #[error(transparent)]
    Path(#[from] image_path::Error),
    #[error(transparent)]
    Codec(#[from] codec::Error),
    #[error(transparent)]
    Action(#[from] action::Error),
}

/// One layer that was written.
#[derive(Debug, Serialize)]
struct Row {
    layer: String,
    path: PathBuf,
    files: usize,
    bytes: u64,
    #[serde(flatten)]
    descriptor: Descriptor,
}

/// Packs the binary and returns the report to print. `bar` shows progress on stderr.
pub fn run(options: &Options, bar: bool) -> Result<String, Error> {
    let executable = executable(options)?;
    let runfiles = ImagePath::new([executable.as_bytes(), b".runfiles"].concat())?;
    let settings = settings(options, &runfiles)?;
    let manifest = info_span!("manifest").in_scope(|| manifest(options, executable, &runfiles))?;
    let groups = LayerGroups::compile(&settings.groups, &settings.exclude).map_err(action::Error::from)?;
    let cancel = Cancel::new();
    let (digests, known) = (Digests::default(), KnownFiles::new(0));
    let inputs = Inputs {
        base: Path::new(""),
        digests: &digests,
        known: &known,
        cancel: &cancel,
        now: SystemTime::now(),
    };
    let questions = action::questions(&settings);
    let items = info_span!("inputs")
        .in_scope(|| inputs.items(&manifest, questions, |path| groups.group_of(path.tar_name()).is_some()))
        .map_err(action::Error::from)?;
    let bar = if bar { progress_bar(&items) } else { ProgressBar::hidden() };
    let disk = |path: &Path| {
        let path = path.to_path_buf();
        move |error| Error::Disk { path, error }
    };
    std::fs::create_dir_all(&options.out).map_err(disk(&options.out))?;
    let pool = Pool::new(options.jobs, None).map_err(disk(Path::new("threads")))?;
    let mut rows = Vec::new();
    let mut layers: HashMap<&str, Vec<Item>> = HashMap::new();
    for item in items {
        if let Some(layer) = groups.group_of(item.path.tar_name()) {
            layers.entry(layer).or_default().push(item);
        }
    }
    for layer in groups::image_order(groups.names()) {
        let Some(members) = layers.remove(layer) else { continue };
        let path = options.out.join(format!("{layer}{}", settings.codec.extension()));
        let count = members.len();
        let plan = info_span!("plan").in_scope(|| plan::plan(members, &settings, &cancel));
        let plan = plan.map_err(action::Error::from)?;
        for warning in action::warnings(&plan, layer, &settings.groups) {
            bar.suspend(|| eprintln!("pylayer: {warning}"));
        }
        let files = LayerFiles { layer: path.clone(), descriptor: None, listing: None };
        let written = action::write(plan, settings.codec, &files, &cancel, &pool, &|bytes| bar.inc(bytes))?;
        let descriptor = Descriptor::new(settings.codec, &written);
        rows.push(Row {
            layer: layer.to_string(),
            path,
            files: count,
            bytes: written.uncompressed_size,
            descriptor,
        });
    }
    bar.finish_and_clear();
    Ok(if options.json { json(&rows) } else { table(&rows) })
}

fn settings(options: &Options, runfiles: &ImagePath) -> Result<Settings, Error> {
    let own = |name: &str| name != DEFAULT_GROUP && options.groups.iter().any(|(other, _)| other == name);
    let defaults = groups::DEFAULT_GROUPS.iter().filter(|(name, _)| !own(name));
    let defaults = defaults.map(|(name, pattern)| (name.to_string(), pattern.to_string()));
    let groups = options.groups.iter().cloned().chain(defaults);
    let wheels = groups::DEFAULT_EXCLUDE.iter().map(|pattern| pattern.to_string());
    Ok(Settings {
        groups: groups.map(|(name, pattern)| (name, groups::for_binary(&pattern, runfiles))).collect(),
        exclude: wheels.chain(options.exclude.iter().cloned()).collect(),
        root: options.root.clone(),
        codec: Codec::new(&options.compress, options.level)?,
        metadata: Metadata {
            owner: options.owner.into(),
            group: options.group_id.into(),
            mtime: options.mtime,
            mode: options.mode,
            ..Metadata::default()
        },
        dedupe_from: (!options.no_dedupe).then_some(DEFAULT_DEDUPE_FROM),
    })
}

/// Where the executable is in the image.
fn executable(options: &Options) -> Result<ImagePath, Error> {
    let name = match &options.name {
        Some(name) => name.clone().into_bytes(),
        None => short_path(&options.binary).ok_or_else(|| Error::NoName(options.binary.clone()))?,
    };
    let root = options.root.as_bytes();
    Ok(ImagePath::new(if root.is_empty() { name } else { [root, &name].join(&b'/') })?)
}

/// What the Bazel rule would have written: the executable and everything in its runfiles.
fn manifest(options: &Options, executable: ImagePath, runfiles_path: &ImagePath) -> Result<Manifest, Error> {
    let runfiles = match &options.runfiles {
        Some(runfiles) => runfiles.clone(),
        None => {
            let mut path = options.binary.clone().into_os_string();
            path.push(".runfiles");
            path.into()
        }
    };
    if !runfiles.is_dir() {
        return Err(Error::NoRunfiles(runfiles));
    }
    let mut entries = vec![Entry { path: executable, source: Source::File(options.binary.clone()) }];
    let mut tree = RunfilesTree { root: &runfiles, entries: &mut entries };
    tree.walk(&runfiles, runfiles_path)?;
    Ok(Manifest { entries })
}

/// The path below Bazel's output directory (`bazel-bin/app/server` → `app/server`), without the
/// repository of a binary of another module; else the file's name.
fn short_path(binary: &Path) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = binary
        .components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.as_bytes()),
            _ => None,
        })
        .collect();
    let below = |index: usize| {
        let parts = &parts[index..];
        match parts {
            [b"external", _, rest @ ..] if !rest.is_empty() => rest.join(&b'/'),
            _ => parts.join(&b'/'),
        }
    };
    let link = parts.iter().rposition(|part| *part == b"bazel-bin").map(|index| index + 1);
    let directory = parts.iter().rposition(|part| *part == b"bazel-out").map(|index| index + 3);
    match link.max(directory).filter(|index| *index < parts.len()) {
        Some(index) => Some(below(index)),
        None => Some(parts.last()?.to_vec()),
    }
}

struct RunfilesTree<'a> {
    root: &'a Path,
    entries: &'a mut Vec<Entry>,
}

impl RunfilesTree<'_> {
    fn walk(&mut self, directory: &Path, image_path: &ImagePath) -> Result<(), Error> {
        let disk = |error| Error::Disk { path: directory.to_path_buf(), error };
        for child in std::fs::read_dir(directory).map_err(disk)? {
            let child = child.map_err(disk)?;
            let (file, name) = (child.path(), child.file_name().into_vec());
            if self.is_bookkeeping(directory, &name) {
                continue;
            }
            let path = image_path.join(&name)?;
            let kind = child.file_type().map_err(disk)?;
            if kind.is_dir() {
                self.walk(&file, &path)?;
                continue;
            }
            let source = if !kind.is_symlink() {
                Source::File(file)
            } else {
                let text = std::fs::read_link(&file).map_err(disk)?;
                match std::fs::metadata(&file) {
                    Ok(target) if text.is_absolute() && target.is_dir() => Source::Tree(file),
                    Ok(_) if text.is_absolute() => Source::File(file),
                    _ => Source::Symlink(text.into_os_string().into_vec()),
                }
            };
            self.entries.push(Entry { path, source });
        }
        Ok(())
    }

    /// What Bazel puts into a runfiles tree on disk although it is no runfile: the `MANIFEST`, and
    /// with `--legacy_external_runfiles` a second copy of every repository in `<main>/external`.
    fn is_bookkeeping(&self, directory: &Path, name: &[u8]) -> bool {
        if directory == self.root {
            return name == b"MANIFEST";
        }
        let below: Vec<_> =
            directory.strip_prefix(self.root).into_iter().flat_map(Path::components).collect();
        let name = std::ffi::OsStr::from_bytes(name);
        matches!(below[..], [_, Component::Normal(external)] if external == "external")
            && self.root.join(name).is_dir()
    }
}

fn progress_bar(items: &[Item]) -> ProgressBar {
    let size = |item: &Item| match &item.content {
        Content::File(content) => content.size,
        Content::Symlink(_) | Content::Empty => 0,
    };
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    ProgressBar::new(items.iter().map(size).sum())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn json(rows: &[Row]) -> String {
    let mut text = serde_json::to_string_pretty(rows).expect("rows hold text and numbers");
    text.push('\n');
    text
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.layer.len()).max().unwrap_or(0).max("layer".len());
    let mut text = format!(
        "{:width$} {:>7} {:>12} {:>12}  {:71} diff ID\n",
        "layer", "files", "bytes", "compressed", "digest"
    );
    for Row { layer, files, bytes, descriptor, .. } in rows {
        let Descriptor { digest, size, diff_id, .. } = descriptor;
        let _ = writeln!(text, "{layer:width$} {files:>7} {bytes:>12} {size:>12}  {digest} {diff_id}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_path_follows_bazels_output_directory() {
        let short = |path: &str| String::from_utf8(short_path(Path::new(path)).unwrap()).unwrap();
        assert_eq!(short("bazel-bin/app/server"), "app/server");
        assert_eq!(short("/ws/bazel-out/k8-fastbuild/bin/app/server"), "app/server");
        assert_eq!(short("/ws/bazel-out/k8-fastbuild-ST-1/bin/server"), "server");
        assert_eq!(short("bazel-bin/external/other~/tool/run"), "tool/run");
        assert_eq!(short("/usr/bin/thing"), "thing");
        assert_eq!(short("bazel-bin"), "bazel-bin");
    }
}
