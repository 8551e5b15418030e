//! What the program says about itself, and that layers do not say it.

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use crate::support::{Manifest, Outputs, PYLAYER, Workspace};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn run(argument: &str) -> String {
    let Output { status, stdout, stderr } = Command::new(PYLAYER).arg(argument).output().unwrap();
    assert_eq!((status.code(), &*stderr), (Some(0), &b""[..]));
    String::from_utf8(stdout).unwrap()
}

#[test]
fn the_short_version_is_one_line_with_the_commit() {
    let line = run("-V");
    let commit = line.strip_prefix(&format!("pylayer {VERSION} (")).unwrap().strip_suffix(")\n").unwrap();
    // These tests also run in an archive of the source.
    assert!(
        commit == "built from a checkout" || commit.starts_with("commit ") && commit.len() >= 47,
        "{line}"
    );
}

#[test]
fn the_long_version_has_a_line_for_each_thing_that_decides_the_bytes() {
    let text = run("--version");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("pylayer {VERSION}"));
    let (keys, values): (Vec<&str>, Vec<&str>) =
        lines[1..].iter().map(|line| line.split_once(": ").unwrap()).unzip();
    assert_eq!(keys, ["commit", "tar", "gzip", "zstd", "platform"]);
    let names = |value: &str| -> Vec<String> {
        value.split(", ").map(|part| part.split_once(' ').unwrap().0.to_string()).collect()
    };
    assert_eq!(values[1], format!("pylayer {VERSION}"));
    assert_eq!(names(values[2]), ["libdeflate", "libdeflate-sys", "libdeflater"]);
    assert_eq!(names(values[3]), ["libzstd", "zstd-sys", "zstd-safe", "zstd"]);
    assert!(values[4].starts_with(&format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH)), "{text}");
}

#[test]
fn the_licences_are_printed() {
    assert_eq!(run("licenses"), include_str!("../../src/licenses.txt"));
}

#[test]
fn licenses_takes_no_arguments() {
    let Output { status, stdout, stderr } =
        Command::new(PYLAYER).args(["licenses", "zstd"]).output().unwrap();
    assert_eq!((status.code(), &*stdout), (Some(2), &b""[..]));
    let message = String::from_utf8(stderr).unwrap();
    assert!(message.starts_with("error: unexpected argument 'zstd' found"), "{message}");
}

#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    for argument in ["-V", "--version", "--help", "licenses"] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output =
            Command::new(PYLAYER).arg(argument).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{argument}: {message}");
        assert!(message.starts_with("pylayer: cannot write to stdout: No space left on device"), "{message}");

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output =
            Command::new(PYLAYER).arg(argument).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{argument}");
    }
}

/// Otherwise each release would change the digest of every layer, and with it everybody's images.
#[test]
fn nothing_that_an_action_writes_names_the_program() {
    let workspace = Workspace::new();
    workspace.write("app/main.py", "print(1)\n");
    let manifest =
        Manifest::new().file("app/main.py", "app/main.py").file("caf\u{e9}/main.py", "app/main.py");
    let Outputs { layer, descriptor, listing } = workspace.outputs(&manifest, &["--compress=none"]);
    for (name, output) in [("layer", layer), ("descriptor", descriptor.into()), ("listing", listing.into())] {
        for text in [VERSION, "pylayer"] {
            let found = output.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{name} contains {text}");
        }
    }
}
