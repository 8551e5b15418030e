//! What could be better about an image, and what to write into its BUILD file. Pure.
//!
//! Each kind of advice has a module of its own. All lines for the BUILD file contain the whole value of an
//! attribute, so that they can replace what is there.

mod ballast;
mod division;
mod layers;
mod patterns;
mod processors;
#[cfg(test)]
mod samples;
mod spread;
pub mod starlark;

use serde::Serialize;

use crate::contents::ImageContents;
use crate::groups;

pub use self::division::DividedImage;
pub use self::layers::{Proposal, advice as layers_advice, has_packages, propose};

/// A suggestion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub title: String,
    pub detail: String,
    /// What it saves, such as `12.3 MiB`; empty if unknown.
    pub saves: String,
    /// Lines for the BUILD file; empty if there are none.
    pub paste: String,
}

/// All suggestions for `image`. There are none if it is unknown how the image was divided.
pub fn advise(image: &ImageContents) -> Result<Vec<Advice>, groups::Error> {
    let Some(image) = DividedImage::new(image)? else { return Ok(Vec::new()) };
    let mut all = patterns::advise(&image);
    all.extend(processors::advise(&image));
    all.extend(spread::advise(&image));
    all.extend(propose(&image).map(|proposal| layers_advice(&proposal, &image)));
    all.extend(ballast::advise(&image));
    for advice in &mut all {
        advice.detail.push_str(&replaced(&image, &advice.paste));
    }
    Ok(all)
}

/// What to mind if the lines replace a value. That may be an expression in the BUILD file, of which only the
/// value is known here.
fn replaced(image: &DividedImage, paste: &str) -> String {
    let is_set = |attribute: &str| match attribute {
        "layer_groups" => !image.target.layer_groups.is_empty() || !image.partition.dropped.is_empty(),
        "exclude" => image.target.exclude.iter().any(|exclude| exclude.attribute == attribute),
        _ => image.partition.groups.split.iter().any(|split| split.layers > 1),
    };
    let attributes = ["layer_groups", "exclude", "split"].into_iter();
    let replaced: Vec<&str> = attributes
        .filter(|attribute| paste.lines().any(|line| line.starts_with(&format!("{attribute} = "))))
        .filter(|attribute| is_set(attribute))
        .collect();
    match replaced[..] {
        [] => String::new(),
        _ => format!(
            " The lines replace {}; keep what a variable or a select() contributes for other platforms.",
            replaced.join(" and ")
        ),
    }
}

/// `1 file`, `12 files`.
fn files(count: usize) -> String {
    format!("{count} {}", if count == 1 { "file" } else { "files" })
}

