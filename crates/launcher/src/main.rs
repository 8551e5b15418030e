//! The executable of a Python binary. It finds the runfiles, and executes the interpreter of the virtual
//! environment there with the binary's main file.
//!
//! It is a static program without libc, so that it runs in an image that contains nothing but the
//! interpreter, and adds little to the time of a start. It writes nothing and needs no `/proc`. Since the
//! interpreter replaces it, signals and the exit code need no attention.

#![no_std]
#![no_main]
#![no_builtins]

mod buffer;
mod config;
mod errno;
mod exec;
mod message;
mod origin;
mod runfiles;
mod sys;

use core::ffi::CStr;
use core::ops::ControlFlow::Continue;

use crate::buffer::{Buffer, PATH_MAX, Path};
use crate::config::{Config, Section};
use crate::errno::Errno;
use crate::message::{Message, error_text};
use crate::runfiles::{Clues, FileSystem};
use crate::sys::{Process, Stderr, Strings, System};

/// Exit codes of shells: a program cannot be executed, or does not exist.
const CANNOT_EXECUTE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// How many directories a message lists. A real search tries less than five.
const MAX_LISTED: usize = 20;

#[used]
#[unsafe(link_section = ".pylayer.launcher")]
static SECTION: Section = Section::empty();

/// Executes the interpreter. Returns the exit code if that fails.
fn run(process: &Process) -> i32 {
    let started_as = process.executed().or_else(|| process.arguments().next());
    let mut message = Message::new(started_as.unwrap_or_default().to_bytes(), Stderr);

    let section = sys::opaque(&SECTION);
    let config = match Config::parse(section.length, &section.records) {
        Ok(config) => config,
        Err(config::Error::Unconfigured) => {
            message.line(&[b"this launcher has not been configured; the rules do so with `pylayer --launcher=...`"]);
            return CANNOT_EXECUTE;
        }
        Err(config::Error::Malformed) => {
            message.line(&[b"the launcher's configuration is malformed; rebuild the program"]);
            return CANNOT_EXECUTE;
        }
    };

    let clues = Clues {
        executed: process.executed().map(CStr::to_bytes),
        directory: exec::value(process.environment(), b"RUNFILES_DIR"),
        manifest: exec::value(process.environment(), b"RUNFILES_MANIFEST_FILE"),
    };
    let mut root = Path::new();
    if !runfiles::find(&System, &clues, config.venv, &mut root) {
        explain_missing_runfiles(&mut message, &clues, &config);
        return NOT_FOUND;
    }
    let root = root.as_bytes();

    let (mut interpreter, mut main) = (Path::new(), Path::new());
    let joined = join(&mut interpreter, &[root, config.venv, config.interpreter])
        .and_then(|()| join(&mut main, &[root, config.main]));
    // Both fit, since each is shorter than a path that fits, and the names before them.
    let mut directory_variable = Buffer::<{ PATH_MAX + 16 }>::new();
    let mut venv_variable = Buffer::<{ PATH_MAX + 16 }>::new();
    let joined = joined
        .and_then(|()| directory_variable.set(b"RUNFILES_DIR="))
        .and_then(|()| directory_variable.push(root))
        .and_then(|()| venv_variable.set(b"VIRTUAL_ENV="))
        .and_then(|()| venv_variable.push(root))
        .and_then(|()| venv_variable.push(b"/"))
        .and_then(|()| venv_variable.push(config.venv));
    if joined.is_err() {
        message.line(&[b"the paths in the runfiles directory are longer than the 4095 bytes that Linux allows"]);
        message.line(&[b"the directory is ", root]);
        return CANNOT_EXECUTE;
    }
    let (interpreter, main) = (interpreter.as_c_str(), main.as_c_str());

    if let Err(error) = System.exists(main) {
        return explain_file(&mut message, b"main file", main, error);
    }

    let mut origin = Path::new();
    let mut origin_variable = Buffer::<{ PATH_MAX + 16 }>::new();
    let tells_origin = !origin::is_known(&System)
        && origin::find(&System, interpreter.to_bytes(), &mut origin)
            .and_then(|()| origin_variable.set(b"LD_ORIGIN_PATH="))
            .and_then(|()| origin_variable.push(origin.as_bytes()))
            .is_ok();
    let own = [directory_variable.as_c_str(), venv_variable.as_c_str(), origin_variable.as_c_str()];
    let own = if tells_origin { &own[..] } else { &own[..2] };
    let arguments = Strings::collect(exec::arguments(interpreter, config.options(), main, process.arguments()));
    let environment = Strings::collect(exec::environment(process.environment(), config.variables(), own));
    match (arguments, environment) {
        (Ok(arguments), Ok(environment)) => {
            let error = System.execute(interpreter, &arguments, &environment);
            explain_failure(&mut message, interpreter, error)
        }
        (Err(error), _) | (_, Err(error)) => {
            message.line(&[b"cannot allocate memory for the arguments: ", error_text(error, &mut [0; 16])]);
            CANNOT_EXECUTE
        }
    }
}

