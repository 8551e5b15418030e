//! `pylayer tune`: a proposal for the layers of packages, and an edit of the BUILD file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{PYLAYER, Workspace, set_mode};

const BUILD: &str = r#"load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "data": "\\.bin\\ data$",
    },
    py_binary = ":server",
)
"#;

/// How a file looks with the proposal.
const TUNED: &str = r#"load("@rules_pylayer//bazel:defs.bzl", "pip_package", "py_image_layer")

py_image_layer(
    name = "layers",
    layer_groups = {
        "torch": pip_package("torch"),
        "data": "\\.bin\\ data$",
    },
    py_binary = ":server",
    split = 7,
)
"#;

/// The contents of an image with these packages in one layer.
fn contents(packages: &[(&str, u64)]) -> Value {
    let file = |path: String, component: usize, compressed: u64| {
        json!({"path": path, "type": "file", "component": component, "size": compressed, "compressed": compressed,
            "mode": 0o644, "uid": 0, "gid": 0, "mtime": 0})
    };
    let entries = packages.iter().enumerate().flat_map(|(index, (name, compressed))| {
        let site = format!("app/.runfiles/pip_{name}/site-packages");
        let metadata = format!("{site}/{name}-1.0.dist-info/METADATA");
        [file(metadata, index, 0), file(format!("{site}/{name}.py"), index, *compressed)]
    });
    let entries: Vec<Value> = entries.collect();
    let components: Vec<Value> = packages
        .iter()
        .map(|(name, _)| json!({"kind": "distribution", "name": name, "version": "1.0"}))
        .collect();
    let distributions: serde_json::Map<String, Value> =
        packages.iter().map(|(name, _)| (format!("pip_{name}"), json!(name))).collect();
    let size: u64 = packages.iter().map(|(_, compressed)| compressed).sum();
    json!({
        "schema": "pylayer.image.v1",
        "name": "//app:layers",
        "components": components,
        "layers": [{
            "name": "packages",
            "media_type": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{:064}", 1),
            "size": size,
            "diff_id": format!("sha256:{:064}", 2),
            "tar_size": size,
            "chunks": 1,
            "entries": entries,
        }],
        "partition": {
            "groups": {
                "layer_groups": [{"name": "data", "pattern": "\\.bin\\ data$"}],
                "default_groups": [{"name": "packages", "pattern": "^\\./app/\\.runfiles/pip_"}],
                "runfiles": "app/.runfiles",
                "distributions": distributions,
            },
            "target": {
                "label": "//app:layers",
                "build_file": "app/BUILD.bazel",
                "layer_groups": [{"name": "data", "pattern": "\\.bin\\ data$"}],
            },
        },
    })
}

/// A large package and many small ones.
fn large() -> Value {
    let names: Vec<String> = (0..60).map(|number| format!("small-{number}")).collect();
    let small = names.iter().map(|name| (name.as_str(), 1 << 20));
    contents(&small.chain([("torch", 800 << 20)]).collect::<Vec<_>>())
}

/// A folder with the contents of an image and a BUILD file.
struct Tuned(Workspace);

impl Tuned {
    fn new(build: &str) -> Tuned {
        Tuned::of(&large(), "BUILD.bazel", build)
    }

    fn of(contents: &Value, build_file: &str, build: &str) -> Tuned {
        let workspace = Workspace::new();
        workspace.write("layers.contents.json", contents.to_string());
        workspace.write(format!("app/{build_file}"), build);
        workspace.write("MODULE.bazel", "");
        Tuned(workspace)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(PYLAYER);
        command.args(["tune", "layers.contents.json"]).args(arguments).current_dir(self.0.path(""));
        command.output().unwrap()
    }

    /// What the program prints if it succeeds.
    fn text(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(arguments);
        assert_eq!((status.code(), String::from_utf8(stderr).unwrap()), (Some(0), String::new()));
        String::from_utf8(stdout).unwrap()
    }

    /// The message of a mistake.
    fn error(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(arguments);
        assert_eq!((status.code(), &stdout[..]), (Some(2), &b""[..]));
        String::from_utf8(stderr).unwrap()
    }

    fn file(&self) -> PathBuf {
        self.0.path("app/BUILD.bazel")
    }

