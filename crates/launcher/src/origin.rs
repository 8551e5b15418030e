//! Finds the directory that the dynamic loader needs as the interpreter's `$ORIGIN` if there is no `/proc`.
//!
//! An interpreter that can be moved finds its `libpython` by a run path such as `$ORIGIN/../lib`. glibc's
//! loader takes `$ORIGIN` from `/proc/self/exe`, or, if it cannot read that, from the variable
//! `LD_ORIGIN_PATH` (`sysdeps/unix/sysv/linux/dl-origin.c`). `/proc/self/exe` leads to the interpreter's
//! file. The interpreter in the virtual environment is a symlink, so it has to be followed here.

use crate::buffer::Path;
use crate::errno::Errno;
use crate::runfiles::{FileSystem, MAX_LINKS, follow, last_slash};

/// Whether `/proc/self/exe` can be read, so that the loader needs no variable.
pub fn is_known(system: &impl FileSystem) -> bool {
    system.read_link(c"/proc/self/exe", &mut Path::new()).is_ok()
}

/// Follows the symlinks at the absolute path `program`, and stores the directory of the last path in
/// `directory`. Components before the last one may be symlinks, which the kernel follows.
pub fn find(system: &impl FileSystem, program: &[u8], directory: &mut Path) -> Result<(), Errno> {
    directory.set(program)?;
    let mut target = Path::new();
    for _ in 0..MAX_LINKS {
        match follow(system, directory, &mut target) {
            None => break,
            Some(followed) => followed?,
        }
    }
    let slash = last_slash(directory.as_bytes()).unwrap_or_default();
    directory.truncate(slash.max(1));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runfiles::tests::{Files, files};

    fn origin(system: &Files, program: &str) -> Result<String, Errno> {
        let mut directory = Path::new();
        find(system, program.as_bytes(), &mut directory)?;
        Ok(String::from_utf8_lossy(directory.as_bytes()).into_owned())
    }

    #[test]
    fn it_is_where_the_links_lead() {
        let links = [
            ("/r/v/bin/python3", "../../py/bin/python3"),
            ("/r/v/bin/../../py/bin/python3", "python3.11"),
            ("/r/v/bin/absolute", "/usr/bin/python3"),
            ("/r/v/bin/top", "/python3"),
            ("/a", "b"),
            ("/b", "a"),
        ];
        let system = files(&[], &links);
        for (program, directory) in [
            ("/r/v/bin/python3", "/r/v/bin/../../py/bin"),
            ("/r/v/bin/absolute", "/usr/bin"),
            ("/r/v/bin/top", "/"),
            ("/r/v/bin/no_link", "/r/v/bin"),
            ("/a", "/"),
        ] {
            assert_eq!(origin(&system, program), Ok(directory.to_string()));
        }
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        let system = files(&[], &[("/directory/a", &"x".repeat(4090))]);
        assert_eq!(origin(&system, "/directory/a"), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn with_proc_it_is_known() {
        assert!(!is_known(&files(&[], &[])));
        assert!(is_known(&files(&[], &[("/proc/self/exe", "/app")])));
    }
}
