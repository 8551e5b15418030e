//! The file that a command writes.

use std::fs::{File, OpenOptions};
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
    /// Prepares to write to `path`, so that mistakes are found before any work is done. If it is a symlink, its target is
    /// replaced. A file keeps its mode.
    pub fn open(path: &Path) -> Result<Out> {
        let context = || format!("--out {}", show_path(path));
        let target = super::target(path);
        let metadata = std::fs::metadata(path).ok();
        let is_shared =
            path.starts_with("/dev") || metadata.as_ref().is_some_and(|metadata| !metadata.is_file());
        let file = if is_shared {
            Place::Shared(OpenOptions::new().append(true).open(path).with_context(context)?)
        } else {
            if metadata.as_ref().is_some_and(|metadata| metadata.permissions().readonly()) {
                bail!("{}: the file is read-only; make it writable, or name another file", context());
            }
            let mut output = Output::create(&target)?;
            if let Some(metadata) = metadata {
                output.file().set_permissions(metadata.permissions()).with_context(context)?;
            }
            Place::Regular(output)
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
