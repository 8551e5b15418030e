//! The `pylayer` program: a persistent worker for Bazel, a process for one action, or a command-line tool.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use bazel_worker::{Cancel, Limits, Protocol};
use bytes::Bytes;
use clap::{Parser, Subcommand};
use pylayer::action::{self, Engine};
use pylayer::commands::{self, Printed, Terminal};
use pylayer::inputs::Digests;
use pylayer::licenses;
use pylayer::pack;
use pylayer::pipeline::{ChunkCache, Pool};
use pylayer::show::{show, show_path};
use pylayer::summary::MIN_WIDTH;
use pylayer::version;
use tracing_chrome::ChromeLayerBuilder;
use tracing_subscriber::prelude::*;

/// Turns a Python binary built by Bazel into container image layers.
#[derive(Parser)]
#[command(
    version = version::SHORT.as_str(),
    long_version = version::LONG.as_str(),
    about,
    after_help = "Bazel itself runs `pylayer --persistent_worker` or `pylayer @flagfile`. With `--trace=FILE`, each of them writes a trace in Chrome's format to FILE."
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Pack a built binary and its runfiles into layers, without Bazel.
    Pack(Box<pack::Options>),
    #[command(flatten)]
    About(commands::Command),
    /// Print the licences of the program and of everything that it contains.
    Licenses,
}

fn main() -> ExitCode {
    ignore_file_size_signal();
    disable_backtraces();
    let mut arguments: Vec<Bytes> =
        std::env::args_os().skip(1).map(|argument| Bytes::from(argument.into_vec())).collect();
    // Dropping the guard flushes the trace.
    let _trace = match take(&mut arguments, b"--trace=").map(|file| trace(&file)) {
        None => None,
        Some(Ok(guard)) => Some(guard),
        Some(Err(error)) => return fail(error),
    };
    if take_flag(&mut arguments, "--persistent_worker") {
        let log = take_flag(&mut arguments, "--stats");
        let budget = match take(&mut arguments, b"--cache_mib=").map(|mib| parse_mib(&mib)) {
            None => default_cache_bytes(),
            Some(Some(bytes)) => bytes,
            Some(None) => return fail("--cache_mib requires a number of MiB; 0 disables the cache"),
        };
        return match arguments.first() {
            None => serve(budget, log),
            Some(other) => fail(format!("\"{}\" is not a startup argument of the worker", show(other))),
        };
    }
    if let Some(command) = std::env::var_os(commands::TARGET_COMMAND) {
        let arguments: Vec<OsString> =
            arguments.iter().map(|argument| OsString::from_vec(argument.to_vec())).collect();
        return match commands::run_target(&command.to_string_lossy(), &arguments) {
            Ok(printed) => print(&printed),
            Err(error) => {
                fail(format!("{error:#}"));
                ExitCode::from(USAGE_ERROR)
            }
        };
    }
    if let Err(error) = commands::enter_working_directory() {
        return fail(format!("{error:#}"));
    }
    // An action's arguments all have the form --name=value or @file; a command is a word.
    match arguments.first() {
        Some(first) if first.starts_with(b"@") || first.starts_with(b"--") && first.contains(&b'=') => {
            run_once(&arguments)
        }
        _ => match CommandLine::try_parse_from(command_line(&arguments)) {
            Ok(CommandLine { command: Command::Pack(options) }) => pack(&options),
            Ok(CommandLine { command: Command::About(command) }) => about(&command),
            Ok(CommandLine { command: Command::Licenses }) => {
                print(&Printed { text: licenses::TEXT.to_string(), differs: false })
            }
            Err(error) if error.use_stderr() => {
                // Lines of usual length are printed as they are, in colours on a terminal.
                let text = error.render().to_string();
                if text.lines().any(|line| line.len() > MAX_LINE_BYTES) {
                    let text: String = text.lines().map(|line| show(line.as_bytes()) + "\n").collect();
                    // If stderr cannot be written, nothing can be reported.
                    let _ = std::io::stderr().write_all(text.as_bytes());
                    return ExitCode::from(USAGE_ERROR);
                }
                error.exit()
            }
            // What --help and --version print, in colours on a terminal.
            Err(error) => write_to_stdout(|_| error.print()).err().unwrap_or(ExitCode::SUCCESS),
        },
    }
}

/// Longer lines of messages about the command line are shortened: they repeat what was given.
const MAX_LINE_BYTES: usize = 500;
/// The exit code for mistakes in the command line, and for errors of commands whose exit code 1 is an
/// answer.
const USAGE_ERROR: u8 = 2;

/// Makes a write beyond the file size limit (`ulimit -f`) fail with EFBIG, which is handled like any
/// other error. By default, the signal kills the process before it can clean up.
fn ignore_file_size_signal() {
    // SAFETY: `signal` only changes the disposition of SIGXFSZ. SIG_IGN runs no handler, and no other
    // thread is running yet that could depend on the previous disposition.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Makes errors end the process without a backtrace. If the memory for the backtrace of an out-of-memory error
/// runs out, too, Rust's standard library waits forever for the lock that it holds, and Bazel for the worker.
fn disable_backtraces() {
    // SAFETY: No other thread is running yet that could access the environment.
    unsafe { std::env::remove_var("RUST_BACKTRACE") };
}

/// The exit code that shells report for a process killed by SIGINT.
const INTERRUPTED: u8 = 128 + 2;

/// Runs a command about images.
fn about(command: &commands::Command) -> ExitCode {
    let cancel = Cancel::new();
    if let Err(error) = bazel_worker::cancel_on_signals(cancel.clone()) {
        return fail(format!("cannot handle signals: {error}"));
    }
    // https://no-color.org
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    let stdout = std::io::stdout();
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| usize::from(size.ws_col));
    let terminal = Terminal {
        progress: std::io::stderr().is_terminal(),
        colours: colours && stdout.is_terminal(),
        width: columns.max(MIN_WIDTH),
    };
    match command.run(terminal, &cancel) {
        Ok(printed) => print(&printed),
        Err(_) if cancel.is_cancelled() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            fail(format!("{error:#}"));
            ExitCode::from(USAGE_ERROR)
        }
    }
}

