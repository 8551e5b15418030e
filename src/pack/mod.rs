//! Packs binaries built by Bazel, and their runfiles, into layers: the engine as a command-line tool. The
//! layers are identical to those of the Bazel rule for the same binaries, and are validated in the same
//! way.
//!
//! | step | from → to |
//! |---|---|
//! | `runfiles` | the runfiles on disk → [`Manifest`] entries |
//! | `out` | checks of the output directory |
//! | this module | entries → layers under temporary names → validation → layers |
//! | `report` | layers → a table, or JSON |

mod out;
mod report;
pub mod runfiles;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tracing::info_span;

use self::report::Row;
use self::runfiles::Runfiles;
use crate::advice;
use crate::contents::Partition;
use crate::describe;
use crate::descriptor::Descriptor;
use crate::groups::{Exceptions, Groups, LayerGroup, LayerGroups, Split, for_binary};
use crate::image_path::{self, ImagePath};
use crate::inputs::{self, Content, Digests, Inputs, KnownFiles, Links, ResolvedEntry};
use crate::layer::Image;
use crate::manifest::{Manifest, ManifestEntry, Source};
use crate::output::Output;
use crate::pipeline::Pool;
use crate::prefetch::Prefetch;
use crate::repo_mapping;
use crate::report as page;
use crate::settings::{RUNFILES, Settings, Validation, ValidationSettings};
use crate::show::{show, show_path};
use crate::survey::Survey;
use crate::validate::{self, ListedLayer, Verdict};
use crate::warnings;
use crate::wheel::{KnownWheels, Wheels};
use bazel_worker::Cancel;

/// More threads than this are a mistake: each keeps several chunks of a layer in memory.
const MAX_JOBS: i64 = 1024;

/// Packs built binaries and their runfiles into layers.
#[derive(Debug, Args)]
pub struct Options {
    /// Binary built by Bazel, such as bazel-bin/app/server; several binaries need --runfiles-root
    #[arg(long = "binary", value_name = "PATH", required = true)]
    pub binaries: Vec<PathBuf>,
    /// Output directory, for DIR/GROUP.tar.gz, .tar.zst or .tar; must not contain other tars
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Runfiles tree, or another directory to use instead; only for a single binary [default: PATH.runfiles]
    #[arg(long, value_name = "DIR")]
    pub runfiles: Option<PathBuf>,
    /// Path below the root, only for a single binary [default: the part of PATH after bazel-bin/, or its file name]
    #[arg(long, value_name = "PKG/BIN")]
    pub name: Option<String>,
    #[command(flatten)]
    pub groups: Groups,
    #[command(flatten)]
    pub settings: Settings,
    /// Wheel that packages of the binary were installed from; gzip layers take compressed files from it
    #[arg(long = "wheel", value_name = "FILE")]
    pub wheels: Vec<PathBuf>,
    /// List of the files that the binary reads when it starts, as `record` writes it; eStargz layers begin with them
    #[arg(long, value_name = "FILE")]
    pub prefetch: Option<PathBuf>,
    #[command(flatten)]
    pub validation: ValidationSettings,
    /// Number of threads [default: number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_JOBS))]
    pub jobs: Option<u16>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Also write a page about the image, DIR/report.html, and what it contains, DIR/contents.json
    #[arg(long)]
    pub report: bool,
}

