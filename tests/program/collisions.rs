//! Files of several distributions with the same path in site-packages.

use std::fs;
use std::process::Output;

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::{Value, json};

use crate::support::worker::{Work, Worker};
use crate::support::{Workspace, sha256};

const WAY_OUT: &str = "  depend on only one of the two distributions, or set package_collisions = \"warning\" or \"ignore\" on the binary to use the first file\n";

/// Both files of a collision at `path`.
fn files(path: &str) -> [String; 2] {
    ["a", "b"].map(|distribution| format!("external/{distribution}/site-packages/{path}"))
}

/// A workspace in which two distributions have files with these paths and contents.
fn workspace(contents: &[(&str, [&[u8]; 2])]) -> Workspace {
    let workspace = Workspace::new();
    for (path, contents) in contents {
        for (file, content) in files(path).iter().zip(contents) {
            workspace.write(file, content);
        }
    }
    workspace
}

fn arguments(workspace: &Workspace, policy: &str, paths: &[&str]) -> Vec<String> {
    let collision = |path: &&str| {
        let [chosen, other] = files(path);
        json!({"path": path, "chosen": chosen, "other": other})
    };
    let collisions: Vec<Value> = paths.iter().map(collision).collect();
    let settings = workspace.settings_file(&json!({"policy": policy, "collisions": collisions}));
    vec!["--package_collisions=out/report".to_string(), format!("--settings={settings}")]
}

