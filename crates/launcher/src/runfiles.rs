//! Finds the runfiles directory.
//!
//! The path by which the program was started tells most: the directory is `PROGRAM.runfiles`, or, if the
//! program is itself a runfile, a directory above it whose name ends in `.runfiles`. A binary may be
//! data of another one, so the innermost such directory comes first. The program may also be started
//! through symlinks, which are followed one by one, because the runfiles can be beside any of them.
//!
//! The environment comes next. It is less reliable: `RUNFILES_DIR` and `RUNFILES_MANIFEST_FILE` may have
//! been set by, or for, another binary that starts this one. So a directory only counts if it contains
//! the program's virtual environment. `/proc/self/exe` is last; it is missing in some sandboxes, and is
//! outside the runfiles where these are symlinks.

use core::ffi::CStr;
use core::ops::ControlFlow::{self, Break, Continue};

use crate::buffer::Path;
use crate::errno::Errno;

/// How many symlinks the kernel follows in a path (`path_resolution(7)`).
pub const MAX_LINKS: usize = 40;

const SUFFIX: &[u8] = b".runfiles";

/// What the search asks the system.
pub trait FileSystem {
    /// Whether a file or directory exists; symlinks are followed.
    fn exists(&self, path: &CStr) -> Result<(), Errno>;
    fn read_link(&self, path: &CStr, target: &mut Path) -> Result<(), Errno>;
    fn current_directory(&self, path: &mut Path) -> Result<(), Errno>;
}

/// What a process knows about its runfiles.
#[derive(Default)]
pub struct Clues<'a> {
    /// The path that was executed.
    pub executed: Option<&'a [u8]>,
    /// `RUNFILES_DIR`
    pub directory: Option<&'a [u8]>,
    /// `RUNFILES_MANIFEST_FILE`
    pub manifest: Option<&'a [u8]>,
}

/// A directory that may contain the runfiles.
pub struct Candidate<'a> {
    /// Absolute, unless there is an `error`.
    pub directory: &'a [u8],
    /// Why `directory` could not be made absolute, or its full name be formed.
    pub error: Option<Errno>,
}

impl Candidate<'_> {
    /// Whether the directory contains the virtual environment `venv`.
    pub fn check(&self, system: &impl FileSystem, venv: &[u8]) -> Result<(), Errno> {
        self.error.map_or(Ok(()), Err)?;
        let mut path = Path::new();
        path.set(self.directory)?;
        path.join(venv)?;
        path.join(b"pyvenv.cfg")?;
        system.exists(path.as_c_str())
    }
}

/// What is done with each candidate; breaks if there is no need for another.
pub type Visit<'a> = dyn FnMut(Candidate) -> ControlFlow<()> + 'a;

/// Finds the runfiles directory that contains `venv`, and stores its absolute path in `root`.
pub fn find(system: &impl FileSystem, clues: &Clues, venv: &[u8], root: &mut Path) -> bool {
    let found = candidates(system, clues, &mut |candidate| match candidate
        .check(system, venv)
        .and_then(|()| root.set(candidate.directory))
    {
        Ok(()) => Break(()),
        Err(_) => Continue(()),
    });
    found.is_break()
}

/// Visits the candidates in order, until `visit` breaks.
pub fn candidates(system: &impl FileSystem, clues: &Clues, visit: &mut Visit) -> ControlFlow<()> {
    let mut program = Path::new();
    if let Some(executed) = clues.executed {
        match absolute(system, executed, &mut program) {
            Ok(()) => beside_program(system, &mut program, visit)?,
            Err(error) => visit(Candidate { directory: executed, error: Some(error) })?,
        }
    }
    let of_manifest = clues.manifest.map(directory_of_manifest);
    let mut path = Path::new();
    for directory in [clues.directory, of_manifest].into_iter().flatten() {
        if !directory.is_empty() {
            match absolute(system, directory, &mut path) {
                Ok(()) => visit(Candidate { directory: path.as_bytes(), error: None })?,
                Err(error) => visit(Candidate { directory, error: Some(error) })?,
            }
        }
    }
    let resolved = system.read_link(c"/proc/self/exe", &mut path).is_ok();
    if resolved && path.as_bytes().starts_with(b"/") && path.as_bytes() != program.as_bytes() {
        beside_program(system, &mut path, visit)?;
    }
    Continue(())
}

