//! The server, connected through in-memory pipes. Handlers are synchronized with the test by gates, not by
//! time, so the order of events is deterministic.

use std::{
    collections::{BTreeMap, HashMap},
    future,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bazel_worker::{Cancel, Error, Handler, Limits, Protocol, Request, Response, serve};
use bytes::BytesMut;
use protobuf::Message as _;
use reference::worker_protocol::{WorkRequest, WorkResponse};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::{oneshot, watch},
    task::JoinHandle,
};

mod reference;

/// The timeout for any response or event. Only a bug makes a test wait this long.
const HANG: Duration = Duration::from_secs(600);

/// Bazel's side of a server's pipes.
struct Bazel {
    requests: Option<WriteHalf<DuplexStream>>,
    responses: Option<ReadHalf<DuplexStream>>,
    received: BytesMut,
    shutdown: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), Error>>,
}

impl Bazel {
    fn start(handler: impl Handler) -> Self {
        Self::start_with(limits(64), handler)
    }

    fn start_with(limits: Limits, handler: impl Handler) -> Self {
        // Each direction buffers only 64 bytes, to expose code that blocks on a full pipe.
        let (stdin, requests) = duplex(64);
        let (responses, stdout) = duplex(64);
        let (shutdown, terminated) = oneshot::channel();
        let server = tokio::spawn(async move {
            let shutdown = async {
                if terminated.await.is_err() {
                    future::pending().await
                }
            };
            serve(stdin, stdout, Protocol::Proto, limits, Arc::new(handler), shutdown).await
        });
        Self {
            requests: Some(split(requests).1),
            responses: Some(split(responses).0),
            received: BytesMut::new(),
            shutdown: Some(shutdown),
            server,
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        let requests = self.requests.as_mut().expect("stdin is open");
        tokio::time::timeout(HANG, requests.write_all(bytes))
            .await
            .expect("the server reads")
            .expect("the server has its stdin open");
    }

    async fn request(&mut self, id: i32, argument: &str) {
        self.write(&request(id, argument)).await;
    }

    async fn cancel(&mut self, id: i32) {
        self.write(&cancel(id)).await;
    }

    /// The next response, or `None` at the end of stdout.
    async fn response(&mut self) -> Option<WorkResponse> {
        loop {
            if let Some((&length, rest)) = self.received.split_first() {
                // The length of the responses here takes one byte, or two for a panic.
                let (length, prefix) = match (length, rest.first()) {
                    (0..0x80, _) => (usize::from(length), 1),
                    (_, Some(&high)) => (usize::from(length & 0x7f) | usize::from(high) << 7, 2),
                    (_, None) => (usize::MAX - 2, 2),
                };
                if self.received.len() >= prefix + length {
                    let frame = self.received.split_to(prefix + length);
                    return Some(WorkResponse::parse_from_bytes(&frame[prefix..]).unwrap());
                }
            }
            let responses = self.responses.as_mut().expect("stdout is open");
            let read = responses.read_buf(&mut self.received);
            if tokio::time::timeout(HANG, read).await.expect("the server answers").unwrap() == 0 {
                assert!(self.received.is_empty(), "half a response at the end");
                return None;
            }
        }
    }

    /// The ID, output and `was_cancelled` of the next response.
    async fn answer(&mut self) -> (i32, String, bool) {
        let response = self.response().await.expect("a response");
        (response.request_id, response.output, response.was_cancelled)
    }

    /// Closes stdin.
    async fn close(&mut self) {
        self.requests = None;
    }

    fn terminate(&mut self) {
        self.shutdown.take().expect("terminated once").send(()).expect("the server runs");
    }

    /// Closes stdin. Returns the remaining responses, ordered by ID, and the server's result.
    async fn end(mut self) -> (Vec<(i32, String, bool)>, Result<(), Error>) {
        self.requests = None;
        let mut answers = Vec::new();
        while let Some(response) = self.response().await {
            answers.push((response.request_id, response.output, response.was_cancelled));
        }
        answers.sort();
        let ended = tokio::time::timeout(HANG, self.server).await.expect("the server ends");
        (answers, ended.expect("the server does not panic"))
    }

    async fn end_quietly(self) {
        let (answers, ended) = self.end().await;
        assert_eq!(answers, [], "every request had its one answer");
        ended.expect("the end of stdin is no error");
    }
}

fn limits(running: usize) -> Limits {
    Limits { running: NonZeroUsize::new(running).unwrap(), grace: HANG }
}

fn request(id: i32, argument: &str) -> Vec<u8> {
    let message = WorkRequest { request_id: id, arguments: vec![argument.to_owned()], ..Default::default() };
    message.write_length_delimited_to_bytes().unwrap()
}

fn cancel(id: i32) -> Vec<u8> {
    let message = WorkRequest { request_id: id, cancel: true, ..Default::default() };
    message.write_length_delimited_to_bytes().unwrap()
}

fn output(output: impl Into<String>) -> Response {
    Response { exit_code: 0, output: output.into() }
}

fn argument(request: &Request) -> &str {
    request.arguments.first().map_or("", |argument| std::str::from_utf8(argument).unwrap())
}

fn echo(request: &Request, _: &Cancel) -> Response {
    output(argument(request))
}

/// Controls when handlers return, by their argument.
///
/// A handler with the argument `wait…` returns when its gate is opened, one with `until-cancelled…` when it
/// is cancelled or its gate is opened, and all others at once.
struct Gates {
    opened: Arc<watch::Sender<Vec<String>>>,
    entered: Arc<watch::Sender<Vec<String>>>,
}

impl Drop for Gates {
    /// Opens all gates. Otherwise a failing test would hang, waiting for its handlers.
    fn drop(&mut self) {
        self.opened.send_modify(|opened| opened.push(ALL.to_owned()));
    }
}

/// Opens every gate.
const ALL: &str = "all";

impl Gates {
    fn new() -> Self {
        Self { opened: Arc::default(), entered: Arc::default() }
    }

