//! Packs a binary built by Bazel, and its runfiles, into layers: the engine as a command-line tool. The
//! layers are identical to those of the Bazel rule for the same binary, and are validated in the same
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
mod runfiles;

use std::borrow::Cow;
use std::collections::HashMap;
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
use crate::descriptor::Descriptor;
use crate::groups::{self, Exceptions, LayerGroup, LayerGroups};
use crate::image_path::ImagePath;
use crate::inputs::{self, Content, Digests, Inputs, KnownFiles, Links, ResolvedEntry};
use crate::layer::Image;
use crate::manifest::{Manifest, ManifestEntry, Source};
use crate::output::Output;
use crate::pipeline::Pool;
use crate::settings::{Settings, Validation, ValidationSettings};
use crate::show::{show, show_path};
use crate::survey::Survey;
use crate::validate::{self, ListedLayer, Verdict};
use crate::warnings;
use bazel_worker::Cancel;

/// More threads than this are a mistake: each keeps several chunks of a layer in memory.
const MAX_JOBS: i64 = 1024;

/// Packs a built binary and its runfiles into layers.
#[derive(Debug, Args)]
pub struct Options {
    /// Binary built by Bazel, such as bazel-bin/app/server
    #[arg(long, value_name = "PATH")]
    pub binary: PathBuf,
    /// Output directory, for DIR/GROUP.tar.gz, .tar.zst or .tar; must not contain other tars
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Runfiles tree, or another directory to use instead [default: PATH.runfiles]
    #[arg(long, value_name = "DIR")]
    pub runfiles: Option<PathBuf>,
    /// Path of the binary below the root [default: the part of PATH after bazel-bin/, or its file name]
    #[arg(long, value_name = "PKG/BIN")]
    pub name: Option<String>,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub validation: ValidationSettings,
    /// Number of threads [default: number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_JOBS))]
    pub jobs: Option<u16>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Errors that no other module reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--binary {}: {problem}", show_path(path))]
    Binary { path: PathBuf, problem: String },
    #[error("--out {}: the name is not UTF-8, so it cannot be printed as JSON; omit --json, or choose another directory", show_path(.0))]
    NotJson(PathBuf),
    #[error("--layer-group {name:?} is given twice; join the patterns with |")]
    GroupTwice { name: String },
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
    let name = name(options)?;
    let executable = executable(options, &name)?;
    let runfiles = ImagePath::new([executable.as_bytes(), b".runfiles"].concat())?;
    let mut manifest = info_span!("manifest").in_scope(|| manifest(options, executable, &runfiles))?;
    let found = survey(&manifest, &runfiles, &name);
    manifest.entries.retain(|entry| !is_unneeded_wheel(&entry.path, &runfiles, &found));
    let patterns = options.settings.patterns.for_binary(&runfiles, &found);
    let groups = Arc::new(LayerGroups::compile(&patterns)?);
    // Compiled again for the validation, which comes after all the work.
    Exceptions::compile(&options.validation.validation_exceptions)?;
    let image = Image::new(Settings { patterns, ..options.settings.clone() }, groups)?;
    let rows = pack(options, &image, &manifest, &found, bar, cancel);
    let rows = rows.map_err(|error| explain(error, &manifest, cancel))?;
    Ok(if options.json { report::json(&rows) } else { report::table(&rows) })
}

/// Writes the layers of `manifest`: all of them or none.
fn pack(
    options: &Options,
    image: &Image,
    manifest: &Manifest,
    found: &Survey,
    bar: bool,
    cancel: &Cancel,
) -> Result<Vec<Row>> {
    let (digests, known) = (Digests::default(), KnownFiles::new(0));
    let (now, links) = (SystemTime::now(), Links::Declared);
    let inputs = Inputs { base: Path::new(""), digests: &digests, known: &known, cancel, now, links };
    let entries = image.entries(manifest, inputs, |_| true)?;
    let bar = if bar { progress_bar(&entries) } else { ProgressBar::hidden() };
    let warn = |warning: &str| {
        // An error on stderr cannot be reported anywhere.
        bar.suspend(|| drop(writeln!(io::stderr(), "pylayer: {warning}")));
    };
    let layers = divide(entries, &image.groups, &options.validation.dropped);
    // Name the patterns as the user wrote them.
    for LayerGroup { name, pattern } in &options.settings.patterns.layer_groups {
        if !layers.iter().any(|(layer, _)| layer == name) {
            let packages: Vec<String> =
                found.packages.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
            warn(&warnings::unused_group(name, pattern, &packages));
        }
    }
    let file_name = |layer: &str| format!("{layer}{}", image.codec.extension());
    out::prepare(&options.out, &layers.iter().map(|(layer, _)| file_name(layer)).collect::<Vec<_>>())?;
    let pool = Pool::new(options.jobs.map(usize::from), None).map_err(Error::Threads)?;
    let (mut outputs, mut rows, mut listed) = (Vec::new(), Vec::new(), Vec::new());
    for (layer, entries) in layers {
        let files = entries.len();
        let planned = image.plan(entries, cancel)?;
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
    if options.validation.validation != Validation::Off {
        let validate =
            || validate::validate(listed, &[manifest], &image.groups, &options.validation, inputs, None);
        let Verdict { problems, warning, .. } = info_span!("validation").in_scope(validate)?;
        match problems {
            Some(problems) if options.validation.validation == Validation::Error => {
                return Err(Error::Violations(problems).into());
            }
            problems => problems.into_iter().chain(warning).for_each(|message| warn(&message)),
        }
    }
    if cancel.is_cancelled() {
        return Err(Error::Interrupted.into());
    }
    Output::keep(outputs)?;
    bar.finish_and_clear();
    Ok(rows)
}

/// Checks the options, before any input is read.
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

/// Checks that no two layers have the same name.
fn check_groups(options: &Options) -> Result<(), Error> {
    let groups = &options.settings.patterns.layer_groups;
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

/// The items of each layer that is neither empty nor dropped, in image order.
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

/// The executable's path below the root, and below its repository in the runfiles.
fn name(options: &Options) -> Result<Vec<u8>, Error> {
    let no_name = || Error::Binary { path: options.binary.clone(), problem: "it has no file name".into() };
    match &options.name {
        Some(name) => Ok(name.clone().into_bytes()),
        None => short_path(&options.binary).ok_or_else(no_name),
    }
}

/// The executable's image path.
fn executable(options: &Options, name: &[u8]) -> Result<ImagePath> {
    let root = options.settings.root.as_bytes();
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

/// The manifest that the Bazel rule would write: the executable and all its runfiles.
fn manifest(options: &Options, executable: ImagePath, runfiles: &ImagePath) -> Result<Manifest> {
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
