//! Proves that the layers of an image are what the binary's runfiles ask for. Pure.
//!
//! The layers are known by their listings alone, so the proof does not rest on the code that planned
//! them. It finds: runfiles that are in no layer or in the wrong one, entries that are no runfiles,
//! paths that are there twice, links that lead nowhere, files where another layer has a directory,
//! and ELF images for another processor.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::image_path::ImagePath;
use crate::listing::{Kind, Listed};

/// As many links as Linux follows in one path before it gives up (`ELOOP`).
const MAX_LINKS: usize = 40;

/// What the layers should be.
pub struct Expected<'a> {
    /// Every path of the image that is not a directory, and the layer that it belongs to.
    pub paths: HashMap<&'a [u8], &'a str>,
    /// `e_machine` of the image's platform, where it is known.
    pub machine: Option<u16>,
}

impl<'a> Expected<'a> {
    /// Collects `paths`. An image may have the same path twice in its manifest.
    pub fn new(paths: impl Iterator<Item = (&'a ImagePath, &'a str)>, machine: Option<u16>) -> Expected<'a> {
        Expected { paths: paths.map(|(path, layer)| (path.as_bytes(), layer)).collect(), machine }
    }
}

/// Every violation as one line that names the path and the way out. Empty if the layers are right.
pub fn violations(layers: &[(String, Vec<Listed>)], expected: &Expected) -> Vec<String> {
    let image = Image::of(layers);
    let mut violations = Vec::new();
    image.check_paths(layers, expected, &mut violations);
    image.check_directories(&mut violations);
    image.check_links(&mut violations);
    if let Some(machine) = expected.machine {
        image.check_machines(machine, &mut violations);
    }
    violations
}

/// The union of all layers.
struct Image<'a> {
    /// What is at each path, and the first layer that has it. Ordered, so that reports are.
    entries: BTreeMap<&'a [u8], (&'a Kind, &'a str)>,
    /// Directories that entries lie in, whether or not a layer has an entry for them.
    directories: HashSet<&'a [u8]>,
}

impl<'a> Image<'a> {
    fn of(layers: &'a [(String, Vec<Listed>)]) -> Image<'a> {
        let mut image = Image { entries: BTreeMap::new(), directories: HashSet::from([b"".as_slice()]) };
        for (layer, entries) in layers {
            for Listed { path, kind } in entries {
                image.directories.extend(parents(path));
                if *kind == Kind::Directory {
                    image.directories.insert(path);
                } else {
                    image.entries.entry(path).or_insert((kind, layer));
                }
            }
        }
        image
    }

    fn check_paths(
        &self,
        layers: &[(String, Vec<Listed>)],
        expected: &Expected,
        violations: &mut Vec<String>,
    ) {
        let mut seen: HashMap<&[u8], &str> = HashMap::new();
        for (layer, entries) in layers {
            for Listed { path, kind } in entries {
                if *kind == Kind::Directory {
                    continue;
                }
                let shown = show(path);
                match seen.insert(path, layer) {
                    Some(other) if other == layer => violations
                        .push(format!("{shown} is twice in layer {layer}; this is a bug in pylayer")),
                    Some(other) => violations.push(format!(
                        "{shown} is in the layers {other} and {layer}; this is a bug in pylayer"
                    )),
                    None => {}
                }
                match expected.paths.get(path.as_slice()) {
                    None => violations.push(format!("{shown} is in layer {layer} but is no runfile, or an excluded one; this is a bug in pylayer")),
                    Some(right) if *right != layer => violations.push(format!("{shown} belongs to layer {right} but is in {layer}; this is a bug in pylayer")),
                    Some(_) => {}
                }
            }
        }
        let mut missing: Vec<_> =
            expected.paths.iter().filter(|(path, _)| !self.entries.contains_key(*path)).collect();
        missing.sort();
        violations.extend(missing.into_iter().map(|(path, layer)| {
            format!("{} belongs to layer {layer} but is in none; this is a bug in pylayer", show(path))
        }));
    }

    fn check_directories(&self, violations: &mut Vec<String>) {
        for (path, (_, layer)) in &self.entries {
            if self.directories.contains(path) {
                violations.push(format!(
                    "{} is a file or link in layer {layer} and a directory elsewhere; exclude one of them",
                    show(path)
                ));
            }
        }
    }

    fn check_links(&self, violations: &mut Vec<String>) {
        for (path, (kind, layer)) in &self.entries {
            let Kind::Symlink(target) = kind else { continue };
            if let Err(problem) = self.follow(path, target) {
                violations.push(format!(
                    "{} in layer {layer} is a symlink to {}, {problem}; add the target to the binary's data, or exclude the link",
                    show(path),
                    show(target)
                ));
            }
        }
    }

    /// Resolves a link as Linux would. A link that leaves what the layers hold by an absolute path is
    /// left to the base image.
    fn follow(&self, link: &[u8], target: &[u8]) -> Result<(), &'static str> {
        let mut links = 0;
        let mut place: Vec<Vec<u8>> = components(link).map(<[u8]>::to_vec).collect();
        place.pop();
        let mut rest: Vec<Vec<u8>> = components(target).rev().map(<[u8]>::to_vec).collect();
        let mut absolute = target.starts_with(b"/");
        if absolute {
            place.clear();
        }
        while let Some(component) = rest.pop() {
            if component == b".." {
                if place.pop().is_none() {
                    return Err("which leads out of the image");
                }
                continue;
            }
            place.push(component);
            let here = place.join(&b'/');
            match self.entries.get(here.as_slice()) {
                Some((Kind::Symlink(target), _)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err("which leads in a circle");
                    }
                    place.pop();
                    if target.starts_with(b"/") {
                        absolute = true;
                        place.clear();
                    }
                    rest.extend(components(target).rev().map(<[u8]>::to_vec));
                }
                Some(_) if rest.is_empty() => {}
                Some(_) => return Err("which leads through a file as if it were a directory"),
                None if self.directories.contains(here.as_slice()) => {}
                None if absolute => return Ok(()),
                None => return Err("which is not in the image"),
            }
        }
        Ok(())
    }

    /// Finds ELF images for another processor. Some packages hold images for several on purpose, side
    /// by side (debuggers do), so a directory that also has one for this processor is left alone.
    fn check_machines(&self, machine: u16, violations: &mut Vec<String>) {
        let images = || {
            self.entries.iter().filter_map(|(path, (kind, layer))| match kind {
                Kind::File { machine: Some(other) } => Some((*path, *other, *layer)),
                _ => None,
            })
        };
        let ours: HashSet<&[u8]> =
            images().filter(|(_, other, _)| *other == machine).map(|(path, ..)| directory(path)).collect();
        for (path, other, layer) in images() {
            if other != machine && !ours.contains(directory(path)) {
                violations.push(format!(
                    "{} in layer {layer} is made for {}, the image for {}; build the binary for the image's platform (attribute platform), and check that its wheels are selected by platform",
                    show(path),
                    machine_name(other),
                    machine_name(machine)
                ));
            }
        }
    }
}

