//! Reads the runfiles of a built binary from disk, and turns them into manifest entries.
//!
//! Next to a binary, Bazel creates a directory with an absolute symlink for each runfile, a copy of each
//! declared symlink, and empty files. With `--noenable_runfiles`, it contains only the file `MANIFEST`,
//! whose lines have the same information. Neither shows which file an entry of `symlinks` or
//! `root_symlinks` stands for, which the rule can see. It follows from the links' targets: each file has
//! one place of its own in a runfiles tree, and a link to it at any other place is such an entry.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::image_path::{self, ImagePath};
use crate::manifest::{ManifestEntry, Source};
use crate::settings::RUNFILES;
use crate::show::{show, show_path};

/// The list of runfiles at the root of a runfiles tree. Not a runfile itself.
const MANIFEST: &str = "MANIFEST";
/// The file in Bazel's output base that contains the path of the workspace.
const WORKSPACE_PATH: &str = "DO_NOT_BUILD_HERE";

/// Why there are no runfiles to pack.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {error}", show_path(path))]
    Read { path: PathBuf, error: io::Error },
    #[error(
        "{} {problem}; build the binary with runfiles: run `bazel build` on the binary's own target, because building its layers does not create them, or name a directory with --runfiles",
        show_path(path)
    )]
    Missing { path: PathBuf, problem: &'static str },
    #[error("{} is not a directory; name a directory with --runfiles", show_path(path))]
    NotADirectory { path: PathBuf },
    #[error("line {line} of {}, {text}, {problem}; build the binary again", show_path(path))]
    Line { path: PathBuf, line: usize, text: String, problem: &'static str },
}

/// What is at a path of a runfiles tree.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Runfile {
    Empty,
    /// A regular file at this path.
    File(PathBuf),
    /// An absolute link, which Bazel creates for a file.
    Link {
        target: PathBuf,
        to_directory: bool,
    },
    /// A declared symlink with this target.
    DeclaredSymlink(PathBuf),
}

impl Runfile {
    /// A symlink with this target. If it dangles, opening the file will fail later.
    fn link(text: PathBuf) -> Runfile {
        match text.is_absolute() {
            true => Runfile::Link { to_directory: text.is_dir(), target: text },
            false => Runfile::DeclaredSymlink(text),
        }
    }
}

/// A binary's runfiles.
#[derive(Debug)]
pub struct Runfiles {
    /// By path relative to the tree's root.
    files: BTreeMap<Vec<u8>, Runfile>,
    /// `None` if no link leads to one of Bazel's outputs.
    bazel: Option<Bazel>,
}

/// The runfiles directory: `named`, or the one that Bazel creates next to `binary`.
pub fn directory(binary: &Path, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| with_suffix(binary, RUNFILES), Path::to_path_buf)
}

impl Runfiles {
    /// Reads the runfiles in `directory`, or from Bazel's manifest if it has none.
    pub fn read(binary: &Path, directory: &Path) -> Result<Runfiles, Error> {
        let (files, problem) = match std::fs::metadata(directory) {
            Ok(metadata) if metadata.is_dir() => (read_tree(directory)?, "is empty"),
            Ok(_) => return Err(Error::NotADirectory { path: directory.to_path_buf() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), "is not there"),
            Err(error) => return Err(Error::Read { path: directory.to_path_buf(), error }),
        };
        let mut files = if files.is_empty() { read_manifest(binary, directory)? } else { files };
        if files.is_empty() {
            return Err(Error::Missing { path: directory.to_path_buf(), problem });
        }
        let bazel = files.values().find_map(Bazel::of).map(Bazel::with_workspace);
        if let Some(bazel) = &bazel {
            for (path, runfile) in &mut files {
                bazel.mark_declared_symlink(path, runfile);
            }
        }
        Ok(Runfiles { files, bazel })
    }

    /// The manifest entries for a runfiles tree at `place` in the image, as the rule would write them.
    pub fn entries(&self, place: &ImagePath) -> Result<Vec<ManifestEntry>, image_path::Error> {
        let runfiles = self.files.iter();
        let runfiles = runfiles
            .filter(|(path, runfile)| !self.is_legacy_copy(path, runfile) && !is_placeholder(path, runfile));
        runfiles
            .map(|(path, runfile)| {
                Ok(ManifestEntry { path: place.join(path)?, source: self.source(path, runfile) })
            })
            .collect()
    }

