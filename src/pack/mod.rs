//! Packs a binary that Bazel has built, and its runfiles, into layers: the engine without Bazel, for
//! people and scripts. The layers are those that the Bazel rule makes of the same binary, and they are
//! validated in the same way.
//!
//! | step | from → to |
//! |---|---|
//! | `runfiles` | the runfiles on disk → [`Manifest`] entries |
//! | `out` | whether the layers can go where they should |
//! | this module | entries → layers under temporary names → validation → layers |
//! | `report` | layers → a table, or JSON |

mod out;
mod report;
mod runfiles;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tracing::info_span;

use self::report::Row;
use self::runfiles::Runfiles;
use crate::action;
use crate::codec::{self, Codec};
use crate::groups::{self, DEFAULT_GROUP, Exceptions, LayerGroups};
use crate::image_path::{self, ImagePath};
use crate::inputs::{self, Content, Digests, Inputs, KnownFiles, Links, ResolvedEntry};
use crate::listing::{self, Listing};
use crate::manifest::{Manifest, ManifestEntry, Source};
use crate::output::{Descriptor, Output};
use crate::pipeline::{self, Pool};
use crate::plan;
use crate::request::{self, DEFAULT_DEDUPE_FROM, DEFAULT_MTIME, Metadata, ModeRule, Settings};
use crate::show::{show, show_path};
use crate::survey::Survey;
use crate::validate::{self, Expected};
use bazel_worker::Cancel;

/// More threads than this are a mistake: each holds some chunks of a layer in memory.
const MAX_JOBS: i64 = 1024;

/// Packs a built binary and its runfiles into layers.
#[derive(Debug, Args)]
pub struct Options {
    /// The binary that Bazel built, such as bazel-bin/app/server
    #[arg(long, value_name = "PATH")]
    pub binary: PathBuf,
    /// Where the layers go: DIR/<group>.tar.gz, .tar.zst or .tar. DIR may hold no other tars
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
    #[arg(long = "group", value_name = "NAME=REGEX", value_parser = parse_group)]
    pub groups: Vec<(String, String)>,
    /// Leave out what belongs to a default group
    #[arg(long, value_name = "NAME", value_parser = ["interpreter", "packages"])]
    pub drop: Vec<String>,
    /// Leave out the paths in which REGEX is found
    #[arg(long, value_name = "REGEX", value_parser = NonEmptyStringValueParser::new())]
    pub exclude: Vec<String>,
    /// gzip, zstd or none
    #[arg(long, default_value = "gzip", value_name = "NAME")]
    pub compress: String,
    /// Compression level: gzip 0 to 9, zstd 1 to 22 [default: gzip 6, zstd 3]
    #[arg(long, value_name = "N")]
    pub level: Option<u8>,
    /// Owner of every entry
    #[arg(long, default_value_t = 0, value_name = "UID", value_parser = request::parse_id)]
    pub owner: u32,
    /// Group of every entry
    #[arg(long, default_value_t = 0, value_name = "GID", value_parser = request::parse_id)]
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_JOBS))]
    pub jobs: Option<u16>,
    /// What happens when the layers are not the binary's runfiles, or a link leads nowhere
    #[arg(long, default_value = "error", value_name = "HOW")]
    pub validation: Validation,
    /// Accept a link that leads nowhere if REGEX is found in its path
    #[arg(long, value_name = "REGEX", value_parser = NonEmptyStringValueParser::new())]
    pub validation_exception: Vec<String>,
    /// Print JSON, not a table
    #[arg(long)]
    pub json: bool,
}

/// What becomes of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Validation {
    /// Print what is wrong, and write no layer
    Error,
    /// Print what is wrong, and write the layers
    Warn,
    /// Do not look
    Off,
}