/// Errors that no other module reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--{option} {}: {problem}", show_path(path))]
    File { option: &'static str, path: PathBuf, problem: String },
    #[error("--out {}: the name is not UTF-8, so it cannot be printed as JSON; omit --json, or choose another directory", show_path(.0))]
    NotJson(PathBuf),
    #[error("--binary is given {0} times: set --runfiles-root, for the runfiles of all binaries")]
    NoRunfilesRoot(usize),
    #[error("--{0} is for a single binary")]
    SingleBinary(&'static str),
    #[error(
        "{path} and the runfiles directory {runfiles} cannot be inside each other; set another --runfiles-root"
    )]
    InRunfiles { path: ImagePath, runfiles: ImagePath },
    #[error("two binaries would both be {0}; pack them separately")]
    SamePlace(ImagePath),
    #[error("--layer-group {name:?} is given twice; join the patterns with |")]
    GroupTwice { name: String },
    #[error("--split {name}=…: {problem}")]
    Split { name: String, problem: String },
    #[error("--layer-group {name:?} has a pattern but is dropped with --drop; use only one of them")]
    GroupDropped { name: String },
    #[error("cannot start the threads: {0}; try a smaller number of --jobs")]
    Threads(io::Error),
    #[error("{} cannot be read: {error}; it is {} in the image; build the binary again, or exclude it with --exclude", show_path(path), show(place.as_bytes()))]
    Unreadable { path: PathBuf, place: ImagePath, error: io::Error },
    #[error("{0}\n  to write the layers anyway, use --validation=warn")]
    Violations(String),
    #[error("interrupted; no layer was written")]
    Interrupted,
}

/// Packs the binary and returns the report to print. With `bar`, shows progress on stderr.
///
/// # Errors
///
/// [`Error`], or that of another module. If cancelled, [`Error::Interrupted`].
pub fn run(options: &Options, bar: bool, cancel: &Cancel) -> Result<String> {
    check(options)?;
    let binaries: Vec<Binary> =
        options.binaries.iter().map(|file| Binary::new(file, options)).collect::<Result<_>>()?;
    let runfiles = runfiles_directory(options, &binaries)?;
    // Removed when this function returns.
    let mut merged = None;
    let manifest = info_span!("manifest").in_scope(|| manifest(options, &binaries, &runfiles, &mut merged));
    let mut manifest = manifest?;
    let names: Vec<&[u8]> = binaries.iter().map(|binary| binary.name.as_slice()).collect();
    let found = survey(&manifest, &runfiles, &names);
    let mut wheels = options.wheels.clone();
    manifest.entries.retain(|entry| {
        let is_needed = !is_unneeded_wheel(&entry.path, &runfiles, &found);
        if let (false, Source::File(file)) = (is_needed, &entry.source) {
            wheels.push(file.clone());
        }
        is_needed
    });
    let exclude: Vec<String> =
        options.settings.exclude.iter().map(|pattern| for_binary(pattern, &runfiles, &found)).collect();
    let patterns = options.groups.for_binary(&runfiles, &found);
    let groups = Arc::new(LayerGroups::compile(&patterns, &exclude)?);
    check_layers(&groups, &options.groups.split, &options.validation.dropped)?;
    // Compiled again for the validation, which comes after all the work.
    Exceptions::compile(&options.validation.validation_exceptions)?;
    let partition = Partition {
        groups: patterns,
        exclude: exclude.clone(),
        dropped: options.validation.dropped.clone(),
        ..Partition::default()
    };
    let prefetch = options.prefetch.as_deref().map(read_prefetch).transpose()?;
    let image = Image::new(Settings { exclude, ..options.settings.clone() }, groups, prefetch)?;
    let place = |binary: &Binary| String::from_utf8_lossy(binary.place.as_bytes()).into_owned();
    let executables = binaries.iter().map(place).collect();
    let validation = ValidationSettings { executables, ..options.validation.clone() };
    let job = Job { options, validation, partition, image, wheels, manifest: &manifest, found: &found };
    let rows = pack(&job, bar, cancel);
    let rows = rows.map_err(|error| explain(error, &manifest, cancel))?;
    Ok(if options.json { report::json(&rows) } else { report::table(&rows) })
}

/// What is packed, and how.
struct Job<'a> {
    options: &'a Options,
    /// Those of `options`, with what is known about the binaries.
    validation: ValidationSettings,
    /// How the files are divided.
    partition: Partition,
    image: Image,
    /// Those of `options`, and those in the runfiles.
    wheels: Vec<PathBuf>,
    manifest: &'a Manifest,
    found: &'a Survey,
}