    fn handler(&self) -> impl Handler + use<> {
        let (opened, entered) = (Arc::clone(&self.opened), Arc::clone(&self.entered));
        let is_open = move |name: &str| opened.borrow().iter().any(|gate| gate == name || gate == ALL);
        move |request: &Request, cancel: &Cancel| {
            let name = argument(request).to_owned();
            entered.send_modify(|entered| entered.push(name.clone()));
            let waits = name.starts_with("wait") || name.starts_with("until-cancelled");
            while waits && !is_open(&name) {
                if cancel.is_cancelled() && name.starts_with("until-cancelled") {
                    return output("gave up");
                }
                std::thread::yield_now();
            }
            if name.starts_with("panic") {
                panic!("{name} panics");
            }
            output(name)
        }
    }

    fn open(&self, name: &str) {
        self.opened.send_modify(|opened| opened.push(name.to_owned()));
    }

    /// Waits until the handler for `name` is running.
    async fn entered(&self, name: &str) {
        let mut entered = self.entered.subscribe();
        let here = entered.wait_for(|entered| entered.iter().any(|entered| entered == name));
        tokio::time::timeout(HANG, here).await.expect("the handler is started").unwrap();
    }

    fn all_entered(&self) -> Vec<String> {
        self.entered.borrow().clone()
    }
}

fn answered(id: i32, output: &str) -> (i32, String, bool) {
    (id, output.to_owned(), false)
}

fn cancelled(id: i32, output: &str) -> (i32, String, bool) {
    (id, output.to_owned(), true)
}

#[tokio::test]
async fn singleplex_one_after_the_other() {
    let mut bazel = Bazel::start(echo);
    for argument in ["a", "", "b"] {
        bazel.request(0, argument).await;
        assert_eq!(bazel.answer().await, answered(0, argument));
    }
    bazel.end_quietly().await;
}

#[tokio::test]
async fn a_frame_of_no_bytes_is_answered_with_one() {
    let mut bazel = Bazel::start(|request: &Request, _: &Cancel| {
        assert_eq!(*request, Request::default());
        Response::default()
    });
    bazel.write(b"\0").await;
    assert_eq!(bazel.responses.as_mut().unwrap().read_u8().await.unwrap(), 0);
    bazel.end_quietly().await;
}

#[tokio::test]
async fn the_handler_gets_everything_and_its_answer_is_passed_on() {
    let mut bazel = Bazel::start(|request: &Request, _: &Cancel| {
        assert_eq!(request.arguments, ["x", "", "y z"]);
        assert_eq!((&request.inputs[0].path[..], &request.inputs[0].digest[..]), (&b"p"[..], &b"d"[..]));
        assert_eq!((request.request_id, request.verbosity), (9, 10));
        assert_eq!(request.sandbox_dir.to_str(), Some("__sandbox/9/_main"));
        Response { exit_code: 3, output: "é\n".to_owned() }
    });
    let input = reference::worker_protocol::Input {
        path: "p".to_owned(),
        digest: b"d".to_vec(),
        ..Default::default()
    };
    let message = WorkRequest {
        arguments: ["x", "", "y z"].map(str::to_owned).to_vec(),
        inputs: vec![input],
        request_id: 9,
        verbosity: 10,
        sandbox_dir: "__sandbox/9/_main".to_owned(),
        ..Default::default()
    };
    bazel.write(&message.write_length_delimited_to_bytes().unwrap()).await;
    let expected =
        WorkResponse { exit_code: 3, output: "é\n".to_owned(), request_id: 9, ..Default::default() };
    assert_eq!(bazel.response().await, Some(expected));
    bazel.end_quietly().await;
}

#[tokio::test]
async fn answers_come_as_they_are_ready() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    bazel.request(1, "wait").await;
    bazel.request(2, "quick").await;
    assert_eq!(bazel.answer().await, answered(2, "quick"));
    gates.open("wait");
    assert_eq!(bazel.answer().await, answered(1, "wait"));
    bazel.end_quietly().await;
}