/// Prints what a command found.
fn print(printed: &Printed) -> ExitCode {
    match write_to_stdout(|stdout| stdout.write_all(printed.text.as_bytes())) {
        Ok(()) => ExitCode::from(u8::from(printed.differs)),
        Err(failure) => failure,
    }
}

/// Writes to stdout. A closed pipe is no error: `pylayer inspect … | head`.
fn write_to_stdout(write: impl FnOnce(&mut std::io::Stdout) -> std::io::Result<()>) -> Result<(), ExitCode> {
    let mut stdout = std::io::stdout();
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            fail(format!("cannot write to stdout: {error}"));
            Err(ExitCode::from(USAGE_ERROR))
        }
        _ => Ok(()),
    }
}

fn pack(options: &pack::Options) -> ExitCode {
    let cancel = Cancel::new();
    if let Err(error) = bazel_worker::cancel_on_signals(cancel.clone()) {
        return fail(format!("cannot handle signals: {error}"));
    }
    let report = match pack::run(options, std::io::stderr().is_terminal(), &cancel) {
        Ok(report) => report,
        Err(error) => {
            let interrupted = matches!(error.downcast_ref(), Some(pack::Error::Interrupted));
            let failure = fail(error);
            return if interrupted { ExitCode::from(INTERRUPTED) } else { failure };
        }
    };
    let mut stdout = std::io::stdout().lock();
    let printed = stdout.write_all(report.as_bytes()).and_then(|()| stdout.flush());
    finish(printed.map_err(|error| {
        format!("the layers are complete, but the report cannot be written to stdout: {error}")
    }))
}

/// `arguments`, preceded by the program's name.
fn command_line(arguments: &[Bytes]) -> impl Iterator<Item = &OsStr> {
    [OsStr::new("pylayer")].into_iter().chain(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
}

/// Records a timeline of all threads, for Perfetto or the trace viewer of a browser.
fn trace(file: &Bytes) -> Result<tracing_chrome::FlushGuard, String> {
    let file = Path::new(OsStr::from_bytes(file));
    let out = std::fs::File::create(file).map_err(|error| format!("--trace={}: {error}", show_path(file)))?;
    let (layer, guard) = ChromeLayerBuilder::new().writer(out).include_args(true).build();
    tracing_subscriber::registry().with(layer).init();
    Ok(guard)
}

/// Removes the argument `flag` and returns whether it was there.
fn take_flag(arguments: &mut Vec<Bytes>, flag: &str) -> bool {
    let index = arguments.iter().position(|argument| argument == flag);
    index.map(|index| arguments.remove(index)).is_some()
}

/// Removes the first argument that begins with `prefix`, and returns the rest of it.
fn take(arguments: &mut Vec<Bytes>, prefix: &[u8]) -> Option<Bytes> {
    let index = arguments.iter().position(|argument| argument.starts_with(prefix))?;
    Some(arguments.remove(index).slice(prefix.len()..))
}

/// The minimum number of layers written concurrently: as many as Bazel sends a worker by default
/// (`--worker_max_multiplex_instances`). They share one thread pool, so even on few processors a small
/// layer does not wait for large ones.
const MIN_LAYERS_AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

/// Serves Bazel's requests until the end of stdin.
fn serve(cache_bytes: u64, log: bool) -> ExitCode {
    let cache = Arc::new(ChunkCache::new(cache_bytes));
    let limits = Limits::default();
    let limits = Limits { running: limits.running.max(MIN_LAYERS_AT_ONCE), ..limits };
    match Pool::new(None, Some(cache)) {
        Ok(pool) => finish(bazel_worker::run_with(Protocol::Proto, limits, Engine::new(pool, log))),
        Err(error) => fail(format!("cannot start a thread: {error}")),
    }
}

fn parse_mib(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse::<u64>().ok()?.checked_mul(1 << 20)
}

/// The memory for compressed chunks: an eighth of the machine's, but at most 2 GiB, which is enough for
/// the layers of a few large images.
#[cfg(target_os = "linux")]
fn default_cache_bytes() -> u64 {
    let memory = rustix::system::sysinfo();
    (memory.totalram * u64::from(memory.mem_unit) / 8).min(2 << 30)
}

#[cfg(not(target_os = "linux"))]
fn default_cache_bytes() -> u64 {
    1 << 30
}

/// Runs one action, without a worker.
fn run_once(arguments: &[Bytes]) -> ExitCode {
    let engine = match Pool::new(None, None) {
        Ok(pool) => Engine::new(pool, false),
        Err(error) => return fail(format!("cannot start a thread: {error}")),
    };
    let response = action::respond(engine.run(arguments, Path::new(""), &Digests::default(), &Cancel::new()));
    // Bazel shows an action's stderr. If it is closed, the output is lost.
    let _ = std::io::stderr().write_all(response.output.as_bytes());
    ExitCode::from(u8::from(response.exit_code != 0))
}

fn finish(result: Result<(), impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn fail(error: impl std::fmt::Display) -> ExitCode {
    // An error on stderr cannot be reported anywhere.
    let _ = writeln!(std::io::stderr(), "pylayer: {error}");
    ExitCode::FAILURE
}
