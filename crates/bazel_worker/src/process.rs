//! A worker process: [`serve`] between the stdin and the stdout that Bazel gave it.

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

/// More than a runtime opens at its start: an epoll instance and its copy, an event counter, and a pair of
/// sockets.
const RUNTIME_DESCRIPTORS: usize = 8;

/// The first descriptor that is not stdin, stdout or stderr.
const FIRST_FREE_FD: i32 = 3;

/// Turns this process into a worker, with the default [`Limits`]. See [`run_with`].
///
/// # Errors
///
/// What ended the worker other than Bazel.
pub fn run(protocol: Protocol, handler: impl Handler) -> Result<(), Error> {
    run_with(protocol, Limits::default(), handler)
}

/// Turns this process into a worker: serves requests from stdin on stdout, as [`serve`] does, until
/// Bazel closes stdin, or until SIGTERM or SIGINT.
///
/// All three are the ordinary end of a worker and return `Ok`, for exit code 0: Bazel terminates
/// workers when it has enough of them and looks at no exit code. It also terminates the busy ones
/// when the user interrupts a build, so the signals cancel what runs and wait for it to clean up.
///
/// From here on, for the rest of the process's life, whatever else writes to stdout writes to
/// stderr, and whatever else reads stdin reads nothing: a `println!` in a library must not end up
/// between two responses.
///
/// Return from `main` soon afterwards: handlers that did not heed their cancellation may still run.
///
/// # Errors
///
/// What ended the worker other than Bazel. `main` should print it to stderr, which is the worker's
/// log, and exit with another code than 0.
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
    // Does not wait for threads: one that reads stdin cannot be called back.
    runtime.shutdown_background();
    result
}

/// Raises `cancel` at the first SIGTERM or SIGINT, for a command that has to clean up. From here on
/// neither ends the process.
///
/// # Errors
///
/// What the system said to the signal handlers, or to a thread.
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

/// Handles SIGTERM and SIGINT from here on, and waits for the first.
fn shutdown() -> io::Result<impl Future<Output = ()> + Send> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What Bazel gives a worker are pipes. These are waited for without a thread, since there may be no
/// room for one more by the time that there is something to write.
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

/// Moves stdin and stdout to descriptors that nobody else knows, and leaves harmless ones in their
/// places.
fn take_streams() -> io::Result<(File, File)> {
    // What was printed before belongs where it was printed to.
    io::stdout().flush()?;
    let requests = fcntl_dupfd_cloexec(stdio::stdin(), FIRST_FREE_FD).map_err(no_descriptor)?;
    let responses = fcntl_dupfd_cloexec(stdio::stdout(), FIRST_FREE_FD).map_err(no_descriptor)?;
    stdio::dup2_stdin(File::open("/dev/null")?)?;
    stdio::dup2_stdout(stdio::stderr())?;
    Ok((requests.into(), responses.into()))
}

/// Where the limit of descriptors is not above the first free one, `fcntl` calls that number invalid.
fn no_descriptor(error: Errno) -> Errno {
    if error == Errno::INVAL { Errno::MFILE } else { error }
}

/// Fails where there is no room for the descriptors that a runtime needs: tokio panics if it finds none
/// for its signal pipe.
fn check_descriptors() -> io::Result<()> {
    let pairs: io::Result<Vec<_>> = (0..RUNTIME_DESCRIPTORS / 2).map(|_| UnixStream::pair()).collect();
    pairs.map(drop)
}
