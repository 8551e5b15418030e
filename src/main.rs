//! The `pylayer` program: a persistent worker for Bazel, a process for one action, or a command for
//! people.

use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use pylayer::action::{self, LayerHandler};
use pylayer::inputs::{Digests, Inputs};
use pylayer::pack;
use pylayer::pipeline::Pool;
use pylayer::worker::{self, Cancel, Protocol};

/// Turns a Python binary built by Bazel into container image layers.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Bazel itself runs `pylayer --persistent_worker` or `pylayer @flagfile`."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pack a built binary and its runfiles tree into layers, without Bazel.
    Pack(pack::Options),
}

fn main() -> ExitCode {
    let mut arguments: Vec<Bytes> =
        std::env::args_os().skip(1).map(|argument| Bytes::from(argument.into_vec())).collect();
    // The rule gives this to every run of the program, so that workers and one-shot runs of an
    // action have the same command line.
    let protocol = match take(&mut arguments, b"--worker_protocol=").as_deref() {
        None | Some(b"proto") => Protocol::Proto,
        Some(b"json") => Protocol::Json,
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            return fail(format!("--worker_protocol={other}: the protocols are proto and json"));
        }
    };
    if take(&mut arguments, b"--persistent_worker").is_some() {
        return match arguments.first() {
            None => serve(protocol),
            Some(other) => {
                fail(format!("{:?} is not a start-up argument of the worker", String::from_utf8_lossy(other)))
            }
        };
    }
    // An action's arguments all have the form --name=value or @file; a command is a word.
    match arguments.first() {
        Some(first) if first.starts_with(b"@") || first.starts_with(b"--") && first.contains(&b'=') => {
            run_once(&arguments)
        }
        _ => match CommandLine::parse().command {
            Command::Pack(options) => {
                finish(pack::run(&options, std::io::stderr().is_terminal()), |report| print!("{report}"))
            }
        },
    }
}

/// Removes the first argument that begins with `prefix` and returns what follows the prefix.
fn take(arguments: &mut Vec<Bytes>, prefix: &[u8]) -> Option<Bytes> {
    let index = arguments.iter().position(|argument| argument.starts_with(prefix))?;
    Some(arguments.remove(index).slice(prefix.len()..))
}

/// Serves Bazel's requests until it has no more.
fn serve(protocol: Protocol) -> ExitCode {
    match Pool::new(None) {
        Ok(pool) => finish(worker::run(protocol, LayerHandler { pool }), |()| ()),
        Err(error) => fail(error),
    }
}

/// Does one action, as Bazel does without workers.
fn run_once(arguments: &[Bytes]) -> ExitCode {
    let pool = match Pool::new(None) {
        Ok(pool) => pool,
        Err(error) => return fail(error),
    };
    let inputs = Inputs { base: Path::new(""), digests: &Digests::new(), cancel: &Cancel::new() };
    let response = action::respond(action::run(arguments, inputs, &pool));
    // Bazel shows an action's stderr; if it is closed there is nobody to tell.
    let _ = std::io::stderr().write_all(response.output.as_bytes());
    ExitCode::from(u8::from(response.exit_code != 0))
}

fn finish<T>(result: Result<T, impl std::fmt::Display>, then: impl FnOnce(T)) -> ExitCode {
    match result {
        Ok(value) => {
            then(value);
            ExitCode::SUCCESS
        }
        Err(error) => fail(error),
    }
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    eprintln!("pylayer: {error}");
    ExitCode::FAILURE
}
