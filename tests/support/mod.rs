//! Runs the program as Bazel does, on real files, and reads its layers with independent tar readers.

#![allow(dead_code, reason = "each test program uses its own part")]

pub mod readers;
pub mod wheel;
pub mod worker;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const PYLAYER: &str = env!("CARGO_BIN_EXE_pylayer");

/// Longer than any event takes without a defect, even on a busy machine.
const HANG: Duration = Duration::from_secs(600);

/// Waits until `found` returns a value.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + HANG;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A path of arbitrary bytes.
pub fn path(bytes: &(impl AsRef<[u8]> + ?Sized)) -> &Path {
    Path::new(OsStr::from_bytes(bytes.as_ref()))
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Pseudorandom bytes without short or block-aligned periods.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Half of the bits, so that the bytes are compressible.
        bytes.extend_from_slice(&(state & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A pseudorandom number generator: the same numbers in every run for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    pub fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// A number from the environment, which can make long tests longer.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// The lines of a manifest.
#[derive(Clone, Default)]
pub struct Manifest(Vec<Vec<u8>>);

impl Manifest {
    pub fn new() -> Manifest {
        Manifest::default()
    }

    /// Adds a line with these fields.
    pub fn line(mut self, kind: &str, fields: &[&[u8]]) -> Manifest {
        let mut line = kind.as_bytes().to_vec();
        for field in fields {
            line.push(b'\t');
            for &byte in *field {
                match byte {
                    b'\t' => line.extend(b"\\t"),
                    b'\n' => line.extend(b"\\n"),
                    b'\\' => line.extend(b"\\\\"),
                    other => line.push(other),
                }
            }
        }
        self.0.push(line);
        self
    }

    pub fn file(self, image: impl AsRef<[u8]>, exec: impl AsRef<[u8]>) -> Manifest {
        self.line("f", &[image.as_ref(), exec.as_ref()])
    }

    pub fn tree(self, image: impl AsRef<[u8]>, exec: impl AsRef<[u8]>) -> Manifest {
        self.line("t", &[image.as_ref(), exec.as_ref()])
    }

    pub fn declared_symlink(self, image: impl AsRef<[u8]>, exec: impl AsRef<[u8]>) -> Manifest {
        self.line("l", &[image.as_ref(), exec.as_ref()])
    }

    pub fn symlink(self, image: impl AsRef<[u8]>, text: impl AsRef<[u8]>) -> Manifest {
        self.line("s", &[image.as_ref(), text.as_ref()])
    }

    pub fn empty(self, image: impl AsRef<[u8]>) -> Manifest {
        self.line("e", &[image.as_ref()])
    }

    /// Appends the lines of `other`.
    pub fn and(mut self, other: Manifest) -> Manifest {
        self.0.extend(other.0);
        self
    }

    pub fn reversed(mut self) -> Manifest {
        self.0.reverse();
        self
    }

    /// The lines in a pseudorandom order.
    pub fn shuffled(mut self) -> Manifest {
        self.0.sort_by_key(|line| sha256(line));
        self
    }

    pub fn text(&self) -> Vec<u8> {
        self.0.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect()
    }
}

/// The outputs of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    pub layer: Vec<u8>,
    pub descriptor: String,
    pub listing: String,
}

impl Outputs {
    pub fn read(directory: &Path) -> Outputs {
        let text = |name: &str| String::from_utf8(fs::read(directory.join(name)).unwrap()).unwrap();
        Outputs {
            layer: fs::read(directory.join("layer")).unwrap(),
            descriptor: text("descriptor.json"),
            listing: text("listing.mtree"),
        }
    }
}

/// Converts `options` such as `--compress=zstd` to settings and groups. Also returns the other options.
pub fn settings<'a>(options: &[&'a str]) -> (Value, Value, Vec<&'a str>) {
    let mut settings = json!({});
    let (mut groups, mut exclude, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let number = || serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        match name {
            "--layer-group" => {
                let (name, pattern) = value.split_once('=').unwrap_or((value, ""));
                groups.push(json!({"name": name, "pattern": pattern}));
            }
            "--exclude" => exclude.push(value),
            "--root" | "--runfiles_root" | "--compress" | "--lazy" => settings[&name[2..]] = json!(value),
            "--level" => settings["level"] = number(),
            "--uid" | "--gid" | "--mtime" => settings["metadata"][&name[2..]] = number(),
            "--uname" | "--gname" | "--mode" => settings["metadata"][&name[2..]] = json!(value),
            "--no-dedupe" => settings["dedupe"] = json!(false),
            _ => others.push(*option),
        }
    }
    settings["exclude"] = json!(exclude);
    (settings, json!({"layer_groups": groups}), others)
}

/// The directory in which an action runs.
pub struct Workspace(tempfile::TempDir);

impl Workspace {
    pub fn new() -> Workspace {
        Workspace::below(&std::env::temp_dir())
    }

    /// A workspace in `directory`, for example in another file system.
    pub fn below(directory: &Path) -> Workspace {
        let workspace = Workspace(tempfile::tempdir_in(directory).unwrap());
        fs::create_dir(workspace.path("out")).unwrap();
        workspace
    }

    /// A workspace whose layer takes long to write, with a small file that is read last.
    pub fn slow(megabytes: u64) -> (Workspace, Manifest) {
        let workspace = Workspace::new();
        workspace.sparse("in/large", megabytes << 20);
        workspace.write("in/last", "last");
        (workspace, Manifest::new().file("large", "in/large").file("last", "in/last"))
    }

