//! The server: reads messages, runs handlers, and writes responses.
//!
//! One task owns all state. It reads messages, starts each handler on its own thread, collects the results
//! and writes the responses. As no state is shared, there are no races: a cancellation is processed before
//! its request is started, while it runs, or after its response has been queued. The task never waits for
//! a handler, so messages are read however much work there is.

use std::{
    any::Any,
    collections::{HashMap, VecDeque},
    io,
    num::NonZeroUsize,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::{Instant, sleep_until},
};

use crate::{
    cancel::Cancel,
    error::Error,
    message::{Message, Protocol, Request, Response},
    wire::{self, Decoder},
};

/// The size of reads: the capacity of a pipe on Linux.
const READ_BYTES: usize = 64 << 10;

/// Does the work. Implemented by all functions with this signature.
pub trait Handler: Send + Sync + 'static {
    /// Handles one request. Runs on its own thread, which it may block, concurrently with other calls.
    ///
    /// It should check `cancel` often, and when it is set, clean up and return; the result is then ignored.
    /// It must not touch files after it has returned, because Bazel moves the outputs away at once. If it
    /// panics, the response contains the panic's message, and other requests are not affected.
    fn handle(&self, request: &Request, cancel: &Cancel) -> Response;
}

impl<F> Handler for F
where
    F: Fn(&Request, &Cancel) -> Response + Send + Sync + 'static,
{
    fn handle(&self, request: &Request, cancel: &Cancel) -> Response {
        self(request, cancel)
    }
}

/// The concurrency of a server, and the duration of its shutdown.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many handlers run concurrently. Further requests are read and queued.
    ///
    /// Defaults to the number of CPUs.
    pub running: NonZeroUsize,
    /// How long handlers may take to return after everything has been cancelled for a shutdown.
    ///
    /// Defaults to 2 seconds: much longer than it takes to remove a temporary file, and short enough for a
    /// user who interrupts a build.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            grace: Duration::from_secs(2),
        }
    }
}

/// Serves requests from `reader` until it ends. Writes exactly one response to `writer` for each.
///
/// - At the end of `reader`, accepted requests are finished and answered. This also happens before an
///   error is returned for a truncated or malformed message.
/// - When `shutdown` completes, reading stops, everything is cancelled, and handlers that return within
///   [`Limits::grace`] are answered. This is not an error.
/// - When `writer` fails, everything is cancelled.
///
/// A request that is cancelled while it is queued is answered at once and never started. IDs need not be
/// unique: all requests with the same ID are answered, and are cancelled together.
///
/// Requires a tokio runtime with its timer enabled. Each handler runs on its own thread; if none can be
/// started, the request fails.
///
/// ```
/// # use std::{future, sync::Arc};
/// use bazel_worker::{Cancel, Limits, Protocol, Request, Response, serve};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # runtime.block_on(async {
/// let greet = |request: &Request, _: &Cancel| Response {
///     exit_code: 0,
///     output: format!("Hello, {}!", request.arguments[0].escape_ascii()),
/// };
/// let requests = b"\x09\x0a\x05world\x18\x07"; // arguments: "world", request_id: 7
/// let mut responses = Vec::new();
/// serve(
///     &requests[..],
///     &mut responses,
///     Protocol::Proto,
///     Limits::default(),
///     Arc::new(greet),
///     future::pending(),
/// )
/// .await?;
/// assert_eq!(responses, b"\x11\x12\x0dHello, world!\x18\x07");
/// # Ok::<(), bazel_worker::Error>(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// See [`Error`]: what ended the service other than the end of `reader` or `shutdown`.
pub async fn serve(
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    protocol: Protocol,
    limits: Limits,
    handler: Arc<dyn Handler>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut messages = Messages { reader, decoder: Decoder::new(protocol), received: BytesMut::new() };
    let (answers, unwritten) = mpsc::unbounded_channel();
    let (returns, mut returned) = mpsc::unbounded_channel();
    let mut work = Work::new(handler, limits.running, returns, answers);
    let mut writing = pin!(write_answers(writer, protocol, unwritten));
    let mut shutdown = pin!(shutdown);

    // The first error. Errors that follow from it are not reported.
    let mut outcome = Ok(());
    let mut reading = true;
    let mut written = false;
    // Set once everything has been cancelled.
    let mut deadline = None;

    while !(written && work.is_done()) {
        if !reading && work.is_done() {
            work.close();
        }
        tokio::select! {
            // In this order, so that a flood of requests delays neither the shutdown nor a response.
            biased;
            () = &mut shutdown, if deadline.is_none() => {
                reading = false;
                deadline = Some(work.cancel_all(limits.grace));
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                return outcome.and(Err(match work.running.len() {
                    0 => Error::Write(io::ErrorKind::TimedOut.into()),
                    count => Error::Unstoppable { count, grace: limits.grace },
                }));
            }
            result = &mut writing, if !written => {
                written = true;
                reading = false;
                if let Err(error) = result {
                    outcome = outcome.and(Err(Error::Write(error)));
                    deadline = deadline.or_else(|| Some(work.cancel_all(limits.grace)));
                }
            }
            Some(Returned { number, response }) = returned.recv() => work.finish(number, response),
            message = messages.next(), if reading => match message {
                Ok(Some(Message::Work(request))) => work.accept(request),
                Ok(Some(Message::Cancel { request_id })) => work.cancel(request_id),
                Ok(None) => reading = false,
                Err(error) => {
                    reading = false;
                    outcome = Err(error);
                }
            },
        }
    }
    outcome
}

