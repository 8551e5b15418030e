//! Which of many files are opened, and in which order: inotify(7).
//!
//! It reports every way of opening a file: to read it, to map it as a shared library, or to execute it. Module names,
//! which `python -X importtime` prints, lack shared libraries and data, and isolated interpreters (`-I`) ignore
//! the variable that turns it on.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::show::show_path;

/// The directory in which Python keeps bytecode. From there, it reads a module without opening its source.
pub const BYTECODE: &str = "__pycache__";

/// Events of about 32 bytes each.
const BUFFER_BYTES: usize = 64 << 10;

/// A file to watch.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    /// The path, without symlinks.
    pub path: PathBuf,
    /// Symlinks to it. There may be bytecode next to these, too.
    pub links: Vec<PathBuf>,
}

/// Files that are watched.
pub struct Opened {
    inotify: OwnedFd,
    /// The number of the file with a name in the directory of a watch.
    files: HashMap<(i32, Vec<u8>), usize>,
    /// The number of the source file with a name, by the watch of the directory with its bytecode.
    sources: HashMap<(i32, Vec<u8>), usize>,
    is_open: Vec<bool>,
    order: Vec<usize>,
}

impl Opened {
    /// Watches `files`.
    pub fn watch(files: &[Watched]) -> Result<Opened> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context("inotify")?;
        let mut opened = Opened {
            inotify,
            files: HashMap::with_capacity(files.len()),
            sources: HashMap::new(),
            is_open: vec![false; files.len()],
            order: Vec::new(),
        };
        let mut watches: HashMap<&Path, i32> = HashMap::new();
        let mut bytecode: HashMap<&Path, Option<i32>> = HashMap::new();
        for (number, Watched { path, links }) in files.iter().enumerate() {
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let watch = match watches.get(directory) {
                Some(watch) => *watch,
                None => opened.add(directory)?,
            };
            watches.insert(directory, watch);
            opened.files.insert((watch, name.as_bytes().to_vec()), number);
            for source in [path].into_iter().chain(links) {
                let (Some(directory), Some(name)) = (source.parent(), source.file_name()) else { continue };
                let watch = match bytecode.get(directory) {
                    Some(watch) => *watch,
                    None => {
                        let place = directory.join(BYTECODE);
                        place.is_dir().then(|| opened.add(&place)).transpose()?
                    }
                };
                bytecode.insert(directory, watch);
                if let Some(watch) = watch {
                    opened.sources.insert((watch, name.as_bytes().to_vec()), number);
                }
            }
        }
        Ok(opened)
    }

    fn add(&self, directory: &Path) -> Result<i32> {
        match inotify::add_watch(&self.inotify, directory, WatchFlags::OPEN | WatchFlags::ONLYDIR) {
            Ok(watch) => Ok(watch),
            Err(Errno::NOSPC) => bail!(
                "{}: the kernel watches no more directories for this user; set fs.inotify.max_user_watches to a larger number with sysctl",
                show_path(directory)
            ),
            Err(error) => Err(error).with_context(|| show_path(directory)),
        }
    }

    /// Takes note of what has been opened.
    pub fn update(&mut self) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("inotify"),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                bail!(
                    "files were opened faster than they could be recorded; set fs.inotify.max_queued_events to a larger number with sysctl"
                );
            }
            let Some(name) = event.file_name() else { continue };
            let (watch, name) = (event.wd(), name.to_bytes());
            let number = self.files.get(&(watch, name.to_vec()));
            let source = || self.sources.get(&(watch, source(name)?));
            if let Some(&number) = number.or_else(source)
                && !std::mem::replace(&mut self.is_open[number], true)
            {
                self.order.push(number);
            }
        }
    }

    /// The numbers of the files that have been opened, in order.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}

/// The name of the source of a file with bytecode: `app.cpython-311.opt-1.pyc` → `app.py`.
fn source(bytecode: &[u8]) -> Option<Vec<u8>> {
    let name = Path::new(OsStr::from_bytes(bytecode));
    let module = bytecode.split(|&byte| byte == b'.').next()?;
    (name.extension()? == "pyc").then(|| [module, b".py"].concat())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn files_are_known_in_the_order_in_which_they_were_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/__pycache__")).unwrap();
        let files = ["a/x.py", "a/y.py", "a/__pycache__/x.cpython-311.pyc", "z", "unopened"];
        let files = files.map(|name| Watched { path: root.join(name), links: Vec::new() });
        for file in files
            .iter()
            .map(|file| &file.path)
            .chain([&root.join("a/__pycache__/y.cpython-311.opt-1.pyc"), &root.join("other")])
        {
            std::fs::write(file, "").unwrap();
        }
        let mut opened = Opened::watch(&files).unwrap();
        for name in
            ["z", "other", "a/__pycache__/y.cpython-311.opt-1.pyc", "z", "a/__pycache__/x.cpython-311.pyc"]
        {
            File::open(root.join(name)).unwrap();
        }
        std::fs::read_dir(root.join("a")).unwrap();
        opened.update().unwrap();
        assert_eq!(opened.order(), [3, 1, 2]);
        File::open(&files[0].path).unwrap();
        opened.update().unwrap();
        assert_eq!(opened.order(), [3, 1, 2, 0]);
    }
}