    fn build(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

#[test]
fn the_edit_is_shown_and_written() {
    let tuned = Tuned::new(BUILD);
    let shown = tuned.text(&[]);
    assert_eq!(tuned.build(), BUILD);
    assert!(shown.contains("\n--- a/app/BUILD.bazel\n+++ b/app/BUILD.bazel\n@@"), "{shown}");
    assert!(shown.contains("\n+        \"torch\": pip_package(\"torch\"),\n"), "{shown}");
    assert!(shown.ends_with("\nTo edit the file: bazel run //app:layers.tune -- --write\n"), "{shown}");
    if is_installed("patch") {
        tuned.0.write("diff", &shown);
        let patch = |option: &str| {
            let mut command = Command::new("patch");
            command.args(["-p1", "--input=diff", option]).current_dir(tuned.0.path(""));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        patch("--dry-run");
        patch("--quiet");
        assert_eq!(tuned.build(), TUNED);
        fs::write(tuned.file(), BUILD).unwrap();
    }
    set_mode(&tuned.file(), 0o640);
    let written = tuned.text(&["--write"]);
    assert!(written.ends_with("app/BUILD.bazel has been edited.\n"), "{written}");
    assert_eq!(tuned.build(), TUNED);
    assert_eq!(fs::metadata(tuned.file()).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(
        tuned.text(&["--write"]),
        "//app:layers: the BUILD file already has the proposal; build the report again\n"
    );
    assert_eq!(tuned.build(), TUNED);
    fs::write(tuned.file(), TUNED.replace("pip_package(\"torch\")", "\"/torch/\"")).unwrap();
    assert!(tuned.error(&["--write"]).contains("layer_groups has \"torch\" already"));
    // What is missing is added.
    fs::write(tuned.file(), TUNED.replace("    split = 7,\n", "")).unwrap();
    tuned.text(&["--write"]);
    assert_eq!(tuned.build(), TUNED);
}

#[test]
fn a_call_in_another_one_is_edited() {
    let nested = |build: &str| {
        let (loads, call) = build.split_once("\n\n").unwrap();
        let call = call.trim_end().replace('\n', "\n    ");
        format!("{loads}\n\noci_image(\n    name = \"image\",\n    tars = {call},\n)\n")
    };
    let tuned = Tuned::new(&nested(BUILD));
    let shown = tuned.text(&["--write"]);
    // It would not find the target.
    assert!(!shown.contains("buildozer"), "{shown}");
    assert_eq!(tuned.build(), nested(TUNED));
}

#[test]
fn buildozer_does_not_replace_variables() {
    // New groups would take the place of those in the variable.
    let with_variable = BUILD.replace("{\n        \"data\": \"\\\\.bin\\\\ data$\",\n    }", "GROUPS");
    assert!(with_variable.contains("layer_groups = GROUPS,"), "{with_variable}");
    let shown = Tuned::new(&with_variable).text(&[]);
    assert!(shown.contains("\n+    } | GROUPS,\n"), "{shown}");
    assert!(!shown.contains("buildozer"), "{shown}");
    // A split does not touch them.
    let names: Vec<String> = (0..40).map(|number| format!("small-{number}")).collect();
    let small: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1 << 20)).collect();
    let shown = Tuned::of(&contents(&small), "BUILD.bazel", &with_variable).text(&[]);
    assert!(shown.contains("\n  buildozer 'set split 8' "), "{shown}");
}

#[test]
fn only_files_in_the_workspace_are_edited() {
    for path in ["/etc/BUILD", "../BUILD", "app/../../BUILD.bazel", "..", ""] {
        let mut contents = large();
        contents["partition"]["target"]["build_file"] = json!(path);
        let tuned = Tuned::of(&contents, "BUILD.bazel", BUILD);
        let error = tuned.error(&["--write", "--workspace=app"]);
        let expected = format!(
            "the BUILD file of //app:layers is \"{path}\": expected a path in the workspace, such as app/BUILD.bazel\n"
        );
        assert!(error.ends_with(&expected), "{error}");
        assert_eq!(tuned.build(), BUILD);
    }
}

#[test]
fn an_image_may_have_no_packages() {
    let tuned = Tuned::of(&contents(&[]), "BUILD.bazel", BUILD);
    assert_eq!(tuned.text(&[]), "//app:layers: there are no packages in this image\n");
}

#[test]
fn buildozer_makes_the_same_edit() {
    if !is_installed("buildozer") {
        return;
    }
    let tuned = Tuned::new(BUILD);
    let shown = tuned.text(&[]);
    let commands: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with("buildozer "))
        .collect();
    assert_eq!(commands.len(), 3, "{shown}");
    for command in commands {
        let output = Command::new("sh").args(["-c", command]).current_dir(tuned.0.path("")).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
    assert_eq!(tuned.build(), TUNED);
}

#[test]
fn the_proposal_is_also_json() {
    let tuned = Tuned::new(BUILD);
    let proposal: Value = serde_json::from_str(&tuned.text(&["--json"])).unwrap();
    assert_eq!(proposal["layer_groups"][0], json!({"name": "torch", "pattern": "{pip_package:torch}"}));
    assert_eq!((&proposal["added"], &proposal["split"]), (&json!(1), &json!(7)));
    assert_eq!(proposal["pulls"]["torch"], json!({"before": 860 << 20, "after": 800 << 20}));
    let conflict = tuned.run(&["--json", "--write"]);
    assert_eq!(conflict.status.code(), Some(2));
    let nothing = Tuned::of(&contents(&[("six", 1000)]), "BUILD.bazel", BUILD);
    assert_eq!(nothing.text(&["--json"]), "null\n");
    assert_eq!(
        nothing.text(&["--write"]),
        "//app:layers: no other division of the packages would make updates much smaller\n"
    );
    assert_eq!(nothing.build(), BUILD);
}

#[test]
fn the_build_file_may_have_its_other_name_or_be_a_link() {
    let tuned = Tuned::of(&large(), "BUILD", BUILD);
    let shown = tuned.text(&["--write"]);
    assert!(shown.contains("--- a/app/BUILD\n"), "{shown}");
    assert_eq!(fs::read_to_string(tuned.0.path("app/BUILD")).unwrap(), TUNED);

    let tuned = Tuned::of(&large(), "BUILD.real", BUILD);
    tuned.0.link("app/BUILD.bazel", "BUILD.real");
    tuned.text(&["--write"]);
    assert!(fs::symlink_metadata(tuned.file()).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(tuned.0.path("app/BUILD.real")).unwrap(), TUNED);

    let workspace = tuned.0.path("app").display().to_string();
    let error = tuned.error(&["--workspace", &workspace]);
    assert!(error.contains("app/app/BUILD.bazel: No such file"), "{error}");
}

#[test]
fn line_ends_are_kept() {
    let tuned = Tuned::new(&BUILD.replace('\n', "\r\n"));
    tuned.text(&["--write"]);
    assert_eq!(tuned.build(), TUNED.replace('\n', "\r\n"));
}

#[test]
fn lines_to_write_are_shown_if_the_file_cannot_be_edited() {
    let in_loop = r#"[py_image_layer(name = name, py_binary = name) for name in ["layers"]]"#;
    let with_macro = r#"my_image(name = "la" + "yers")"#;
    let of_macro = BUILD.replace("\npy_image_layer(", "\nmy_image(");
    let of_rule = "filegroup(name = \"layers\")\n";
    let with_select = BUILD.replace("    py_binary", "    split = select({\":x\": 8}),\n    py_binary");
    for (build, problem) in [
        (in_loop, "there is no call with name = \"layers\"; a macro or a loop may create the target"),
        (with_macro, "there is no call with name = \"layers\"; a macro or a loop may create the target"),
        (&of_macro, "line 3: the target is created by my_image, and only calls of py_image_layer are edited"),
        (of_rule, "line 1: the target is created by filegroup, and only calls of py_image_layer are edited"),
        (&with_select, "the value of split is not a plain number"),
        ("py_image_layer(\n", "line 1: a bracket is never closed"),
    ] {
        for option in ["--write", "--workspace=."] {
            let tuned = Tuned::new(build);
            let error = tuned.error(&[option]);
            let start = format!(
                "app/BUILD.bazel: cannot edit //app:layers: {problem}\n  Write these lines yourself:\n"
            );
            let (_, lines) = error.split_once(&start).unwrap_or_else(|| panic!("{error}"));
            assert!(lines.contains("    \"torch\": pip_package(\"torch\"),\n"), "{error}");
            assert!(lines.ends_with("split = 7,\n"), "{error}");
            assert_eq!(tuned.build(), build);
        }
    }
}

#[test]
fn a_read_only_file_is_not_replaced() {
    let tuned = Tuned::new(BUILD);
    set_mode(&tuned.file(), 0o444);
    let error = tuned.error(&["--write"]);
    assert!(error.contains("app/BUILD.bazel: the file is read-only; make it writable"), "{error}");
    assert_eq!(tuned.build(), BUILD);
    tuned.text(&[]);
}

#[test]
fn other_inputs_are_mistakes() {
    let mut contents = large();
    contents["partition"].as_object_mut().unwrap().remove("target");
    let error = Tuned::of(&contents, "BUILD.bazel", BUILD).error(&[]);
    assert!(
        error.ends_with("layers.contents.json: it is unknown which target this image is of\n"),
        "{error}"
    );
    contents.as_object_mut().unwrap().remove("partition");
    let error = Tuned::of(&contents, "BUILD.bazel", BUILD).error(&[]);
    assert!(error.ends_with("layers.contents.json: it is unknown how this image was divided\n"), "{error}");
    for text in ["", "{", "not JSON", "[]", "{\"schema\": \"other\"}", "{\"schema\": \"pylayer.image.v1\"}"] {
        let tuned = Tuned::new(BUILD);
        tuned.0.write("layers.contents.json", text);
        let error = tuned.error(&["--write"]);
        assert!(error.contains("layers.contents.json"), "{text}: {error}");
        assert_eq!(tuned.build(), BUILD);
    }
}
