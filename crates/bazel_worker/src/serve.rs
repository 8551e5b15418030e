//! The server: messages in, handlers run, answers out.
//!
//! One task owns everything: it reads messages, starts handlers on threads of their own, collects
//! what they return and writes the answers. Nothing is shared, so nothing can be seen half done: a
//! cancellation is looked at either before its request is started, or while it runs, or after its
//! answer is on its way. And since the task never waits for a handler, a message is read no matter
//! how much work there is.

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

/// Room made for each read: what a pipe holds on Linux.
const READ_BYTES: usize = 64 << 10;

/// Does the work.
///
/// Every function of the right shape is one.
pub trait Handler: Send + Sync + 'static {
    /// Does one request, on a thread that it may keep busy, next to other calls.
    ///
    /// It should look at `cancel` often, and when that is raised clean up and return; what it
    /// returns is then of no interest. It must not touch files after it has returned, because Bazel
    /// moves the outputs away at once. If it panics, its request is answered with the panic's
    /// message and others are not affected.
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

/// How much a server does at once, and how long its end may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many handlers run at once. Further requests are read and wait in order of arrival.
    ///
    /// By default as many as there are CPUs.
    pub running: NonZeroUsize,
    /// How long handlers get to return after everything was cancelled because the process is to
    /// end.
    ///
    /// 2 seconds by default: much more than removing a temporary file takes, and less than anyone
    /// who terminates a build wants to wait.
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

/// Serves requests from `reader` until it ends; each gets exactly one answer on `writer`.
///
/// - At the end of `reader`, requests that were read are finished and answered. The same is done
///   when it ends inside a message, or carries something that is none, before the error is
///   returned.
/// - When `shutdown` completes, nothing more is read, everything is cancelled, and what the
///   handlers return within [`Limits::grace`] is answered. That is success, too.
/// - When `writer` fails, nobody is waiting for answers: everything is cancelled.
///
/// A request that is cancelled while it waits is answered at once and never started. Ids are not
/// assumed to be unique: all requests with the same id are answered, and all are cancelled together.
///
/// Needs a tokio runtime with its timer. Each handler has a thread; a request for which none can be
/// started fails.
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

    // The first error is the one to report; what follows from it is not.
    let mut outcome = Ok(());
    let mut reading = true;
    let mut written = false;
    // Set when everything has been cancelled.
    let mut deadline = None;

    while !(written && work.is_done()) {
        if !reading && work.is_done() {
            work.close();
        }
        tokio::select! {
            // In this order, so that a flood of requests delays neither the end nor an answer.
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
    /// The next message, or `None` at the end. Loses nothing if it is dropped before it is ready.
    async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            if let Some(message) = self.decoder.decode(&mut self.received)? {
                return Ok(Some(message));
            }
            // Grows with what has arrived, not with what a length promises.
            self.received.reserve(READ_BYTES);
            if self.reader.read_buf(&mut self.received).await.map_err(Error::Read)? == 0 {
                return self.decoder.finish(&self.received).map(|()| None);
            }
        }
    }
}

/// An answer on its way.
struct Answer {
    request_id: i32,
    response: Response,
    was_cancelled: bool,
}

/// Writes answers until no more can come. The queue has no bound, so that a Bazel which is slow to
/// read cannot stop the reader; it holds one small answer per request at most.
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

/// A request that has been started.
struct Started {
    request_id: i32,
    cancel: Cancel,
}

/// What a handler has returned, or what is said in its place.
struct Returned {
    /// Of the request, which its id does not identify.
    number: u64,
    response: Response,
}

/// The requests that are not answered yet.
struct Work {
    handler: Arc<dyn Handler>,
    limit: usize,
    waiting: VecDeque<Request>,
    /// By their numbers.
    running: HashMap<u64, Started>,
    next_number: u64,
    returns: UnboundedSender<Returned>,
    /// `None` after the last answer.
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

    /// Starts what may be started. The flag of each is in its place before another message is read.
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
                // Fails if the server has ended, which did not want to wait any longer.
                let _ = returns.send(Returned { number, response });
            });
            if let Err(error) = thread {
                // Cannot fail: the receiver is there as long as the server.
                let _ = self.returns.send(Returned { number, response: not_started(&error) });
            }
        }
    }

    /// Answers for a handler that has returned.
    fn finish(&mut self, number: u64, response: Response) {
        if let Some(Started { request_id, cancel }) = self.running.remove(&number) {
            self.answer(request_id, response, cancel.is_cancelled());
        }
        self.start();
    }

    /// Cancels whatever has this id. What is answered already, or was never asked, is none of it.
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

    /// Cancels everything and says until when to wait for it.
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
            // Fails if writing has, which is known and being dealt with.
            let _ = answers.send(Answer { request_id, response, was_cancelled });
        }
    }

    /// Promises that there will be no more answers.
    fn close(&mut self) {
        self.answers = None;
    }
}

/// The answer for a handler that did not return.
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

/// The answer where there is no memory for one more thread, or no room for it in a container.
fn not_started(error: &io::Error) -> Response {
    Response { exit_code: 1, output: format!("The worker could not start a thread for a request: {error}\n") }
}

/// What `panic!` was given: text, formatted or not, unless someone panics with a value of their own.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message was given")
}
