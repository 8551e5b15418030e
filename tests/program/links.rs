//! Outputs for which Bazel 7 does not reveal whether they are declared symlinks: the layer is the same
//! however the action runs, or there is an error.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::readers::{Member, directory, file, members, symlink};
use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, Workspace, sha256};

/// The execution root. Its parent directory has the name that it has in every output base.
struct Bazel {
    above: Workspace,
    execution_root: Workspace,
}

const OUTPUTS: [&str; 5] = ["absolute", "dangling", "declared", "file", "file_link"];

impl Bazel {
    /// An execution root with the outputs of actions.
    fn new() -> Bazel {
        let above = Workspace::new();
        fs::create_dir(above.path("execroot")).unwrap();
        let execution_root = Workspace::below(&above.path("execroot"));
        execution_root.write("bin/file", "content");
        execution_root.link("bin/declared", "file");
        execution_root.link("bin/dangling", "../right/at/its/place");
        execution_root.link("bin/absolute", absolute());
        execution_root.link("bin/file_link", "file");
        Bazel { above, execution_root }
    }

    /// A sandbox: declared symlinks with their own targets, absolute links for files and the manifest.
    fn sandbox(&self) -> Workspace {
        fs::create_dir_all(self.above.path("sandbox/execroot")).unwrap();
        let sandbox = Workspace::below(&self.above.path("sandbox/execroot"));
        for name in OUTPUTS {
            let exec_path = format!("bin/{name}");
            let text = match declared_text(name) {
                Some(text) => text,
                None => self.execution_root.path(&exec_path).to_str().unwrap().to_string(),
            };
            sandbox.link(exec_path, text);
        }
        sandbox
    }
}

/// A file that exists on every machine, so that the link does not dangle.
fn absolute() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_string()
}

fn declared_text(name: &str) -> Option<String> {
    match name {
        "absolute" => Some(absolute()),
        "dangling" => Some("../right/at/its/place".to_string()),
        "declared" => Some("file".to_string()),
        _ => None,
    }
}

fn manifest_of(names: &[&str]) -> Manifest {
    names.iter().fold(Manifest::new(), |manifest, name| {
        manifest.line("g", &[format!("app/{name}").as_bytes(), format!("bin/{name}").as_bytes()])
    })
}

/// The layer with all outputs.
fn expected() -> Vec<Member> {
    let mut expected = vec![directory("./app")];
    expected.extend(OUTPUTS.map(|name| match declared_text(name) {
        Some(text) => symlink(format!("./app/{name}"), text),
        None => file(format!("./app/{name}"), "content"),
    }));
    expected
}

const OPTIONS: [&str; 2] = ["--root=/app", "--compress=none"];

/// The layer that a worker in `directory` writes if the inputs have these digests.
fn written_by_worker(workspace: &Workspace, digest: impl Fn(&str) -> String) -> Result<Vec<Member>, String> {
    let arguments = workspace.arguments(&manifest_of(&OUTPUTS), &OPTIONS);
    let inputs = OUTPUTS.map(|name| (format!("bin/{name}").into_bytes(), digest(name))).to_vec();
    let mut worker = Worker::start(&workspace.path(""));
    worker.send(&Work { id: 1, arguments, inputs, ..Work::default() });
    let response = worker.receive();
    worker.close();
    if response.exit_code == 0 { Ok(members(&workspace.path("out/layer"))) } else { Err(response.output) }
}

/// The digest of an input as in Bazel 7.7: of a file's content, or of a declared symlink's target with the
/// first byte of the digest inverted.
fn bazels_digest(name: &str) -> String {
    match declared_text(name) {
        None => sha256(b"content"),
        Some(text) => {
            let digest = sha256(text.as_bytes());
            let first = u8::from_str_radix(&digest[..2], 16).unwrap();
            format!("{:02x}{}", !first, &digest[2..])
        }
    }
}

