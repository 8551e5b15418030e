//! Determines what the files of an image belong to: interpreters, distributions, repositories. Pure.
//!
//! This works for images made by any tool, not only for Bazel's runfiles. In order of precedence, a file
//! belongs to
//!
//! 1. the distribution whose `RECORD` names it (Binary distribution format, "The .dist-info directory"), or
//!    whose `RECORD` names the source of this bytecode,
//! 2. the distribution whose `.dist-info` directory it is in,
//! 3. the only distribution of its repository: a directory that contains `site-packages`,
//! 4. the interpreter whose directory it is in: one with a `lib/python3.11/os.py`,
//! 5. its repository: a directory in a `.runfiles` directory,
//! 6. its top-level directory.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{HashMap, HashSet};

use crate::archive::{Image, Layer, Record};
use crate::contents::{Component, ComponentKind, Entry, ImageContents, LayerContents, SCHEMA};
use crate::survey::{is_versioned, normalize_distribution};

/// The contents of an image that has been read.
pub fn contents(image: Image) -> ImageContents {
    match image {
        Image::Contents(contents) => *contents,
        Image::Layers { name, layers } => {
            let mut records: Vec<Record> = Vec::new();
            let mut found = Vec::with_capacity(layers.len());
            for Layer { contents, records: of_layer } in layers {
                found.push(contents);
                records.extend(of_layer);
            }
            let components = assign(&mut found, &records);
            ImageContents { schema: SCHEMA.to_string(), name, components, layers: found, partition: None }
        }
    }
}

/// Sets [`Entry::component`] of all entries, and returns the components in the order of their first
/// entries.
fn assign<'r>(layers: &mut [LayerContents], records: impl IntoIterator<Item = &'r Record>) -> Vec<Component> {
    let paths = layers.iter().flat_map(|layer| &layer.entries).map(|entry| entry.path.as_slice());
    let owners = Owners::find(paths, records);
    let mut numbers: HashMap<Component, usize> = HashMap::new();
    let mut components = Vec::new();
    for Entry { path, component, .. } in layers.iter_mut().flat_map(|layer| &mut layer.entries) {
        let found = owners.of(path);
        *component = match numbers.entry(found) {
            Occupied(number) => *number.get(),
            Vacant(number) => {
                components.push(number.key().clone());
                *number.insert(components.len() - 1)
            }
        };
    }
    components
}

/// Which paths belong to which components.
#[derive(Debug, Default)]
struct Owners {
    /// Files named by a `RECORD`.
    recorded: HashMap<Vec<u8>, Component>,
    /// Directories: those of metadata, repositories with one distribution, interpreters.
    directories: HashMap<Vec<u8>, Component>,
    /// Interpreters in a directory that has other programs, too, such as `usr`.
    shared: HashMap<Vec<u8>, Vec<Component>>,
}

impl Owners {
    fn find<'p, 'r>(
        paths: impl Iterator<Item = &'p [u8]>,
        records: impl IntoIterator<Item = &'r Record>,
    ) -> Owners {
        let mut owners = Owners::default();
        // The distributions in each site-packages directory.
        let mut sites: HashMap<&[u8], HashSet<Component>> = HashMap::new();
        for path in paths {
            if let Some((site, directory, distribution)) = metadata(path) {
                owners.directories.insert(directory.to_vec(), distribution.clone());
                sites.entry(site).or_default().insert(distribution);
            } else if path.ends_with(b"/os.py")
                && let Some((directory, interpreter)) = interpreter(path)
            {
                if is_system_directory(directory) {
                    owners.shared.entry(directory.to_vec()).or_default().push(interpreter);
                } else {
                    owners.directories.insert(directory.to_vec(), interpreter);
                }
            }
        }
        for (site, distributions) in sites {
            let only = distributions.iter().next().filter(|_| distributions.len() == 1);
            let repository = site.strip_suffix(b"/site-packages").filter(|path| !is_library(path));
            if let (Some(distribution), Some(repository)) = (only, repository) {
                owners.directories.entry(repository.to_vec()).or_insert_with(|| distribution.clone());
            }
        }
        for Record { path, text } in records {
            if let Some((site, _, distribution)) = metadata(path) {
                let named = text.split(|&byte| byte == b'\n').filter_map(|line| recorded_path(site, line));
                for path in named {
                    owners.recorded.entry(path).or_insert_with(|| distribution.clone());
                }
            }
        }
        owners
    }