    /// Whether this is one of the copies in `<main repository>/external/` that Bazel creates for all
    /// files of other repositories with `--legacy_external_runfiles`. The files of a directory `external`
    /// in the main repository have no such original.
    fn is_legacy_copy(&self, path: &[u8], runfile: &Runfile) -> bool {
        let main = self.bazel.as_ref().map(|bazel| bazel.main_repository.as_slice());
        let original = main
            .and_then(|main| path.strip_prefix(main))
            .and_then(|below| below.strip_prefix(b"/external/"))
            .and_then(|original| self.files.get(original));
        original == Some(runfile)
    }

    fn source(&self, path: &[u8], runfile: &Runfile) -> Source {
        let (target, to_directory) = match runfile {
            Runfile::Empty => return Source::Empty,
            Runfile::File(file) => return Source::File(file.clone()),
            Runfile::DeclaredSymlink(text) => return Source::Symlink(bytes(text).to_vec()),
            Runfile::Link { target, to_directory } => (target, *to_directory),
        };
        match self.bazel.as_ref().and_then(|bazel| bazel.own_place(target)) {
            Some(own) if own != path && self.files.get(&own) == Some(runfile) => {
                Source::Symlink(relative(path, &own))
            }
            _ if to_directory => Source::Tree(target.clone()),
            _ => Source::File(target.clone()),
        }
    }
}

/// Whether this is `_main/.runfile`, an empty file that Bazel creates for the directory's sake if the binary
/// has no runfiles of the main repository. Files that a rule lists are links, even if they are empty.
fn is_placeholder(path: &[u8], runfile: &Runfile) -> bool {
    let repository = path.strip_suffix(b"/.runfile");
    *runfile == Runfile::Empty && repository.is_some_and(|repository| !repository.contains(&b'/'))
}

/// Where the Bazel server that created a runfiles tree keeps files, as spelled in the links' targets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bazel {
    output_base: PathBuf,
    /// The name of the main repository, and of the directory in which actions run.
    main_repository: Vec<u8>,
    /// `None` if the output base does not reveal it.
    workspace: Option<PathBuf>,
}

impl Bazel {
    /// Recognizes a link to an output: `<output base>/execroot/<main repository>/bazel-out/…`.
    fn of(runfile: &Runfile) -> Option<Bazel> {
        let Runfile::Link { target, .. } = runfile else { return None };
        let execution_root =
            target.ancestors().find(|path| path.file_name() == Some(OsStr::new("bazel-out")))?.parent()?;
        let execroot = execution_root.parent()?;
        (execroot.file_name()? == "execroot").then_some(Bazel {
            output_base: execroot.parent()?.to_path_buf(),
            main_repository: execution_root.file_name()?.as_bytes().to_vec(),
            workspace: None,
        })
    }

    fn with_workspace(self) -> Bazel {
        let text = std::fs::read(self.output_base.join(WORKSPACE_PATH)).unwrap_or_default();
        let workspace = PathBuf::from(OsStr::from_bytes(text.trim_ascii_end()));
        Bazel { workspace: workspace.is_absolute().then_some(workspace), ..self }
    }

    fn execution_root(&self) -> PathBuf {
        self.output_base.join("execroot").join(OsStr::from_bytes(&self.main_repository))
    }

    /// The path in a runfiles tree of the file that is on disk at `file`.
    fn own_place(&self, file: &Path) -> Option<Vec<u8>> {
        if let Ok(path) = file.strip_prefix(self.execution_root()) {
            let parts: Vec<&[u8]> = path.iter().map(OsStr::as_bytes).collect();
            // After bazel-out come the configuration and `bin`.
            let (repository, path) = match &parts[..] {
                [b"bazel-out", _, _, b"external", repository, path @ ..] => (*repository, path),
                [b"bazel-out", _, _, path @ ..] => (&*self.main_repository, path),
                [b"external", repository, path @ ..] => (*repository, path),
                path => (&*self.main_repository, path),
            };
            return Some([&[repository], path].concat().join(&b'/'));
        }
        if let Ok(path) = file.strip_prefix(self.output_base.join("external")) {
            return Some(bytes(path).to_vec());
        }
        let path = file.strip_prefix(self.workspace.as_ref()?).ok()?;
        Some([&self.main_repository, &b"/"[..], bytes(path)].concat())
    }

