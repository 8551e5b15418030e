//! Logs and traces of the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, PYLAYER, Workspace, noise};
use rustix::process::Signal;
use serde_json::Value;

/// A worker with another startup argument. Its log is captured.
fn worker(workspace: &Workspace, argument: &str) -> Worker {
    let mut command = Command::new(PYLAYER);
    command.args(["--persistent_worker", argument]).current_dir(workspace.path(""));
    Worker::spawn(command.stderr(Stdio::piped()))
}

fn workspace() -> (Workspace, Manifest) {
    let workspace = Workspace::new();
    workspace.write("in/small", "small");
    workspace.write("in/large", noise(1, 3 << 20));
    (workspace, Manifest::new().file("app/small", "in/small").file("app/large", "in/large"))
}

/// The names of the spans in a trace. Checks that each span begins before it ends.
fn spans(trace: &Path) -> BTreeSet<String> {
    let events: Vec<Value> = serde_json::from_slice(&fs::read(trace).unwrap()).unwrap();
    let mut open: Vec<(&Value, &Value)> = Vec::new();
    let mut names = BTreeSet::new();
    for event in &events {
        let span = (&event["tid"], &event["name"]);
        match event["ph"].as_str().unwrap() {
            "B" => open.push(span),
            "E" => {
                let begin = open.iter().rposition(|other| *other == span).expect("the span has begun");
                open.remove(begin);
                names.insert(span.1.as_str().unwrap().to_string());
            }
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?} never end");
    names
}

#[test]
fn a_trace_has_every_stage_and_changes_no_byte() {
    let (workspace, manifest) = workspace();
    let expected = workspace.outputs(&manifest, &[]);
    workspace.remove_outputs();
    let mut traced = workspace.command(&workspace.arguments(&manifest, &[]));
    assert!(workspace.outputs_of(traced.arg("--trace=trace.json")) == expected);
    let stages = ["compress", "hash", "inputs", "layer", "manifest", "plan", "read", "wheels", "write"];
    assert_eq!(spans(&workspace.path("trace.json")), stages.map(String::from).into());
}

#[test]
fn a_worker_that_was_terminated_leaves_a_whole_trace() {
    let (workspace, manifest) = workspace();
    let mut worker = worker(&workspace, "--trace=trace.json");
    worker.succeed(&Work::new(1, workspace.arguments(&manifest, &[])));
    worker.signal(Signal::TERM);
    assert!(worker.end().0.success());
    assert!(spans(&workspace.path("trace.json")).contains("compress"));
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error() {
    let (workspace, manifest) = workspace();
    let mut command = workspace.command(&workspace.arguments(&manifest, &[]));
    let message = workspace.error_of(command.arg("--trace=none/trace.json"));
    assert_eq!(message, "pylayer: --trace=none/trace.json: No such file or directory (os error 2)\n");
}

#[test]
fn statistics_tell_the_stages_of_each_request() {
    let (workspace, manifest) = workspace();
    let mut worker = worker(&workspace, "--stats");
    worker.succeed(&Work::new(3, workspace.arguments(&manifest, &["--mtime=1"])));
    worker.close_stdin();
    let (status, log) = worker.end();
    assert!(status.success());
    let line = log.lines().find(|line| line.starts_with("pylayer: request 3: ")).expect("a line of the log");
    for part in [
        "layer \"default\": 3 entries",
        "planned in ",
        "read ",
        "compressed ",
        "hashed ",
        "wrote ",
        " in all",
    ] {
        assert!(line.contains(part), "no {part:?} in {line:?}");
    }
}