    fn of(&self, path: &[u8]) -> Component {
        let recorded = self.recorded.get(path);
        let recorded = recorded.or_else(|| self.recorded.get(&source_of_bytecode(path)?));
        let directory = || ancestors(path).find_map(|directory| self.directories.get(directory));
        recorded.or_else(directory).or_else(|| self.in_system_directory(path)).cloned().unwrap_or_else(|| {
            let (kind, name) = match repository(path) {
                Some(name) => (ComponentKind::Repository, String::from_utf8_lossy(name).into_owned()),
                None => {
                    let top = path.split(|&byte| byte == b'/').next().unwrap_or_default();
                    (ComponentKind::Directory, format!("/{}", String::from_utf8_lossy(top)))
                }
            };
            Component { kind, name, version: None }
        })
    }

    /// The interpreter that `path` belongs to, where directories like `usr` have other files, too.
    fn in_system_directory(&self, path: &[u8]) -> Option<&Component> {
        ancestors(path).find_map(|directory| {
            let interpreters = self.shared.get(directory)?;
            let below = &path[directory.len() + 1..];
            interpreters.iter().find(|interpreter| {
                let name = format!("python{}", interpreter.version.as_deref().unwrap_or_default());
                ["lib/", "include/", "bin/", "lib/lib"].iter().any(|place| {
                    below.strip_prefix(place.as_bytes()).is_some_and(|rest| rest.starts_with(name.as_bytes()))
                })
            })
        })
    }
}

