//! Faults in a worker: each has its response, exit code and message, leaves no partial output or temporary
//! file, and does not affect other requests.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, OUTPUTS, Outputs, PYLAYER, Workspace, noise};
use pylayer::pipeline::IN_FLIGHT_BYTES;
use rustix::process::Signal;

const NOTHING: [String; 0] = [];

/// Permissions do not apply to root. If the tests run as root, a user namespace maps root to this user.
const SOMEBODY: &str = "61234";

/// The command of a worker, started through `wrapper`, with its log in a pipe.
fn wrapped(workspace: &Workspace, wrapper: &[&str]) -> Command {
    let mut words = wrapper.iter().copied().chain([PYLAYER, "--persistent_worker"]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).current_dir(workspace.path("")).stderr(Stdio::piped());
    command
}

/// A worker to which file permissions apply.
fn unprivileged(workspace: &Workspace) -> Worker {
    let user = ["unshare", "--user", "--map-user", SOMEBODY, "--map-group", SOMEBODY];
    let wrapper = if rustix::process::geteuid().is_root() { &user[..] } else { &[] };
    Worker::spawn(&mut wrapped(workspace, wrapper))
}

fn logged(workspace: &Workspace) -> Worker {
    Worker::spawn(&mut wrapped(workspace, &[]))
}

/// A second workspace below the first one, as for another action of the same worker. Its layer is correct
/// whatever happens to other requests.
struct Bystander {
    workspace: Workspace,
    manifest: Manifest,
    expected: Outputs,
}

impl Bystander {
    fn new(beside: &Workspace) -> Bystander {
        let workspace = Workspace::below(&beside.path(""));
        workspace.write("in/a", noise(1, 300_000));
        workspace.write("in/b", "b");
        let manifest = Manifest::new().tree("app", "in");
        let expected = workspace.outputs(&manifest, &[]);
        workspace.remove_outputs();
        Bystander { workspace, manifest, expected }
    }

    fn request(&self, id: i32) -> Work {
        let sandbox_dir = self.workspace.sandbox_dir();
        let arguments = self.workspace.arguments(&self.manifest, &[]);
        Work { sandbox_dir, ..Work::new(id, arguments) }
    }

    fn check(&self) {
        assert!(Outputs::read(&self.workspace.path("out")) == self.expected);
        self.workspace.remove_outputs();
        assert_eq!(self.workspace.leftovers(), NOTHING);
    }

    /// Requests the layer, and expects success.
    fn is_served_by(&self, worker: &mut Worker) {
        worker.succeed(&self.request(77));
        self.check();
    }
}

/// A request fails while another one is running, which succeeds. Then the worker continues.
fn fails_alone(worker: &mut Worker, workspace: &Workspace, work: &Work) -> String {
    let bystander = Bystander::new(workspace);
    worker.send(&bystander.request(work.id + 1));
    worker.send(work);
    let mut responses = [worker.receive(), worker.receive()];
    responses.sort_by_key(|response| response.request_id);
    let [failed, succeeded] = responses;
    assert_eq!((failed.request_id, failed.exit_code, failed.was_cancelled), (work.id, 1, false));
    assert_eq!((succeeded.exit_code, &*succeeded.output), (0, ""));
    bystander.check();
    bystander.is_served_by(worker);
    failed.output
}

#[test]
fn an_input_that_may_not_be_read() {
    let workspace = Workspace::new();
    workspace.write("in/public", "public");
    workspace.write("in/secret", "secret");
    crate::support::set_mode(&workspace.path("in/secret"), 0);
    let mut worker = unprivileged(&workspace);
    let manifest = Manifest::new().file("public", "in/public").file("secret", "in/secret");
    let arguments = workspace.arguments(&manifest, &[]);
    let message = fails_alone(&mut worker, &workspace, &Work::new(1, arguments));
    assert_eq!(message, "pylayer: cannot read in/secret: Permission denied (os error 13)\n");
    assert_eq!(workspace.leftovers(), NOTHING);
    worker.close();
}