/// Writes the layers: all of them or none.
fn pack(job: &Job, bar: bool, cancel: &Cancel) -> Result<Vec<Row>> {
    let Job { options, image, wheels, manifest, found, .. } = job;
    let (digests, known) = (Digests::default(), KnownFiles::new(0));
    let (now, links) = (SystemTime::now(), Links::Declared);
    let inputs = Inputs { base: Path::new(""), digests: &digests, known: &known, cancel, now, links };
    let entries = image.entries(manifest, inputs, |_| true)?;
    let bar = if bar { progress_bar(content_bytes(&entries)) } else { ProgressBar::hidden() };
    let warn = |warning: &str| {
        // An error on stderr cannot be reported anywhere.
        bar.suspend(|| drop(writeln!(io::stderr(), "pylayer: {warning}")));
    };
    let filled: HashSet<&str> =
        entries.iter().filter_map(|entry| image.groups.group_of(entry.path.tar_name())).collect();
    let layers = divide(entries, &image.groups, &options.validation.dropped);
    // Name the patterns as the user wrote them.
    for LayerGroup { name, pattern } in &options.groups.layer_groups {
        if !filled.contains(name.as_str()) {
            let packages: Vec<String> =
                found.packages.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            warn(&warnings::unused_group(
                name,
                pattern,
                &packages,
                options.settings.runfiles_root.as_deref(),
            ));
        }
    }
    let file_name = |layer: &str| format!("{layer}{}", image.codec.extension());
    out::prepare(&options.out, &layers.iter().map(|(layer, _)| file_name(layer)).collect::<Vec<_>>())?;
    let wheels = if image.codec.lifts() { wheels } else { &[][..] };
    let wheels = Wheels::open(wheels, inputs, &KnownWheels::new(0))?;
    wheels.warning().iter().for_each(|warning| warn(warning));
    let pool = Pool::new(options.jobs.map(usize::from), None).map_err(Error::Threads)?;
    let (mut outputs, mut rows, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    for (layer, entries) in layers {
        let planned = image.plan(entries, &wheels, cancel)?;
        let files = planned.plan.file_count();
        planned.warnings(layer).iter().for_each(|warning| warn(warning));
        let path = options.out.join(file_name(layer));
        let (output, written) = planned.write(&path, &pool, cancel, &|bytes| bar.inc(bytes))?;
        outputs.push(output);
        let mut listing = Vec::new();
        planned.write_listing(&written, &mut listing)?;
        listed.push(ListedLayer { name: layer.to_string(), file: layer.into(), listing });
        rows.push(Row {
            layer: layer.to_string(),
            path: path.to_string_lossy().into_owned(),
            files,
            bytes: written.uncompressed_size,
            descriptor: Descriptor::new(image.codec, &written),
        });
    }
    if options.report {
        let layers = rows.iter().zip(&outputs);
        let layers =
            layers.map(|(row, output)| (row.layer.clone(), output.temporary().to_path_buf())).collect();
        outputs.extend(describe(job, layers, &listed, inputs)?);
    }
    if job.validation.validation != Validation::Off {
        let validate = || {
            let (groups, settings) = (&image.groups, &job.validation);
            validate::validate(listed, &[manifest], groups, settings, &image.prefetch, inputs, None)
        };
        let Verdict { problems, warnings, .. } = info_span!("validation").in_scope(validate)?;
        match problems {
            Some(problems) if job.validation.validation == Validation::Error => {
                return Err(Error::Violations(problems).into());
            }
            problems => problems.into_iter().chain(warnings).for_each(|message| warn(&message)),
        }
    }
    if cancel.is_cancelled() {
        return Err(Error::Interrupted.into());
    }
    Output::keep(outputs)?;
    bar.finish_and_clear();
    Ok(rows)
}

/// Writes the page about `layers`, which have these names and files, and what they contain.
fn describe(
    job: &Job,
    layers: Vec<(String, PathBuf)>,
    listings: &[ListedLayer],
    inputs: Inputs,
) -> Result<[Output; 2]> {
    let Job { options, partition, image, manifest, .. } = job;
    let names: Vec<String> = options.binaries.iter().map(show_path).collect();
    let (name, partition) = (names.join(", "), partition.clone());
    let contents = describe::describe(name, layers, partition, &image.groups, &[manifest], listings, inputs)?;
    let page = page::page(&contents, &advice::advise(&contents)?, None)?;
    Ok([
        Output::with_content(&options.out.join("report.html"), page.as_bytes())?,
        Output::with_content(&options.out.join("contents.json"), contents.to_json().as_bytes())?,
    ])
}

/// Checks that the value of an option is an existing file.
pub fn check_file(option: &'static str, path: &Path) -> Result<(), Error> {
    let problem = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(()),
        Ok(_) => "it is not a file".to_string(),
        Err(error) => error.to_string(),
    };
    Err(Error::File { option, path: path.to_path_buf(), problem })
}