fn join(path: &mut Path, parts: &[&[u8]]) -> Result<(), Errno> {
    let (first, others) = parts.split_first().ok_or(Errno::ENOENT)?;
    path.set(first)?;
    others.iter().try_for_each(|part| path.join(part))
}

/// Lists the directories in which the virtual environment was looked for.
fn explain_missing_runfiles(message: &mut Message<Stderr>, clues: &Clues, config: &Config) {
    message.line(&[b"cannot find the runfiles: there is no ", config.venv, b"/pyvenv.cfg in any of"]);
    let mut count = 0;
    // `visit` never breaks.
    let _ = runfiles::candidates(&System, clues, &mut |candidate| {
        count += 1;
        if count <= MAX_LISTED {
            let mut memory = [0; 16];
            match candidate.check(&System, config.venv) {
                Err(error) if candidate.error.is_some() || !error.is_missing() => {
                    let reason = error_text(error, &mut memory);
                    message.line(&[b"  ", candidate.directory, b" (", reason, b")"]);
                }
                _ => {
                    message.line(&[b"  ", candidate.directory]);
                }
            }
        }
        Continue(())
    });
    if count == 0 {
        message.line(&[b"  (neither the program's path nor RUNFILES_DIR is known)"]);
    }
    if count > MAX_LISTED {
        message.line(&[b"  and other directories"]);
    }
    message.line(&[b"run the program from where it was built, move its runfiles directory with it, or set RUNFILES_DIR"]);
    message.line(&[b"with --noenable_runfiles or --nobuild_runfile_links, Bazel does not make the directory"]);
}

/// Says why a file of the runfiles cannot be used. Returns the exit code.
fn explain_file(message: &mut Message<Stderr>, what: &[u8], path: &CStr, error: Errno) -> i32 {
    if !error.is_missing() {
        let mut memory = [0; 16];
        message.line(&[b"cannot use the ", what, b" ", path.to_bytes(), b": ", error_text(error, &mut memory)]);
        return CANNOT_EXECUTE;
    }
    let mut target = Path::new();
    match System.read_link(path, &mut target) {
        Ok(()) => message.line(&[
            b"the ",
            what,
            b" ",
            path.to_bytes(),
            b" is a symlink to ",
            target.as_bytes(),
            b", which does not exist",
        ]),
        Err(_) => message.line(&[b"the ", what, b" ", path.to_bytes(), b" does not exist"]),
    };
    NOT_FOUND
}

/// Says why the interpreter could not be executed. Returns the exit code.
fn explain_failure(message: &mut Message<Stderr>, interpreter: &CStr, error: Errno) -> i32 {
    if error.is_missing()
        && let Err(error) = System.exists(interpreter)
    {
        return explain_file(message, b"interpreter", interpreter, error);
    }
    let mut memory = [0; 16];
    message.line(&[
        b"cannot execute ",
        interpreter.to_bytes(),
        b": ",
        error_text(error, &mut memory),
    ]);
    let mut start = [0; 4096];
    match error {
        // The file exists, so what it needs does not.
        Errno::ENOENT | Errno::ENOTDIR => {
            let start = System.read_start(interpreter, &mut start).unwrap_or_default();
            match exec::needed_program(start) {
                Some(script) if start.starts_with(b"#!") => {
                    message.line(&[b"it is a script for ", script, b", which does not exist"])
                }
                Some(loader) => message.line(&[
                    b"it needs the dynamic loader ",
                    loader,
                    b", which does not exist; add the libc that the interpreter was built for to the image",
                ]),
                None => message.line(&[b"the dynamic loader that it needs does not exist"]),
            };
        }
        Errno::ENOEXEC => {
            message.line(&[b"it is not an executable for this machine"]);
        }
        Errno::EACCES => {
            message.line(&[b"it, or a directory in its path, lacks a permission, or its file system is mounted noexec"]);
        }
        Errno::E2BIG => {
            message.line(&[b"the arguments and environment variables together are larger than the system allows"]);
        }
        _ => {}
    }
    CANNOT_EXECUTE
}
