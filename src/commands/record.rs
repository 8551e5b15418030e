//! `pylayer record`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::opened::{BYTECODE, Opened, Watched};
use super::out::Out;
use super::{Printed, TARGET_COMMAND};
use crate::image_path::ImagePath;
use crate::inputs::{Content, Digests, Inputs, KnownFiles, Links};
use crate::manifest::Manifest;
use crate::pack::{
    self,
    runfiles::{self, Runfiles},
};
use crate::settings::{RUNFILES, Settings};
use crate::show::show_path;
use bazel_worker::Cancel;

/// How often the program, and what it has opened, are looked at.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long a program that has been told to stop may take, with the processes that it has started.
const PATIENCE: Duration = Duration::from_secs(10);

/// The place of the runfiles in the manifest with which they are found.
const PLACE: &str = "runfiles";

const HEADER: &str = "# What the program reads when it starts, in order: the ends of paths in the image. Written by `record`.\n";

/// Runs a binary, and lists the files that it reads when it starts.
#[derive(Debug, Args)]
pub struct Options {
    /// Binary built by Bazel, such as bazel-bin/app/server
    #[arg(long, value_name = "PATH")]
    binary: PathBuf,
    /// Runfiles tree to use instead of PATH.runfiles
    #[arg(long, value_name = "DIR")]
    runfiles: Option<PathBuf>,
    #[command(flatten)]
    recording: Recording,
}

#[derive(Debug, Args)]
struct Recording {
    /// File to write the list to [default: stdout]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stop the program after N seconds [default: wait until it ends, or for Ctrl-C]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// The command line of `bazel run //app:layers.record -- …`.
#[derive(Debug, Parser)]
#[command(
    name = "record",
    about = "Runs the binary, and lists the files that it reads when it starts. Without ARGUMENTS, it has those of the image."
)]
struct OfTarget {
    #[command(flatten)]
    recording: Recording,
}

pub fn run(options: &Options, cancel: &Cancel) -> Result<Printed> {
    let Options { binary, runfiles, recording } = options;
    pack::check_file("binary", binary)?;
    let directory = runfiles::directory(binary, runfiles.as_deref());
    // A name without a slash would be searched for in PATH.
    let program = std::path::absolute(binary)?;
    record(&program, &directory, recording, cancel)
}

/// `bazel run //app:layers.record`.
pub fn run_target(arguments: &[OsString]) -> Result<Printed> {
    let name = OsString::from("record");
    let mut recording = match OfTarget::try_parse_from([name].iter().chain(arguments)) {
        Ok(OfTarget { recording }) => recording,
        Err(error) => error.exit(),
    };
    let directory = std::env::var_os("BUILD_WORKING_DIRECTORY");
    if let (Some(out), Some(directory)) = (&mut recording.out, directory) {
        *out = Path::new(&directory).join(&out);
    }
    if recording.arguments.is_empty() {
        let given = std::env::var("PYLAYER_ARGUMENTS").unwrap_or_default();
        let given: Vec<String> = serde_json::from_str(&given).context("PYLAYER_ARGUMENTS")?;
        recording.arguments = given.into_iter().map(OsString::from).collect();
    }
    let mut directory = std::env::args_os().next().unwrap_or_default();
    directory.push(RUNFILES);
    let directory = PathBuf::from(directory);
    let program = directory.join(std::env::var_os("PYLAYER_BINARY").context("PYLAYER_BINARY is not set")?);
    let cancel = Cancel::new();
    bazel_worker::cancel_on_signals(cancel.clone()).context("cannot handle signals")?;
    record(&program, &directory, &recording, &cancel)
}

/// Runs `program`, whose runfiles are in `directory`.
fn record(program: &Path, directory: &Path, recording: &Recording, cancel: &Cancel) -> Result<Printed> {
    let out = recording.out.as_deref().map(Out::open).transpose()?;
    let (files, unlisted) = files(program, directory, cancel)?;
    let watched: Vec<Watched> = files.iter().map(|(file, _)| file.clone()).collect();
    let mut opened = Opened::watch(&watched)?;
    let mut child = start(program, directory, recording)?;
    let deadline = recording.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let has_ended = follow(&child, &mut opened, deadline, cancel);
    // Even if nothing could be recorded.
    let status = stop(&mut child)?;
    opened.update()?;
    if has_ended? && !status.success() {
        let hint = if status.code().is_some() { "; arguments of the program come after --" } else { "" };
        bail!("{} failed ({status}), so nothing was recorded{hint}", show_path(program));
    }
    let paths: Vec<&str> =
        opened.order().iter().flat_map(|number| &files[*number].1).map(String::as_str).collect();
    if paths.is_empty() {
        bail!("{} has opened none of its runfiles", show_path(program));
    }
    let mut list = String::from(HEADER);
    paths.iter().for_each(|path| {
        list.push_str(path);
        list.push('\n');
    });
    if unlisted > 0 {
        list.push_str(&format!("# {unlisted} runfiles have names that a list cannot contain.\n"));
    }
    let (Some(path), Some(out)) = (&recording.out, out) else { return Ok(Printed::new(list)) };
    out.write(list.as_bytes())?;
    let plural = if paths.len() == 1 { "" } else { "s" };
    Ok(Printed::new(format!("{}: {} file{plural}\n", show_path(path), paths.len())))
}

/// A runfile, and how a list names it. The same file may have several names.
type Named = (Watched, Vec<String>);