fn run(workspace: &Workspace, policy: &str, paths: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        workspace.command(&arguments(workspace, policy, paths)).output().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn report(workspace: &Workspace) -> String {
    fs::read_to_string(workspace.path("out/report")).unwrap()
}

/// The message about the paths, and the report.
fn expected(paths: &[&str]) -> (String, String) {
    let lines: Vec<String> = paths
        .iter()
        .map(|path| {
            let [chosen, other] = files(path);
            format!("{path}: {chosen} and {other}\n")
        })
        .collect();
    let shown: String = lines.iter().map(|line| format!("    {line}")).collect();
    let headline = "pylayer: distributions contain different files at the same path in site-packages:\n";
    (format!("{headline}{shown}{WAY_OUT}"), lines.concat())
}

/// Two files that differ only in their last byte.
fn large() -> [Vec<u8>; 2] {
    let mut contents = [vec![7; (2 << 20) + 1], vec![7; (2 << 20) + 1]];
    *contents[1].last_mut().unwrap() = 8;
    contents
}

#[test]
fn equal_files_do_not_collide() {
    let large = &large()[0];
    let equal: [(&str, [&[u8]; 2]); 3] =
        [("empty.py", [b"", b""]), ("google/__init__.py", [b"x", b"x"]), ("large.so", [large, large])];
    let workspace = workspace(&equal);
    for policy in ["error", "warning"] {
        let paths = equal.map(|(path, _)| path);
        assert_eq!(run(&workspace, policy, &paths), (Some(0), String::new()));
        assert_eq!(report(&workspace), "");
        fs::remove_file(workspace.path("out/report")).unwrap();
    }
    assert_eq!(run(&workspace, "error", &[]), (Some(0), String::new()));
    assert_eq!(report(&workspace), "");
}

#[test]
fn different_files_are_an_error_or_a_warning() {
    let [large, larger] = large();
    let workspace = workspace(&[
        ("yaml/__init__.py", [b"1", b"2"]),
        ("same.py", [b"same", b"same"]),
        ("empty.py", [b"", b"1"]),
        ("large.so", [&large, &larger]),
    ]);
    let (message, lines) = expected(&["yaml/__init__.py", "empty.py", "large.so"]);
    for (policy, code) in [("error", 1), ("warning", 0)] {
        let paths = ["yaml/__init__.py", "same.py", "empty.py", "large.so"];
        assert_eq!(run(&workspace, policy, &paths), (Some(code), message.clone()));
        assert_eq!(report(&workspace), lines);
        assert_eq!(workspace.leftovers(), ["report"]);
        fs::remove_file(workspace.path("out/report")).unwrap();
    }
}

/// As in a sandbox, where every input is a link.
#[test]
fn links_are_followed() {
    let workspace = workspace(&[]);
    workspace.write("real/1", "1");
    workspace.write("real/2", "2");
    for (path, targets) in [("same.py", ["1", "1"]), ("different.py", ["1", "2"])] {
        for (file, target) in files(path).iter().zip(targets) {
            workspace.link(file, workspace.path(format!("real/{target}")).as_os_str().as_encoded_bytes());
        }
    }
    let (message, lines) = expected(&["different.py"]);
    assert_eq!(run(&workspace, "error", &["same.py", "different.py"]), (Some(1), message));
    assert_eq!(report(&workspace), lines);
}

#[test]
fn an_input_that_is_no_file_is_an_error() {
    let workspace = workspace(&[("file", [b"", b""]), ("half", [b"", b""])]);
    let [a, b] = files("tree");
    workspace.write(&a, "");
    fs::create_dir(workspace.path(&b)).unwrap();
    let error = |path: &str| {
        let arguments = arguments(&workspace, "warning", &["file", path]);
        workspace.error_of(&mut workspace.command(&arguments))
    };
    assert_eq!(error("tree"), format!("pylayer: {b} is a directory, and only files can be compared\n"));
    let [_, half] = files("half");
    fs::remove_file(workspace.path(&half)).unwrap();
    let missing = format!(
        "pylayer: cannot read {half}: No such file or directory (os error 2); is it an input of the action?\n"
    );
    assert_eq!(error("half"), missing);
    mkfifoat(CWD, workspace.path(&half), Mode::RWXU).unwrap();
    assert!(error("half").starts_with(&format!("pylayer: {half} is a device, pipe or socket")));
}

#[test]
fn the_report_replaces_no_input() {
    let workspace = workspace(&[("a.py", [b"1", b"1"])]);
    let settings = &arguments(&workspace, "error", &["a.py"])[1];
    for input in files("a.py").iter().chain([&settings["--settings=".len()..].to_string()]) {
        let arguments = [format!("--package_collisions={input}"), settings.clone()];
        let message = workspace.error_of(&mut workspace.command(&arguments));
        assert!(message.contains("an output must not replace or be inside an input"), "{message}");
    }
}

/// Bazel's digests are opaque. Equal ones save reading the files; different ones prove nothing, because
/// Bazel computes those of declared symlinks from their targets.
#[test]
fn a_worker_trusts_equal_digests() {
    let workspace = workspace(&[("equal.py", [b"1", b"1"]), ("other.py", [b"1", b"2"])]);
    let mut worker = Worker::start(&std::env::temp_dir());
    let mut run = |id, path: &str, digests: [&str; 2]| {
        let inputs = files(path).into_iter().zip(digests);
        let inputs = inputs.map(|(file, digest)| (file.into_bytes(), digest.to_string()));
        let (arguments, sandbox_dir) = (arguments(&workspace, "error", &[path]), workspace.sandbox_dir());
        worker.send(&Work { id, arguments, sandbox_dir, inputs: inputs.collect(), ..Work::default() });
        let response = worker.receive();
        let report = report(&workspace);
        fs::remove_file(workspace.path("out/report")).unwrap();
        (response.exit_code, response.output, report)
    };
    let fine = (0, String::new(), String::new());
    let (message, lines) = expected(&["other.py"]);
    let different = (1, message, lines);
    let [one, two] = [b"1", b"2"].map(|content| sha256(content));
    assert_eq!(run(1, "equal.py", [&one, &one]), fine);
    assert_eq!(run(2, "equal.py", [&one, &two]), fine);
    assert_eq!(run(3, "equal.py", [&one, ""]), fine);
    assert_eq!(run(4, "other.py", [&one, &two]), different);
    assert_eq!(run(5, "other.py", [&one, ""]), different);
    assert_eq!(run(6, "other.py", ["", ""]), different);
    assert_eq!(run(7, "other.py", ["x", "x"]), fine, "the files are not read");
    worker.close();
}

#[test]
fn a_comparison_is_cancelled() {
    let workspace = workspace(&[]);
    for file in files("large.so") {
        workspace.sparse(file, 1 << 40);
    }
    let mut worker = Worker::start(&std::env::temp_dir());
    let (arguments, sandbox_dir) = (arguments(&workspace, "error", &["large.so"]), workspace.sandbox_dir());
    worker.send(&Work { id: 1, arguments, sandbox_dir, ..Work::default() });
    worker.cancel(1);
    assert!(worker.receive().was_cancelled);
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
    worker.close();
}
