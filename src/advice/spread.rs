//! Finds distributions whose files are in several layers. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::division::{DividedImage, pip_package};
use super::{Advice, files, starlark, sum};
use crate::contents::{Component, Kind};
use crate::groups::LayerGroup;
use crate::show::size;

/// How many distributions there is advice about. If many are spread, that is the purpose of a group, such
/// as one of all shared libraries.
const MAX_DISTRIBUTIONS: usize = 3;

/// The files of a distribution.
struct Spread<'a> {
    component: usize,
    distribution: &'a Component,
    /// For a layer group with all of these files.
    pattern: String,
    /// The files in each layer, by the layer's name.
    layers: Vec<(&'a str, Part)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    files: usize,
    compressed: u64,
}

/// Suggests a layer group for each distribution that a group can bring together.
pub fn advise(image: &DividedImage) -> Vec<Advice> {
    let mut spread = spread(image);
    // The largest part may stay where it is.
    let moved = |spread: &Spread| {
        let sizes = || spread.layers.iter().map(|(_, part)| part.compressed);
        sum(sizes()) - sizes().max().unwrap_or(0)
    };
    spread.sort_by_key(|spread| (Reverse(moved(spread)), spread.component));
    spread.truncate(MAX_DISTRIBUTIONS);
    if spread.is_empty() {
        return Vec::new();
    }
    let members = members(image);
    spread.iter().map(|spread| together(image, spread, &members)).collect()
}

/// The distributions with files in several layers that `pip_package` matches completely.
fn spread<'a>(image: &DividedImage<'a>) -> Vec<Spread<'a>> {
    let mut found: BTreeMap<usize, Vec<(&str, Part)>> = BTreeMap::new();
    for layer in &image.image.layers {
        let mut parts: BTreeMap<usize, Part> = BTreeMap::new();
        for entry in layer.entries.iter().filter(|entry| entry.kind == Kind::File) {
            if image.distribution(entry).is_some() {
                let part = parts.entry(entry.component).or_default();
                part.files += 1;
                part.compressed = part.compressed.saturating_add(entry.compressed);
            }
        }
        for (component, part) in parts {
            found.entry(component).or_default().push((&layer.name, part));
        }
    }
    let spread =
        found.into_iter().filter(|(_, layers)| layers.len() > 1).filter_map(|(component, layers)| {
            let distribution = image.image.components.get(component)?;
            Some(Spread { component, distribution, pattern: pip_package(&distribution.name)?, layers })
        });
    let mut spread: Vec<Spread> = spread.collect();
    // Copies in a virtual environment are not in the distribution's repository.
    let Some(patterns) = image.compile(spread.iter().map(|spread| spread.pattern.as_str())) else {
        return Vec::new();
    };
    let numbers: BTreeMap<usize, usize> =
        spread.iter().enumerate().map(|(number, spread)| (spread.component, number)).collect();
    let mut is_complete = vec![true; spread.len()];
    for entry in image.files().filter(|entry| entry.kind == Kind::File) {
        if let Some(&number) = numbers.get(&entry.component)
            && !patterns.matching(&[b"./", entry.path.as_slice()].concat()).contains(&number)
        {
            is_complete[number] = false;
        }
    }
    let mut is_complete = is_complete.into_iter();
    spread.retain(|_| is_complete.next().unwrap_or(false));
    spread
}

/// The components whose files the target's own groups took, by the name of the group.
fn members<'a>(image: &'a DividedImage) -> BTreeMap<&'a str, BTreeSet<usize>> {
    let mut members: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for entry in image.files() {
        if let Some(group) = image.rules.group_of(&entry.path) {
            members.entry(group).or_default().insert(entry.component);
        }
    }
    members
}