/// Visits the candidates beside and above a program, given its absolute path.
///
/// If the path is a symlink, those of the path to which it leads come next, and so on. `program` becomes
/// the last of these paths.
fn beside_program(system: &impl FileSystem, program: &mut Path, visit: &mut Visit) -> ControlFlow<()> {
    let mut target = Path::new();
    for _ in 0..=MAX_LINKS {
        let len = program.as_bytes().len();
        let error = program.push(SUFFIX).err();
        visit(Candidate { directory: program.as_bytes(), error })?;
        program.truncate(len);
        let mut parent = program.as_bytes();
        while let Some(slash) = last_slash(parent) {
            parent = &parent[..slash];
            if parent.ends_with(SUFFIX) {
                visit(Candidate { directory: parent, error: None })?;
            }
        }
        match follow(system, program, &mut target) {
            None => break,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                return visit(Candidate { directory: target.as_bytes(), error: Some(error) });
            }
        }
    }
    Continue(())
}

/// If `path` is a symlink, replaces it with the path to which it leads. `target` becomes the link's text.
pub fn follow(system: &impl FileSystem, path: &mut Path, target: &mut Path) -> Option<Result<(), Errno>> {
    system.read_link(path.as_c_str(), target).ok()?;
    // `..` in a target must stay: the directory before it may be a symlink.
    let start = match last_slash(path.as_bytes()) {
        Some(slash) if !target.as_bytes().starts_with(b"/") => slash + 1,
        _ => 0,
    };
    path.truncate(start);
    Some(path.push(target.as_bytes()))
}

/// The directory of runfiles to which a manifest belongs: Bazel puts it at `X.runfiles_manifest` and
/// `X.runfiles/MANIFEST`. Empty for any other path.
fn directory_of_manifest(manifest: &[u8]) -> &[u8] {
    let directory = manifest.strip_suffix(b"_manifest").or_else(|| manifest.strip_suffix(b"/MANIFEST"));
    directory.filter(|directory| directory.ends_with(SUFFIX)).unwrap_or_default()
}

/// Makes a path absolute that is relative to the current directory. Removes `./` from its beginning and
/// slashes from its end, but resolves nothing.
fn absolute(system: &impl FileSystem, path: &[u8], absolute: &mut Path) -> Result<(), Errno> {
    let mut rest = path;
    while let [begin @ .., b'/'] = rest
        && !begin.is_empty()
    {
        rest = begin;
    }
    if rest.starts_with(b"/") {
        return absolute.set(rest);
    }
    while let Some(after) = rest.strip_prefix(b"./") {
        rest = after;
    }
    system.current_directory(absolute)?;
    // The kernel returns "(unreachable)/…" for a directory outside the root directory.
    if !absolute.as_bytes().starts_with(b"/") {
        return Err(Errno::ENOENT);
    }
    absolute.join(rest)
}

