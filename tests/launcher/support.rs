//! Builds the launcher and a stand-in for the interpreter, and lays out binaries as the rules do.
//!
//! No file that is executed is written by the test's own process: while a file is open for writing, even
//! in a child that another thread has just forked, it cannot be executed (ETXTBSY). Executables are
//! written by other processes and linked into place.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::{PYLAYER, path};

pub const VENV: &str = "_main/app/_server.venv";
pub const MAIN: &str = "_main/app/server.py";

/// The directory of all files, in one file system.
fn directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Builds `name` with `command`, which writes its last argument, unless it is newer than `sources`.
/// Test runners start a process for each test, so this is done under a lock.
fn built(name: &str, sources: &[PathBuf], command: &mut Command) -> PathBuf {
    let lock = File::create(directory().join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let program = directory().join(name);
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let up_to_date =
        modified(&program).is_ok_and(|built| sources.iter().all(|source| modified(source).unwrap() < built));
    if !up_to_date {
        let temporary = directory().join(format!("{name}.new"));
        let Output { status, stderr, .. } = command.arg(&temporary).output().unwrap();
        assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        fs::rename(temporary, &program).unwrap();
    }
    program
}

/// The launcher that is not configured.
pub fn template() -> PathBuf {
    let launcher = source().join("crates/launcher");
    let modules = fs::read_dir(launcher.join("src")).unwrap().map(|entry| entry.unwrap().path());
    let sources: Vec<PathBuf> =
        modules.chain(["build", "launcher.ld"].map(|name| launcher.join(name))).collect();
    built("launcher", &sources, &mut Command::new(launcher.join("build")))
}

/// A static program that can stand in for the interpreter.
pub fn stand_in() -> PathBuf {
    let source = source().join("tests/launcher/stand_in.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let mut command = Command::new(rustc);
    command.arg(&source).args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "opt-level=1"]);
    built("stand_in", &[source], command.arg("-o"))
}

pub fn settings() -> Value {
    json!({"venv": VENV, "main": MAIN})
}

/// Writes a launcher with these settings into `directory`.
pub fn configure(directory: &Path, template: &Path, settings: &Value) -> Output {
    fs::write(directory.join("settings.json"), settings.to_string()).unwrap();
    fs::copy(template, directory.join("template")).unwrap();
    let arguments = ["--launcher=template", "--settings=settings.json", "--output=configured"];
    Command::new(PYLAYER).args(arguments).current_dir(directory).output().unwrap()
}

/// A launcher with the usual settings.
fn configured() -> &'static Path {
    static CONFIGURED: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, program) = CONFIGURED.get_or_init(|| {
        let temporary = tempfile::tempdir_in(directory()).unwrap();
        let output = configure(temporary.path(), &template(), &settings());
        assert!(output.status.success(), "{output:?}");
        let program = temporary.path().join("configured");
        (temporary, program)
    });
    program
}

/// A directory with binaries.
pub struct Tree(tempfile::TempDir);

impl Tree {
    pub fn empty() -> Tree {
        Tree(tempfile::tempdir_in(directory()).unwrap())
    }

    /// `app` and `app.runfiles`.
    pub fn new() -> Tree {
        let tree = Tree::empty();
        tree.launcher("app");
        tree.runfiles("app.runfiles");
        tree
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.0.path().join(path(&name))
    }

    fn new_path(&self, name: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn launcher(&self, name: impl AsRef<[u8]>) {
        fs::hard_link(configured(), self.new_path(name)).unwrap();
    }

    /// A launcher with other settings.
    pub fn launcher_with(&self, name: &str, settings: &Value) {
        let output = configure(self.0.path(), &template(), settings);
        assert!(output.status.success(), "{output:?}");
        fs::rename(self.path("configured"), self.new_path(name)).unwrap();
    }

    pub fn runfiles(&self, name: impl AsRef<[u8]>) {
        let root = self.path(name);
        let venv = root.join(VENV);
        fs::create_dir_all(venv.join("bin")).unwrap();
        fs::write(venv.join("pyvenv.cfg"), "home =\ninclude-system-site-packages = false\n").unwrap();
        fs::hard_link(stand_in(), venv.join("bin/python3")).unwrap();
        fs::write(root.join(MAIN), "").unwrap();
    }

    pub fn link(&self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) {
        symlink(path(&target), self.new_path(name)).unwrap();
    }

    pub fn write(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        fs::write(self.new_path(name), content).unwrap();
    }

    pub fn interpreter(&self) -> PathBuf {
        self.path("app.runfiles").join(VENV).join("bin/python3")
    }

    /// The program at `name`, by its absolute path, without an environment.
    pub fn command(&self, name: impl AsRef<[u8]>) -> Command {
        let mut command = Command::new(self.path(name));
        command.env_clear();
        command
    }
}

/// What the stand-in was started with.
#[derive(Debug)]
pub struct Started {
    pub arguments: Vec<Vec<u8>>,
    /// In order.
    pub environment: Vec<Vec<u8>>,
}

impl Started {
    pub fn parse(text: &[u8]) -> Started {
        let mut strings = text.strip_suffix(b"\0").unwrap().split(|&byte| byte == 0).map(<[u8]>::to_vec);
        let count = String::from_utf8(strings.next().unwrap()).unwrap().parse().unwrap();
        let arguments = strings.by_ref().take(count).collect();
        Started { arguments, environment: strings.collect() }
    }

    pub fn of(command: &mut Command) -> Started {
        let Output { status, stdout, stderr } = command.output().unwrap();
        assert!(status.success() && stderr.is_empty(), "{status}: {}", String::from_utf8_lossy(&stderr));
        Started::parse(&stdout)
    }

    pub fn variables(&self) -> BTreeMap<&[u8], &[u8]> {
        let variables = self.environment.iter().map(|variable| {
            let equals = variable.iter().position(|&byte| byte == b'=').unwrap();
            (&variable[..equals], &variable[equals + 1..])
        });
        variables.collect()
    }

    /// Asserts that the interpreter in the runfiles directory `root` was started.
    pub fn assert_in(&self, root: impl AsRef<Path>) {
        let root = root.as_ref();
        let bytes = |path: PathBuf| path.into_os_string().into_encoded_bytes();
        assert_eq!(self.arguments[0], bytes(root.join(VENV).join("bin/python3")));
        assert_eq!(self.arguments[1], bytes(root.join(MAIN)));
        let variables = self.variables();
        assert_eq!(variables[&b"RUNFILES_DIR"[..]], bytes(root.into()));
        assert_eq!(variables[&b"VIRTUAL_ENV"[..]], bytes(root.join(VENV)));
    }
}

/// The exit code and message of a launcher that starts nothing.
pub fn failure(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(stdout.is_empty());
    (status.code().unwrap(), String::from_utf8_lossy(&stderr).into_owned())
}