#[test]
fn an_input_that_vanishes_while_the_layer_is_written() {
    const MEGABYTES: u64 = 192;
    // A chunk is read only once no more than this of the preceding chunks is in flight.
    let not_yet_read = (MEGABYTES << 20) - IN_FLIGHT_BYTES;
    let message = loop {
        let (workspace, manifest) = Workspace::slow(MEGABYTES);
        let bystander = Bystander::new(&workspace);
        let mut worker = logged(&workspace);
        worker.send(&Work::new(1, workspace.arguments(&manifest, &["--compress=none"])));
        workspace.wait_until_under_way();
        worker.stop();
        if workspace.written() >= not_yet_read {
            continue;
        }
        fs::remove_file(workspace.path("in/last")).unwrap();
        worker.signal(Signal::CONT);
        worker.send(&bystander.request(2));
        let mut responses = [worker.receive(), worker.receive()];
        responses.sort_by_key(|response| response.request_id);
        let [failed, succeeded] = responses;
        assert_eq!((succeeded.exit_code, &*succeeded.output), (0, ""));
        bystander.check();
        bystander.is_served_by(&mut worker);
        worker.close();
        assert_eq!((failed.request_id, failed.exit_code), (1, 1));
        assert_eq!(workspace.leftovers(), NOTHING);
        break failed.output;
    };
    assert_eq!(
        message,
        "pylayer: cannot read in/last: No such file or directory (os error 2); is it an input of the action?\n"
    );
}

