//! What the launcher says if it cannot start the interpreter, and its exit codes.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{path, set_mode};
use crate::trees::{MAIN, Tree, VENV, failure, template};

/// Replaces the interpreter of `app` by a file with this content and mode.
fn with_interpreter(content: &[u8], mode: u32) -> Tree {
    let tree = Tree::new();
    fs::remove_file(tree.interpreter()).unwrap();
    // Written by another process, so that the file can be executed.
    let source = tree.path("content");
    fs::write(&source, content).unwrap();
    assert!(Command::new("cp").args([&source, &tree.interpreter()]).status().unwrap().success());
    set_mode(&tree.interpreter(), mode);
    tree
}

/// Asserts the exit code and parts of the message.
fn assert_failure(command: &mut Command, code: i32, parts: &[&str]) {
    let (actual, message) = failure(command);
    assert_eq!(actual, code, "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    assert!(message.ends_with('\n') && message.lines().all(|line| line.starts_with("app: ")), "{message}");
}

#[test]
fn a_launcher_that_is_not_configured() {
    let tree = Tree::empty();
    tree.link("app", template().as_os_str().as_encoded_bytes());
    assert_failure(&mut tree.command("app"), 126, &["app: this launcher has not been configured"]);
}

#[test]
fn missing_runfiles() {
    let tree = Tree::empty();
    tree.launcher("app");
    tree.link("bin/app", "../app");
    let mut command = tree.command("bin/app");
    command
        .env("RUNFILES_DIR", "/other.runfiles")
        .env("RUNFILES_MANIFEST_FILE", "/another.runfiles_manifest");
    let (code, message) = failure(&mut command);
    let directory = tree.directory().display();
    assert_eq!(code, 127);
    assert_eq!(
        message,
        format!(
            "app: cannot find the runfiles: there is no _main/app/_server.venv/pyvenv.cfg in any of\n\
             app:   {directory}/bin/app.runfiles\n\
             app:   {directory}/bin/../app.runfiles\n\
             app:   /other.runfiles\n\
             app:   /another.runfiles\n\
             app:   {directory}/app.runfiles\n\
             app: run the program from where it was built, move its runfiles directory with it, or set RUNFILES_DIR\n\
             app: with --noenable_runfiles or --nobuild_runfile_links, Bazel does not make the directory\n"
        )
    );
}

#[test]
fn long_lists_are_cut() {
    let tree = Tree::empty();
    tree.launcher("link0");
    for number in 1..30 {
        tree.link(format!("link{number}"), format!("link{}", number - 1));
    }
    tree.link("app", "link29");
    let (code, message) = failure(&mut tree.command("app"));
    assert_eq!((code, message.lines().count()), (127, 24));
    assert!(message.contains("app:   and other directories\n"), "{message}");
}

#[test]
fn control_characters_are_escaped() {
    let tree = Tree::empty();
    tree.launcher("app");
    let mut command = tree.command("app");
    command.env("RUNFILES_DIR", path(b"/\x1b[2J\nother.runfiles\xff"));
    assert_failure(&mut command, 127, &["/\\x1b[2J\\x0aother.runfiles\u{fffd}\n"]);
}

#[test]
fn a_missing_file() {
    let tree = Tree::new();
    fs::remove_file(tree.path("app.runfiles").join(MAIN)).unwrap();
    assert_failure(&mut tree.command("app"), 127, &["the main file /", "server.py does not exist"]);
    tree.link(format!("app.runfiles/{MAIN}"), "nowhere");
    assert_failure(
        &mut tree.command("app"),
        127,
        &["server.py is a symlink to nowhere, which does not exist"],
    );

    let tree = Tree::new();
    fs::remove_file(tree.interpreter()).unwrap();
    assert_failure(&mut tree.command("app"), 127, &["the interpreter /", "/bin/python3 does not exist"]);
    tree.link(tree.interpreter().as_os_str().as_encoded_bytes(), "../../python/bin/python3");
    let dangling = "/bin/python3 is a symlink to ../../python/bin/python3, which does not exist";
    assert_failure(&mut tree.command("app"), 127, &[dangling]);
    fs::remove_dir_all(tree.interpreter().parent().unwrap()).unwrap();
    tree.write(format!("app.runfiles/{VENV}/bin"), "not a directory");
    assert_failure(&mut tree.command("app"), 127, &["/bin/python3 does not exist"]);
}

#[test]
fn a_file_that_cannot_be_executed() {
    let tree = with_interpreter(b"", 0o644);
    assert_failure(&mut tree.command("app"), 126, &["/bin/python3: Permission denied", "noexec"]);
    let tree = with_interpreter(b"neither ELF nor a script", 0o755);
    let expected = ["/bin/python3: Exec format error", "not an executable for this machine"];
    assert_failure(&mut tree.command("app"), 126, &expected);
    let tree = with_interpreter(b"#!/nonexistent/sh -e\n", 0o755);
    let expected =
        ["/bin/python3: No such file or directory", "script for /nonexistent/sh, which does not exist"];
    assert_failure(&mut tree.command("app"), 126, &expected);

    let tree = Tree::new();
    fs::remove_file(tree.interpreter()).unwrap();
    tree.link(tree.interpreter().as_os_str().as_encoded_bytes(), "python3");
    assert_failure(&mut tree.command("app"), 126, &["Too many levels of symbolic links"]);
}

/// As with a Python for glibc in an image without it.
#[test]
fn a_missing_dynamic_loader() {
    let stand_in = fs::read(crate::trees::stand_in()).unwrap();
    let mut elf = vec![0; 0x1000];
    // The header of an executable for this machine, and two program headers: PT_INTERP and PT_LOAD.
    elf[..64].copy_from_slice(&stand_in[..64]);
    elf[16] = 2;
    elf[32..40].copy_from_slice(&64_u64.to_le_bytes());
    elf[54..58].copy_from_slice(&[56, 0, 2, 0]);
    let loader = b"/lib/ld-nonexistent.so.1\0";
    let mut header = |at: usize, kind: u32, offset: u64, size: u64| {
        elf[at..at + 4].copy_from_slice(&kind.to_le_bytes());
        elf[at + 4] = 5;
        elf[at + 8..at + 16].copy_from_slice(&offset.to_le_bytes());
        elf[at + 16..at + 24].copy_from_slice(&(0x40_0000 + offset).to_le_bytes());
        elf[at + 32..at + 40].copy_from_slice(&size.to_le_bytes());
        elf[at + 40..at + 48].copy_from_slice(&size.to_le_bytes());
        elf[at + 48..at + 56].copy_from_slice(&0x1000_u64.to_le_bytes());
    };
    header(64, 3, 0x200, loader.len() as u64);
    header(120, 1, 0, 0x1000);
    elf[0x200..0x200 + loader.len()].copy_from_slice(loader);
    let tree = with_interpreter(&elf, 0o755);
    let expected = ["needs the dynamic loader /lib/ld-nonexistent.so.1, which does not exist", "libc"];
    assert_failure(&mut tree.command("app"), 126, &expected);
}

/// What fits for the launcher does not for the interpreter, whose arguments are longer.
#[test]
fn too_many_arguments() {
    let tree = Tree::new();
    let with_arguments = |filler: usize| {
        let mut command = tree.command("app");
        command.env("STAND_IN", "exit");
        // SAFETY: `setrlimit` may be called between fork and exec. A limit makes the numbers small.
        unsafe {
            command.pre_exec(|| {
                let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
                libc::setrlimit(libc::RLIMIT_STACK, &limit);
                Ok(())
            })
        };
        command.arg("x".repeat(100_000)).arg("x".repeat(100_000)).arg("x".repeat(filler));
        command
    };
    // The most that the launcher itself can be started with.
    let (mut fits, mut fails) = (0, 130_000);
    while fails - fits > 1 {
        let middle = (fits + fails) / 2;
        match with_arguments(middle).output() {
            Ok(_) => fits = middle,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
                fails = middle;
            }
        }
    }
    let expected = ["/bin/python3: Argument list too long", "larger than the system allows"];
    assert_failure(&mut with_arguments(fits), 126, &expected);
}