/// The runfiles that layers contain as files, and the number of those that a list cannot name.
fn files(program: &Path, directory: &Path, cancel: &Cancel) -> Result<(Vec<Named>, usize)> {
    let place = ImagePath::new(PLACE)?;
    let manifest = Manifest { entries: Runfiles::read(program, directory)?.entries(&place)? };
    let (digests, known) = (Digests::default(), KnownFiles::new(0));
    let (now, links) = (SystemTime::now(), Links::Declared);
    let inputs = Inputs { base: Path::new(""), digests: &digests, known: &known, cancel, now, links };
    let settings = Settings { dedupe: false, ..Settings::default() };
    let mut files: BTreeMap<PathBuf, (Vec<PathBuf>, Vec<String>)> = BTreeMap::new();
    let mut unlisted = 0;
    for entry in inputs.entries(&manifest, &settings, |_| true)? {
        cancel.check()?;
        let Content::File(content) = &entry.content else { continue };
        // Bazel puts only links into a runfiles tree. Python has written the rest.
        let parent = content.file.parent().and_then(Path::file_name);
        if parent.is_some_and(|name| name == BYTECODE) && content.file.starts_with(directory) {
            continue;
        }
        let path = entry.path.as_bytes();
        let Some(name) = name(path) else {
            unlisted += 1;
            continue;
        };
        let real = content.file.canonicalize().with_context(|| show_path(&content.file))?;
        let (links, names) = files.entry(real).or_default();
        links.push(directory.join(OsStr::from_bytes(&path[PLACE.len() + 1..])));
        names.push(name);
    }
    let named = |(path, (links, names))| (Watched { path, links }, names);
    Ok((files.into_iter().map(named).collect(), unlisted))
}

/// How a list names a path in [`PLACE`]: by the path in its repository. `None` if a line cannot contain it.
fn name(path: &[u8]) -> Option<String> {
    let mut parts = path.splitn(3, |&byte| byte == b'/');
    let (_place, repository, rest) = (parts.next()?, parts.next()?, parts.next());
    let name = std::str::from_utf8(rest.unwrap_or(repository)).ok()?;
    // The start of such a line would mean something else.
    let name = if name.starts_with('#') || name.trim_ascii_start() != name {
        format!("./{name}")
    } else {
        name.to_string()
    };
    (name.trim_ascii() == name && !name.contains('\n')).then_some(name)
}

fn start(program: &Path, directory: &Path, recording: &Recording) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(&recording.arguments);
    for name in [TARGET_COMMAND, "PYLAYER_BINARY", "PYLAYER_ARGUMENTS", "RUNFILES_MANIFEST_FILE"] {
        command.env_remove(name);
    }
    command.env("RUNFILES_DIR", std::path::absolute(directory)?);
    // So that processes that the program starts are stopped with it. Such a group must not read from a terminal.
    command.process_group(0).stdin(Stdio::null());
    if recording.out.is_none() {
        // The list is to be the only thing on stdout.
        command.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
    }
    command.spawn().with_context(|| format!("cannot start {}", show_path(program)))
}

/// Takes note of what is opened until the program ends, `deadline`, or the run is cancelled. Returns whether it has
/// ended. Leaves it to be waited for.
fn follow(child: &Child, opened: &mut Opened, deadline: Option<Instant>, cancel: &Cancel) -> Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        opened.update()?;
        if waitid(WaitId::Pid(Pid::from_child(child)), options)?.is_some() {
            return Ok(true);
        }
        if cancel.is_cancelled() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Stops the program, if it is running, and the processes that it has started. Returns how it ended.
fn stop(child: &mut Child) -> io::Result<ExitStatus> {
    // The group exists until the program has been waited for.
    let group = Pid::from_child(child);
    kill_process_group(group, Signal::TERM)?;
    let deadline = Instant::now() + PATIENCE;
    while has_members(group)? && Instant::now() < deadline {
        std::thread::sleep(INTERVAL);
    }
    kill_process_group(group, Signal::KILL)?;
    child.wait()
}

/// Whether a process of `group` is running.
fn has_members(group: Pid) -> io::Result<bool> {
    let group = group.as_raw_pid().to_string();
    for process in fs::read_dir("/proc")? {
        // A process that has ended meanwhile has no status, and neither have entries that are not processes.
        let Ok(status) = fs::read(process?.path().join("stat")) else { continue };
        let status = String::from_utf8_lossy(&status);
        // PID (NAME) STATE PARENT GROUP …; the name may contain any character (proc_pid_stat(5)).
        let fields = status.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = fields.split(' ');
        let (state, _parent) = (fields.next(), fields.next());
        if fields.next() == Some(&group) && !matches!(state, Some("Z" | "X")) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_files_by_their_paths_in_repositories() {
        assert_eq!(name(b"runfiles/_main/app/web"), Some("app/web".to_string()));
        assert_eq!(
            name(b"runfiles/pip_numpy/site-packages/numpy/x.py"),
            Some("site-packages/numpy/x.py".into())
        );
        assert_eq!(name(b"runfiles/_repo_mapping"), Some("_repo_mapping".to_string()));
        assert_eq!(name(b"runfiles/a/#x"), Some("./#x".to_string()));
        assert_eq!(name(b"runfiles/a/ x"), Some("./ x".to_string()));
        assert_eq!(name("runfiles/a/x\u{2028}".as_bytes()), Some("x\u{2028}".to_string()));
        for path in ["runfiles/a/x\ny", "runfiles/a/x "] {
            assert_eq!(name(path.as_bytes()), None);
        }
        assert_eq!(name(b"runfiles/a/\xe9"), None);
    }
}
