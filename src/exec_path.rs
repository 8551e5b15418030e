//! The path of an action's input or output, as Bazel writes it: relative to the directory in which
//! the action runs, or to the `sandbox_dir` of a work request.
//!
//! Such a path stays within that directory, with one exception. With
//! `--experimental_sibling_repository_layout`, Bazel puts other repositories next to the directory in
//! which actions run, so their source files are at `../<repository>/…`. Outputs are still in
//! `bazel-out`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::show::show;

/// Why a path is not a valid exec path.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("exec path \"{path}\": {problem}")]
pub struct Error {
    pub path: String,
    pub problem: &'static str,
}

/// Checks the exec path of an input.
pub fn input(path: &[u8]) -> Result<PathBuf, Error> {
    let is_name = |rest: &&[u8]| !matches!(rest.split(|&byte| byte == b'/').next(), Some(b"" | b"."));
    let below = path.strip_prefix(b"../").filter(is_name).unwrap_or(path);
    check(
        path,
        below,
        "`..` leads outside the directory in which the action runs; only source files of other repositories may be outside it, at ../<repository>/…",
    )
}

/// Checks the exec path of an output.
pub fn output(path: &[u8]) -> Result<PathBuf, Error> {
    check(path, path, "`..` leads outside the directory in which the action runs, where its outputs belong")
}

/// Checks the `sandbox_dir` of a work request. An empty one stands for the working directory.
pub fn sandbox_dir(path: &Path) -> Result<&Path, Error> {
    if !path.as_os_str().is_empty() {
        let path = path.as_os_str().as_bytes();
        check(path, path, "`..` leads outside the worker's directory, where the sandboxes are")?;
    }
    Ok(path)
}

fn check(path: &[u8], below: &[u8], leads_out: &'static str) -> Result<PathBuf, Error> {
    let problem = if path.is_empty() {
        "it is empty"
    } else if path.starts_with(b"/") {
        "it is absolute; make it relative to the directory in which the action runs"
    } else if path.contains(&0) {
        "it contains a NUL byte"
    } else if below.split(|&byte| byte == b'/').any(|component| component == b"..") {
        leads_out
    } else {
        return Ok(plain(path));
    };
    Err(Error { path: show(path), problem })
}

/// `path` without `.` and empty components, so that equal locations have equal paths. The directory
/// itself is `.`.
fn plain(path: &[u8]) -> PathBuf {
    let written = Path::new(OsStr::from_bytes(path));
    if path.split(|&byte| byte == b'/').any(|component| matches!(component, b"" | b".")) {
        let names: PathBuf =
            written.components().filter(|component| *component != Component::CurDir).collect();
        if names.as_os_str().is_empty() { ".".into() } else { names }
    } else {
        written.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_has_the_same_path() {
        for path in ["a/b", "./a/b", "a//b", "a/./b", "a/b/", ".//a/./b/."] {
            assert_eq!(input(path.as_bytes()).unwrap().as_os_str(), "a/b", "{path}");
        }
        assert_eq!(input(b"./").unwrap().as_os_str(), ".");
    }

    #[test]
    fn what_bazel_sends_is_taken() {
        for path in [
            "app/main.py",
            "bazel-out/k8-fastbuild/bin/app/x",
            "external/rules_python~~pip~numpy/x",
            "@types/node",
            "..a/b..",
        ] {
            assert_eq!(input(path.as_bytes()), Ok(path.into()));
            assert_eq!(output(path.as_bytes()), Ok(path.into()));
            assert_eq!(sandbox_dir(Path::new(path)), Ok(Path::new(path)));
        }
        assert_eq!(input(b"../numpy/a\xff"), Ok(OsStr::from_bytes(b"../numpy/a\xff").into()));
        assert_eq!(sandbox_dir(Path::new("")), Ok(Path::new("")));
    }

    #[test]
    fn nothing_leads_elsewhere() {
        for path in [
            "/",
            "/etc/passwd",
            "..",
            "../",
            "../..",
            "../../x",
            "../.",
            ".././x",
            "..//x",
            "a/..",
            "../a/../b",
            "a/../b",
            "a\0",
        ] {
            assert!(input(path.as_bytes()).is_err(), "{path:?}");
            assert!(output(path.as_bytes()).is_err(), "{path:?}");
            assert!(sandbox_dir(Path::new(path)).is_err(), "{path:?}");
        }
        assert!(input(b"").is_err() && output(b"").is_err());
        assert!(output(b"../numpy/a").is_err() && sandbox_dir(Path::new("../a")).is_err());
    }

    #[test]
    fn the_path_is_named() {
        assert_eq!(
            input(b"/etc/passwd").unwrap_err().to_string(),
            "exec path \"/etc/passwd\": it is absolute; make it relative to the directory in which the action runs"
        );
    }
}