#[test]
fn a_worker_recognizes_declared_symlinks_by_digest() {
    let bazel = Bazel::new();
    assert_eq!(written_by_worker(&bazel.execution_root, bazels_digest).unwrap(), expected());
    assert_eq!(written_by_worker(&bazel.sandbox(), bazels_digest).unwrap(), expected());
}

#[test]
fn a_worker_refuses_a_link_with_an_unknown_digest() {
    let bazel = Bazel::new();
    let message = written_by_worker(&bazel.execution_root, |name| sha256(name.as_bytes())).unwrap_err();
    assert!(message.contains("bin/absolute is a symlink, and it is not known whether"), "{message}");
}

#[test]
fn in_a_sandbox_every_other_link_is_declared() {
    let bazel = Bazel::new();
    let sandbox = bazel.sandbox();
    let arguments = sandbox.arguments(&manifest_of(&OUTPUTS), &OPTIONS);
    let manifest: PathBuf = bazel.execution_root.path("manifest");
    fs::rename(sandbox.path("manifest"), &manifest).unwrap();
    sandbox.link("manifest", manifest.to_str().unwrap());
    sandbox.outputs_of(&mut sandbox.command(&arguments));
    assert_eq!(members(&sandbox.path("out/layer")), expected());
}

#[test]
fn on_a_remote_executor_every_link_is_declared() {
    let remote = Workspace::new();
    for name in OUTPUTS {
        match declared_text(name) {
            Some(text) => remote.link(format!("bin/{name}"), text),
            None => remote.write(format!("bin/{name}"), "content"),
        }
    }
    assert_eq!(remote.members(&manifest_of(&OUTPUTS), &["--root=/app"]), expected());
}

#[test]
fn where_inputs_are_links_to_a_store_relative_ones_are_declared() {
    let store = Workspace::new();
    store.write("1234", "content");
    let workspace = Workspace::new();
    for name in ["dangling", "declared"] {
        workspace.link(format!("bin/{name}"), declared_text(name).unwrap());
    }
    workspace.link("bin/file", store.path("1234").to_str().unwrap());
    let names = ["dangling", "declared", "file"];
    let arguments = workspace.arguments(&manifest_of(&names), &OPTIONS);
    fs::rename(workspace.path("manifest"), store.path("5678")).unwrap();
    workspace.link("manifest", store.path("5678").to_str().unwrap());
    workspace.outputs_of(&mut workspace.command(&arguments));
    let of_names = |member: &Member| names.iter().any(|name| *member == of(name));
    let of_app = expected().into_iter().filter(|member| *member == directory("./app") || of_names(member));
    assert_eq!(members(&workspace.path("out/layer")), of_app.collect::<Vec<_>>());
}

fn of(name: &str) -> Member {
    let path = format!("./app/{name}");
    declared_text(name).map_or_else(|| file(&path, "content"), |text| symlink(&path, text))
}

#[test]
fn in_the_execution_root_only_a_link_that_leads_to_a_file_is_refused() {
    let bazel = Bazel::new();
    let workspace = &bazel.execution_root;
    assert_eq!(
        workspace.members(&manifest_of(&["dangling", "file"]), &["--root=/app"]),
        [directory("./app"), of("dangling"), of("file")]
    );
    workspace.remove_outputs();
    for name in ["absolute", "declared", "file_link"] {
        let message = workspace.error(&manifest_of(&[name]), &[]);
        assert!(
            message.starts_with(&format!("pylayer: bin/{name} is a symlink, and it is not known whether it was declared as a symlink or represents the file it points to; use --strategy=PyImageLayer=worker")),
            "{message}"
        );
    }
}

#[test]
fn an_output_that_is_not_there_is_named() {
    let workspace = Workspace::new();
    let message = workspace.error(&manifest_of(&["file"]), &[]);
    assert!(message.starts_with("pylayer: cannot read bin/file: No such file or directory"), "{message}");
    assert!(!Path::new(&workspace.path("out/layer")).exists());
}
