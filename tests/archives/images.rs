//! Images that skopeo converts from one form to another.

use std::fs;
use std::path::Path;
use std::process::Command;

use pylayer::archive::Layer;
use serde_json::{Value, json};

use crate::support::readers::{decompressed, is_installed, stdout};
use crate::support::{Manifest, Workspace, sha256};
use crate::{entries, layers_at};

/// Writes a blob, and returns its descriptor.
fn blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digits = sha256(bytes);
    fs::write(layout.join("blobs/sha256").join(&digits), bytes).unwrap();
    json!({"mediaType": media_type, "digest": format!("sha256:{digits}"), "size": bytes.len()})
}

/// An OCI layout of an image with these layers.
fn layout(directory: &Path, layers: &[Vec<u8>]) {
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let diff_ids: Vec<String> =
        layers.iter().map(|layer| format!("sha256:{}", sha256(&decompressed(layer)))).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = blob(directory, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| blob(directory, "application/vnd.oci.image.layer.v1.tar+gzip", layer))
        .collect();
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        json!({"schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": layers});
    let manifest = blob(directory, manifest_type, manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn every_form_of_an_image_has_the_same_entries() {
    let workspace = Workspace::new();
    workspace.write("in/a", "content");
    let layers: Vec<Vec<u8>> = ["interpreter/a", "app/b"]
        .map(|path| {
            let outputs = workspace.outputs(&Manifest::new().file(path, "in/a"), &["--compress=gzip"]);
            outputs.layer
        })
        .into();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    layout(&path("oci"), &layers);
    let expected = layers_at(&path("oci"), None);
    let facts = |layers: &[Layer]| -> Vec<_> {
        layers.iter().map(|layer| (layer.contents.diff_id.clone(), entries(layer))).collect()
    };
    assert_eq!(facts(&expected).len(), 2);
    if !is_installed("skopeo") {
        return;
    }
    let from = format!("oci:{}", path("oci").display());
    for (name, to) in
        [("docker.tar", "docker-archive:{}:app:1"), ("oci.tar", "oci-archive:{}:1"), ("oci2", "oci:{}:1")]
    {
        let to = to.replace("{}", path(name).to_str().unwrap());
        stdout(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &from, &to]));
        let found = layers_at(&path(name), None);
        assert_eq!(facts(&found), facts(&expected), "{name}");
        let is_named = |select| layers_at(&path(name), Some(select)).len() == 2;
        assert!(is_named(if name == "docker.tar" { "docker.io/library/app:1" } else { "1" }), "{name}");
    }
}
