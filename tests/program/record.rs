//! `pylayer record`: which runfiles a program opens, in order.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{PYLAYER, Workspace, set_mode, wait_for};

const HEADER: &str = "# What the program reads when it starts, in order: the ends of paths in the image. Written by `record`.\n";

/// A program with runfiles, which runs `script` in their directory.
fn program(script: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("bin/app", format!("#!/bin/sh\ncd \"$RUNFILES_DIR\" || exit 3\n{script}\n"));
    set_mode(&workspace.path("bin/app"), 0o755);
    let absolute = |exec: &str| workspace.path(exec).into_os_string().into_encoded_bytes();
    for (runfile, file) in [
        ("_main/pkg/app", "bin/app"),
        ("_main/pkg/data.txt", "ws/data.txt"),
        ("_main/pkg/unread.txt", "ws/unread.txt"),
        ("pip_numpy/site-packages/numpy/__init__.py", "external/numpy/__init__.py"),
        ("pip_numpy/site-packages/numpy/core.so", "external/numpy/core.so"),
        // The same file once more.
        ("_main/pkg/numpy.so", "external/numpy/core.so"),
    ] {
        if !workspace.path(file).exists() {
            workspace.write(file, file);
        }
        workspace.link(format!("bin/app.runfiles/{runfile}"), absolute(file));
    }
    workspace
}

fn record(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(PYLAYER);
    command.args(["record", "--binary=bin/app"]).args(arguments).current_dir(workspace.path(""));
    command
}

/// What a command that succeeds writes to stdout and stderr.
fn recorded(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{stderr}");
    (String::from_utf8(stdout).unwrap(), stderr)
}

fn error(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!((status.code(), &*stdout), (Some(2), &b""[..]));
    String::from_utf8(stderr).unwrap()
}

const READS: &str =
    "cat pip_numpy/site-packages/numpy/core.so _main/pkg/data.txt pip_numpy/site-packages/numpy/core.so";

#[test]
fn files_are_listed_in_the_order_in_which_they_are_opened() {
    let workspace = program(READS);
    let (list, printed) = recorded(&mut record(&workspace, &[]));
    let files = "pkg/app\npkg/numpy.so\nsite-packages/numpy/core.so\npkg/data.txt\n";
    assert_eq!(list, format!("{HEADER}{files}"));
    // What the program prints does not get into the list.
    assert_eq!(printed, "external/numpy/core.sows/data.txtexternal/numpy/core.so");

    let (printed, _) = recorded(&mut record(&workspace, &["--out=list"]));
    assert_eq!(printed, "external/numpy/core.sows/data.txtexternal/numpy/core.solist: 4 files\n");
    assert_eq!(fs::read_to_string(workspace.path("list")).unwrap(), list);
}

#[test]
fn bytecode_counts_as_its_source() {
    let workspace = program("cat pip_numpy/site-packages/numpy/__pycache__/*.pyc");
    workspace.write("external/numpy/__pycache__/__init__.cpython-311.pyc", "bytecode");
    workspace.link(
        "bin/app.runfiles/pip_numpy/site-packages/numpy/__pycache__",
        workspace.path("external/numpy/__pycache__").into_os_string().into_encoded_bytes(),
    );
    let (list, _) = recorded(&mut record(&workspace, &[]));
    assert!(list.contains("\nsite-packages/numpy/__pycache__/__init__.cpython-311.pyc\n"), "{list}");
    // If the image does not contain it, Python will read the source.
    fs::remove_file(workspace.path("bin/app.runfiles/pip_numpy/site-packages/numpy/__pycache__")).unwrap();
    let script = format!(
        "#!/bin/sh\ncat {}\n",
        workspace.path("external/numpy/__pycache__/__init__.cpython-311.pyc").display()
    );
    workspace.write("bin/app", script);
    let (list, _) = recorded(&mut record(&workspace, &[]));
    assert!(list.ends_with("app\nsite-packages/numpy/__init__.py\n"), "{list}");
}

#[test]
fn a_program_gets_its_arguments() {
    let workspace = program("cat \"$1\"");
    let (list, _) = recorded(&mut record(&workspace, &["--", "_main/pkg/data.txt"]));
    assert_eq!(list, format!("{HEADER}pkg/app\npkg/data.txt\n"));
}

#[test]
fn a_program_is_stopped_in_time() {
    let workspace = program("sleep 600");
    // On a busy machine, it may get no further than to be started.
    let (list, _) = recorded(&mut record(&workspace, &["--seconds=1"]));
    assert_eq!(list, format!("{HEADER}pkg/app\n"));
}

#[test]
fn an_interrupted_run_has_its_list() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let workspace = program("cat _main/pkg/data.txt\n: > \"$1\"\nsleep 600");
        let started = workspace.path("started");
        let mut command = record(&workspace, &["--out=list", "--"]);
        let mut child = command.arg(&started).spawn().unwrap();
        wait_for("the program", || started.exists().then_some(()));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert!(child.wait().unwrap().success());
        let list = fs::read_to_string(workspace.path("list")).unwrap();
        assert_eq!(list, format!("{HEADER}pkg/app\npkg/data.txt\n"));
    }
}

