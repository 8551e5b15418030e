//! The commands about images as a process: where they write, what they print, and their exit codes. What the
//! answers are is tested next to the code that computes them.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::{PYLAYER, Workspace};

/// The contents of an image with one layer of files, as `inspect --json` prints them.
fn contents(entries: &[Value]) -> String {
    let layer = json!({
        "name": "default",
        "media_type": "application/vnd.oci.image.layer.v1.tar",
        "digest": format!("sha256:{:064x}", entries.len()),
        "size": 10240,
        "diff_id": format!("sha256:{:064x}", entries.len()),
        "tar_size": 10240,
        "chunks": 1,
        "entries": entries,
    });
    let component = json!({"kind": "directory", "name": "/app"});
    json!({"schema": "pylayer.image.v1", "name": "image", "components": [component], "layers": [layer]})
        .to_string()
}

fn entry(path: &str, kind: &str) -> Value {
    json!({"path": path, "type": kind, "size": 0, "mode": 420, "uid": 0, "gid": 0, "mtime": 0})
}

/// A directory with `image.json`.
fn with_image(entries: &[Value]) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("image.json", contents(entries));
    workspace
}

fn run(workspace: &Workspace, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PYLAYER).args(arguments).current_dir(workspace.path("")).output().unwrap();
    let Output { status, stdout, stderr } = output;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The message of a command that fails.
fn error(workspace: &Workspace, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(workspace, arguments);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    stderr
}

#[test]
fn a_page_is_written_to_what_a_link_leads_to() {
    let workspace = with_image(&[entry("app/a.py", "file")]);
    for (link, target) in [("link.html", "target.html"), ("dangling.html", "new.html")] {
        if link == "link.html" {
            workspace.write(target, "old");
        }
        symlink(target, workspace.path(link)).unwrap();
        let (code, stdout, stderr) = run(&workspace, &["report", "image.json", "--out", link]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.starts_with("file:///") && stdout.ends_with(&format!("/{target}\n")), "{stdout}");
        assert!(fs::symlink_metadata(workspace.path(link)).unwrap().is_symlink());
        assert!(fs::read_to_string(workspace.path(target)).unwrap().contains("a.py"));
    }
}

#[test]
fn a_page_does_not_replace_a_device_or_an_image() {
    let workspace = with_image(&[entry("app/a.py", "file")]);
    let message = error(&workspace, &["report", "image.json", "--out", "/dev/full"]);
    assert!(message.starts_with("pylayer: --out /dev/full: No space left on device"), "{message}");
    assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
    let (code, stdout, _) = run(&workspace, &["report", "image.json", "--out", "/dev/stdout"]);
    assert!(code == Some(0) && stdout.starts_with("<!") && stdout.contains("a.py"), "{stdout:.100}");

    symlink("image.json", workspace.path("link.json")).unwrap();
    for out in ["image.json", "link.json"] {
        let message = error(&workspace, &["report", "image.json", "--out", out]);
        assert!(message.contains("the page would replace this image"), "{message}");
    }
    assert!(fs::read_to_string(workspace.path("image.json")).unwrap().starts_with('{'));
}

#[test]
fn there_is_nothing_to_select_in_contents_or_layers() {
    let workspace = with_image(&[]);
    workspace.write("layer.tar", vec![0; 1024]);
    for image in ["image.json", "layer.tar"] {
        let message = error(&workspace, &["inspect", image, "--select=linux/arm64"]);
        assert!(message.contains("there is no choice of images here; omit --select"), "{message}");
    }
}

#[test]
fn exit_codes_tell_differences_from_errors() {
    let workspace = with_image(&[entry("app/a.py", "file")]);
    workspace.write("new.json", contents(&[entry("app/a.py", "file"), entry("app/b.py", "file")]));
    assert_eq!(run(&workspace, &["diff", "image.json", "new.json"]).0, Some(0));
    assert_eq!(run(&workspace, &["diff", "image.json", "new.json", "--exit-code"]).0, Some(1));
    assert_eq!(run(&workspace, &["diff", "image.json", "image.json", "--exit-code"]).0, Some(0));
    error(&workspace, &["diff", "image.json", "missing.json", "--exit-code"]);
    error(&workspace, &["explain", "image.json", "missing.py"]);
}

#[test]
fn a_listing_is_of_the_target_that_has_its_layer() {
    let workspace = Workspace::new();
    let groups = |names: &[&str]| {
        let groups: Vec<Value> =
            names.iter().map(|name| json!({"name": name, "pattern": "/data/"})).collect();
        json!({"layer_groups": groups, "default_groups": []}).to_string()
    };
    for (target, names) in [("p", &["other"][..]), ("p_x", &["data"]), ("p_x_data", &["z"])] {
        workspace.write(format!("{target}.groups.json"), groups(names));
        workspace.write(format!("{target}.settings.json"), "{}");
    }
    let listing = "#mtree\n./app/data/a.txt type=file size=1 mode=0644 uid=0 gid=0 time=0.0\n";
    workspace.write("p_x_data.mtree", listing);
    let (code, text, _) = run(&workspace, &["explain", "p_x_data.mtree", "data/a.txt"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("  in layer data: file, 1 B\n  group data, which this pattern matches:\n"),
        "{text}"
    );
}

#[test]
fn a_deletion_is_not_called_an_addition() {
    let workspace = with_image(&[]);
    workspace.write("new.json", contents(&[entry("etc/a", "whiteout"), entry("", "opaque")]));
    let (_, text, _) = run(&workspace, &["diff", "image.json", "new.json"]);
    assert!(text.contains("\ndeletes         0 B  default  etc/a\n"), "{text}");
    assert!(text.contains("\nempties         0 B  default  /\n"), "{text}");
    let (_, text, _) = run(&workspace, &["diff", "image.json", "new.json", "--format=markdown"]);
    assert!(text.contains("| `etc/a` | deletes |") && text.contains("| `/` | empties |"), "{text}");
}

#[test]
fn it_is_said_once_that_the_division_is_unknown() {
    let workspace = with_image(&[entry("app/a.py", "file"), entry("app/b.py", "symlink")]);
    let (code, text, _) = run(&workspace, &["explain", "image.json"]);
    assert_eq!((code, text.matches("How the image was divided is unknown").count()), (Some(0), 1), "{text}");
}

#[test]
fn names_cannot_control_the_terminal() {
    let name = "app/\u{1b}[31m\u{7}\r\n.py";
    let workspace = with_image(&[entry(name, "file")]);
    let text = fs::read_to_string(workspace.path("image.json")).unwrap();
    workspace.write("image.json", text.replace("\"/app\"", "\"\\u001b[31m\"").replace("default", "\\u0007"));
    workspace.write("old.json", contents(&[]));
    for arguments in [
        &["inspect", "image.json"][..],
        &["explain", "image.json"],
        &["diff", "old.json", "image.json"],
        &["diff", "old.json", "image.json", "--format=markdown"],
    ] {
        let (code, text, stderr) = run(&workspace, arguments);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(text.chars().all(|char| char == '\n' || !char.is_control()), "{arguments:?}: {text:?}");
    }
}
