//! The file that the build and the program write.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;

use crate::support::PYLAYER;
use crate::trees::{MAIN, Tree, VENV, configure, settings, template};

fn number(bytes: &[u8], at: usize, size: usize) -> u64 {
    bytes[at..at + size].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[test]
fn it_is_small_static_and_never_writable() {
    let elf = fs::read(template()).unwrap();
    assert!(elf.len() <= 32 << 10, "{} bytes", elf.len());
    assert_eq!(elf[..6], *b"\x7fELF\x02\x01");
    const ET_EXEC: u64 = 2;
    assert_eq!(number(&elf, 16, 2), ET_EXEC);
    let headers = (0..number(&elf, 56, 2)).map(|index| &elf[(number(&elf, 32, 8) + 56 * index) as usize..]);
    let (mut loads, mut stacks) = (0, 0);
    for header in headers {
        let (kind, flags) = (number(header, 0, 4), number(header, 4, 4));
        const WRITE: u64 = 2;
        const EXECUTE: u64 = 1;
        match kind {
            1 => {
                loads += 1;
                assert_eq!(flags & WRITE, 0);
            }
            0x6474_e551 => {
                stacks += 1;
                assert_eq!(flags & EXECUTE, 0);
            }
            // No PT_INTERP and no PT_DYNAMIC.
            other => panic!("program header {other:#x}"),
        }
    }
    assert_eq!((loads, stacks), (2, 1));
}

#[test]
fn everyone_may_execute_it() {
    let tree = Tree::empty();
    tree.launcher_with("app", &settings());
    assert_eq!(fs::metadata(tree.path("app")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn it_is_the_same_every_time() {
    let tree = Tree::empty();
    let settings = json!({"venv": VENV, "main": MAIN, "env": {"B": "1", "A": "2"}, "options": ["-I"]});
    tree.launcher_with("first", &settings);
    tree.launcher_with("second", &settings);
    assert_eq!(fs::read(tree.path("first")).unwrap(), fs::read(tree.path("second")).unwrap());
}

#[test]
fn another_version_of_the_interpreter_is_an_error() {
    let tree = Tree::empty();
    tree.write("settings.json", json!({"venv": VENV, "main": MAIN, "python_version": "3.11.7"}).to_string());
    tree.link("template", template().as_os_str().as_encoded_bytes());
    let run = |header: &str| {
        let mut command = Command::new(PYLAYER);
        command.args(["--launcher=template", "--settings=settings.json", "--output=configured"]);
        let output =
            command.arg(format!("--patchlevel={header}")).current_dir(tree.path("")).output().unwrap();
        assert_eq!(output.status.success(), tree.path("configured").exists());
        let _ = fs::remove_file(tree.path("configured"));
        String::from_utf8(output.stderr).unwrap()
    };
    tree.write("same.h", "#define PY_VERSION              \"3.11.7\"\n");
    tree.write("other.h", "#define PY_VERSION              \"3.11.9\"\n");
    tree.write("unusual.h", "");
    for header in ["same.h", "unusual.h", "missing.h", "."] {
        assert_eq!(run(header), "", "{header}");
    }
    assert_eq!(
        run("other.h"),
        "pylayer: the binary requires Python 3.11.7, but the registered Python toolchain has 3.11.9 (other.h); register a toolchain with that version: python.toolchain(python_version = \"3.11.7\") of rules_python, for example\n"
    );
    tree.write("settings.json", settings().to_string());
    assert_eq!(run("other.h"), "");
    assert!(run("../x/../y").starts_with("pylayer: --patchlevel=../x/../y: "));
}

#[test]
fn mistakes_name_the_file() {
    let tree = Tree::empty();
    let error = |template: &std::path::Path, settings: serde_json::Value| {
        let output = configure(&tree.path(""), template, &settings);
        assert_eq!(output.status.code(), Some(1));
        assert!(!tree.path("configured").exists(), "a failed action leaves nothing");
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(
        error(&template(), json!({"venv": "../x", "main": MAIN})),
        "pylayer: settings.json: venv: \"../x\" contains an empty component, `.` or `..`\n"
    );
    assert_eq!(
        error(&template(), json!({"venv": VENV})),
        "pylayer: settings.json: missing field `main` at line 1 column 33\n"
    );
    let message = error(&template(), json!({"venv": VENV, "main": MAIN, "env": {"A": "x".repeat(16_352)}}));
    assert!(message.starts_with("pylayer: settings.json: the settings take "), "{message}");
    // docs/python_rules.md and docs/formats.md have this number.
    assert!(message.contains(" bytes more than the 16352 that the launcher has for them; "), "{message}");
    tree.launcher_with("other", &settings());
    assert_eq!(
        error(&tree.path("other"), settings()),
        "pylayer: template: it is configured already; configure the launcher as it was built\n"
    );
    tree.write("empty", "");
    assert_eq!(
        error(&tree.path("empty"), settings()),
        "pylayer: template: it is not a launcher: there is no space for a configuration in it\n"
    );
}
