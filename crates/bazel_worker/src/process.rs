//! A worker process: runs [`serve`] on stdin and stdout.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::{fs::FileTypeExt as _, net::UnixStream},
    sync::Arc,
};

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    stdio,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::unix::pipe,
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    cancel::Cancel,
    error::Error,
    message::Protocol,
    serve::{Handler, Limits, serve},
};

/// More descriptors than a runtime opens when it starts: an epoll instance and its duplicate, an eventfd,
/// and a socket pair.
const RUNTIME_DESCRIPTORS: usize = 8;

/// The first descriptor that is not stdin, stdout or stderr.
const FIRST_FREE_FD: i32 = 3;

/// Turns this process into a worker, with the default [`Limits`]. See [`run_with`].
///
/// # Errors
///
/// See [`run_with`].
pub fn run(protocol: Protocol, handler: impl Handler) -> Result<(), Error> {
    run_with(protocol, Limits::default(), handler)
}

/// Turns this process into a worker: [serves](serve) requests from stdin on stdout until Bazel closes
/// stdin, or until SIGTERM or SIGINT.
///
/// All three are normal ways for a worker to end, and return `Ok`. Bazel terminates workers that it no
/// longer needs, and ignores their exit code. It also terminates busy workers when the user interrupts a
/// build, so the signals cancel running requests and wait for them to clean up.
///
/// For the rest of the process's lifetime, stdout is redirected to stderr and stdin to `/dev/null`, so
/// that a `println!` in a library cannot end up between two responses.
///
/// Return from `main` soon afterwards: handlers that ignored their cancellation may still be running.
///
/// # Errors
///
/// Anything else that ended the worker. `main` should print it to stderr, which is the worker's log, and
/// exit with a nonzero code.
pub fn run_with(protocol: Protocol, limits: Limits, handler: impl Handler) -> Result<(), Error> {
    let (requests, responses) = take_streams().map_err(Error::Setup)?;
    check_descriptors().map_err(Error::Setup)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Setup)?;
    let result = runtime.block_on(async {
        let shutdown = shutdown().map_err(Error::Setup)?;
        serve(
            reader(requests).map_err(Error::Setup)?,
            writer(responses).map_err(Error::Setup)?,
            protocol,
            limits,
            Arc::new(handler),
            shutdown,
        )
        .await
    });
    // Does not wait for threads: one that is blocked reading stdin cannot be stopped.
    runtime.shutdown_background();
    result
}

/// Sets `cancel` at the first SIGTERM, SIGINT or SIGHUP, for a command that has to clean up. None of these signals ends
/// the process from then on.
///
/// # Errors
///
/// If the signal handlers cannot be installed, or a thread cannot be started.
pub fn cancel_on_signals(cancel: Cancel) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let shutdown = {
        let _context = runtime.enter();
        shutdown()?
    };
    let wait = move || {
        runtime.block_on(shutdown);
        cancel.cancel();
    };
    std::thread::Builder::new().name("signals".to_string()).spawn(wait)?;
    Ok(())
}

/// Installs handlers for SIGTERM, SIGINT and SIGHUP. The future completes at the first signal.
fn shutdown() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // With nohup, it is ignored.
    let mut hangup = match is_ignored(SignalKind::hangup()) {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            Some(_) = async { hangup.as_mut()?.recv().await } => {}
        }
    })
}

/// Whether this process has been started with a signal ignored. Only known on Linux.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw_value() - 1) & 1 == 1
}

/// Bazel connects workers with pipes. Pipe I/O is done without a thread, since it may be impossible to
/// start another one when a response has to be written.
fn is_pipe(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.file_type().is_fifo())
}

fn reader(file: File) -> io::Result<Box<dyn AsyncRead + Unpin>> {
    Ok(match is_pipe(&file)? {
        true => Box::new(pipe::Receiver::from_owned_fd(file.into())?),
        false => Box::new(tokio::fs::File::from_std(file)),
    })
}

fn writer(file: File) -> io::Result<Box<dyn AsyncWrite + Unpin>> {
    Ok(match is_pipe(&file)? {
        true => Box::new(pipe::Sender::from_owned_fd(file.into())?),
        false => Box::new(tokio::fs::File::from_std(file)),
    })
}

/// Moves stdin and stdout to private descriptors, and replaces them with `/dev/null` and stderr.
fn take_streams() -> io::Result<(File, File)> {
    // Earlier output still goes to the real stdout.
    io::stdout().flush()?;
    let requests = fcntl_dupfd_cloexec(stdio::stdin(), FIRST_FREE_FD).map_err(no_descriptor)?;
    let responses = fcntl_dupfd_cloexec(stdio::stdout(), FIRST_FREE_FD).map_err(no_descriptor)?;
    stdio::dup2_stdin(File::open("/dev/null")?)?;
    stdio::dup2_stdout(stdio::stderr())?;
    Ok((requests.into(), responses.into()))
}

/// `fcntl` reports `EINVAL` if the descriptor limit does not exceed the minimum number requested.
fn no_descriptor(error: Errno) -> Errno {
    if error == Errno::INVAL { Errno::MFILE } else { error }
}

/// Fails if the descriptors that a runtime needs are not available: tokio panics if it cannot open its
/// signal pipe.
fn check_descriptors() -> io::Result<()> {
    let pairs: io::Result<Vec<_>> = (0..RUNTIME_DESCRIPTORS / 2).map(|_| UnixStream::pair()).collect();
    pairs.map(drop)
}
