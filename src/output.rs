//! Writes outputs so that nobody ever sees half of one.
//!
//! A process that is killed leaves a temporary file of perhaps gigabytes behind, and Bazel, which
//! never heard of it, would keep it until the next `bazel clean`. So whoever writes a layer first
//! removes what others have abandoned beside it. A lock, which ends with its process however that
//! ends, tells a file that is in use: process numbers mean nothing across containers and sandboxes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
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

/// The name of a temporary file is this, a process number, a serial number, and [`SUFFIX`].
const PREFIX: &str = ".pylayer-";
const SUFFIX: &str = ".tmp";

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
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{}-{serial}{SUFFIX}", std::process::id());
            let temporary = path.with_file_name(name);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) if is_ours(&file) => {
                    return Ok(Output { path: path.to_path_buf(), temporary, file });
                }
                Ok(_) => {}
                // Somebody else's, with the same number in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error { path: path.to_path_buf(), error }),
            }
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

/// Locks a temporary file that was just created, unless someone took it for abandoned before that.
fn is_ours(file: &File) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => false,
        // Where there are no locks, nothing is taken for abandoned either.
        Ok(()) | Err(TryLockError::Error(_)) => !file.metadata().is_ok_and(|metadata| metadata.nlink() == 0),
    }
}

/// Removes the temporary files beside `path` whose processes were killed. Does what it can: that it
/// cannot list a directory, say, is no reason to fail.
pub fn remove_abandoned(path: &Path) {
    // The parent of a mere name is the empty path.
    let directory = path.with_file_name(".");
    for name in std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()) {
        if name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            let temporary = path.with_file_name(name);
            if File::open(&temporary).is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = std::fs::remove_file(temporary);
            }
        }
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
    fn only_what_is_abandoned_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer.tar");
        let mut output = Output::create(&path).unwrap();
        let abandoned = path.with_file_name(".pylayer-1-0.tmp");
        let others = [".pylayer-1-0", "pylayer-1-0.tmp", ".tmp"].map(|name| path.with_file_name(name));
        others.iter().chain([&abandoned]).for_each(|path| std::fs::write(path, "").unwrap());
        remove_abandoned(&path);
        assert!(!abandoned.exists() && others.iter().all(|path| path.exists()));
        output.file().write_all(b"new").unwrap();
        Output::keep([output]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_name_that_is_taken_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let taken =
            |serial| directory.path().join(format!("{PREFIX}{}-{serial}{SUFFIX}", std::process::id()));
        // Other tests of this process take numbers too.
        (0..1000).for_each(|serial| std::fs::write(taken(serial), "").unwrap());
        Output::create(&directory.path().join("layer.tar")).unwrap();
        assert!((0..1000).all(|serial| taken(serial).exists()));
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