#[tokio::test]
async fn handlers_really_run_side_by_side() {
    let barrier = Arc::new(std::sync::Barrier::new(8));
    let mut bazel = Bazel::start(move |_: &Request, _: &Cancel| {
        barrier.wait();
        Response::default()
    });
    for id in 1..=8 {
        bazel.request(id, "").await;
    }
    let (answers, ended) = bazel.end().await;
    assert_eq!(answers, (1..=8).map(|id| answered(id, "")).collect::<Vec<_>>());
    ended.unwrap();
}

#[tokio::test]
async fn no_more_run_at_once_than_the_limit_allows() {
    let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let mut bazel = Bazel::start_with(limits(3), move |_: &Request, _: &Cancel| {
        seen.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        running.fetch_sub(1, Ordering::SeqCst);
        Response::default()
    });
    let mut stream = Vec::new();
    for id in 1..=200 {
        stream.extend(request(id, ""));
    }
    // Responses are only read after this, so this also tests a client that is slow to read.
    bazel.write(&stream).await;
    let (answers, ended) = bazel.end().await;
    assert_eq!(answers.len(), 200);
    ended.unwrap();
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn a_cancellation_gets_past_any_amount_of_waiting_work() {
    let gates = Gates::new();
    let mut bazel = Bazel::start_with(limits(1), gates.handler());
    bazel.request(1, "until-cancelled").await;
    for id in 2..=1000 {
        bazel.request(id, "more").await;
    }
    bazel.cancel(1).await;
    assert_eq!(bazel.answer().await, cancelled(1, "gave up"));
    let (answers, ended) = bazel.end().await;
    assert_eq!(answers, (2..=1000).map(|id| answered(id, "more")).collect::<Vec<_>>());
    ended.unwrap();
}

#[tokio::test]
async fn cancelled_while_it_waits() {
    let gates = Gates::new();
    let mut bazel = Bazel::start_with(limits(1), gates.handler());
    bazel.request(1, "wait").await;
    bazel.request(2, "never").await;
    bazel.request(3, "later").await;
    bazel.cancel(2).await;
    assert_eq!(bazel.answer().await, cancelled(2, ""), "at once, though 1 still runs");
    bazel.cancel(2).await;
    gates.open("wait");
    assert_eq!(bazel.answer().await, answered(1, "wait"));
    assert_eq!(bazel.answer().await, answered(3, "later"));
    bazel.end_quietly().await;
    assert_eq!(gates.all_entered(), ["wait", "later"]);
}

#[tokio::test]
async fn cancelled_while_it_runs_and_once_more() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    bazel.request(1, "until-cancelled").await;
    bazel.request(2, "wait").await;
    gates.entered("until-cancelled").await;
    bazel.cancel(1).await;
    bazel.cancel(1).await;
    assert_eq!(bazel.answer().await, cancelled(1, "gave up"));
    bazel.cancel(1).await;
    gates.open("wait");
    assert_eq!(bazel.answer().await, answered(2, "wait"), "2 was not cancelled");
    bazel.end_quietly().await;
}

#[tokio::test]
async fn a_cancellation_that_the_handler_overlooks_is_answered_when_it_returns() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    bazel.request(1, "wait").await;
    bazel.cancel(1).await;
    bazel.request(2, "quick").await;
    assert_eq!(bazel.answer().await, answered(2, "quick"), "1 may still be writing files");
    gates.open("wait");
    assert_eq!(bazel.answer().await, cancelled(1, "wait"));
    bazel.end_quietly().await;
}