/// Checks the options, before any input is read.
fn check(options: &Options) -> Result<(), Error> {
    options.binaries.iter().try_for_each(|path| check_file("binary", path))?;
    // Even if nothing is lifted from them.
    options.wheels.iter().try_for_each(|path| check_file("wheel", path))?;
    options.prefetch.iter().try_for_each(|path| check_file("prefetch", path))?;
    if let count @ 2.. = options.binaries.len() {
        if options.settings.runfiles_root.is_none() {
            return Err(Error::NoRunfilesRoot(count));
        }
        let single = [("runfiles", options.runfiles.is_some()), ("name", options.name.is_some())];
        if let Some((option, _)) = single.into_iter().find(|(_, is_set)| *is_set) {
            return Err(Error::SingleBinary(option));
        }
    }
    match options.json && options.out.to_str().is_none() {
        true => Err(Error::NotJson(options.out.clone())),
        false => check_groups(options),
    }
}

/// Reads the list of files that come first.
fn read_prefetch(path: &Path) -> Result<Prefetch, Error> {
    let problem = |problem| Error::File { option: "prefetch", path: path.to_path_buf(), problem };
    let text = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
    Prefetch::parse(&text).map_err(|error| problem(error.to_string()))
}

/// Checks that no two groups have the same name.
fn check_groups(options: &Options) -> Result<(), Error> {
    let groups = &options.groups.layer_groups;
    for (index, LayerGroup { name, .. }) in groups.iter().enumerate() {
        if groups[..index].iter().any(|other| other.name == *name) {
            return Err(Error::GroupTwice { name: name.clone() });
        }
        if options.validation.dropped.contains(name) {
            return Err(Error::GroupDropped { name: name.clone() });
        }
    }
    Ok(())
}

/// Checks the groups that become several layers.
fn check_layers(groups: &LayerGroups, split: &[Split], dropped: &[String]) -> Result<(), Error> {
    let names = groups.names();
    for (index, Split { group, .. }) in split.iter().enumerate() {
        let problem = if dropped.contains(group) {
            "it is dropped with --drop; use only one of them".to_string()
        } else if !names.contains(&group.as_str()) {
            format!("there is no such group; the groups are {}", names.join(", "))
        } else if split[..index].iter().any(|other| other.group == *group) {
            "it is given twice".to_string()
        } else {
            continue;
        };
        return Err(Error::Split { name: group.clone(), problem });
    }
    let mut layers = groups.layers();
    layers.sort_unstable();
    match layers.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let problem = format!("{:?} is also the name of a group; rename that", pair[0]);
            let group = pair[0].rsplit_once('_').map_or(pair[0], |(group, _)| group);
            Err(Error::Split { name: group.to_string(), problem })
        }
        None => Ok(()),
    }
}

