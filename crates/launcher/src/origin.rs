//! Finds the directory of the interpreter for the dynamic loader.
//!
//! Interpreters that can be moved find their `libpython` by a run path such as `$ORIGIN/../lib`. The loader
//! of glibc takes `$ORIGIN` of a program from `/proc/self/exe`, and if there is no `/proc`, from the variable
//! `LD_ORIGIN_PATH` (`sysdeps/unix/sysv/linux/dl-origin.c`). The interpreter of a virtual environment is a
//! symlink, so the directory is not that of the link, but that of the file to which it leads.

use crate::buffer::Path;
use crate::errno::Errno;
use crate::runfiles::{FileSystem, MAX_LINKS, follow, last_slash};

/// Whether the loader of a program that this process executes can find the program's directory.
pub fn is_known(system: &impl FileSystem) -> bool {
    system.read_link(c"/proc/self/exe", &mut Path::new()).is_ok()
}

/// Stores the directory of the file to which the absolute path `program` leads in `directory`.
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
    fn a_path_that_is_too_long_is_none() {
        let system = files(&[], &[("/directory/a", &"x".repeat(4090))]);
        assert_eq!(origin(&system, "/directory/a"), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn with_proc_it_is_known() {
        assert!(!is_known(&files(&[], &[])));
        assert!(is_known(&files(&[], &[("/proc/self/exe", "/app")])));
    }
}