#[tokio::test]
async fn cancelled_in_the_same_write() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    for id in 1..=100 {
        bazel.write(&[request(id, "until-cancelled"), cancel(id)].concat()).await;
        assert_eq!(bazel.answer().await, cancelled(id, "gave up"));
    }
    bazel.end_quietly().await;
}

#[tokio::test]
async fn id_0_can_be_cancelled_while_it_works() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    bazel.request(0, "until-cancelled").await;
    gates.entered("until-cancelled").await;
    bazel.cancel(0).await;
    assert_eq!(bazel.answer().await, cancelled(0, "gave up"));
    bazel.request(0, "next").await;
    assert_eq!(bazel.answer().await, answered(0, "next"));
    bazel.end_quietly().await;
}

#[tokio::test]
async fn cancelling_what_is_finished_or_unknown_does_nothing() {
    let mut bazel = Bazel::start(echo);
    bazel.cancel(7).await;
    bazel.request(7, "a").await;
    assert_eq!(bazel.answer().await, answered(7, "a"), "not cancelled in advance");
    bazel.cancel(7).await;
    bazel.cancel(-1).await;
    bazel.cancel(0).await;
    bazel.request(7, "b").await;
    assert_eq!(bazel.answer().await, answered(7, "b"), "not cancelled by what came before");
    bazel.end_quietly().await;
}

#[tokio::test]
async fn ids_start_again_with_each_build() {
    let mut bazel = Bazel::start(echo);
    for _build in 0..3 {
        for id in 1..=3 {
            bazel.request(id, "x").await;
            assert_eq!(bazel.answer().await, answered(id, "x"));
        }
    }
    bazel.end_quietly().await;
}

#[tokio::test]
async fn any_number_is_an_id() {
    let mut bazel = Bazel::start(echo);
    for id in [-1, i32::MIN, i32::MAX, 0] {
        bazel.request(id, "x").await;
        assert_eq!(bazel.answer().await, answered(id, "x"));
    }
    bazel.end_quietly().await;
}

#[tokio::test]
async fn requests_that_share_an_id_are_all_answered() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    bazel.request(5, "wait a").await;
    bazel.request(5, "wait b").await;
    gates.open("wait b");
    assert_eq!(bazel.answer().await, answered(5, "wait b"));
    gates.open("wait a");
    assert_eq!(bazel.answer().await, answered(5, "wait a"));
    bazel.end_quietly().await;
}

#[tokio::test]
async fn requests_that_share_an_id_are_cancelled_together() {
    let gates = Gates::new();
    let mut bazel = Bazel::start_with(limits(2), gates.handler());
    bazel.request(5, "until-cancelled").await;
    bazel.request(5, "until-cancelled").await;
    bazel.request(5, "after the others").await;
    bazel.cancel(5).await;
    let (answers, ended) = bazel.end().await;
    assert_eq!(answers, [cancelled(5, ""), cancelled(5, "gave up"), cancelled(5, "gave up")]);
    ended.unwrap();
}

#[tokio::test]
async fn a_panic_is_an_answer_and_harms_nobody_else() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    bazel.request(1, "wait").await;
    bazel.request(2, "panic").await;
    let response = bazel.response().await.unwrap();
    assert_eq!((response.request_id, response.exit_code), (2, 1));
    assert!(response.output.contains("panic panics"), "{}", response.output);
    assert!(response.output.contains("a bug in the worker"), "{}", response.output);
    bazel.request(3, "quick").await;
    assert_eq!(bazel.answer().await, answered(3, "quick"));
    gates.open("wait");
    assert_eq!(bazel.answer().await, answered(1, "wait"));
    bazel.end_quietly().await;
}

#[tokio::test]
async fn every_kind_of_panic() {
    let mut bazel = Bazel::start_with(limits(1), |request: &Request, _: &Cancel| match request.request_id {
        1 => panic!("plain"),
        2 => panic!("with {}", request.request_id),
        3 => std::panic::panic_any(3),
        _ => output(format!("{}", request.arguments[request.arguments.len()].len())),
    });
    for (id, message) in
        [(1, "plain"), (2, "with 2"), (3, "no message was given"), (4, "index out of bounds")]
    {
        bazel.request(id, "").await;
        let (answered, output, _) = bazel.answer().await;
        assert_eq!(answered, id);
        assert!(output.contains(message), "{output}");
    }
    bazel.end_quietly().await;
}