    /// Waits until a layer is being written, and its temporary file is no longer empty.
    pub fn wait_until_under_way(&self) {
        self.wait_for_file("the first bytes of a layer", |metadata| metadata.len() > 0);
    }

    /// Waits until the layer is planned, and its temporary file exists, empty or not.
    pub fn wait_until_planned(&self) {
        self.wait_for_file("a temporary file", |_| true);
    }

    /// Waits for a file in the output directory whose metadata satisfies `is_it`.
    fn wait_for_file(&self, what: &str, is_it: impl Fn(&fs::Metadata) -> bool) {
        wait_for(what, || {
            let mut entries = fs::read_dir(self.path("out")).unwrap();
            entries
                .any(|entry| entry.unwrap().metadata().is_ok_and(|metadata| is_it(&metadata)))
                .then_some(())
        });
    }

    pub fn path(&self, exec: impl AsRef<[u8]>) -> PathBuf {
        self.0.path().join(path(&exec))
    }

    /// The workspace as the `sandbox_dir` of a worker that runs in its parent directory.
    pub fn sandbox_dir(&self) -> String {
        self.0.path().file_name().unwrap().to_str().unwrap().to_string()
    }

    fn new_path(&self, exec: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(exec);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn write(&self, exec: impl AsRef<[u8]>, content: impl AsRef<[u8]>) {
        fs::write(self.new_path(exec), content).unwrap();
    }

    pub fn link(&self, exec: impl AsRef<[u8]>, target: impl AsRef<[u8]>) {
        std::os::unix::fs::symlink(path(&target), self.new_path(exec)).unwrap();
    }

    /// Creates a file that takes no space on disk.
    pub fn sparse(&self, exec: impl AsRef<[u8]>, size: u64) {
        fs::File::create(self.new_path(exec)).unwrap().set_len(size).unwrap();
    }

    /// Writes a settings file and returns its exec path, which is the same for the same settings.
    pub fn settings_file(&self, settings: &Value) -> String {
        let text = settings.to_string();
        let path = format!("settings-{}.json", &sha256(text.as_bytes())[..8]);
        self.write(&path, text);
        path
    }

    /// Writes the manifest and the settings, and returns the arguments of the action that writes the
    /// layer. `options` are settings in the form of `pylayer pack`'s options, and other arguments.
    pub fn arguments(&self, manifest: &Manifest, options: &[&str]) -> Vec<String> {
        self.write("manifest", manifest.text());
        let (settings, groups, options) = settings(options);
        let outputs = ["layer", "descriptor", "listing"].into_iter().zip(OUTPUTS);
        let settings = format!("--settings={}", self.settings_file(&settings));
        let mut arguments = vec!["--manifest=manifest".to_string(), settings];
        if groups != json!({"layer_groups": []}) {
            arguments.push(format!("--groups={}", self.settings_file(&groups)));
        }
        arguments.extend(outputs.map(|(name, output)| {
            let option = if name == "layer" { "output" } else { name };
            format!("--{option}=out/{output}")
        }));
        if !options.iter().any(|option| option.starts_with("--layer=")) {
            arguments.push("--layer=default".to_string());
        }
        arguments.extend(options.iter().map(|option| option.to_string()));
        arguments
    }

    /// The one-shot process of an action, ready to be started.
    pub fn command(&self, arguments: &[String]) -> Command {
        self.write("flags", arguments.join("\n"));
        let mut command = Command::new(PYLAYER);
        command.arg("@flags").current_dir(self.path(""));
        command
    }

    pub fn run(&self, manifest: &Manifest, options: &[&str]) -> Output {
        self.command(&self.arguments(manifest, options)).output().unwrap()
    }

    /// The outputs of an action that succeeds without a warning.
    pub fn outputs(&self, manifest: &Manifest, options: &[&str]) -> Outputs {
        self.outputs_of(&mut self.command(&self.arguments(manifest, options)))
    }

    pub fn outputs_of(&self, command: &mut Command) -> Outputs {
        let Output { status, stderr, .. } = command.output().unwrap();
        assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        Outputs::read(&self.path("out"))
    }

    /// The members of the plain tar of an action that succeeds without a warning, as read by all readers.
    pub fn members(&self, manifest: &Manifest, options: &[&str]) -> Vec<readers::Member> {
        self.outputs(manifest, &[&["--compress=none"], options].concat());
        readers::members(&self.path("out/layer"))
    }

    /// The message of an action that fails and leaves no files.
    pub fn error(&self, manifest: &Manifest, options: &[&str]) -> String {
        self.error_of(&mut self.command(&self.arguments(manifest, options)))
    }

    pub fn error_of(&self, command: &mut Command) -> String {
        let Output { status, stdout, stderr } = command.output().unwrap();
        assert_eq!((status.code(), &*stdout), (Some(1), &b""[..]));
        assert_eq!(self.leftovers(), [] as [String; 0], "a failed action leaves nothing");
        String::from_utf8(stderr).unwrap()
    }

    /// Removes the outputs, as Bazel does before rerunning an action or after moving them out of a sandbox.
    pub fn remove_outputs(&self) {
        for output in OUTPUTS {
            let _ = fs::remove_file(self.path("out").join(output));
        }
    }

    /// The total size of the files in the output directory.
    pub fn written(&self) -> u64 {
        let sizes =
            fs::read_dir(self.path("out")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        sizes.sum()
    }

    /// The names of the files in the output directory.
    pub fn leftovers(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("out"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Sets the permission bits of a file or directory.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The outputs of [`Workspace::arguments`], below `out`.
pub const OUTPUTS: [&str; 3] = ["layer", "descriptor.json", "listing.mtree"];
