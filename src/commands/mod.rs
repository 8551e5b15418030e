//! Commands that inspect existing layers and images, or help to plan new ones.
//!
//! | command | from → to |
//! |---|---|
//! | `inspect` | an image → a summary, or its contents as JSON |
//! | `diff` | two images → what changed, and what a node has to pull and unpack |
//! | `explain` | an image and a path → why the path is in its layer |
//! | `report` | an image → a page |
//! | `tune` | a report → an edited BUILD file |
//! | `record` | a binary → a list of the files that it reads when it starts |
//! | `out` | what a command has found → the file that `--out` names |
//! | `opened` | files → which of them are opened, in order |

mod diff;
mod explain;
mod inspect;
#[cfg(target_os = "linux")]
mod opened;
mod out;
#[cfg(target_os = "linux")]
mod record;
mod report;
mod tune;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;

use crate::archive::{Source, Watch};
use crate::components;
use crate::contents::ImageContents;
use crate::pack::progress_bar;
use crate::show::{show, show_path};
use bazel_worker::Cancel;

/// The environment variable with the name of the command of a target for `bazel run`.
pub const TARGET_COMMAND: &str = "PYLAYER_COMMAND";

/// A command about images.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Summarize layers or an image made by any tool.
    Inspect(inspect::Options),
    /// Show what changed between two images, and what a node has to pull and unpack.
    Diff(diff::Options),
    /// Explain why a path is in its layer.
    Explain(explain::Options),
    /// Write a page about an image.
    Report(report::Options),
    /// Propose how to divide the packages of an image among layers.
    Tune(tune::Options),
    /// Run a binary, and list the files that it reads when it starts.
    #[cfg(target_os = "linux")]
    Record(record::Options),
}

/// Which image of a file or directory with several to read.
#[derive(Debug, Args)]
pub struct Select {
    /// Which image to read if there are several: a platform (linux/arm64), a tag or a digest
    #[arg(long, value_name = "WHICH")]
    select: Option<String>,
}

/// What the commands know about the terminal.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    /// Whether to show progress on stderr.
    pub progress: bool,
    /// Whether stdout may have colours.
    pub colours: bool,
    /// The width of stdout.
    pub width: usize,
}

/// What a command prints, and how it ends.
#[derive(Debug)]
pub struct Printed {
    pub text: String,
    /// Whether it found what its exit code reports.
    pub differs: bool,
}

impl Printed {
    fn new(text: String) -> Printed {
        Printed { text, differs: false }
    }
}

impl Command {
    /// Runs the command.
    pub fn run(&self, terminal: Terminal, cancel: &Cancel) -> Result<Printed> {
        match self {
            Command::Inspect(options) => inspect::run(options, terminal, cancel),
            Command::Diff(options) => diff::run(options, terminal, cancel),
            Command::Explain(options) => explain::run(options, terminal, cancel),
            Command::Report(options) => report::run(options, terminal, cancel),
            Command::Tune(options) => tune::run(options),
            #[cfg(target_os = "linux")]
            Command::Record(options) => record::run(options, cancel),
        }
    }
}

/// Changes to the directory in which the user typed `bazel run @rules_pylayer//:pylayer`, to which paths in the
/// arguments are relative. Bazel starts the program in its runfiles.
pub fn enter_working_directory() -> Result<()> {
    if std::env::var_os("PYLAYER_BAZEL_RUN").is_none() {
        return Ok(());
    }
    let Some(directory) = std::env::var_os("BUILD_WORKING_DIRECTORY") else { return Ok(()) };
    std::env::set_current_dir(&directory).with_context(|| show_path(&directory))
}

/// Runs the command of a target for `bazel run`: `layers.report`, `layers.tune` or `layers.record`. Its name and
/// files are in the environment, its options in `arguments`.
pub fn run_target(name: &str, arguments: &[OsString]) -> Result<Printed> {
    match name {
        "report" => report::run_target(arguments),
        "tune" => tune::run_target(arguments),
        #[cfg(target_os = "linux")]
        "record" => record::run_target(arguments),
        _ => bail!("{TARGET_COMMAND}={}: there is no such command for a target", show(name.as_bytes())),
    }
}

/// The file that the environment variable `name` names, next to the program that `bazel run` started. There
/// may be no runfiles tree.
fn target_file(name: &str) -> Result<PathBuf> {
    let file = std::env::var_os(name)
        .with_context(|| format!("{name} is not set; start this program with `bazel run`"))?;
    let program = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    Ok(program.with_file_name(file))
}

/// What `path` leads to, if it is a symlink. Renaming a file to it would replace the link.
fn target(path: &Path) -> PathBuf {
    // A target that does not exist is created.
    let linked = || Some(path.parent()?.join(std::fs::read_link(path).ok()?));
    std::fs::canonicalize(path).ok().or_else(linked).unwrap_or_else(|| path.to_path_buf())
}

/// Reads the image that consists of `paths`, with a progress bar.
fn read(paths: &[PathBuf], select: &Select, terminal: Terminal, cancel: &Cancel) -> Result<ImageContents> {
    let source = Source::open(paths, select.select.as_deref())?;
    let bar = if terminal.progress { progress_bar(source.total_bytes()) } else { ProgressBar::hidden() };
    let done = AtomicU64::new(0);
    let progress = |bytes: u64| bar.set_position(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    let image = source.read(Watch { progress: &progress, cancel });
    bar.finish_and_clear();
    Ok(components::contents(image?))
}