/// A stream of messages.
struct Messages<R> {
    reader: R,
    decoder: Decoder,
    received: BytesMut,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    /// The next message, or `None` at the end. Cancel-safe.
    async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if let Some(message) = self.decoder.decode(&mut self.received)? {
                return Ok(Some(message));
            }
            // Grows with the bytes received, not with the announced length.
            self.received.reserve(READ_BYTES);
            if self.reader.read_buf(&mut self.received).await.map_err(Error::Read)? == 0 {
                return self.decoder.finish(&self.received).map(|()| None);
            }
        }
    }
}

/// A response to be written.
struct Answer {
    request_id: i32,
    response: Response,
    was_cancelled: bool,
}

/// Writes responses until the queue is closed. The queue is unbounded, so that a slow reader of responses
/// cannot block the reading of requests. It contains at most one small response per request.
async fn write_answers(
    mut writer: impl AsyncWrite + Unpin,
    protocol: Protocol,
    mut answers: UnboundedReceiver<Answer>,
) -> io::Result<()> {
    while let Some(Answer { request_id, response, was_cancelled }) = answers.recv().await {
        let bytes = wire::encode_response(protocol, request_id, response, was_cancelled);
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// A running request.
struct Started {
    request_id: i32,
    cancel: Cancel,
}

/// The response of a handler, or one in its place.
struct Returned {
    /// The number of the request. IDs are not unique.
    number: u64,
    response: Response,
}

/// The requests that have not been answered yet.
struct Work {
    handler: Arc<dyn Handler>,
    limit: usize,
    waiting: VecDeque<Request>,
    /// By number.
    running: HashMap<u64, Started>,
    next_number: u64,
    returns: UnboundedSender<Returned>,
    /// `None` after the last response.
    answers: Option<UnboundedSender<Answer>>,
}

impl Work {
    fn new(
        handler: Arc<dyn Handler>,
        limit: NonZeroUsize,
        returns: UnboundedSender<Returned>,
        answers: UnboundedSender<Answer>,
    ) -> Self {
        Self {
            handler,
            limit: limit.get(),
            waiting: VecDeque::new(),
            running: HashMap::new(),
            next_number: 0,
            returns,
            answers: Some(answers),
        }
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    fn accept(&mut self, request: Request) {
        self.waiting.push_back(request);
        self.start();
    }

    /// Starts waiting requests up to the limit. Each one's flag is stored before another message is read.
    fn start(&mut self) {
        while self.running.len() < self.limit
            && let Some(request) = self.waiting.pop_front()
        {
            let number = self.next_number;
            self.next_number += 1;
            let cancel = Cancel::new();
            let started = Started { request_id: request.request_id, cancel: cancel.clone() };
            self.running.insert(number, started);
            let (handler, returns) = (Arc::clone(&self.handler), self.returns.clone());
            let thread = thread::Builder::new().name("request".to_owned()).spawn(move || {
                let handled = panic::catch_unwind(AssertUnwindSafe(|| handler.handle(&request, &cancel)));
                let response = handled.unwrap_or_else(|payload| panicked(panic_message(payload.as_ref())));
                // Fails if the server has ended without waiting for this handler.
                let _ = returns.send(Returned { number, response });
            });
            if let Err(error) = thread {
                // Cannot fail: the receiver lives as long as the server.
                let _ = self.returns.send(Returned { number, response: not_started(&error) });
            }
        }
    }

    /// Sends the response of a handler that has returned.
    fn finish(&mut self, number: u64, response: Response) {
        if let Some(Started { request_id, cancel }) = self.running.remove(&number) {
            self.answer(request_id, response, cancel.is_cancelled());
        }
        self.start();
    }

    /// Cancels all pending requests with this ID. There may be none: it may have been answered already.
    fn cancel(&mut self, request_id: i32) {
        for started in self.running.values().filter(|started| started.request_id == request_id) {
            started.cancel.cancel();
        }
        let waiting = self.waiting.len();
        self.waiting.retain(|request| request.request_id != request_id);
        for _ in self.waiting.len()..waiting {
            self.answer(request_id, Response::default(), true);
        }
    }

    /// Cancels everything, and returns the deadline for handlers to return.
    fn cancel_all(&mut self, grace: Duration) -> Instant {
        for started in self.running.values() {
            started.cancel.cancel();
        }
        for request in std::mem::take(&mut self.waiting) {
            self.answer(request.request_id, Response::default(), true);
        }
        Instant::now() + grace
    }

    fn answer(&self, request_id: i32, response: Response, was_cancelled: bool) {
        if let Some(answers) = &self.answers {
            // Fails if writing has failed, which is handled elsewhere.
            let _ = answers.send(Answer { request_id, response, was_cancelled });
        }
    }

    /// Closes the queue of responses.
    fn close(&mut self) {
        self.answers = None;
    }
}

/// The response for a handler that panicked.
fn panicked(message: &str) -> Response {
    Response {
        exit_code: 1,
        output: format!(
            "The worker panicked: {message}\n\
             This is a bug in the worker, not in your build; its log says where it happened. Other \
             actions are not affected.\n"
        ),
    }
}

/// The response if no thread can be started, for lack of memory or because of a container's limit.
fn not_started(error: &io::Error) -> Response {
    Response { exit_code: 1, output: format!("The worker could not start a thread for a request: {error}\n") }
}

/// The message of a panic. The payload is a string unless `panic_any` was used.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message was given")
}
