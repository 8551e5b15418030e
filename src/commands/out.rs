//! The file that a command writes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::output::Output;
use crate::show::show_path;

/// Where a command writes what `--out` names.
pub struct Out {
    path: PathBuf,
    file: Place,
}

enum Place {
    /// A regular file, which is replaced once it is complete.
    Regular(Output),
    /// A device or pipe, or whatever /dev/stdout refers to, which other processes may write to as well.
    Shared(File),
}

impl Out {
    /// Prepares to write to `path`, so that mistakes are found before any work is done.
    pub fn open(path: &Path) -> Result<Out> {
        let context = || format!("--out {}", show_path(path));
        let is_shared =
            path.starts_with("/dev") || std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let file = if is_shared {
            Place::Shared(OpenOptions::new().append(true).open(path).with_context(context)?)
        } else {
            Place::Regular(replacement(path, "name another file").with_context(context)?)
        };
        Ok(Out { path: path.to_path_buf(), file })
    }

    /// Writes all of the content.
    pub fn write(self, content: &[u8]) -> Result<()> {
        let context = || format!("--out {}", show_path(&self.path));
        match self.file {
            Place::Shared(mut file) => file.write_all(content).with_context(context),
            Place::Regular(mut output) => {
                output.file().write_all(content).with_context(context)?;
                Ok(Output::keep([output])?)
            }
        }
    }
}

/// Creates a file with the mode of `file` that will replace it, or its target if it is a symlink. A read-only file is not
/// replaced; `alternative` is what the user can do instead of making it writable.
pub fn replacement(file: &Path, alternative: &str) -> Result<Output> {
    let permissions = std::fs::metadata(file).map(|metadata| metadata.permissions()).ok();
    // A new file would take the place of the old one even so.
    if permissions.as_ref().is_some_and(Permissions::readonly) {
        bail!("the file is read-only; make it writable, or {alternative}");
    }
    let mut output = Output::create(&super::target(file))?;
    if let Some(permissions) = permissions {
        output.file().set_permissions(permissions)?;
    }
    Ok(output)
}