/// The site-packages directory, the metadata directory and the distribution of a path in a `.dist-info`
/// directory.
fn metadata(path: &[u8]) -> Option<(&[u8], &[u8], Component)> {
    let end = find(path, b".dist-info/")? + b".dist-info".len();
    let directory = &path[..end];
    let start = directory.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let name = directory[start..].strip_suffix(b".dist-info")?;
    let dash = name.iter().rposition(|&byte| byte == b'-');
    let (name, version) = name.split_at(dash.unwrap_or(name.len()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let component = Component {
        kind: ComponentKind::Distribution,
        name: text(&normalize_distribution(name)),
        version: version.strip_prefix(b"-").map(text),
    };
    Some((&path[..start.saturating_sub(1)], directory, component))
}

/// The directory and the interpreter with the standard library that contains this `os.py`.
fn interpreter(path: &[u8]) -> Option<(&[u8], Component)> {
    let library = path.strip_suffix(b"/os.py")?;
    let slash = library.iter().rposition(|&byte| byte == b'/')?;
    let version = &library[slash + 1..];
    let directory = library[..slash].strip_suffix(b"/lib")?;
    if !is_versioned(version) || find(directory, b"site-packages/").is_some() {
        return None;
    }
    let version = String::from_utf8_lossy(&version[b"python".len()..]).into_owned();
    let component =
        Component { kind: ComponentKind::Interpreter, name: "python".to_string(), version: Some(version) };
    Some((directory, component))
}

/// Whether a directory has files of other programs than the interpreter.
fn is_system_directory(directory: &[u8]) -> bool {
    matches!(directory, b"usr" | b"usr/local" | b"opt")
}

/// Whether this is a directory with a standard library, such as `usr/lib/python3.11`.
fn is_library(directory: &[u8]) -> bool {
    is_versioned(directory.rsplit(|&byte| byte == b'/').next().unwrap_or_default())
}

/// The path of the file that a line of a `RECORD` in `site` names. A name with a comma is quoted.
fn recorded_path(site: &[u8], line: &[u8]) -> Option<Vec<u8>> {
    let name = match line.strip_prefix(b"\"") {
        Some(quoted) => {
            let end = quoted.windows(2).position(|pair| pair == b"\",")?;
            quoted[..end]
                .split(|&byte| byte == b'"')
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(&b'"')
        }
        None => line.split(|&byte| byte == b',').next()?.to_vec(),
    };
    let mut parts: Vec<&[u8]> = site.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
    for part in name.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => (),
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    (!name.is_empty() && !name.starts_with(b"/")).then(|| parts.join(&b'/'))
}

/// `a/b.py` for `a/__pycache__/b.cpython-311.pyc`.
fn source_of_bytecode(path: &[u8]) -> Option<Vec<u8>> {
    let stem = path.strip_suffix(b".pyc")?;
    let slash = stem.iter().rposition(|&byte| byte == b'/')?;
    let directory = stem[..slash].strip_suffix(b"__pycache__")?;
    let name = stem[slash + 1..].split(|&byte| byte == b'.').next()?;
    Some([directory, name, b".py"].concat())
}

/// The first directory in a `.runfiles` directory.
fn repository(path: &[u8]) -> Option<&[u8]> {
    let rest = &path[find(path, b".runfiles/")? + b".runfiles/".len()..];
    let end = rest.iter().position(|&byte| byte == b'/')?;
    Some(&rest[..end])
}

/// The directories that contain `path`, the longest first, without the image's root.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(slash, _)| &path[..slash])
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::Kind;

    /// The components of `paths`, as text.
    fn components(paths: &[&str], records: &[(&str, &str)]) -> Vec<String> {
        let entries = paths.iter().map(|path| Entry::new(path.as_bytes(), Kind::File)).collect();
        let mut layers = [LayerContents { entries, ..LayerContents::default() }];
        let records: Vec<Record> = records
            .iter()
            .map(|(path, text)| Record { path: path.as_bytes().to_vec(), text: text.as_bytes().to_vec() })
            .collect();
        let components = assign(&mut layers, &records);
        let text = |entry: &Entry| {
            let Component { name, version, .. } = &components[entry.component];
            version.as_ref().map_or_else(|| name.clone(), |version| format!("{name} {version}"))
        };
        layers[0].entries.iter().map(text).collect()
    }

    #[test]
    fn runfiles_belong_to_repositories_distributions_and_interpreters() {
        let root = "app/server.runfiles";
        let paths = [
            "pip_numpy/site-packages/numpy-1.26.4.dist-info/METADATA",
            "pip_numpy/site-packages/numpy/core.so",
            "pip_numpy/bin/f2py",
            "python_3_11/lib/python3.11/os.py",
            "python_3_11/bin/python3",
            "_main/app/server.py",
        ]
        .map(|path| format!("{root}/{path}"));
        let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        paths.push("app/server");
        assert_eq!(
            components(&paths, &[]),
            ["numpy 1.26.4", "numpy 1.26.4", "numpy 1.26.4", "python 3.11", "python 3.11", "_main", "/app"]
        );
    }

    #[test]
    fn records_divide_a_common_directory() {
        let site = "usr/local/lib/python3.11/site-packages";
        let paths = [
            "a-1.dist-info/RECORD",
            "a-1.dist-info/direct_url.json",
            "B_C-2.0.dist-info/RECORD",
            "a.py",
            "__pycache__/a.cpython-311.pyc",
            "b, \"c\".py",
            "unknown.py",
        ]
        .map(|path| format!("{site}/{path}"));
        let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        paths.extend([
            "usr/local/bin/a",
            "usr/local/lib/python3.11/os.py",
            "usr/local/bin/python3.11",
            "usr/share/x",
        ]);
        let a =
            (paths[0], "a.py,sha256=x,1\r\na-1.dist-info/RECORD,,\n../../../bin/a,,\n/etc/passwd,,\n,,\n");
        let b = (paths[2], "\"b, \"\"c\"\".py\",,\n\"broken\n");
        assert_eq!(
            components(&paths, &[a, b]),
            [
                "a 1",
                "a 1",
                "b-c 2.0",
                "a 1",
                "a 1",
                "b-c 2.0",
                "python 3.11",
                "a 1",
                "python 3.11",
                "python 3.11",
                "/usr"
            ]
        );
    }

    #[test]
    fn components_are_in_the_order_of_their_first_entries() {
        let mut layers = [LayerContents {
            entries: ["z/a", "b/c", "z/d"].map(|path| Entry::new(path.as_bytes(), Kind::File)).to_vec(),
            ..LayerContents::default()
        }];
        let names: Vec<String> =
            assign(&mut layers, &[]).into_iter().map(|component| component.name).collect();
        assert_eq!(names, ["/z", "/b"]);
        assert_eq!(layers[0].entries.iter().map(|entry| entry.component).collect::<Vec<_>>(), [0, 1, 0]);
    }
}
