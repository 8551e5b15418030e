//! Determines from the paths of a binary's runfiles what its repositories contain.
//!
//! Repository names depend on users, rule sets and Bazel versions. Of ten names that public `WORKSPACE`
//! files give an interpreter, six do not show that it is one, and `pip_torch_audio` may be the package
//! `audio` of a hub called `pip_torch`. The contents are unambiguous: an interpreter has a standard
//! library, and the repository of a package has the metadata of its wheel, with the distribution's name.
//!
//! `bazel/private/survey.bzl` does the same at analysis.

use std::collections::{BTreeMap, BTreeSet};

/// The result of a survey. Directories and paths are relative to the runfiles directory, and sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Directories with a `lib/python3.11/os.py`: a repository, or a directory in one. Excludes those
    /// within a `site-packages` directory, since some packages bundle an interpreter, and those that
    /// contain the binary itself, since all of its files would count as the interpreter's.
    pub interpreters: Vec<Vec<u8>>,
    /// Repositories with a `site-packages/<distribution>-<version>.dist-info/METADATA`, by the
    /// [normalized](normalize_distribution) name of the distribution.
    pub packages: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Wheels at the root of a repository that has a `site-packages` directory, in which a rule set has
    /// unpacked them. Any other wheel is data.
    pub wheels: Vec<Vec<u8>>,
}

impl Survey {
    /// Surveys paths relative to a runfiles directory; the path of a tree ends in a slash. `binaries` are
    /// the paths of the executables within their repositories.
    pub fn of<'a>(paths: impl Iterator<Item = &'a [u8]> + Clone, binaries: &[&[u8]]) -> Survey {
        // The executables, each with its repository.
        let own: BTreeMap<&[u8], &[u8]> = paths
            .clone()
            .filter_map(|path| Some((path, binaries.iter().find_map(|binary| repository_of(path, binary))?)))
            .collect();
        let repositories: BTreeSet<&[u8]> = own.values().copied().collect();
        let mut interpreters = BTreeSet::new();
        let mut packages: BTreeMap<Vec<u8>, BTreeSet<&[u8]>> = BTreeMap::new();
        let mut wheels = BTreeSet::new();
        for path in paths.clone() {
            let parts = || -> Vec<&[u8]> { path.split(|&byte| byte == b'/').collect() };
            if path.ends_with(b"/os.py") {
                interpreters.extend(interpreter(&parts(), &own));
            } else if path.ends_with(b".dist-info/METADATA") {
                if let Some((repository, distribution)) = package(&parts()) {
                    packages.entry(distribution).or_default().insert(repository);
                }
            } else if path.ends_with(b".whl")
                && let [repository, _] = parts()[..]
                && !repositories.contains(repository)
            {
                wheels.insert((repository, path));
            }
        }
        let has_wheel: BTreeSet<&[u8]> = wheels.iter().map(|(repository, _)| *repository).collect();
        let unpacked: BTreeSet<&[u8]> = paths
            .filter(|_| !has_wheel.is_empty())
            .filter_map(|path| {
                let end = path.iter().position(|&byte| byte == b'/')?;
                path[end..].starts_with(b"/site-packages/").then_some(&path[..end])
            })
            .collect();
        let owned = |paths: BTreeSet<&[u8]>| paths.into_iter().map(<[u8]>::to_vec).collect();
        Survey {
            interpreters: interpreters.into_iter().collect(),
            packages: packages.into_iter().map(|(name, repositories)| (name, owned(repositories))).collect(),
            wheels: wheels
                .into_iter()
                .filter(|(repository, _)| unpacked.contains(repository))
                .map(|(_, path)| path.to_vec())
                .collect(),
        }
    }
}

/// The repository of `path`, if `path` is the binary.
fn repository_of<'a>(path: &'a [u8], binary: &[u8]) -> Option<&'a [u8]> {
    let repository = path.strip_suffix(binary)?.strip_suffix(b"/")?;
    (!repository.contains(&b'/')).then_some(repository)
}

/// The directory of the interpreter whose `os.py` has these path components.
fn interpreter(parts: &[&[u8]], binaries: &BTreeMap<&[u8], &[u8]>) -> Option<Vec<u8>> {
    let [directory @ .., b"lib", library, _] = parts else { return None };
    directory.first()?;
    let path = directory.join(&b'/');
    let below = [&path[..], b"/"].concat();
    let holds_binary = binaries.keys().any(|binary| binary.starts_with(&below));
    let in_package = parts.contains(&&b"site-packages"[..]);
    (is_versioned(library) && !holds_binary && !in_package).then_some(path)
}

/// Whether this is the name of a standard library's directory: `python3.11`, `python3.13t`.
pub fn is_versioned(name: &[u8]) -> bool {
    let Some(version) = name.strip_prefix(b"python") else { return false };
    let version = version.strip_suffix(b"t").unwrap_or(version);
    let Some(dot) = version.iter().position(|&byte| byte == b'.') else { return false };
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number(&version[..dot]) && is_number(&version[dot + 1..])
}

/// The repository and the normalized distribution name of a `METADATA` file with these path components.
fn package<'a>(parts: &[&'a [u8]]) -> Option<(&'a [u8], Vec<u8>)> {
    let [repository, b"site-packages", directory, _] = parts else { return None };
    let name = directory.strip_suffix(b".dist-info")?;
    let end = name.iter().rposition(|&byte| byte == b'-').unwrap_or(0);
    Some((repository, normalize_distribution(&name[..end])))
}

/// Normalizes the name of a distribution: `Flask_SQLAlchemy` becomes `flask-sqlalchemy` (PEP 503).
pub fn normalize_distribution(name: &[u8]) -> Vec<u8> {
    let lower = name.to_ascii_lowercase();
    let parts = lower.split(|byte| b"-_.".contains(byte)).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(&b'-')
}
