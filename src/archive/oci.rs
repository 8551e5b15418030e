//! The JSON of images → values (pure).
//!
//! OCI image-spec, `descriptor.md`, `image-index.md`, `manifest.md` and `config.md`; Docker's "Image Manifest
//! Version 2, Schema 2", which has the same fields; and the `manifest.json` of `docker save`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::problem::Problem;
use crate::show::show;

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Media types of layers, without the compression.
const LAYERS: [&str; 2] =
    ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"];
/// Those of layers that images refer to, but do not contain.
const FOREIGN_LAYERS: [&str; 2] = [
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];
/// How the compression is appended.
const COMPRESSIONS: [&str; 5] = ["", "+gzip", "+zstd", ".gzip", ".zstd"];
/// What ocicrypt appends.
const ENCRYPTED: &str = "+encrypted";

/// The tag of an image in an OCI layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation of what BuildKit attaches to images, such as attestations.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub platform: Option<Platform>,
    pub annotations: Option<BTreeMap<String, String>>,
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// `index.json`, or an index in it.
#[derive(Debug, Deserialize)]
pub struct Index {
    pub manifests: Vec<Descriptor>,
}

/// The manifest of an image.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// The configuration of an image. Other artifacts have one without these fields.
#[derive(Debug, Deserialize)]
pub struct Config {
    pub rootfs: Option<RootFs>,
}

#[derive(Debug, Deserialize)]
pub struct RootFs {
    pub diff_ids: Vec<String>,
}

/// An element of the `manifest.json` of `docker save`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedImage {
    pub config: String,
    pub repo_tags: Option<Vec<String>>,
    pub layers: Vec<String>,
}

/// What a descriptor in an index refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referent {
    Index,
    Manifest,
    /// Something that belongs to an image, or that is none.
    Other,
}

impl Descriptor {
    pub fn referent(&self) -> Referent {
        let is_unknown = self.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
        if is_unknown || self.annotation(REFERENCE_TYPE).is_some() {
            return Referent::Other;
        }
        match &self.media_type[..] {
            OCI_INDEX | DOCKER_INDEX => Referent::Index,
            // Some tools leave it out.
            OCI_MANIFEST | DOCKER_MANIFEST | "" => Referent::Manifest,
            _ => Referent::Other,
        }
    }

    /// The tag of the image, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The hexadecimal digits of the digest. As they become a path, nothing else is accepted.
    pub fn sha256(&self) -> Result<&str, Problem> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = self.digest.strip_prefix("sha256:");
        let digits = digits.filter(|digits| digits.len() == 64 && digits.bytes().all(is_digit));
        digits.ok_or_else(|| Problem::DigestForm(self.digest.clone()))
    }

    /// Checks that this is the descriptor of a layer that can be read; `of` names it.
    pub fn check_layer(&self, of: &str) -> Result<(), Problem> {
        let is_one_of = |types: [&str; 2]| {
            let mut rests = types.iter().filter_map(|start| self.media_type.strip_prefix(start));
            rests.any(|rest| COMPRESSIONS.contains(&rest))
        };
        let (of, media_type) = (of.to_string(), self.media_type.clone());
        if self.media_type.ends_with(ENCRYPTED) {
            Err(Problem::Encrypted { of })
        } else if is_one_of(FOREIGN_LAYERS) {
            Err(Problem::Foreign { of, media_type })
        } else if is_one_of(LAYERS) {
            Ok(())
        } else {
            Err(Problem::MediaType { of, media_type })
        }
    }
}

impl Platform {
    /// Whether `text` is `os/architecture` or `os/architecture/variant` of this platform.
    pub fn is(&self, text: &str) -> bool {
        let short = Platform { variant: None, ..self.clone() };
        text == self.to_string() || text == short.to_string()
    }
}

/// As in `--platform` of docker, and as short and printable as a message needs.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts = [Some(&self.os), Some(&self.architecture), self.variant.as_ref()];
        let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
        f.write_str(&show(parts.join("/").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> Descriptor {
        let digest = format!("sha256:{}", "0a".repeat(32));
        Descriptor { media_type: media_type.to_string(), digest, platform: None, annotations: None }
    }

    #[test]
    fn media_types_tell_which_layers_can_be_read() {
        let problem = |media_type: &str| {
            let result = descriptor(media_type).check_layer("layer 1");
            result.map_err(|problem| format!("{problem:?}").split(' ').next().unwrap().to_string())
        };
        for start in LAYERS {
            assert_eq!(problem(start), Ok(()));
            assert_eq!(problem(&format!("{start}+zstd")), Ok(()));
            assert_eq!(problem(&format!("{start}.gzip")), Ok(()));
            assert_eq!(problem(&format!("{start}+gzip+encrypted")), Err("Encrypted".to_string()));
            assert_eq!(problem(&format!("{start}+lz4")), Err("MediaType".to_string()));
        }
        for start in FOREIGN_LAYERS {
            assert_eq!(problem(&format!("{start}.gzip")), Err("Foreign".to_string()));
        }
        assert_eq!(problem("application/json"), Err("MediaType".to_string()));
        assert_eq!(problem(""), Err("MediaType".to_string()));
    }

    #[test]
    fn only_sha256_digests_become_paths() {
        assert_eq!(descriptor("").sha256().unwrap(), "0a".repeat(32));
        for digest in ["", "sha256:", "sha256:../../etc/passwd", &format!("sha512:{}", "0a".repeat(64))] {
            let digest = Descriptor { digest: digest.to_string(), ..descriptor("") };
            assert!(matches!(digest.sha256(), Err(Problem::DigestForm(_))));
        }
    }

    #[test]
    fn attestations_are_not_images() {
        let platform = |os: &str| {
            Some(Platform { os: os.to_string(), architecture: "arm64".to_string(), variant: None })
        };
        let manifest = Descriptor { platform: platform("linux"), ..descriptor(OCI_MANIFEST) };
        assert_eq!(manifest.referent(), Referent::Manifest);
        assert_eq!(
            Descriptor { platform: platform("unknown"), ..manifest.clone() }.referent(),
            Referent::Other
        );
        let annotations = [(REFERENCE_TYPE.to_string(), "attestation-manifest".to_string())];
        let attestation = Descriptor { annotations: Some(annotations.into()), ..manifest };
        assert_eq!(attestation.referent(), Referent::Other);
        assert_eq!(descriptor(DOCKER_INDEX).referent(), Referent::Index);
        assert_eq!(descriptor("application/x").referent(), Referent::Other);
    }

    #[test]
    fn a_platform_can_be_named_without_its_variant() {
        let variant = Some("v8".to_string());
        let platform = Platform { os: "linux".to_string(), architecture: "arm64".to_string(), variant };
        assert!(platform.is("linux/arm64") && platform.is("linux/arm64/v8"));
        assert!(!platform.is("linux/arm64/v7") && !platform.is("linux/amd64") && !platform.is("linux"));
    }
}
