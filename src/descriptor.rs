//! The descriptor of a layer, for registries and image builders.

use serde::Serialize;

use crate::codec::Codec;
use crate::pipeline::Written;
use crate::show::hex;

/// An OCI content descriptor (image-spec, `descriptor.md`), extended by the layer's diff ID.
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
}

impl Descriptor {
    /// The descriptor of a layer.
    pub fn new(codec: Codec, written: &Written) -> Descriptor {
        Descriptor {
            media_type: codec.media_type(),
            digest: sha256(&written.digest),
            size: written.size,
            diff_id: sha256(&written.diff_id),
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).expect("strings and numbers are JSON");
        text.push('\n');
        text
    }
}

fn sha256(digest: &[u8; 32]) -> String {
    format!("sha256:{}", hex(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_oci_json() {
        let written = Written { digest: [1; 32], size: 7, diff_id: [0xab; 32], ..Written::default() };
        let json = Descriptor::new(Codec::Gzip { level: 6 }, &written).to_json();
        let expected = format!(
            "{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:{}\",\"size\":7,\"diff_id\":\"sha256:{}\"}}\n",
            "01".repeat(32),
            "ab".repeat(32)
        );
        assert_eq!(json, expected);
    }
}