    /// Recognizes a declared symlink with an absolute target: the output itself is a symlink.
    fn mark_declared_symlink(&self, place: &[u8], runfile: &mut Runfile) {
        let Runfile::Link { target, .. } = runfile else { return };
        let mut roots = [Some(&self.output_base), self.workspace.as_ref()].into_iter().flatten();
        if roots.any(|root| target.starts_with(root)) {
            return;
        }
        let main = place.strip_prefix(&*self.main_repository).and_then(|below| below.strip_prefix(b"/"));
        let output = match main {
            Some(path) => Path::new("bin").join(OsStr::from_bytes(path)),
            None => Path::new("bin/external").join(OsStr::from_bytes(place)),
        };
        let outputs = self.execution_root().join("bazel-out");
        let mut configurations = std::fs::read_dir(outputs).into_iter().flatten().flatten();
        if configurations.any(|configuration| {
            std::fs::read_link(configuration.path().join(&output)).is_ok_and(|text| text == *target)
        }) {
            *runfile = Runfile::DeclaredSymlink(std::mem::take(target));
        }
    }
}

fn read_tree(root: &Path) -> Result<BTreeMap<Vec<u8>, Runfile>, Error> {
    let mut files = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(below) = directories.pop() {
        let path = if below.as_os_str().is_empty() { root.to_path_buf() } else { root.join(&below) };
        let error = |error| Error::Read { path: path.clone(), error };
        for child in std::fs::read_dir(&path).map_err(error)? {
            let child = child.map_err(error)?;
            let place = below.join(child.file_name());
            let kind = child.file_type().map_err(error)?;
            if kind.is_dir() {
                directories.push(place);
            } else if place != Path::new(MANIFEST) {
                let runfile = if kind.is_symlink() {
                    let text = std::fs::read_link(child.path());
                    Runfile::link(text.map_err(|error| Error::Read { path: child.path(), error })?)
                } else if kind.is_file() && child.metadata().is_ok_and(|metadata| metadata.len() == 0) {
                    Runfile::Empty
                } else {
                    Runfile::File(child.path())
                };
                files.insert(place.into_os_string().into_vec(), runfile);
            }
        }
    }
    Ok(files)
}

/// Reads Bazel's manifest in the runfiles tree at `directory`, or next to `binary`. Empty if there is none.
fn read_manifest(binary: &Path, directory: &Path) -> Result<BTreeMap<Vec<u8>, Runfile>, Error> {
    let beside = with_suffix(binary, ".runfiles_manifest");
    let beside = (directory == with_suffix(binary, RUNFILES)).then_some(beside);
    for path in [directory.join(MANIFEST)].into_iter().chain(beside) {
        match std::fs::read(&path) {
            Ok(text) => return parse_manifest(&text, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Read { path, error }),
        }
    }
    Ok(BTreeMap::new())
}

/// Parses Bazel's manifest. A line is a path, a space, and a target: an absolute path, the target of a
/// declared symlink, or nothing for an empty file. If the line begins with a space, both are escaped.
fn parse_manifest(text: &[u8], manifest: &Path) -> Result<BTreeMap<Vec<u8>, Runfile>, Error> {
    let mut files = BTreeMap::new();
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let error = |problem| Error::Line {
            path: manifest.to_path_buf(),
            line: index + 1,
            text: show(line),
            problem,
        };
        let (path, target) = parse_line(line).ok_or_else(|| error("is malformed"))?;
        let runfile = match target.is_empty() {
            true => Runfile::Empty,
            false => Runfile::link(OsStr::from_bytes(&target).into()),
        };
        if files.insert(path, runfile).is_some() {
            return Err(error("repeats a path"));
        }
    }
    Ok(files)
}