/// Sizes in a file can be anything, so their sum could overflow.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::samples::{Sample, pasted};
    use super::*;
    use crate::contents::{ComponentKind, SCHEMA};
    use crate::groups::{LayerGroup, Split};

    #[test]
    fn an_unknown_division_needs_no_advice() {
        let mut image = Sample::new(&[("empty", "x")]).own("a", 1).image();
        assert_eq!(advise(&image).unwrap().len(), 1);
        image.partition.as_mut().unwrap().target = None;
        assert_eq!(advise(&image).unwrap(), []);
        image.partition = None;
        assert_eq!(advise(&image).unwrap(), []);
        let text =
            format!(r#"{{"schema": "{SCHEMA}", "name": "", "layers": [], "partition": {{"target": {{}}}}}}"#);
        assert_eq!(advise(&serde_json::from_str(&text).unwrap()).unwrap(), []);
    }

    #[test]
    fn advice_says_what_its_lines_replace() {
        let details = |sample: &Sample| -> Vec<String> {
            advise(&sample.image()).unwrap().into_iter().map(|advice| advice.detail).collect()
        };
        let sample = "abcdefghijklmnopqrstuvwxyz".chars().fold(Sample::new(&[]), |sample, name| {
            sample.package(&name.to_string(), 1 << 24).of(&name.to_string(), "x.pyi", 1 << 20)
        });
        let found = details(&sample);
        assert_eq!(found.len(), 2);
        assert!(!found.concat().contains("The lines replace"), "{found:?}");
        let mut sample = sample.package("torch", 1 << 30).own("data/x", 1);
        sample.layer_groups = vec![LayerGroup::new("data", "/data/")];
        sample.split = vec![Split { group: "packages".into(), layers: 2 }];
        sample.exclude = vec!["/docs/".into()];
        let found = details(&sample);
        for (detail, attributes) in found.iter().zip(["layer_groups and split", "exclude"]) {
            let expected = format!(
                " The lines replace {attributes}; keep what a variable or a select() contributes for other platforms."
            );
            assert!(detail.ends_with(&expected), "{detail}");
        }
        assert_eq!(found.len(), 2);
    }

    /// The advice for a large image is found in reasonable time.
    #[test]
    fn large_images_do_not_take_quadratic_time() {
        let patterns: Vec<(String, String)> =
            (0..300).map(|number| (format!("g{number}"), format!("/data{number}/"))).collect();
        let groups: Vec<(&str, &str)> =
            patterns.iter().map(|(name, pattern)| (name.as_str(), pattern.as_str())).collect();
        let mut sample = (0..300).fold(Sample::new(&groups), |sample, number| {
            sample.package(&format!("p{number}"), number).own(&format!("data{number}/x"), 1)
        });
        let files = sample.files.clone();
        for number in 0..20 {
            sample.files.extend(files.iter().cloned().map(|mut entry| {
                entry.path.extend(format!("/{number}.h").bytes());
                entry
            }));
        }
        let image = sample.image();
        let start = std::time::Instant::now();
        assert!(!advise(&image).unwrap().is_empty());
        // Compiling a pattern per file would take minutes.
        assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        let names = ["torch", "numpy", "a", "report", "packages", "default", "pip", "x+y", "-", ""];
        let groups = ["torch", "numpy", "packages", "default", "interpreter", "so", "numpy_package"];
        let patterns = [
            "{pip_package:torch}",
            "{pip_package:numpy}|{pip_package:a}",
            "{pip_package:absent}",
            r"\.so$",
            "/numpy/",
            "pip_torch/",
            "~x",
            "\\\\.so$$",
            "",
            "site-packages",
            "{interpreter}",
            "\"quoted\"\t",
        ];
        let sizes = [0, 1, 1000, 1000, 50_000, 1 << 40, u64::MAX];
        let paths =
            ["x.py", "x.so", "tests/x.h", "__pycache__/x.cpython-39.pyc", "data/a b", "1.dist-info/METADATA"];
        let group = (select(groups.to_vec()), select(patterns.to_vec()));
        let part = (0..6, select(names.to_vec()), select(paths.to_vec()), select(sizes.to_vec()));
        let split = (select(groups.to_vec()), 2..10_u32);
        let others = (
            select(vec![None, Some("x86_64"), Some("z80")]),
            select(vec![None, Some(0), Some(4), Some(40), Some(u32::MAX)]),
            select(vec![None, Some(62_u16), Some(183), Some(190)]),
            any::<bool>(),
        );
        (vec(group, 0..5), vec(part, 0..30), vec(split, 0..2), others).prop_map(
            |(groups, parts, split, (cpu, max_layers, machine, is_dropped))| {
                let mut sample =
                    parts.into_iter().fold(Sample::new(&[]), |sample, (kind, name, path, size)| match kind {
                        0 => sample.own(path, size),
                        1 => sample
                            .interpreter(&format!("lib/python3.11/{path}"), size)
                            .interpreter("lib/python3.11/os.py", 9),
                        2 => sample.of(name, &format!("{name}/{path}"), size),
                        3 => sample.file(
                            (ComponentKind::Distribution, name, None),
                            &format!("_main/{name}/{path}"),
                            size,
                        ),
                        _ => sample.package(name, size),
                    });
                for (name, pattern) in groups {
                    if !sample.layer_groups.iter().any(|group| group.name == name) {
                        sample.layer_groups.push(LayerGroup::new(name, pattern));
                    }
                }
                let has = |name: &str| sample.layer_groups.iter().any(|group| group.name == name);
                if is_dropped && !has("interpreter") {
                    sample.dropped.push("interpreter".into());
                }
                sample.split =
                    split.into_iter().map(|(group, layers)| Split { group: group.into(), layers }).collect();
                sample.cpu = cpu.map(str::to_string);
                sample.max_layers = max_layers;
                if let Some(entry) = sample.files.first_mut() {
                    entry.machine = machine;
                }
                sample.files.dedup_by(|a, b| a.path == b.path);
                sample
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn all_advice_can_be_pasted(sample in any_sample()) {
            for Advice { title, paste, .. } in advise(&sample.image()).unwrap() {
                prop_assert!(!pasted(&paste).is_empty(), "{}", title);
                sample.with(&paste).image();
            }
        }

        #[test]
        fn predictions_are_right(sample in any_sample()) {
            // Sums that do not fit in 64 bits are only required not to panic.
            let size = sample.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size));
            prop_assume!(size.is_some());
            if let Some((_, paste)) = layers::tests::checked(&sample) {
                let applied = sample.with(&paste).image();
                prop_assert_eq!(propose(&DividedImage::new(&applied).unwrap().unwrap()), None);
            }
        }

        #[test]
        fn any_contents_are_accepted(sample in any_sample(), component in 0..20_usize, groups in 0..3_usize) {
            let mut image = sample.image();
            let last = image.layers.iter_mut().flat_map(|layer| &mut layer.entries).last();
            last.into_iter().for_each(|entry| entry.component = component);
            image.components.truncate(component);
            let partition = image.partition.as_mut().unwrap();
            partition.groups.layer_groups.truncate(groups);
            partition.groups.runfiles.truncate(component);
            for advice in advise(&image).unwrap() {
                pasted(&advice.paste);
            }
        }
    }
}