/// The items of each layer that is neither empty nor dropped, in image order.
fn divide<'a>(
    items: Vec<ResolvedEntry>,
    groups: &'a LayerGroups,
    dropped: &[String],
) -> Vec<(&'a str, Vec<ResolvedEntry>)> {
    let mut layers: HashMap<&str, Vec<ResolvedEntry>> = HashMap::new();
    for item in items {
        let name = item.path.tar_name();
        let is_dropped =
            groups.group_of(name).is_some_and(|group| dropped.iter().any(|other| other == group));
        if let Some(layer) = groups.layer_of(name).filter(|_| !is_dropped) {
            layers.entry(layer).or_default().push(item);
        }
    }
    groups.layers().into_iter().filter_map(|layer| layers.remove_entry(layer)).collect()
}

/// Adds the image path of an input that cannot be read. Any error of a cancelled run becomes
/// [`Error::Interrupted`].
fn explain(error: anyhow::Error, manifest: &Manifest, cancel: &Cancel) -> anyhow::Error {
    if cancel.is_cancelled() {
        return Error::Interrupted.into();
    }
    match error.downcast() {
        Ok(inputs::Error::Read { path, error }) => {
            let entry = manifest.entries.iter().find(|entry| match &entry.source {
                Source::File(file) | Source::FileOrDeclaredSymlink(file) => *file == path,
                Source::Tree(tree) => path.starts_with(tree),
                Source::DeclaredSymlink(_) | Source::Symlink(_) | Source::Empty => false,
            });
            match entry {
                Some(entry) => Error::Unreadable { place: entry.path.clone(), path, error }.into(),
                None => inputs::Error::Read { path, error }.into(),
            }
        }
        Ok(other) => other.into(),
        Err(other) => other,
    }
}

/// A binary to pack.
struct Binary<'a> {
    file: &'a Path,
    /// The path below the root, and below its repository in the runfiles.
    name: Vec<u8>,
    /// The image path.
    place: ImagePath,
}

impl Binary<'_> {
    fn new<'a>(file: &'a Path, options: &Options) -> Result<Binary<'a>> {
        let name = match &options.name {
            Some(name) => Some(name.clone().into_bytes()),
            None => short_path(file),
        };
        let no_name = || Error::File {
            option: "binary",
            path: file.to_path_buf(),
            problem: "it has no file name".into(),
        };
        let name = name.ok_or_else(no_name)?;
        let root = options.settings.root.as_bytes();
        let place = ImagePath::new(if root.is_empty() { name.clone() } else { [root, &name].join(&b'/') })?;
        Ok(Binary { file, name, place })
    }

    /// Where launchers look for the runfiles.
    fn runfiles(&self) -> Result<ImagePath, image_path::Error> {
        ImagePath::new([self.place.as_bytes(), RUNFILES.as_bytes()].concat())
    }
}

/// The image path of the runfiles directory of all binaries.
fn runfiles_directory(options: &Options, binaries: &[Binary]) -> Result<ImagePath> {
    let Some(root) = &options.settings.runfiles_root else { return Ok(binaries[0].runfiles()?) };
    let runfiles = ImagePath::new(root)?;
    for (index, binary) in binaries.iter().enumerate() {
        let link = binary.runfiles()?;
        let clashes = binary.place == runfiles
            || below(&binary.place, &runfiles).is_some()
            || [&binary.place, &link].into_iter().any(|place| below(&runfiles, place).is_some());
        if clashes {
            return Err(Error::InRunfiles { path: binary.place.clone(), runfiles }.into());
        }
        if binaries[..index].iter().any(|other| other.place == binary.place) {
            return Err(Error::SamePlace(binary.place.clone()).into());
        }
    }
    Ok(runfiles)
}