fn parse_line(line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let escaped = line.strip_prefix(b" ");
    let line = escaped.unwrap_or(line);
    // A tar header would truncate a path at a NUL.
    let space = line.iter().position(|&byte| byte == b' ').filter(|_| !line.contains(&0))?;
    let (path, target) = (&line[..space], &line[space + 1..]);
    match escaped {
        Some(_) => Some((unescape(path)?, unescape(target)?)),
        None => Some((path.to_vec(), target.to_vec())),
    }
}

/// Undoes Bazel's escapes; `None` if a backslash does not begin a valid escape.
fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = field.iter();
    let mut plain = Vec::with_capacity(field.len());
    while let Some(&byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b's' => b' ',
                b'n' => b'\n',
                b'b' => b'\\',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

/// The relative target of a symlink at `link` to `target`, both relative to the same directory.
pub fn relative(link: &[u8], target: &[u8]) -> Vec<u8> {
    let here: Vec<&[u8]> = link.split(|&byte| byte == b'/').collect();
    let there: Vec<&[u8]> = target.split(|&byte| byte == b'/').collect();
    let directories = here[..here.len() - 1].iter().zip(&there[..there.len() - 1]);
    let shared = directories.take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(&b".."[..], here.len() - 1 - shared);
    up.chain(there[shared..].iter().copied()).collect::<Vec<_>>().join(&b'/')
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_os_string();
    path.push(suffix);
    path.into()
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_place_of_a_file_follows_from_where_bazel_has_it() {
        let bazel = Bazel {
            output_base: "/base".into(),
            main_repository: b"_main".to_vec(),
            workspace: Some("/home/me/ws".into()),
        };
        let place =
            |file: &str| bazel.own_place(Path::new(file)).map(|place| String::from_utf8(place).unwrap());
        for (file, expected) in [
            ("/base/execroot/_main/bazel-out/k8-fastbuild/bin/app/x", "_main/app/x"),
            ("/base/execroot/_main/bazel-out/k8-opt-ST-1/bin/x", "_main/x"),
            ("/base/execroot/_main/bazel-out/k8-fastbuild/bin/external/pip~numpy/x/y", "pip~numpy/x/y"),
            ("/base/execroot/_main/external/pip~numpy/x", "pip~numpy/x"),
            ("/base/execroot/_main/app/x", "_main/app/x"),
            ("/base/external/pip~numpy/x/y", "pip~numpy/x/y"),
            ("/home/me/ws/app/x", "_main/app/x"),
            ("/home/me/ws/external/x", "_main/external/x"),
        ] {
            assert_eq!(place(file).as_deref(), Some(expected), "{file}");
        }
        for elsewhere in ["/home/me/other/x", "/base/other", "/base/execroot/other/x", "/home/me/ws2/x"] {
            assert_eq!(place(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn bazel_is_known_by_its_outputs() {
        let of = |target: &str| {
            let bazel = Bazel::of(&Runfile::Link { target: target.into(), to_directory: false })?;
            Some((bazel.output_base.into_os_string().into_string().ok()?, bazel.main_repository))
        };
        let inner = "/outer/execroot/_main/bazel-out/k8/bin/tmp/inner";
        for base in ["/base", inner] {
            let expected = Some((base.to_string(), b"ws".to_vec()));
            assert_eq!(of(&format!("{base}/execroot/ws/bazel-out/k8/bin/x")), expected);
        }
        for target in ["/base/external/x", "/ws/bazel-out/k8/bin/x", "/bazel-out/x", "/execroot/bazel-out/x"]
        {
            assert_eq!(of(target), None, "{target}");
        }
        let text = "base/execroot/ws/bazel-out/k8/bin/x";
        assert_eq!(Bazel::of(&Runfile::DeclaredSymlink(text.into())), None);
    }

    #[test]
    fn relative_links_are_short() {
        for (link, target, text) in [
            ("a", "b", "b"),
            ("d/a", "b", "../b"),
            ("a", "d/b", "d/b"),
            ("d/e/a", "d/b", "../b"),
            ("d/e/a", "d/e/f/b", "f/b"),
            ("d/a", "e/a", "../e/a"),
            ("d/d/a", "d/d", "../d"),
        ] {
            assert_eq!(relative(link.as_bytes(), target.as_bytes()), text.as_bytes(), "{link} to {target}");
        }
    }
}
