//! Writes outputs atomically: under temporary names, renamed when complete.
//!
//! A killed process leaves its temporary file behind. It may have gigabytes, and Bazel, which does not
//! track it, would keep it until the next `bazel clean`. So before a layer is written, abandoned files
//! next to it are removed.
//!
//! A file in use is locked, and the kernel releases the lock when the process ends, for whatever reason.
//! Process IDs would not work, because they are not unique across containers and sandboxes. The lock
//! (`flock`) belongs to the open file, so it also works between threads of one process, and between
//! containers that share the directory. Two rules make it safe:
//!
//! - Only the holder of a file's lock renames or removes the file.
//! - After locking a file, check that its name still refers to it. Between opening and locking, the
//!   previous holder may have renamed or removed it, and the name may belong to another file by now.

use std::fs::{File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

use crate::show::show_path;

/// An output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", show_path(path))]
pub struct Error {
    pub path: PathBuf,
    pub error: io::Error,
}

/// The name of a temporary file consists of this, the process ID, a serial number, and [`SUFFIX`].
const PREFIX: &str = ".pylayer-";
const SUFFIX: &str = ".tmp";

/// An output under a temporary name in its own directory. Dropping it removes the file; keeping it
/// replaces any previous file at its path.
pub struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    kept: bool,
}

impl Output {
    /// Creates the temporary file for `path`. Always a new file, because truncating a large one costs
    /// more than writing a new one.
    pub fn create(path: &Path) -> Result<Output, Error> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        loop {
            let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
            let name = format!("{PREFIX}{}-{serial}{SUFFIX}", std::process::id());
            let temporary = path.with_file_name(name);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => match lock(&file, &temporary) {
                    // Without locks, no file is considered abandoned either.
                    Lock::Held | Lock::Unsupported => {
                        return Ok(Output { path: path.to_path_buf(), temporary, file, kept: false });
                    }
                    // Before it was locked, the file was considered abandoned, and is being removed.
                    Lock::Lost => {}
                },
                // The file of a process with the same ID in another container.
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

    /// Creates an output with this content that everyone may execute.
    pub fn executable(path: &Path, content: &[u8]) -> Result<Output, Error> {
        let output = Output::with_content(path, content)?;
        // Of the file, not of its name, and whatever the umask is.
        let changed = output.file.set_permissions(Permissions::from_mode(0o755));
        changed.map_err(|error| Error { path: path.to_path_buf(), error })?;
        Ok(output)
    }

    /// The path of the temporary file.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The temporary file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Renames all outputs, which must be complete, to their final names. On failure, none is left.
    pub fn keep(outputs: impl IntoIterator<Item = Output>) -> Result<(), Error> {
        let mut kept: Vec<PathBuf> = Vec::new();
        for mut output in outputs {
            if let Err(error) = std::fs::rename(&output.temporary, &output.path) {
                for path in kept {
                    // Only the first error is reported.
                    let _ = std::fs::remove_file(path);
                }
                return Err(Error { path: output.path.clone(), error });
            }
            output.kept = true;
            kept.push(output.path.clone());
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.kept {
            // The lock is still held: the file is closed after this.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// The result of locking a file.
enum Lock {
    /// The file is locked, and its path still refers to it.
    Held,
    /// The file is locked elsewhere, or its path no longer refers to it.
    Lost,
    /// The file system does not support locks.
    Unsupported,
}

/// Locks `file`, which was opened as `path`, until it is closed.
fn lock(file: &File, path: &Path) -> Lock {
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Lock::Lost,
        Err(TryLockError::Error(_)) => Lock::Unsupported,
        Ok(()) => match (file.metadata(), std::fs::symlink_metadata(path)) {
            (Ok(ours), Ok(named)) if same(&ours, &named) => Lock::Held,
            _ => Lock::Lost,
        },
    }
}

/// Removes the temporary files of killed processes next to `path`. Best effort: errors, such as a
/// directory that cannot be listed, are ignored.
pub fn remove_abandoned(path: &Path) {
    // `Path::parent` of a bare file name is the empty path.
    let directory = path.with_file_name(".");
    for name in std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()) {
        if name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            let temporary = path.with_file_name(name);
            // Do not block on a pipe, and do not follow a link.
            let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits() as i32;
            let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(&temporary) else {
                continue;
            };
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            if is_file && matches!(lock(&file, &temporary), Lock::Held) {
                let _ = std::fs::remove_file(temporary);
            }
        }
    }
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

    /// Every thread writes, keeps and cleans up in one directory, as the requests of a worker do.
    #[test]
    fn nobody_removes_what_another_thread_writes() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let directory = directory.path();
                scope.spawn(move || {
                    for number in 0..500 {
                        let path = directory.join(format!("{thread}-{}", number % 10));
                        remove_abandoned(&path);
                        let outputs = [1, 2].map(|part| {
                            let path = path.with_extension(part.to_string());
                            Output::with_content(&path, b"content").unwrap()
                        });
                        Output::keep(outputs).unwrap();
                    }
                });
            }
        });
        let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|name| name.to_str().unwrap().starts_with(PREFIX)).count(), 0);
    }

    #[test]
    fn what_only_looks_abandoned_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let named = |number| directory.path().join(format!("{PREFIX}1-{number}{SUFFIX}"));
        rustix::fs::mkfifoat(rustix::fs::CWD, named(0), rustix::fs::Mode::RWXU).unwrap();
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, named(1)).unwrap();
        std::fs::create_dir(named(2)).unwrap();
        remove_abandoned(&directory.path().join("layer.tar"));
        assert!(elsewhere.exists() && (0..3).all(|number| named(number).symlink_metadata().is_ok()));
    }

    #[test]
    fn a_name_that_is_taken_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let taken =
            |serial| directory.path().join(format!("{PREFIX}{}-{serial}{SUFFIX}", std::process::id()));
        // Other tests of this process use serial numbers too.
        (0..1000).for_each(|serial| std::fs::write(taken(serial), "").unwrap());
        Output::create(&directory.path().join("layer.tar")).unwrap();
        assert!((0..1000).all(|serial| taken(serial).exists()));
    }

    #[test]
    fn an_output_that_cannot_be_written_is_named() {
        let error = Output::create(Path::new("/nonexistent/layer.tar")).err().unwrap();
        assert!(error.to_string().starts_with("cannot write /nonexistent/layer.tar: No such file"));
    }
}