/// Why nothing was packed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--binary {}: {problem}", show_path(path))]
    Binary { path: PathBuf, problem: String },
    #[error("--out {}: the name is not UTF-8, and so cannot be printed as JSON; leave out --json, or name another directory", show_path(.0))]
    NotJson(PathBuf),
    #[error("--group {name:?} is given twice; join its patterns with |")]
    GroupTwice { name: String },
    #[error("--group {name:?} has a pattern, and --drop leaves it out; use one of them")]
    GroupDropped { name: String },
    #[error("cannot start the threads: {0}; try a smaller number of --jobs")]
    Threads(io::Error),
    #[error("{} cannot be read: {error}; it is {} in the image: build the binary again, or leave it out with --exclude", show_path(path), show(place.as_bytes()))]
    Unreadable { path: PathBuf, place: ImagePath, error: io::Error },
    #[error("{0}\n  to write the layers anyway, use --validation=warn")]
    Violations(String),
    #[error("interrupted; no layer was written")]
    Interrupted,
    #[error(transparent)]
    Runfiles(#[from] runfiles::Error),
    #[error(transparent)]
    Out(#[from] out::Error),
    #[error(transparent)]
    Path(#[from] image_path::Error),
    #[error(transparent)]
    Codec(#[from] codec::Error),
    #[error(transparent)]
    Action(#[from] action::Error),
}

/// Packs the binary and returns the report to print. `bar` shows progress on stderr.
pub fn run(options: &Options, bar: bool, cancel: &Cancel) -> Result<String, Error> {
    check(options)?;
    let name = name(options)?;
    let executable = executable(options, &name)?;
    let runfiles = ImagePath::new([executable.as_bytes(), b".runfiles"].concat())?;
    let mut manifest = info_span!("manifest").in_scope(|| manifest(options, executable, &runfiles))?;
    let found = survey(&manifest, &runfiles, &name);
    manifest.entries.retain(|entry| !is_unneeded_wheel(&entry.path, &runfiles, &found));
    let settings = settings(options, &runfiles, &found)?;
    let groups = LayerGroups::compile(&settings.groups, &settings.exclude).map_err(action::Error::from)?;
    let rows = pack(options, &settings, &groups, &manifest, &found, bar, cancel);
    let rows = rows.map_err(|error| explain(error, &manifest, cancel))?;
    Ok(if options.json { report::json(&rows) } else { report::table(&rows) })
}

/// Writes the layers of `manifest`: all of them or none.
fn pack(
    options: &Options,
    settings: &Settings,
    groups: &LayerGroups,
    manifest: &Manifest,
    found: &Survey,
    bar: bool,
    cancel: &Cancel,
) -> Result<Vec<Row>, Error> {
    let (digests, known) = (Digests::default(), KnownFiles::new(0));
    let (now, links) = (SystemTime::now(), Links::Declared);
    let inputs = Inputs { base: Path::new(""), digests: &digests, known: &known, cancel, now, links };
    let wanted = |path: &ImagePath| groups.group_of(path.tar_name()).is_some();
    let items = info_span!("inputs")
        .in_scope(|| inputs.items(manifest, action::checks(settings), wanted))
        .map_err(action::Error::from)?;
    let bar = if bar { progress_bar(&items) } else { ProgressBar::hidden() };
    let warn = |warning: &str| {
        // If stderr cannot be written there is nobody to tell.
        bar.suspend(|| drop(writeln!(io::stderr(), "pylayer: {warning}")));
    };
    let layers = divide(items, groups, &options.drop);
    for (name, pattern) in &options.groups {
        if !layers.iter().any(|(layer, _)| layer == name) {
            let packages: Vec<String> =
                found.packages.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            warn(&action::unused_group(name, pattern, &packages));
        }
    }
    let file_name = |layer: &str| format!("{layer}{}", settings.codec.extension());
    out::prepare(&options.out, &layers.iter().map(|(layer, _)| file_name(layer)).collect::<Vec<_>>())?;
    let pool = Pool::new(options.jobs.map(usize::from), None).map_err(Error::Threads)?;
    let (mut outputs, mut rows, mut listings) = (Vec::new(), Vec::new(), Vec::new());
    for (layer, mut items) in layers {
        let excluded_links =
            plan::take_excluded_links(&mut items, groups, cancel).map_err(action::Error::from)?;
        let files = items.len();
        let plan = info_span!("plan")
            .in_scope(|| plan::plan(items, settings, cancel))
            .map_err(action::Error::from)?;
        action::warnings(&plan, layer).iter().for_each(|warning| warn(warning));
        let (path, plan) = (options.out.join(file_name(layer)), Arc::new(plan));
        let (output, written) =
            action::write_temporary(&plan, settings.codec, &path, cancel, &pool, &|bytes| bar.inc(bytes))?;
        outputs.push(output);
        listings.push((layer.to_string(), listing::listing(&plan, &written.machines, &excluded_links)));
        rows.push(Row {
            layer: layer.to_string(),
            path: path.to_string_lossy().into_owned(),
            files,
            bytes: written.uncompressed_size,
            descriptor: Descriptor::new(settings.codec, &written),
        });
    }
    if options.validation != Validation::Off {
        let validate = || violations(listings, manifest, groups, options, inputs);
        let (violations, unused_exceptions) = info_span!("validation").in_scope(validate)?;
        match violations {
            Some(violations) if options.validation == Validation::Error => {
                return Err(Error::Violations(violations));
            }
            violations => violations.into_iter().chain(unused_exceptions).for_each(|message| warn(&message)),
        }
    }
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    Output::keep(outputs).map_err(action::Error::from)?;
    bar.finish_and_clear();
    Ok(rows)
}

/// Checks what can be known before anything is read.
fn check(options: &Options) -> Result<(), Error> {
    let problem = match std::fs::metadata(&options.binary) {
        Ok(metadata) if metadata.is_file() => None,
        Ok(_) => Some("it is not a file".to_string()),
        Err(error) => Some(error.to_string()),
    };
    match problem {
        Some(problem) => Err(Error::Binary { path: options.binary.clone(), problem }),
        None if options.json && options.out.to_str().is_none() => Err(Error::NotJson(options.out.clone())),
        None => check_groups(options),
    }
}

/// Two layers cannot have one name.
fn check_groups(options: &Options) -> Result<(), Error> {
    for (index, (name, _)) in options.groups.iter().enumerate() {
        if options.groups[..index].iter().any(|(other, _)| other == name) {
            return Err(Error::GroupTwice { name: name.clone() });
        }
        if options.drop.contains(name) {
            return Err(Error::GroupDropped { name: name.clone() });
        }
    }
    Ok(())
}

/// Parses `NAME=REGEX`. The name becomes part of a file name.
fn parse_group(value: &str) -> Result<(String, String), String> {
    let (name, pattern) = request::parse_group(value).map_err(|error| error.to_string())?;
    let is_name = |char: char| char.is_ascii_alphanumeric() || "_-.+".contains(char);
    if name.starts_with(['.', '_']) || !name.chars().all(is_name) {
        return Err(format!(
            "{} cannot be the name of a layer: use letters, digits, _, -, . and +, without . or _ at the start",
            show(name.as_bytes())
        ));
    }
    if pattern.is_empty() {
        return Err(format!("an empty pattern is found in every path; write {name}=. if that is meant"));
    }
    Ok((name, pattern))
}

/// The items of each layer that has any and is not dropped, in image order.
fn divide<'a>(
    items: Vec<ResolvedEntry>,
    groups: &'a LayerGroups,
    dropped: &[String],
) -> Vec<(&'a str, Vec<ResolvedEntry>)> {
    let mut layers: HashMap<&str, Vec<ResolvedEntry>> = HashMap::new();
    for item in items {
        if let Some(layer) = groups.group_of(item.path.tar_name()) {
            layers.entry(layer).or_default().push(item);
        }
    }
    let names = groups::image_order(groups.names()).into_iter();
    let names = names.filter(|name| !dropped.iter().any(|dropped| dropped == name));
    names.filter_map(|layer| layers.remove_entry(layer)).collect()
}

/// What the rule's validation would say of the layers, other than of ELF images (no platform is known
/// here), and of exceptions that accept nothing.
fn violations(
    listings: Vec<(String, String)>,
    manifest: &Manifest,
    groups: &LayerGroups,
    options: &Options,
    inputs: Inputs,
) -> Result<(Option<String>, Option<String>), Error> {
    let parse = |(layer, text): (String, String)| match listing::parse(&text, inputs.cancel) {
        Ok(listed) => Ok((layer, listed)),
        Err(error) => Err(action::Error::Listing { path: layer.into(), error }),
    };
    let layers: Vec<(String, Listing)> = listings.into_iter().map(parse).collect::<Result<_, _>>()?;
    let exceptions = Exceptions::compile(&options.validation_exception).map_err(action::Error::from)?;
    let expected = Expected {
        paths: &inputs.paths(&manifest.entries).map_err(action::Error::from)?,
        links: manifest.links().collect(),
        groups,
        dropped: &options.drop,
        machine: None,
        exceptions: &exceptions,
    };
    let findings = validate::check(&layers, &expected, inputs.cancel).map_err(action::Error::from)?;
    let violations = (!findings.is_empty()).then(|| findings.message(None));
    Ok((violations, action::unused_exceptions(&findings.unused_exceptions)))
}

/// Says of an input that cannot be read where it belongs, and of a run that was cancelled that it was.
fn explain(error: Error, manifest: &Manifest, cancel: &Cancel) -> Error {
    match error {
        _ if cancel.is_cancelled() => Error::Interrupted,
        Error::Action(
            action::Error::Inputs(inputs::Error::Read { path, error })
            | action::Error::Pipeline(pipeline::Error::Input(inputs::Error::Read { path, error })),
        ) => {
            let entry = manifest.entries.iter().find(|entry| match &entry.source {
                Source::File(file) | Source::FileOrDeclaredSymlink(file) => *file == path,
                Source::Tree(tree) => path.starts_with(tree),
                Source::DeclaredSymlink(_) | Source::Symlink(_) | Source::Empty => false,
            });
            match entry {
                Some(entry) => Error::Unreadable { place: entry.path.clone(), path, error },
                None => action::Error::Inputs(inputs::Error::Read { path, error }).into(),
            }
        }
        other => other,
    }
}

fn settings(options: &Options, runfiles: &ImagePath, found: &Survey) -> Result<Settings, Error> {
    let own = |name: &str| name != DEFAULT_GROUP && options.groups.iter().any(|(other, _)| other == name);
    let defaults = groups::DEFAULT_GROUPS.iter().filter(|(name, _)| !own(name)).cloned();
    let groups = options.groups.iter().cloned().chain(defaults);
    let for_binary = |pattern: &String| groups::for_binary(pattern, runfiles, found);
    Ok(Settings {
        groups: groups.map(|(name, pattern)| (name, for_binary(&pattern))).collect(),
        exclude: options.exclude.iter().map(for_binary).collect(),
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

/// The executable's path below the root, and below its repository in the runfiles.
fn name(options: &Options) -> Result<Vec<u8>, Error> {
    let no_name = || Error::Binary { path: options.binary.clone(), problem: "it has no file name".into() };
    match &options.name {
        Some(name) => Ok(name.clone().into_bytes()),
        None => short_path(&options.binary).ok_or_else(no_name),
    }
}

/// Where the executable is in the image.
fn executable(options: &Options, name: &[u8]) -> Result<ImagePath, Error> {
    let root = options.root.as_bytes();
    Ok(ImagePath::new(if root.is_empty() { name.to_vec() } else { [root, name].join(&b'/') })?)
}

/// Surveys the runfiles, as the Bazel rule does at analysis.
fn survey(manifest: &Manifest, runfiles: &ImagePath, name: &[u8]) -> Survey {
    let paths: Vec<Cow<[u8]>> = manifest
        .entries
        .iter()
        .filter_map(|entry| {
            let path = below(&entry.path, runfiles)?;
            let is_tree = matches!(entry.source, Source::Tree(_));
            Some(if is_tree { Cow::Owned([path, b"/"].concat()) } else { Cow::Borrowed(path) })
        })
        .collect();
    Survey::of(paths.iter().map(AsRef::as_ref), name)
}

fn is_unneeded_wheel(path: &ImagePath, runfiles: &ImagePath, found: &Survey) -> bool {
    below(path, runfiles).is_some_and(|path| found.wheels.iter().any(|wheel| wheel == path))
}

fn below<'a>(path: &'a ImagePath, directory: &ImagePath) -> Option<&'a [u8]> {
    path.as_bytes().strip_prefix(directory.as_bytes())?.strip_prefix(b"/")
}

/// What the Bazel rule would have written: the executable and everything in its runfiles.
fn manifest(options: &Options, executable: ImagePath, runfiles: &ImagePath) -> Result<Manifest, Error> {
    let directory = runfiles::directory(&options.binary, options.runfiles.as_deref());
    let read = Runfiles::read(&options.binary, &directory)?;
    let mut entries = vec![ManifestEntry { path: executable, source: Source::File(options.binary.clone()) }];
    entries.extend(read.entries(runfiles)?);
    let trees = entries.iter().filter_map(|entry| match &entry.source {
        Source::Tree(tree) => Some(tree.as_path()),
        _ => None,
    });
    out::check_outside(&options.out, trees.chain([&*directory]))?;
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

fn progress_bar(items: &[ResolvedEntry]) -> ProgressBar {
    let size = |item: &ResolvedEntry| match &item.content {
        Content::File(content) => content.size,
        Content::Symlink(_) | Content::Empty => 0,
    };
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    ProgressBar::new(items.iter().map(size).sum())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
