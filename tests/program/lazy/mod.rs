//! Layers that can be pulled in part.

mod estargz;
mod zstd_chunked;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Manifest, Outputs, Workspace, noise};

/// Larger than one part.
const LARGE: usize = (4 << 20) + 70_000;

/// A layer with entries of every kind.
struct Image {
    workspace: Workspace,
    manifest: Manifest,
    /// The contents of its files.
    files: BTreeMap<String, Vec<u8>>,
}

impl Image {
    fn new() -> Image {
        let long = "x".repeat(150);
        let files: Vec<(&str, Vec<u8>)> = vec![
            ("app/empty", Vec::new()),
            ("app/exact", noise(2, 4 << 20)),
            ("app/large", noise(1, LARGE)),
            ("app/one", vec![7]),
            ("app/é ü", b"name".to_vec()),
            (&long, b"long".to_vec()),
        ];
        let (workspace, mut manifest) = (Workspace::new(), Manifest::new());
        for (number, (name, content)) in files.iter().enumerate() {
            workspace.write(format!("in/{number}"), content);
            manifest = manifest.file(name, format!("in/{number}"));
        }
        // Equal to an earlier file, so a hard link.
        let manifest = manifest.file("app/same", "in/2").symlink("app/link", "one").empty("app/nothing");
        let files = files.into_iter().map(|(name, content)| (format!("./{name}"), content)).collect();
        Image { workspace, manifest, files }
    }

    fn outputs(&self, options: &[&str]) -> Outputs {
        self.workspace.outputs(&self.manifest, options)
    }
}

const METADATA: [&str; 5] = ["--uid=7", "--gid=8", "--uname=u", "--gname=g", "--mode=0640"];

/// Checks the rows of a table of contents of an [`Image`] with [`METADATA`], which have the `common` fields.
fn check_metadata(rows: &[Value], common: &Value) {
    for fields in [
        json!({"name": "./app/", "type": "dir", "mode": 0o755}),
        json!({"name": "./app/link", "type": "symlink", "linkName": "one", "mode": 0o777}),
        json!({"name": "./app/same", "type": "hardlink", "linkName": "./app/large", "mode": 0o640}),
        json!({"name": "./app/nothing", "type": "reg", "mode": 0o640}),
    ] {
        let found = rows.iter().find(|row| row["name"] == fields["name"]).unwrap();
        let mut expected = json!({"modtime": "2023-01-01T08:00:00Z"});
        for fields in [common, &fields] {
            expected.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }
        assert_eq!(*found, expected);
    }
}

/// Checks that a lazy layer is refused if its table of contents cannot have a name or a time.
fn check_unrepresentable(options: &[&str]) {
    let workspace = Workspace::new();
    workspace.write(b"in/caf\xe9", "name");
    let manifest = Manifest::new().file(b"app/caf\xe9", b"in/caf\xe9");
    let message = workspace.error(&manifest, options);
    assert!(message.contains("./app/caf\\xe9: the table of contents of the layer is JSON"), "{message}");
    let options = [options, &["--mtime=253402300800"]].concat();
    let message = workspace.error(&Manifest::new(), &options);
    assert!(message.contains("mtime 253402300800: the table of contents"), "{message}");
}

#[test]
fn an_unknown_format_is_an_error() {
    let message = Workspace::new().error(&Manifest::new(), &["--lazy=soci"]);
    assert!(message.contains("unknown lazy format \"soci\"; use estargz or zstd:chunked"), "{message}");
}