pub fn last_slash(path: &[u8]) -> Option<usize> {
    path.iter().rposition(|&byte| byte == b'/')
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Existing paths; symlinks have a target.
    #[derive(Default)]
    pub struct Files {
        paths: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        current_directory: Option<&'static [u8]>,
    }

    impl FileSystem for Files {
        fn exists(&self, path: &CStr) -> Result<(), Errno> {
            self.paths.get(path.to_bytes()).map(|_| ()).ok_or(Errno::ENOENT)
        }

        fn read_link(&self, path: &CStr, target: &mut Path) -> Result<(), Errno> {
            let text = self.paths.get(path.to_bytes()).ok_or(Errno::ENOENT)?.as_ref();
            target.set(text.ok_or(Errno(22))?)
        }

        fn current_directory(&self, path: &mut Path) -> Result<(), Errno> {
            path.set(self.current_directory.ok_or(Errno::ENOENT)?)
        }
    }

    pub fn files(paths: &[&str], links: &[(&str, &str)]) -> Files {
        let paths = paths.iter().map(|path| (path.as_bytes().to_vec(), None));
        let links =
            links.iter().map(|(path, target)| (path.as_bytes().to_vec(), Some(target.as_bytes().to_vec())));
        Files { paths: paths.chain(links).collect(), current_directory: Some(b"/cwd") }
    }

    fn tried(system: &Files, clues: &Clues) -> Vec<String> {
        let mut tried = Vec::new();
        let visited = candidates(system, clues, &mut |candidate| {
            let text = String::from_utf8_lossy(candidate.directory).into_owned();
            tried.push(candidate.error.map_or(text.clone(), |error| format!("{text}: {}", error.0)));
            Continue(())
        });
        assert!(visited.is_continue());
        tried
    }

    fn executed(path: &[u8]) -> Clues<'_> {
        Clues { executed: Some(path), ..Clues::default() }
    }

    #[test]
    fn candidates_come_in_order() {
        let links = [
            ("/usr/bin/app", "../lib/app"),
            ("/usr/bin/../lib/app", "/o.runfiles/_main/i.runfiles/_main/app"),
            ("/proc/self/exe", "/bazel/app"),
        ];
        let clues = Clues {
            executed: Some(b"/usr/bin/app"),
            directory: Some(b"/other.runfiles/"),
            manifest: Some(b"x.runfiles/MANIFEST"),
        };
        assert_eq!(
            tried(&files(&[], &links), &clues),
            [
                "/usr/bin/app.runfiles",
                "/usr/bin/../lib/app.runfiles",
                "/o.runfiles/_main/i.runfiles/_main/app.runfiles",
                "/o.runfiles/_main/i.runfiles",
                "/o.runfiles",
                "/other.runfiles",
                "/cwd/x.runfiles",
                "/bazel/app.runfiles",
            ]
        );
    }

    #[test]
    fn relative_paths_are_relative_to_the_current_directory() {
        let mut system = files(&[], &[("/cwd/d/app", "a")]);
        assert_eq!(tried(&system, &executed(b"././d/app")), ["/cwd/d/app.runfiles", "/cwd/d/a.runfiles"]);
        assert_eq!(tried(&system, &executed(b"../app")), ["/cwd/../app.runfiles"]);
        system.current_directory = Some(b"/");
        assert_eq!(tried(&system, &executed(b"app")), ["/app.runfiles"]);
        for unreachable in [None, Some(&b"(unreachable)/cwd"[..])] {
            system.current_directory = unreachable;
            assert_eq!(tried(&system, &executed(b"app")), ["app: 2"]);
            assert_eq!(tried(&system, &executed(b"/app")), ["/app.runfiles"]);
        }
    }

    #[test]
    fn only_manifests_of_bazel_imply_a_directory() {
        for (manifest, expected) in [
            ("/a.runfiles_manifest", &["/a.runfiles"][..]),
            ("/a.runfiles/MANIFEST", &["/a.runfiles"]),
            ("/a.runfiles/x/MANIFEST", &[]),
            ("/MANIFEST", &[]),
            ("/a_manifest", &[]),
            ("", &[]),
        ] {
            let clues = Clues { manifest: Some(manifest.as_bytes()), ..Clues::default() };
            assert_eq!(tried(&files(&[], &[]), &clues), expected);
        }
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        let system = files(&[], &[("/a", "b"), ("/b", "a")]);
        assert_eq!(tried(&system, &executed(b"/a")).len(), MAX_LINKS + 1);
    }

    #[test]
    fn only_a_directory_with_the_virtual_environment_counts() {
        let system = files(&["/r.runfiles/m/v/pyvenv.cfg", "/app.runfiles", "/app.runfiles/m"], &[]);
        let clues = Clues { directory: Some(b"/r.runfiles"), ..executed(b"/app") };
        let mut root = Path::new();
        assert!(find(&system, &clues, b"m/v", &mut root));
        assert_eq!(root.as_bytes(), b"/r.runfiles");
        assert!(!find(&system, &clues, b"m/w", &mut root));
    }

    #[test]
    fn paths_that_are_too_long_are_no_candidates() {
        let long = [b"/".as_slice(), &[b'x'; 4094]].concat();
        let system = files(&[], &[]);
        let mut errors = Vec::new();
        let clues = Clues { directory: Some(&long), ..executed(&long) };
        let visited = candidates(&system, &clues, &mut |candidate| {
            errors.push(candidate.check(&system, b"v"));
            Continue(())
        });
        assert!(visited.is_continue());
        assert_eq!(errors, [Err(Errno::ENAMETOOLONG), Err(Errno::ENAMETOOLONG)]);
        assert_eq!(tried(&system, &executed(&long[1..])).len(), 1);
    }
}