#[tokio::test]
async fn the_end_of_stdin_lets_work_finish() {
    let gates = Gates::new();
    let mut bazel = Bazel::start_with(limits(1), gates.handler());
    bazel.request(1, "wait").await;
    bazel.request(2, "after the other").await;
    bazel.close().await;
    gates.entered("wait").await;
    gates.open("wait");
    let (answers, ended) = bazel.end().await;
    assert_eq!(answers, [answered(1, "wait"), answered(2, "after the other")]);
    ended.unwrap();
}

#[tokio::test]
async fn damaged_input_lets_work_finish_and_is_reported() {
    type Is = fn(&Error) -> bool;
    let cases: [(&[u8], Is); 4] = [
        (b"\x05\x0a", |error| matches!(error, Error::Truncated(2))),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", |error| matches!(error, Error::TooLarge(_))),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", |error| matches!(error, Error::EndlessLength)),
        (b"\x02\x0a\x05", |error| matches!(error, Error::MalformedProto(_))),
    ];
    for (damage, is_expected) in cases {
        let gates = Gates::new();
        let mut bazel = Bazel::start_with(limits(1), gates.handler());
        bazel.request(1, "wait").await;
        bazel.request(2, "after the other").await;
        bazel.write(damage).await;
        bazel.close().await;
        gates.open("wait");
        let (answers, ended) = bazel.end().await;
        assert_eq!(answers, [answered(1, "wait"), answered(2, "after the other")]);
        let error = ended.unwrap_err();
        assert!(is_expected(&error), "{damage:?}: {error}");
    }
}

#[tokio::test]
async fn bytes_that_trickle_in() {
    let mut bazel = Bazel::start(echo);
    for byte in [request(1, "a"), request(2, "b")].concat() {
        bazel.write(&[byte]).await;
        tokio::task::yield_now().await;
    }
    let (answers, ended) = bazel.end().await;
    assert_eq!(answers, [answered(1, "a"), answered(2, "b")]);
    ended.unwrap();
}

#[tokio::test]
async fn nobody_reads_the_answers_any_more() {
    let gates = Gates::new();
    let mut bazel = Bazel::start_with(limits(2), gates.handler());
    bazel.request(1, "until-cancelled").await;
    bazel.request(2, "wait").await;
    bazel.request(3, "never").await;
    gates.entered("until-cancelled").await;
    bazel.responses = None;
    gates.open("wait");
    // stdin stays open: the failed write cancels 1, drops 3 and ends the server.
    let ended = tokio::time::timeout(HANG, bazel.server).await.expect("the server ends").unwrap();
    assert!(matches!(ended, Err(Error::Write(_))), "{ended:?}");
    // The response to 2 is lost, and 3 may or may not have been started.
    assert!(gates.all_entered().len() <= 3);
}

#[tokio::test]
async fn terminated_idle() {
    let mut bazel = Bazel::start(echo);
    bazel.request(1, "a").await;
    assert_eq!(bazel.answer().await, answered(1, "a"));
    bazel.terminate();
    assert_eq!(bazel.response().await, None, "stdin is still open");
    bazel.end_quietly().await;
}

#[tokio::test]
async fn terminated_busy() {
    let gates = Gates::new();
    let mut bazel = Bazel::start_with(limits(2), gates.handler());
    bazel.request(1, "until-cancelled 1").await;
    bazel.request(2, "until-cancelled 2").await;
    bazel.request(3, "never").await;
    // A truncated request is not an error then.
    bazel.write(b"\x05\x0a").await;
    gates.entered("until-cancelled 2").await;
    bazel.terminate();
    let mut answers = [bazel.answer().await, bazel.answer().await, bazel.answer().await];
    answers.sort();
    assert_eq!(answers, [cancelled(1, "gave up"), cancelled(2, "gave up"), cancelled(3, "")]);
    bazel.end_quietly().await;
    assert!(!gates.all_entered().contains(&"never".to_owned()));
}

#[tokio::test]
async fn terminated_after_the_end_of_stdin() {
    let gates = Gates::new();
    let mut bazel = Bazel::start(gates.handler());
    bazel.request(1, "until-cancelled").await;
    bazel.close().await;
    gates.entered("until-cancelled").await;
    bazel.terminate();
    assert_eq!(bazel.answer().await, cancelled(1, "gave up"));
    bazel.end_quietly().await;
}

