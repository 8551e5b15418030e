//! The output directory of `pylayer pack`.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::show::show_path;
use crate::tables::CODECS;

/// File extensions of tars that only other programs write.
const OTHER_TARS: [&str; 6] = [".tar.xz", ".tar.bz2", ".tgz", ".tzst", ".txz", ".tbz2"];

/// Why layers cannot be written to a directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "--out {} is inside {}, which is being packed; name another directory",
        show_path(out),
        show_path(inside)
    )]
    Inside { out: PathBuf, inside: PathBuf },
    #[error(
        "--out {} contains {}, which is not a layer of this image but would be mistaken for one; remove it, or name another directory",
        show_path(out),
        show_path(name)
    )]
    OtherLayer { out: PathBuf, name: OsString },
    #[error("--out {}: {error}", show_path(path))]
    Directory { path: PathBuf, error: io::Error },
}

/// Rejects an output directory inside an input: the next run would pack the layers.
pub fn check_outside<'a>(out: &Path, mut packed: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    let real_out = real(out);
    let holds_out = |directory: &&Path| real_out.starts_with(real(directory));
    match packed.find(holds_out) {
        Some(inside) => Err(Error::Inside { out: out.to_path_buf(), inside: inside.to_path_buf() }),
        None => Ok(()),
    }
}

/// Resolves symlinks in the part of the path that exists.
fn real(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|ancestor| {
        let readable = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        Some((std::fs::canonicalize(readable).ok()?, path.strip_prefix(ancestor).ok()?))
    });
    existing.map_or_else(|| path.to_path_buf(), |(ancestor, rest)| ancestor.join(rest))
}

/// Creates the directory.
pub fn create(out: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(out).map_err(|cause| {
        let error = match cause.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(cause.kind(), "it is not a directory"),
            _ => cause,
        };
        Error::Directory { path: out.to_path_buf(), error }
    })
}

/// Creates the directory for layers with these file names. Any other tar in it is an error, such as one
/// from an earlier run, of a group that no longer exists or with another compression. A script that takes
/// all tars in the directory would ship it. It is not removed, since it may belong to someone else.
pub fn prepare(out: &Path, names: &[String]) -> Result<(), Error> {
    create(out)?;
    let error = |error| Error::Directory { path: out.to_path_buf(), error };
    for entry in std::fs::read_dir(out).map_err(error)? {
        let entry = entry.map_err(error)?;
        let (name, is_directory) = (entry.file_name(), entry.file_type().map_err(error)?.is_dir());
        let mut extensions = CODECS.iter().map(|row| row.extension.as_str()).chain(OTHER_TARS);
        let is_layer = extensions.any(|extension| name.as_bytes().ends_with(extension.as_bytes()));
        // Renaming a file over a directory fails, which would only show after other layers are in place.
        let is_ours = !is_directory && names.iter().any(|ours| name == ours.as_str());
        if is_layer && !is_ours {
            return Err(Error::OtherLayer { out: out.to_path_buf(), name });
        }
    }
    Ok(())
}