/// Puts a group for the distribution before all others. It takes the place of groups that have nothing but
/// files of the distribution, and would be empty.
fn together(image: &DividedImage, spread: &Spread, members: &BTreeMap<&str, BTreeSet<usize>>) -> Advice {
    let Spread { component, distribution, pattern, layers } = spread;
    let only = BTreeSet::from([*component]);
    let is_replaced = |group: &&LayerGroup| members.get(group.name.as_str()) == Some(&only);
    let own = &image.target.layer_groups;
    let replaced = own.iter().find(is_replaced).map(|group| group.name.clone());
    let name = replaced.unwrap_or_else(|| image.new_group_name(&distribution.name));
    let others = own.iter().filter(|group| !is_replaced(group)).cloned();
    let groups: Vec<LayerGroup> = [LayerGroup::new(name, pattern)].into_iter().chain(others).collect();
    let parts: Vec<String> = layers
        .iter()
        .map(|(layer, part)| format!("{} ({}) in {layer}", files(part.files), size(part.compressed)))
        .collect();
    Advice {
        title: format!("Keep {} in one layer", distribution.name),
        detail: format!("It has {}, so an update changes {} layers.", parts.join(", "), layers.len()),
        saves: String::new(),
        paste: starlark::layer_groups(&groups, &image.partition.dropped).lines("layer_groups"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, layers};
    use super::*;
    use crate::contents::ComponentKind;

    fn advice(sample: &Sample) -> Vec<Advice> {
        advise(&DividedImage::new(&sample.image()).unwrap().unwrap())
    }

    /// The names of the groups after each suggestion, each of which is checked to bring `name` together.
    fn groups_after(sample: &Sample, name: &str) -> Vec<String> {
        let advice = advice(sample);
        let found = advice.iter().find(|advice| advice.title == format!("Keep {name} in one layer"));
        let sample = sample.with(&found.unwrap_or_else(|| panic!("{advice:?}")).paste);
        let image = sample.image();
        let holds =
            layers(&image).values().filter(|paths| paths.iter().any(|path| path.contains(name))).count();
        assert_eq!(holds, 1, "{sample:?}");
        assert!(!super::tests::advice(&sample).iter().any(|advice| advice.title.contains(name)));
        sample.layer_groups.into_iter().map(|group| group.name).collect()
    }

    #[test]
    fn a_distribution_is_brought_together_in_a_new_group() {
        let sample = Sample::new(&[("so", r"\.so$")])
            .package("numpy", 1000)
            .of("numpy", "numpy/core.so", 500)
            .package("six", 10)
            .of("other", "other/x.so", 1);
        let [found] = &advice(&sample)[..] else { panic!() };
        assert_eq!(
            found.detail,
            "It has 1 file (500 B) in so, 2 files (1000 B) in packages, so an update changes 2 layers."
        );
        assert_eq!(groups_after(&sample, "numpy"), ["numpy", "so"]);
        let image = sample.with(&found.paste).image();
        // The group keeps the files of others.
        assert_eq!(layers(&image)["so"], ["pip_other/site-packages/other/x.so"]);
    }

    #[test]
    fn a_group_with_a_part_of_the_distribution_gets_all_of_it() {
        let groups = [("data", "/data/"), ("libraries", "/torch/lib/")];
        let sample = Sample::new(&groups)
            .package("torch", 10)
            .of("torch", "torch/lib/libtorch.so", 500)
            .own("data/x", 1);
        assert_eq!(groups_after(&sample, "torch"), ["libraries", "data"]);
    }

    #[test]
    fn names_that_are_taken_are_not_used_again() {
        let groups = [("numpy", r"\.so$"), ("numpy_package", "/data/")];
        let sample = Sample::new(&groups)
            .package("numpy", 10)
            .of("numpy", "numpy/x.so", 5)
            .own("x.so", 1)
            .own("data/x", 1);
        assert_eq!(groups_after(&sample, "numpy"), ["numpy_package_2", "numpy", "numpy_package"]);
        let sample =
            Sample::new(&[("so", r"\.so$")]).package("report", 10).of("report", "x.so", 5).own("x.so", 1);
        assert_eq!(groups_after(&sample, "report"), ["report_package", "so"]);
    }

    #[test]
    fn there_is_no_advice_that_would_not_help() {
        let numpy = (ComponentKind::Distribution, "numpy", Some("1"));
        // A copy outside of the repository.
        let copy = Sample::new(&[]).package("numpy", 10).file(numpy, "_main/.server/lib/x.py", 5);
        assert_eq!(layers(&copy.image()).len(), 2);
        assert_eq!(advice(&copy), []);
        // A name that `pip_package` does not accept.
        let odd = Sample::new(&[("so", r"\.so$")]).package("a+b", 10).of("a+b", "x.so", 5);
        assert_eq!(advice(&odd), []);
    }

    #[test]
    fn there_is_advice_about_a_few_distributions() {
        let sample = Sample::new(&[("so", r"\.so$")]).own("x.so", 1);
        let sample = ["a", "b", "c", "d", "e"]
            .iter()
            .zip(1..)
            .fold(sample, |sample, (name, bytes)| sample.package(name, 100).of(name, "x.so", bytes));
        let titles: Vec<String> = advice(&sample).into_iter().map(|advice| advice.title).collect();
        assert_eq!(titles, ["e", "d", "c"].map(|name| format!("Keep {name} in one layer")));
    }
}