/// The name of an `e_machine`, as Bazel's `@platforms//cpu` calls it.
fn machine_name(machine: u16) -> String {
    match machine {
        3 => "x86_32".to_string(),
        21 => "ppc64le".to_string(),
        22 => "s390x".to_string(),
        40 => "arm".to_string(),
        62 => "x86_64".to_string(),
        183 => "aarch64".to_string(),
        243 => "riscv".to_string(),
        other => format!("processor {other} (ELF e_machine)"),
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

/// The directories above `path`, without the root.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| &path[..index])
}

fn directory(path: &[u8]) -> &[u8] {
    parents(path).last().unwrap_or(b"")
}

fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const X86_64: u16 = 62;
    const AARCH64: u16 = 183;

    fn file(path: &str) -> Listed {
        Listed { path: path.into(), kind: Kind::File { machine: None } }
    }

    fn elf(path: &str, machine: u16) -> Listed {
        Listed { path: path.into(), kind: Kind::File { machine: Some(machine) } }
    }

    fn link(path: &str, target: &str) -> Listed {
        Listed { path: path.into(), kind: Kind::Symlink(target.into()) }
    }

    fn directory(path: &str) -> Listed {
        Listed { path: path.into(), kind: Kind::Directory }
    }

    /// An image without a fault, with links of every kind.
    fn sound() -> Vec<(String, Vec<Listed>)> {
        vec![
            (
                "interpreter".to_string(),
                vec![
                    directory("app"),
                    elf("app/py/bin/python3.11", X86_64),
                    link("app/py/bin/python3", "python3.11"),
                    file("app/py/lib/os.py"),
                ],
            ),
            (
                "default".to_string(),
                vec![
                    directory("app"),
                    file("app/main.py"),
                    link("app/venv/bin/python", "../../py/bin/python3"),
                    link("app/venv/lib", "../py/lib"),
                    link("app/venv/os.py", "lib/os.py"),
                    link("app/venv/root", "/app/main.py"),
                    link("app/local", "/usr/bin/python3"),
                ],
            ),
        ]
    }

    /// The violations when `layers` stand where [`sound`] was meant.
    fn found(layers: &[(String, Vec<Listed>)]) -> Vec<String> {
        found_against(layers, &sound())
    }

    fn found_against(layers: &[(String, Vec<Listed>)], meant: &[(String, Vec<Listed>)]) -> Vec<String> {
        let paths = meant.iter().flat_map(|(layer, entries)| {
            let files = entries.iter().filter(|entry| entry.kind != Kind::Directory);
            files.map(|entry| (entry.path.as_slice(), layer.as_str()))
        });
        violations(layers, &Expected { paths: paths.collect(), machine: Some(X86_64) })
    }

    /// Plants `entry` in the default layer, and in what is expected of it.
    fn with(entry: Listed) -> Vec<String> {
        let mut layers = sound();
        layers[1].1.push(entry);
        found_against(&layers, &layers)
    }

    fn only(violations: Vec<String>, text: &str) {
        assert_eq!(violations.len(), 1, "{violations:#?}");
        assert!(violations[0].contains(text), "{}", violations[0]);
    }

    #[test]
    fn a_sound_image_has_no_violations() {
        assert_eq!(found(&sound()), [] as [String; 0]);
    }

    #[test]
    fn a_missing_file_is_found() {
        let mut layers = sound();
        layers[0].1.pop();
        let violations = found(&layers);
        assert!(violations[0].starts_with("app/py/lib/os.py belongs to layer interpreter but is in none"));
    }

    #[test]
    fn a_file_too_many_is_found() {
        let mut layers = sound();
        layers[1].1.push(file("app/extra.whl"));
        only(found(&layers), "app/extra.whl is in layer default but is no runfile");
    }

    #[test]
    fn a_repetition_within_a_layer_is_found() {
        let mut layers = sound();
        layers[1].1.push(file("app/main.py"));
        only(found(&layers), "app/main.py is twice in layer default");
    }

    #[test]
    fn a_repetition_across_layers_is_found() {
        let mut layers = sound();
        layers[1].1.push(file("app/py/lib/os.py"));
        let violations = found(&layers);
        assert!(violations[0].contains("app/py/lib/os.py is in the layers interpreter and default"));
    }

    #[test]
    fn a_file_in_the_wrong_layer_is_found() {
        let mut layers = sound();
        let moved = layers[0].1.pop().unwrap();
        layers[1].1.push(moved);
        only(found(&layers), "app/py/lib/os.py belongs to layer interpreter but is in default");
    }

    #[test]
    fn a_dangling_link_is_found() {
        only(
            with(link("app/x", "venv/bin/python4")),
            "app/x in layer default is a symlink to venv/bin/python4, which is not in the image",
        );
    }

    #[test]
    fn a_circle_of_links_is_found() {
        let mut layers = sound();
        layers[1].1.push(link("app/a", "b"));
        layers[1].1.push(link("app/b", "a"));
        let violations = found_against(&layers, &layers);
        assert_eq!(violations.len(), 2);
        assert!(violations[0].contains("which leads in a circle"));
    }

    #[test]
    fn a_link_out_of_the_image_is_found() {
        only(with(link("app/x", "../../etc/passwd")), "which leads out of the image");
    }

    #[test]
    fn a_link_through_a_file_is_found() {
        only(with(link("app/x", "main.py/y")), "through a file as if it were a directory");
    }

    #[test]
    fn a_file_where_another_layer_has_a_directory_is_found() {
        let violations = with(file("app/py"));
        assert!(
            violations[0].starts_with("app/py is a file or link in layer default and a directory elsewhere")
        );
    }

    #[test]
    fn a_link_where_another_layer_has_a_directory_is_found() {
        let violations = with(link("app/py", "venv"));
        assert!(violations[0].contains("app/py is a file or link"), "{violations:#?}");
    }

    #[test]
    fn an_extension_for_another_processor_is_found() {
        only(
            with(elf("app/numpy/core.so", AARCH64)),
            "app/numpy/core.so in layer default is made for aarch64, the image for x86_64",
        );
    }

    #[test]
    fn an_executable_for_another_processor_is_found() {
        only(with(elf("app/bin/tool", 3)), "is made for x86_32");
    }

    #[test]
    fn images_for_several_processors_side_by_side_are_left_alone() {
        let mut layers = sound();
        layers[1]
            .1
            .extend([elf("app/debugger/attach_amd64.so", X86_64), elf("app/debugger/attach_x86.so", 3)]);
        assert_eq!(found_against(&layers, &layers), [] as [String; 0]);
    }
}
