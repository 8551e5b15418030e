//! The descriptor of a layer, for registries and image builders.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::codec::Codec;
use crate::pipeline::Written;
use crate::show::sha256;

/// An OCI content descriptor (image-spec, `descriptor.md`), extended by what the image's configuration says
/// about the layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    #[serde(rename = "mediaType")]
    pub media_type: &'static str,
    /// Digest of the file: `sha256:` and 64 hexadecimal digits.
    pub digest: String,
    /// Length of the file in bytes.
    pub size: u64,
    /// Digest of the uncompressed tar, in the same form.
    pub diff_id: String,
    /// For readers that find and verify the table of contents of a [lazy](crate::toc) layer. Not written if empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'static str, String>,
    /// What the configuration's history says about the layer. Not written if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// An entry of an image's history (OCI image-spec, `config.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History {
    /// The command that created the layer.
    pub created_by: String,
}

impl Descriptor {
    /// The descriptor of a layer.
    pub fn new(codec: Codec, written: &Written) -> Descriptor {
        Descriptor {
            media_type: codec.media_type(),
            digest: sha256(&written.digest),
            size: written.size,
            diff_id: sha256(&written.diff_id),
            annotations: written.annotations.clone(),
            history: Vec::new(),
        }
    }

    /// Adds the command that created the layer to its history.
    pub fn created_by(mut self, command: String) -> Descriptor {
        self.history.push(History { created_by: command });
        self
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("strings and numbers are JSON");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_oci_json() {
        let written = Written { digest: [1; 32], size: 7, diff_id: [0xab; 32], ..Written::default() };
        let descriptor = Descriptor::new(Codec::Gzip { level: 6 }, &written);
        let expected = format!(
            "{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:{}\",\"size\":7,\"diff_id\":\"sha256:{}\"",
            "01".repeat(32),
            "ab".repeat(32)
        );
        assert_eq!(descriptor.to_json(), format!("{expected}}}\n"));
        let history = r#","history":[{"created_by":"bazel build //app:layers"}]}"#;
        let json = descriptor.created_by("bazel build //app:layers".into()).to_json();
        assert_eq!(json, format!("{expected}{history}\n"));
    }
}
