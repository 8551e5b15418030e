//! Writes outputs so that nobody ever sees half of one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::codec::Codec;
use crate::pipeline::Written;

/// An output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", path.display())]
pub struct Error {
    pub path: PathBuf,
    pub error: io::Error,
}

/// An output under a temporary name in its own directory. Dropped, it is gone; kept, it replaces
/// what had its name before.
pub struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Output {
    /// Creates the temporary file for `path`. A new file, because truncating a large old one costs
    /// more than writing the new one.
    pub fn create(path: &Path) -> Result<Output, Error> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".pylayer-{}-{serial}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => Ok(Output { path: path.to_path_buf(), temporary, file }),
            Err(error) => Err(Error { path: path.to_path_buf(), error }),
        }
    }

    /// Creates an output with this content.
    pub fn with_content(path: &Path, content: &[u8]) -> Result<Output, Error> {
        let mut output = Output::create(path)?;
        output.file.write_all(content).map_err(|error| Error { path: path.to_path_buf(), error })?;
        Ok(output)
    }

    /// Where to write.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives all outputs their names, or leaves none. Call it when all are complete.
    pub fn keep(outputs: impl IntoIterator<Item = Output>) -> Result<(), Error> {
        let mut kept: Vec<PathBuf> = Vec::new();
        for output in outputs {
            if let Err(error) = std::fs::rename(&output.temporary, &output.path) {
                for path in kept {
                    // The error to report is the first one.
                    let _ = std::fs::remove_file(path);
                }
                return Err(Error { path: output.path.clone(), error });
            }
            kept.push(output.path.clone());
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// An OCI content descriptor (image-spec, `descriptor.md`) with the layer's diff ID beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Descriptor {
    #[serde(rename = "mediaType")]
    pub media_type: &'static str,
    /// `sha256:` and 64 hexadecimal digits: of the file.
    pub digest: String,
    /// Length of the file in bytes.
    pub size: u64,
    /// As `digest`: of the uncompressed tar.
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
    digest.iter().fold("sha256:".to_string(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_seen_before_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer.tar");
        std::fs::write(&path, "old").unwrap();
        drop(Output::with_content(&path, b"abandoned").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let output = Output::with_content(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        Output::keep([output]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn an_output_that_cannot_be_written_is_named() {
        let error = Output::create(Path::new("/nonexistent/layer.tar")).err().unwrap();
        assert!(error.to_string().starts_with("cannot write /nonexistent/layer.tar: No such file"));
    }

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