/// Surveys the runfiles, as the Bazel rule does at analysis.
fn survey(manifest: &Manifest, runfiles: &ImagePath, names: &[&[u8]]) -> Survey {
    let paths: Vec<Cow<[u8]>> = manifest
        .entries
        .iter()
        .filter_map(|entry| {
            let path = below(&entry.path, runfiles)?;
            let is_tree = matches!(entry.source, Source::Tree(_));
            Some(if is_tree { Cow::Owned([path, b"/"].concat()) } else { Cow::Borrowed(path) })
        })
        .collect();
    Survey::of(paths.iter().map(AsRef::as_ref), names)
}

fn is_unneeded_wheel(path: &ImagePath, runfiles: &ImagePath, found: &Survey) -> bool {
    below(path, runfiles).is_some_and(|path| found.wheels.iter().any(|wheel| wheel == path))
}

fn below<'a>(path: &'a ImagePath, directory: &ImagePath) -> Option<&'a [u8]> {
    path.as_bytes().strip_prefix(directory.as_bytes())?.strip_prefix(b"/")
}

/// The manifest that the Bazel rule would write: the executables and all their runfiles. `merged` becomes
/// the file with the repository mapping of several binaries.
fn manifest(
    options: &Options,
    binaries: &[Binary],
    runfiles: &ImagePath,
    merged: &mut Option<Output>,
) -> Result<Manifest> {
    let mut entries = Vec::new();
    let mut directories = Vec::new();
    for binary in binaries {
        let directory = runfiles::directory(binary.file, options.runfiles.as_deref());
        let read = Runfiles::read(binary.file, &directory)?;
        let executable = Source::File(binary.file.to_path_buf());
        entries.push(ManifestEntry { path: binary.place.clone(), source: executable });
        let place = binary.runfiles()?;
        if place != *runfiles {
            let target = runfiles::relative(place.as_bytes(), runfiles.as_bytes());
            entries.push(ManifestEntry { path: place, source: Source::Symlink(target) });
        }
        entries.extend(read.entries(runfiles)?);
        directories.push(directory);
    }
    let trees = entries.iter().filter_map(|entry| match &entry.source {
        Source::Tree(tree) => Some(tree.as_path()),
        _ => None,
    });
    out::check_outside(&options.out, trees.chain(directories.iter().map(PathBuf::as_path)))?;
    if binaries.len() > 1 {
        *merged = merge_repo_mappings(options, &runfiles.join(b"_repo_mapping")?, &mut entries)?;
    }
    Ok(Manifest { entries })
}

/// Replaces the repository mappings of several binaries, which are at `place`, by their union in a
/// temporary file.
fn merge_repo_mappings(
    options: &Options,
    place: &ImagePath,
    entries: &mut Vec<ManifestEntry>,
) -> Result<Option<Output>> {
    let mut mappings = Vec::new();
    for entry in entries.iter().filter(|entry| entry.path == *place) {
        if let Source::File(file) = &entry.source {
            let read = std::fs::read(file);
            let text = read.map_err(|error| inputs::Error::Read { path: file.clone(), error })?;
            mappings.push((file.as_path(), text));
        }
    }
    if mappings.is_empty() {
        return Ok(None);
    }
    let merged = repo_mapping::merge(&mappings)?;
    out::create(&options.out)?;
    let output = Output::with_content(&options.out.join("_repo_mapping"), &merged)?;
    entries.retain(|entry| entry.path != *place);
    let source = Source::File(output.temporary().to_path_buf());
    entries.push(ManifestEntry { path: place.clone(), source });
    Ok(Some(output))
}

/// The path below Bazel's output directory (`bazel-bin/app/server` → `app/server`), without the
/// repository if the binary is from another module. The file name if it is in no output directory.
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

/// The bytes of content in `items`.
fn content_bytes(items: &[ResolvedEntry]) -> u64 {
    let size = |item: &ResolvedEntry| match &item.content {
        Content::File(content) => content.size,
        Content::Symlink(_) | Content::Empty => 0,
    };
    items.iter().map(size).sum()
}

/// A progress bar on stderr for a number of bytes.
pub fn progress_bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
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