#[tokio::test]
async fn terminated_with_a_handler_that_will_not_stop() {
    let gates = Gates::new();
    let mut bazel = Bazel::start_with(limits(2), gates.handler());
    bazel.request(1, "wait").await;
    bazel.request(2, "until-cancelled").await;
    gates.entered("wait").await;
    gates.entered("until-cancelled").await;
    bazel.terminate();
    assert_eq!(bazel.answer().await, cancelled(2, "gave up"));
    // The grace period ends only now, after 2 has stopped.
    tokio::time::pause();
    tokio::time::advance(HANG).await;
    let (answers, ended) = bazel.end().await;
    gates.open("wait");
    assert_eq!(answers, []);
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::Unstoppable { count: 1, .. }), "{error}");
}

#[tokio::test]
async fn terminated_while_nobody_reads_the_answers() {
    let grace = Duration::from_millis(20);
    let mut bazel =
        Bazel::start_with(Limits { grace, ..limits(1) }, |_: &Request, _: &Cancel| output("x".repeat(1000)));
    bazel.request(1, "").await;
    // The response has been written in part, and the pipe is full.
    assert_eq!(bazel.responses.as_mut().unwrap().read_u8().await.unwrap(), 0xed);
    bazel.terminate();
    let ended = tokio::time::timeout(HANG, bazel.server).await.expect("the server ends").unwrap();
    assert!(matches!(ended, Err(Error::Write(_))), "{ended:?}");
}

#[tokio::test]
async fn a_session_in_json() {
    let (stdin, mut requests) = duplex(7);
    let (mut responses, stdout) = duplex(7);
    let gates = Gates::new();
    let handler = Arc::new(gates.handler());
    let server = tokio::spawn(serve(stdin, stdout, Protocol::Json, limits(1), handler, future::pending()));
    let stream = br#"{"arguments":["until-cancelled"],"requestId":1,"new":{}}{"arguments":["never"],
        "requestId":2}{"cancel":true,"requestId":2}{"cancel":true,"requestId":1}
        {"arguments":["a \"quoted\" one"]} "#;
    requests.write_all(stream).await.unwrap();
    drop(requests);
    let mut text = String::new();
    responses.read_to_string(&mut text).await.unwrap();
    server.await.unwrap().unwrap();
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            r#"{"exitCode":0,"output":"","requestId":2,"wasCancelled":true}"#,
            r#"{"exitCode":0,"output":"gave up","requestId":1,"wasCancelled":true}"#,
            r#"{"exitCode":0,"output":"a \"quoted\" one","requestId":0}"#,
        ]
    );
}

/// Thousands of requests, some of which are cancelled at random times, panic, or share an ID: each gets
/// exactly one response, and the right one.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_answer_each() {
    // A linear congruential generator, for the same sequence in every run.
    let mut state = 42_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let calls = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let count = Arc::clone(&calls);
    let mut bazel = Bazel::start_with(limits(4), move |request: &Request, cancel: &Cancel| {
        *count.lock().unwrap().entry(argument(request).to_owned()).or_default() += 1;
        match argument(request) {
            name if name.starts_with('p') => std::panic::resume_unwind(Box::new(name.to_owned())),
            name if name.starts_with('s') => {
                for _ in 0..200 {
                    if cancel.is_cancelled() {
                        return output("gave up");
                    }
                    std::thread::yield_now();
                }
                output(name)
            }
            name => output(name),
        }
    });

    let mut stream = Vec::new();
    let mut asked = BTreeMap::<i32, usize>::new();
    for number in 0..3000 {
        let id = random(500) as i32 - 5;
        let kind = ["p", "s", "q", "q"][random(4) as usize];
        stream.extend(request(id, &format!("{kind}{number}")));
        *asked.entry(id).or_default() += 1;
        if random(3) == 0 {
            stream.extend(cancel(random(500) as i32 - 5));
        }
    }
    let mut requests = bazel.requests.take().unwrap();
    let writing = tokio::spawn(async move { requests.write_all(&stream).await.unwrap() });
    let (answers, ended) = bazel.end().await;
    writing.await.unwrap();
    ended.unwrap();

    let mut got = BTreeMap::<i32, usize>::new();
    for (id, output, was_cancelled) in answers {
        *got.entry(id).or_default() += 1;
        assert!(was_cancelled || !output.is_empty() && output != "gave up", "{id}: {output}");
    }
    assert_eq!(got, asked);
    assert!(calls.lock().unwrap().values().all(|&calls| calls == 1));
}
