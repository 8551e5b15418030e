//! What the interpreter gets: arguments, environment, descriptors, signals.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::trees::{MAIN, Started, Tree, VENV};

#[test]
fn options_come_before_the_main_file() {
    let tree = Tree::new();
    let options = ["-I", "-X", "importtime", "", "é \n"];
    tree.launcher_with("other", &json!({"venv": VENV, "main": MAIN, "options": options}));
    let mut command = tree.command("other");
    let started = Started::of(command.args(["-c", "x"]).env("RUNFILES_DIR", tree.path("app.runfiles")));
    assert_eq!(started.arguments[1..6], options.map(str::as_bytes));
    assert_eq!(started.arguments[6], tree.path("app.runfiles").join(MAIN).as_os_str().as_bytes());
    assert_eq!(started.arguments[7..], [b"-c", b"x\0".strip_suffix(b"\0").unwrap()] as [&[u8]; 2]);
}

#[test]
fn variables_are_set_unless_the_environment_has_them() {
    let tree = Tree::new();
    let env = json!({"A": "1", "B": "a=b\n", "C": "", "D": "é"});
    tree.launcher_with("other", &json!({"venv": VENV, "main": MAIN, "env": env}));
    let mut command = tree.command("other");
    command.env("RUNFILES_DIR", tree.path("app.runfiles")).env("A", "environment").env("C", "");
    let started = Started::of(&mut command);
    let variables = started.variables();
    let expected = [("A", "environment"), ("B", "a=b\n"), ("C", ""), ("D", "é")];
    for (name, value) in expected {
        assert_eq!(variables[name.as_bytes()], value.as_bytes());
    }
    assert_eq!(started.environment.len(), 6, "none is set twice");
}

#[test]
fn as_many_arguments_as_the_system_allows() {
    let tree = Tree::new();
    let arguments: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let started = Started::of(tree.command("app").args(&arguments));
    started.assert_in(tree.path("app.runfiles"));
    assert!(started.arguments[2..].iter().eq(arguments.iter().map(String::as_bytes)));
}

#[test]
fn long_arguments_and_variables() {
    let tree = Tree::new();
    let long = "x".repeat(100_000);
    let started = Started::of(tree.command("app").args([&long, "", &long]).env("LONG", &long));
    assert_eq!(started.arguments[2..], [long.as_bytes(), b"", long.as_bytes()]);
    assert_eq!(started.variables()[&b"LONG"[..]], long.as_bytes());
}

#[test]
fn any_bytes() {
    let tree = Tree::new();
    let bytes: Vec<u8> = (1..=255).collect();
    let mut command = tree.command("app");
    command.arg(OsStr::from_bytes(&bytes)).env(OsStr::from_bytes(b"\xff\x01"), OsStr::from_bytes(&bytes));
    let started = Started::of(&mut command);
    assert_eq!(started.arguments[2..], [&bytes[..]]);
    assert_eq!(started.variables()[&b"\xff\x01"[..]], bytes);
}

#[test]
fn thousands_of_variables_in_their_order() {
    let tree = Tree::new();
    let mut command = tree.command("app");
    command.envs((0..5000).map(|number| (format!("NAME{number:04}"), number.to_string())));
    let started = Started::of(&mut command);
    // The standard library sorts them.
    let expected: Vec<String> = (0..5000).map(|number| format!("NAME{number:04}={number}")).collect();
    assert!(started.environment[..5000].iter().eq(expected.iter().map(String::as_bytes)));
    assert_eq!(started.environment.len(), 5002);
}

/// Linux before 5.18 starts a program without any arguments if asked to; later versions add an empty one.
#[test]
fn no_arguments_and_no_environment_at_all() {
    let tree = Tree::new();
    let path = std::ffi::CString::new(tree.path("app").into_os_string().into_encoded_bytes()).unwrap();
    let mut command = Command::new("/nonexistent");
    // SAFETY: `execve` may be called between fork and exec, with a string and arrays that end as they
    // should.
    unsafe {
        command.pre_exec(move || {
            let none = [std::ptr::null()];
            libc::execve(path.as_ptr(), none.as_ptr(), none.as_ptr());
            Err(std::io::Error::last_os_error())
        })
    };
    let started = Started::of(&mut command);
    started.assert_in(tree.path("app.runfiles"));
    assert_eq!((started.arguments.len(), started.environment.len()), (2, 2));
}

#[test]
fn closed_descriptors_stay_closed() {
    let tree = Tree::new();
    let mut command = tree.command("app");
    command.env("STAND_IN", tree.path("output"));
    // SAFETY: `close` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            (0..3).for_each(|descriptor| {
                libc::close(descriptor);
            });
            Ok(())
        })
    };
    assert!(command.status().unwrap().success());
    Started::parse(&fs::read(tree.path("output")).unwrap()).assert_in(tree.path("app.runfiles"));
}

/// The message is lost, but not the exit code.
#[test]
fn an_error_without_stderr_keeps_its_exit_code() {
    let tree = Tree::empty();
    tree.launcher("app");
    let mut command = tree.command("app");
    // SAFETY: `close` may be called between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::close(2);
            Ok(())
        })
    };
    assert_eq!(command.status().unwrap().code(), Some(127));
}

/// With the default action of SIGPIPE, the signal would end the launcher.
#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let tree = Tree::empty();
    tree.launcher("app");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = tree.command("app").stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(127), "{status}");
}

/// The launcher leaves the signal to the interpreter as it was.
#[test]
fn a_closed_pipe_ends_the_interpreter() {
    let tree = Tree::new();
    fs::remove_file(tree.interpreter()).unwrap();
    tree.link(tree.interpreter().as_os_str().as_bytes(), "/usr/bin/yes");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = tree.command("app").stdout(writer).status().unwrap();
    assert_eq!(status.signal(), Some(libc::SIGPIPE), "{status}");
}

#[test]
fn the_exit_code_is_the_interpreter_s() {
    let tree = Tree::new();
    assert_eq!(tree.command("app").env("STAND_IN", "exit").status().unwrap().code(), Some(7));
}

#[test]
fn signals_reach_the_interpreter() {
    let tree = Tree::new();
    let mut child = tree.command("app").env("STAND_IN", "wait").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // SAFETY: the child has not been waited for, so the number is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn python_finds_the_virtual_environment() {
    let tree = Tree::new();
    let real = Command::new("python3").args(["-c", "import sys; print(sys.executable, end='')"]).output();
    fs::remove_file(tree.interpreter()).unwrap();
    tree.link(tree.interpreter().as_os_str().as_bytes(), real.unwrap().stdout);
    tree.launcher_with("app2", &json!({"venv": VENV, "main": MAIN, "options": ["-I", "-B"]}));
    let main = "import sys\nprint(sys.prefix, sys.executable, *sys.argv, sys.flags.isolated, sep='\\n')\nsys.exit(5)\n";
    tree.write(format!("app.runfiles/{MAIN}"), main);
    let mut command = tree.command("app2");
    command.args(["-V", "two words"]).env("RUNFILES_DIR", tree.path("app.runfiles")).env("PYTHONHOME", "/x");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    let root = tree.path("app.runfiles");
    let paths = [root.join(VENV), tree.interpreter(), root.join(MAIN)];
    let expected: Vec<&str> =
        paths.iter().map(|path| path.to_str().unwrap()).chain(["-V", "two words", "1"]).collect();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), expected);
}