#[test]
fn with_nohup_it_goes_on() {
    let workspace = program(": > \"$1\"\nwhile [ ! -e \"$2\" ]; do sleep 0.01; done\ncat _main/pkg/data.txt");
    let (started, end) = (workspace.path("started"), workspace.path("end"));
    let mut command = Command::new("nohup");
    command.arg(PYLAYER).args(["record", "--binary=bin/app", "--out=list", "--"]).args([&started, &end]);
    command.current_dir(workspace.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_for("the program", || started.exists().then_some(()));
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    // Long enough to be stopped, if the signal were not ignored.
    std::thread::sleep(Duration::from_millis(500));
    fs::write(end, "").unwrap();
    assert!(child.wait().unwrap().success());
    let list = fs::read_to_string(workspace.path("list")).unwrap();
    assert_eq!(list, format!("{HEADER}pkg/app\npkg/data.txt\n"));
}

#[test]
fn what_the_program_leaves_running_is_stopped() {
    let workspace = program("cat _main/pkg/data.txt\nsleep 600 &\nexit 0");
    // Nothing holds the pipe of stderr open.
    let (list, _) = recorded(&mut record(&workspace, &[]));
    assert_eq!(list, format!("{HEADER}pkg/app\npkg/data.txt\n"));
}

#[test]
fn what_does_not_stop_is_killed() {
    let start = "cat _main/pkg/data.txt\n(trap '' TERM; : > \"$1\"; exec sleep 600) &\nwhile [ ! -e \"$1\" ]; do sleep 0.01; done";
    // `recorded` returns when nothing holds stderr open.
    let (list, _) = recorded(&mut record(&program(start), &["--", "../started"]));
    assert_eq!(list, format!("{HEADER}pkg/app\npkg/data.txt\n"));
}

#[test]
fn bytecode_that_python_has_written_is_not_listed() {
    let workspace = program("cat _main/pkg/__pycache__/*.pyc");
    workspace.write("ws/module.py", "");
    workspace.link(
        "bin/app.runfiles/_main/pkg/module.py",
        workspace.path("ws/module.py").into_os_string().into_encoded_bytes(),
    );
    // A directory of the runfiles tree itself.
    workspace.write("bin/app.runfiles/_main/pkg/__pycache__/module.cpython-311.pyc", "bytecode");
    let (list, _) = recorded(&mut record(&workspace, &[]));
    assert_eq!(list, format!("{HEADER}pkg/app\npkg/module.py\n"));
}

#[test]
fn unusual_names_are_listed_if_they_can_be() {
    let workspace = program("for file in _main/*; do [ -d \"$file\" ] || cat \"$file\"; done");
    for name in ["#a", " b", "c ", "d\ne"] {
        let file = workspace.path(format!("ws/{name}")).into_os_string().into_encoded_bytes();
        workspace.write(format!("ws/{name}"), "x");
        workspace.link(format!("bin/app.runfiles/_main/{name}"), file);
    }
    let (list, _) = recorded(record(&workspace, &[]).env("LC_ALL", "C"));
    let rest = list.strip_prefix(HEADER).unwrap();
    assert_eq!(rest, "pkg/app\n./ b\n./#a\n# 2 runfiles have names that a list cannot contain.\n");
}

#[test]
fn the_list_replaces_a_file_as_a_whole_and_keeps_its_mode() {
    let workspace = program(READS);
    workspace.write("list", "old");
    set_mode(&workspace.path("list"), 0o640);
    recorded(&mut record(&workspace, &["--out=list"]));
    assert!(fs::read_to_string(workspace.path("list")).unwrap().starts_with(HEADER));
    assert_eq!(fs::metadata(workspace.path("list")).unwrap().permissions().mode() & 0o777, 0o640);
    // What /dev/stdout leads to is appended to.
    workspace.write("all", "before\n");
    let all = fs::File::options().append(true).open(workspace.path("all")).unwrap();
    let status = record(&workspace, &["--out=/dev/stdout"]).stdout(all).status().unwrap();
    assert!(status.success());
    let all = fs::read_to_string(workspace.path("all")).unwrap();
    assert!(all.starts_with("before\n") && all.contains(HEADER), "{all}");
    // Before the program is started.
    set_mode(&workspace.path("list"), 0o440);
    for (out, problem) in [
        ("list", "--out list: the file is read-only"),
        ("none/list", "none/list: No such file"),
        ("bin", "--out bin: Is a directory"),
    ] {
        let output = record(&workspace, &[&format!("--out={out}")]).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]), "{message}");
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn what_cannot_be_recorded_is_an_error() {
    let workspace = program("cat _main/pkg/data.txt; exit 3");
    let message = error(record(&workspace, &["--out=list"]).stdout(Stdio::null()));
    assert!(message.contains("bin/app failed (exit status: 3), so nothing was recorded"), "{message}");
    assert!(!workspace.path("list").exists());

    workspace.write("bin/app", "no program");
    let message = error(&mut record(&workspace, &[]));
    assert!(message.contains("cannot start") && message.contains("bin/app: Exec format error"), "{message}");

    workspace.write("bin/other", "#!/bin/sh\n");
    set_mode(&workspace.path("bin/other"), 0o755);
    let other = ["record", "--binary=bin/other", "--runfiles=bin/app.runfiles"];
    let message = error(Command::new(PYLAYER).args(other).current_dir(workspace.path("")));
    assert!(message.contains("bin/other has opened none of its runfiles"), "{message}");

    let message = error(Command::new(PYLAYER).args(["record", "--binary=none"]));
    assert!(message.contains("--binary none: No such file"), "{message}");
    fs::remove_dir_all(workspace.path("bin/app.runfiles")).unwrap();
    let message = error(&mut record(&workspace, &[]));
    assert!(message.contains("bin/app.runfiles is not there"), "{message}");
    for seconds in ["-1", "0", "x"] {
        let message = error(&mut record(&workspace, &[&format!("--seconds={seconds}")]));
        assert!(message.contains("--seconds"), "{message}");
    }
    let crash = program("kill -SEGV $$");
    let message = error(&mut record(&crash, &[]));
    assert!(message.contains("(signal: 11") && message.ends_with("so nothing was recorded\n"), "{message}");
}