/// A worker whose output directory is a file system with this many bytes and files; `None`, with the reason
/// on stderr, if it cannot be mounted.
fn on_small_disk(workspace: &Workspace, bytes: usize, files: usize) -> Option<Worker> {
    let unshare = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
    let script =
        format!("mount -t tmpfs -o size={bytes},nr_inodes={files} tmpfs out && cd . && exec \"$0\" \"$@\"");
    let wrapper = [&unshare[..], &[&script]].concat();
    let mut probe = Command::new(wrapper[0]);
    let probe = probe.args(&wrapper[1..]).arg("true").current_dir(workspace.path("")).output();
    let reason = match probe {
        Ok(probe) if probe.status.success() => None,
        Ok(probe) => Some(String::from_utf8_lossy(&probe.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = reason {
        assert!(std::env::var_os("CI").is_none(), "no small disk can be mounted: {reason}");
        eprintln!("skipped: no small disk can be mounted: {reason}");
        return None;
    }
    Some(Worker::spawn(&mut wrapped(workspace, &wrapper)))
}

/// The names in the output directory, as seen by the worker. Its mounts are not visible to others.
fn leftovers_of(worker: &Worker, workspace: &Workspace) -> Vec<String> {
    let directory = format!("/proc/{}/root{}", worker.pid(), workspace.path("out").display());
    let names = fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_disk_that_is_full() {
    let workspace = Workspace::new();
    workspace.write("in/large", noise(1, 1_000_000));
    workspace.write("in/small", "small");
    let Some(mut worker) = on_small_disk(&workspace, 256 << 10, 16) else { return };
    let manifest = Manifest::new().file("large", "in/large");
    for options in [&["--compress=none"][..], &["--compress=gzip"], &["--compress=zstd"]] {
        let arguments = workspace.arguments(&manifest, options);
        let message = fails_alone(&mut worker, &workspace, &Work::new(1, arguments));
        assert_eq!(message, "pylayer: cannot write out/layer: No space left on device (os error 28)\n");
        assert_eq!(leftovers_of(&worker, &workspace), NOTHING);
    }
    let arguments = workspace.arguments(&Manifest::new().file("small", "in/small"), &[]);
    worker.succeed(&Work::new(1, arguments));
    assert_eq!(leftovers_of(&worker, &workspace).len(), OUTPUTS.len());
    worker.close();
}

#[test]
fn a_disk_without_room_for_one_more_file() {
    let workspace = Workspace::new();
    workspace.write("in/small", "small");
    let manifest = Manifest::new().file("small", "in/small");
    // The directory itself counts as one file.
    for (files, output) in [(1, "layer"), (2, "descriptor.json"), (3, "listing.mtree")] {
        let Some(mut worker) = on_small_disk(&workspace, 1 << 20, files) else { return };
        let message =
            fails_alone(&mut worker, &workspace, &Work::new(1, workspace.arguments(&manifest, &[])));
        assert_eq!(
            message,
            format!("pylayer: cannot write out/{output}: No space left on device (os error 28)\n")
        );
        assert_eq!(leftovers_of(&worker, &workspace), NOTHING);
        worker.close();
    }
}

#[test]
fn a_directory_of_outputs_that_is_missing_or_read_only() {
    let workspace = Workspace::new();
    workspace.write("in/x", "x");
    let arguments = workspace.arguments(&Manifest::new().file("x", "in/x"), &[]);
    let mut worker = unprivileged(&workspace);

    crate::support::set_mode(&workspace.path("out"), 0o555);
    let message = fails_alone(&mut worker, &workspace, &Work::new(1, arguments.clone()));
    assert_eq!(message, "pylayer: cannot write out/layer: Permission denied (os error 13)\n");
    assert_eq!(workspace.leftovers(), NOTHING);

    fs::remove_dir(workspace.path("out")).unwrap();
    let message = fails_alone(&mut worker, &workspace, &Work::new(1, arguments.clone()));
    assert_eq!(message, "pylayer: cannot write out/layer: No such file or directory (os error 2)\n");
    assert!(!workspace.path("out").exists(), "Bazel makes directories, not the program");

    fs::create_dir(workspace.path("out")).unwrap();
    worker.succeed(&Work::new(1, arguments));
    assert_eq!(workspace.leftovers().len(), OUTPUTS.len());
    worker.close();
}

#[test]
fn mistakes_in_requests_are_answered_and_the_worker_goes_on() {
    let workspace = Workspace::new();
    let mut worker = logged(&workspace);
    // An empty frame is a request with ID 0 and no arguments.
    worker.write(b"\0");
    let response = worker.receive();
    assert_eq!((response.exit_code, response.request_id), (1, 0));
    assert_eq!(response.output, "pylayer: argument --layer=… is missing\n");
    let arguments = workspace.arguments(&Manifest::new().empty("x"), &[]);
    let with = |argument: &str| [arguments.clone(), vec![argument.to_string()]].concat();
    for (arguments, expected) in [
        (with("--colour=red"), "unknown argument \"--colour\""),
        (
            workspace.arguments(&Manifest::new().empty("x"), &["--layer-group=x=("]),
            "is not a valid regular expression",
        ),
        (with("@no flagfile"), "cannot read no flagfile: No such file or directory"),
        (with(""), "unknown argument \"\""),
    ] {
        let message = fails_alone(&mut worker, &workspace, &Work::new(3, arguments));
        assert!(message.starts_with("pylayer: ") && message.ends_with('\n'), "{message}");
        assert!(message.contains(expected), "{message}");
        assert_eq!(workspace.leftovers(), NOTHING);
    }
    let arguments = workspace.arguments(&Manifest::new().line("?", &[]), &[]);
    let message = fails_alone(&mut worker, &workspace, &Work::new(3, arguments));
    assert!(message.starts_with("pylayer: line 1 of the manifest is malformed: \"?\"; "), "{message}");
    assert_eq!(workspace.leftovers(), NOTHING);
    worker.close_stdin();
    let (status, log) = worker.end();
    assert_eq!((status.code(), &*log), (Some(0), ""));
}

/// The damaged end of a stream, and the program's message.
#[test]
fn damaged_requests_end_the_worker_when_its_work_is_done() {
    let endless = [0xff; 16];
    for (damage, expected) in [
        (&b"\x05\x0a"[..], "stdin ended in the middle of a work request, 2 bytes into it."),
        (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "A work request has 9223372036854775808 bytes"),
        (&endless, "The length prefix of a work request is too long: stdin does not carry"),
        (b"\x02\x0a\x05", "A work request cannot be decoded as a WorkRequest message: "),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "stdin ended in the middle of a work request, "),
        (&noise(1, 100_000), "A work request "),
    ] {
        // Work that is in progress when the damage is detected.
        let (workspace, manifest) = Workspace::slow(24);
        let arguments = workspace.arguments(&manifest, &["--compress=none"]);
        let mut worker = logged(&workspace);
        worker.send(&Work::new(1, arguments));
        workspace.wait_until_under_way();
        // The worker may end before it has read everything.
        let _ = worker.try_write(damage);
        worker.close_stdin();
        let answer = worker.receive_all();
        let (status, log) = worker.end();
        assert_eq!(answer, b"\x02\x18\x01", "{log}");
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.starts_with(&format!("pylayer: {expected}")) && log.lines().count() == 1, "{log}");
        let mut outputs = OUTPUTS.to_vec();
        outputs.sort();
        assert_eq!(workspace.leftovers(), outputs);
        assert_eq!(fs::metadata(workspace.path("out/layer")).unwrap().len() >> 20, 24);
    }
}

#[test]
fn answers_that_nobody_reads() {
    let (workspace, manifest) = Workspace::slow(4096);
    let bystander = Bystander::new(&workspace);
    let mut worker = logged(&workspace);
    worker.send(&Work::new(1, workspace.arguments(&manifest, &["--compress=none"])));
    workspace.wait_until_under_way();
    worker.close_stdout();
    // Its response breaks the pipe, which cancels the other request. stdin is still open.
    worker.send(&bystander.request(2));
    let (status, log) = worker.end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(log, "pylayer: Writing work responses to stdout failed: Broken pipe (os error 32).\n");
    assert_eq!(workspace.leftovers(), NOTHING);
    bystander.check();
}

#[test]
fn terminated_idle() {
    for signal in [Signal::TERM, Signal::INT] {
        let workspace = Workspace::new();
        let bystander = Bystander::new(&workspace);
        let mut worker = logged(&workspace);
        bystander.is_served_by(&mut worker);
        worker.signal(signal);
        assert_eq!(worker.receive_or_end(), None);
        let (status, log) = worker.end();
        assert_eq!((status.code(), &*log), (Some(0), ""));
    }
}

#[test]
fn terminated_busy() {
    for signal in [Signal::TERM, Signal::INT] {
        let (workspace, manifest) = Workspace::slow(4096);
        let mut worker = logged(&workspace);
        worker.send(&Work::new(1, workspace.arguments(&manifest, &["--compress=none"])));
        workspace.wait_until_under_way();
        worker.signal(signal);
        let response = worker.receive();
        assert!(response.was_cancelled && response.request_id == 1, "{response}");
        assert_eq!(workspace.leftovers(), NOTHING, "nothing is left when it is answered");
        let (status, log) = worker.end();
        assert_eq!((status.code(), &*log), (Some(0), ""));
    }
}

#[test]
fn stdin_that_is_closed_while_the_worker_is_busy() {
    let (workspace, manifest) = Workspace::slow(24);
    let bystander = Bystander::new(&workspace);
    let mut worker = logged(&workspace);
    let arguments = workspace.arguments(&manifest, &["--compress=none"]);
    worker.send(&Work::new(1, arguments.clone()));
    worker.send(&bystander.request(2));
    workspace.wait_until_under_way();
    worker.close_stdin();
    let mut ids = [worker.receive(), worker.receive()].map(|response| {
        assert_eq!((response.exit_code, response.was_cancelled), (0, false), "{response}");
        response.request_id
    });
    ids.sort();
    assert_eq!(ids, [1, 2]);
    assert_eq!(worker.receive_or_end(), None);
    let (status, log) = worker.end();
    assert_eq!((status.code(), &*log), (Some(0), ""));
    bystander.check();
    let written = Outputs::read(&workspace.path("out"));
    workspace.remove_outputs();
    assert!(workspace.outputs_of(&mut workspace.command(&arguments)) == written);
}

#[test]
fn killed_in_the_middle() {
    let (workspace, manifest) = Workspace::slow(4096);
    let bystander = Bystander::new(&workspace);
    let mut worker = logged(&workspace);
    worker.send(&Work::new(1, workspace.arguments(&manifest, &["--compress=none"])));
    workspace.wait_until_under_way();
    worker.signal(Signal::KILL);
    assert_eq!(worker.receive_or_end(), None);
    let (status, log) = worker.end();
    assert_eq!((status.code(), &*log), (None, ""));
    for output in OUTPUTS {
        assert!(!workspace.path("out").join(output).exists(), "{output}");
    }
    assert_eq!(workspace.leftovers().len(), 1, "what was written so far");

    // The next worker is not affected, and cleans up.
    let mut worker = logged(&workspace);
    bystander.is_served_by(&mut worker);
    let arguments = workspace.arguments(&Manifest::new().file("last", "in/last"), &[]);
    worker.succeed(&Work::new(1, arguments.clone()));
    let written = Outputs::read(&workspace.path("out"));
    let mut outputs = OUTPUTS.to_vec();
    outputs.sort();
    assert_eq!(workspace.leftovers(), outputs);
    worker.close();
    assert!(workspace.outputs_of(&mut workspace.command(&arguments)) == written);
}

#[test]
fn temporary_files_of_a_process_that_lives_are_left_alone() {
    let (workspace, manifest) = Workspace::slow(4096);
    let mut worker = logged(&workspace);
    worker.send(&Work::new(1, workspace.arguments(&manifest, &["--compress=none"])));
    workspace.wait_until_under_way();
    worker.stop();
    let before = workspace.leftovers();
    // Another process with the same output directory, and other names in it.
    workspace.write("in/x", "x");
    let arguments = workspace.arguments(&Manifest::new().file("x", "in/x"), &[]);
    let arguments: Vec<_> =
        arguments.iter().map(|argument| argument.replace("=out/", "=out/other_")).collect();
    assert!(workspace.command(&arguments).status().unwrap().success());
    let after = workspace.leftovers();
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    worker.signal(Signal::CONT);
    worker.cancel(1);
    assert!(worker.receive().was_cancelled);
    assert_eq!(workspace.leftovers().len(), OUTPUTS.len(), "the other process's");
    worker.close();
}

/// The limit is on address space, of which threads reserve more than they use.
#[test]
fn little_memory() {
    let (workspace, manifest) = Workspace::slow(224);
    let arguments = workspace.arguments(&manifest, &["--compress=none"]);
    let limit = format!("--as={}", 192 << 20);
    let mut worker = Worker::spawn(&mut wrapped(&workspace, &["prlimit", &limit]));
    worker.succeed(&Work::new(1, arguments));
    worker.close();
}

/// Within this range of limits, the first thread, the second, and so on, or a buffer does not fit. stdin
/// stays open: a response must not wait for it.
#[test]
fn too_little_memory() {
    let workspace = Workspace::new();
    let bystander = Bystander::new(&workspace);
    workspace.write("in/x", noise(1, 2_000_000));
    let manifest = Manifest::new().file("x", "in/x");
    let quick = workspace.arguments(&manifest, &["--compress=gzip", "--level=1"]);
    let large = workspace.arguments(&manifest, &["--compress=zstd", "--level=19"]);
    let expected = [&quick, &large].map(|arguments| {
        let outputs = workspace.outputs_of(&mut workspace.command(arguments));
        workspace.remove_outputs();
        outputs
    });
    let (mut written, mut failed, mut died) = (0, 0, 0);
    let limits = (5..40).map(|megabytes| (megabytes, &quick, &expected[0]));
    for (megabytes, arguments, expected) in limits.chain([60, 90].map(|limit| (limit, &large, &expected[1])))
    {
        let limit = format!("--as={}", megabytes << 20);
        // The memory for a backtrace would be missing, too.
        let mut command = wrapped(&workspace, &["prlimit", &limit]);
        let mut worker = Worker::spawn(command.env("RUST_BACKTRACE", "1"));
        let _ = worker.try_send(&Work::new(1, arguments.clone()));
        let response = worker.receive_or_end();
        worker.close_stdin();
        let (status, log) = worker.end();
        match response {
            Some(response) if response.exit_code == 0 => {
                written += 1;
                assert!(Outputs::read(&workspace.path("out")) == *expected);
                workspace.remove_outputs();
                assert_eq!(workspace.leftovers(), NOTHING);
            }
            Some(response) => {
                failed += 1;
                assert!(!response.output.is_empty());
                assert_eq!(workspace.leftovers(), NOTHING, "{response}");
            }
            None => {
                died += 1;
                assert!(!status.success(), "{status} {log}");
                assert!(OUTPUTS.iter().all(|output| !workspace.path("out").join(output).exists()));
            }
        }
    }
    assert!(written > 0 && failed > 0 && died > 0, "{written} written, {failed} failed, {died} died");
    let mut worker = logged(&workspace);
    bystander.is_served_by(&mut worker);
    worker.succeed(&Work::new(1, large));
    assert_eq!(workspace.leftovers().len(), OUTPUTS.len());
    worker.close();
}

#[test]
fn a_log_that_cannot_be_written() {
    let workspace = Workspace::new();
    let bystander = Bystander::new(&workspace);
    let mut command = wrapped(&workspace, &[]);
    command.arg("--stats").stderr(File::create("/dev/full").unwrap());
    let mut worker = Worker::spawn(&mut command);
    bystander.is_served_by(&mut worker);
    worker.succeed(&Work { verbosity: 10, ..bystander.request(1) });
    bystander.check();
    worker.close();
}

#[test]
fn verbosity_is_for_the_log_alone() {
    let workspace = Workspace::new();
    let bystander = Bystander::new(&workspace);
    let mut worker = logged(&workspace);
    for verbosity in [0, 10, -1] {
        worker.succeed(&Work { verbosity, ..bystander.request(1) });
        bystander.check();
    }
    worker.close_stdin();
    let (status, log) = worker.end();
    assert!(status.success() && log.contains("request 1: layer \"default\""), "{log}");
}

#[test]
fn a_cancelled_layer_of_any_codec_leaves_nothing() {
    // The work would take minutes, so a response means that it was given up.
    let (workspace, manifest) = Workspace::slow(64 << 10);
    let bystander = Bystander::new(&workspace);
    for options in [
        ["--compress=none", "--mode=0755"],
        ["--compress=gzip", "--level=9"],
        ["--compress=zstd", "--level=3"],
        ["--compress=zstd", "--level=19"],
    ] {
        for moment in [Workspace::wait_until_planned, Workspace::wait_until_under_way] {
            let mut worker = logged(&workspace);
            worker.send(&Work::new(1, workspace.arguments(&manifest, &options)));
            moment(&workspace);
            worker.cancel(1);
            let response = worker.receive();
            assert!(response.was_cancelled && response.request_id == 1, "{options:?}: {response}");
            assert_eq!(workspace.leftovers(), NOTHING, "{options:?}");
            bystander.is_served_by(&mut worker);
            worker.close();
        }
    }
}
