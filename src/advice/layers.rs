//! Proposes layers for the packages of an image, so that an update pulls less. Pure.
//!
//! A node pulls the layers that have changed. If each distribution is equally likely to be updated, the
//! expected pull is the mean, over all distributions, of the compressed size of the layer that contains
//! it. A proposal gives the largest distributions layers of their own, and spreads the others by name, as
//! `split` does. All ways to divide the number of layers among the two are tried.
//!
//! Distributions that already have layers without anything else are part of the mean and of the number of
//! layers. So a proposal that has been applied is the best one for the image that it leads to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;

use super::division::{DividedImage, files_of, pip_package};
use super::{Advice, starlark, sum};
use crate::contents::{Entry, LayerContents};
use crate::groups::{LayerGroup, MAX_LAYERS, Split};
use crate::show::size;
use crate::split::layer_number;

/// The group that is divided.
const PACKAGES: &str = "packages";

/// How many layers packages get, unless they have more already: as many as the guide recommends. Those with
/// nothing but packages count too, whatever their group, so that a proposal that has been applied is not
/// followed by another one.
const LAYERS: usize = 8;

/// A proposal is made if the expected pull becomes smaller than this part of the present one.
const WORTHWHILE: f64 = 0.75;

/// And by this many bytes: what a node pulls in about the time that it needs to request a layer.
const WORTHWHILE_BYTES: u64 = 1 << 20;

/// Names of packages in a BUILD file must be kept up to date, which a number need not. So a proposal has
/// layers for single packages only if the expected pull is smaller by this factor, and by another factor for
/// each package after the first.
const NAMES_COST: f64 = 1.5;
const NAME_COST: f64 = 1.05;

/// How to divide the packages of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// All layer groups of the target, those for single distributions first.
    pub layer_groups: Vec<LayerGroup>,
    /// How many of them are new.
    #[serde(rename = "added")]
    own: usize,
    /// How many layers the others become.
    pub split: u32,
    /// The expected compressed size of the packages to pull after an update, as it is and as it would be.
    pub before: u64,
    pub after: u64,
    /// What to pull after an update of a distribution, by name.
    pub pulls: BTreeMap<String, Pull>,
}

/// The compressed size of the layer with a distribution, as it is and as it would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pull {
    pub before: u64,
    pub after: u64,
}

impl Proposal {
    /// The new layer groups, each for a distribution.
    pub fn added(&self) -> &[LayerGroup] {
        &self.layer_groups[..self.own]
    }

    /// The new value of `split`; `None` if it stays as it is.
    pub fn split_value(&self, image: &DividedImage) -> Option<String> {
        let present = &image.partition.groups.split;
        let of_packages =
            present.iter().find(|split| split.group == PACKAGES).map_or(1, |split| split.layers);
        if of_packages == self.split {
            return None;
        }
        let others = present.iter().filter(|split| split.group != PACKAGES);
        let others: Vec<String> =
            others.map(|Split { group, layers }| format!("{}: {layers}", starlark::string(group))).collect();
        Some(match others[..] {
            [] => self.split.to_string(),
            _ => format!(
                "{{\n    {},\n    {}: {},\n}}",
                others.join(",\n    "),
                starlark::string(PACKAGES),
                self.split
            ),
        })
    }
}

/// The packages that `split` keeps together: those in repositories with the name of one distribution.
#[derive(Debug, Default)]
struct Unit {
    /// The compressed size of its files.
    size: u64,
    /// The layers that they are in.
    layers: HashSet<usize>,
    /// Whether any of them belongs to a distribution. Otherwise, there are no updates of it.
    has_distribution: bool,
}

/// A distribution that can have a layer of its own.
struct Candidate<'u> {
    name: &'u str,
    pattern: String,
    /// The compressed size of the layer.
    size: u64,
}

/// The best proposal for `image`, if there is one that is worthwhile.
pub fn propose(image: &DividedImage) -> Option<Proposal> {
    let units = units(image);
    let own_layers = own_layers(image);
    let kept = kept_pulls(image, &own_layers);
    let before = present_pulls(image, &units, &kept);
    let mean_before = mean(&before)?;
    let limit = limit(image, own_layers.len());
    let candidates = candidates(image, &units, limit - 1);
    let divisions = (0..=candidates.len()).map(|own| {
        let own = &candidates[..own];
        let rest = units.len() - own.len();
        let split = (limit - own.len()).min(rest.max(1));
        let pulls = pulls(&units, own, split, &kept);
        (mean(&pulls).unwrap_or(u64::MAX), own, split, pulls)
    });
    let cost = |after: u64, own: &[Candidate]| match own.len() {
        0 => after as f64,
        names => after as f64 * NAMES_COST * NAME_COST.powi(names as i32 - 1),
    };
    let (after, own, split, after_by_name) =
        divisions.min_by(|(a, own_a, ..), (b, own_b, ..)| cost(*a, own_a).total_cmp(&cost(*b, own_b)))?;
    if after as f64 >= mean_before as f64 * WORTHWHILE || mean_before.saturating_sub(after) < WORTHWHILE_BYTES
    {
        return None;
    }
    let present = &image.target.layer_groups;
    let added = own
        .iter()
        .map(|Candidate { name, pattern, .. }| LayerGroup::new(image.new_group_name(name), pattern));
    let pull = |(name, after): (&str, u64)| {
        (name.to_string(), Pull { before: before.get(name).copied().unwrap_or(after), after })
    };
    Some(Proposal {
        layer_groups: added.chain(present.iter().cloned()).collect(),
        own: own.len(),
        split: split as u32,
        before: mean_before,
        after,
        pulls: after_by_name.into_iter().map(pull).collect(),
    })
}

/// The proposal, for people.
pub fn advice(proposal: &Proposal, image: &DividedImage) -> Advice {
    let Proposal { layer_groups, own, before, after, pulls, .. } = proposal;
    let most = pulls.iter().rev().max_by_key(|(_, Pull { before, after })| before.saturating_sub(*after));
    let (name, example) = most.map_or(("", Pull::default()), |(name, pull)| (name.as_str(), *pull));
    let mut lines = Vec::new();
    if *own > 0 {
        lines.push(starlark::layer_groups(layer_groups, &image.partition.dropped).lines("layer_groups"));
    }
    lines.extend(proposal.split_value(image).map(|value| format!("split = {value},")));
    Advice {
        title: "Divide the packages among more layers".to_string(),
        detail: format!(
            "After an update of one package, a node pulls {} of packages on average instead of {}. The difference is largest for {name}: {} instead of {}.",
            size(*after),
            size(*before),
            size(example.after),
            size(example.before)
        ),
        saves: format!("{} per update", size(before.saturating_sub(*after))),
        paste: lines.join("\n"),
    }
}

/// Whether there is anything to divide, or has been.
pub fn has_packages(image: &DividedImage) -> bool {
    let is_package = |entry: &Entry| image.rules.group_of(&entry.path) == Some(PACKAGES);
    image.files().any(is_package) || !own_layers(image).is_empty()
}

/// How many layers what is in the group of packages may have, besides those with nothing but packages of
/// other groups: at least 1.
fn limit(image: &DividedImage, own: usize) -> usize {
    let all = image.image.layers.len();
    let present = image.image.layers.iter().filter(|layer| is_of_packages(&layer.name)).count();
    let limit = LAYERS.max(present + own) - own;
    let limit = match image.target.max_layers {
        Some(max) => limit.min((max as usize).saturating_sub(all - present)),
        None => limit,
    };
    limit.clamp(1, MAX_LAYERS as usize)
}

/// Whether this layer is of the group of packages.
fn is_of_packages(layer: &str) -> bool {
    let number = |number: &str| number.parse::<u32>().is_ok();
    layer == PACKAGES || layer.strip_prefix("packages_").is_some_and(number)
}

/// The indices of the layers of other groups that have nothing but files of distributions.
fn own_layers(image: &DividedImage) -> HashSet<usize> {
    let groups = &image.target.layer_groups;
    // A repository may have files that its distribution does not list.
    let is_by_name = |name: &str| {
        groups.iter().any(|group| group.name == name && starlark::packages(&group.pattern).is_some())
    };
    let is_own = |layer: &LayerContents| {
        let mut files = files_of(layer).peekable();
        !is_of_packages(&layer.name)
            && files.peek().is_some()
            && (is_by_name(&layer.name) || files.all(|entry| image.distribution(entry).is_some()))
    };
    let layers = image.image.layers.iter().enumerate();
    layers.filter(|(_, layer)| is_own(layer)).map(|(index, _)| index).collect()
}

/// What to pull after an update of each distribution that is only in `own_layers`, if no part of these is in
/// the group of packages. A proposal does not change that.
fn kept_pulls(image: &DividedImage, own_layers: &HashSet<usize>) -> BTreeMap<String, u64> {
    let mut layers: BTreeMap<&str, HashSet<usize>> = BTreeMap::new();
    // Distributions that may get a layer of their own, with all of their files.
    let mut divided: HashSet<&str> = HashSet::new();
    for (index, layer) in image.image.layers.iter().enumerate() {
        for entry in files_of(layer) {
            let Some(distribution) = image.distribution(entry) else { continue };
            if own_layers.contains(&index) {
                layers.entry(&distribution.name).or_default().insert(index);
            } else if image.rules.group_of(&entry.path) == Some(PACKAGES) {
                divided.insert(&distribution.name);
            }
        }
    }
    let is_shared = |index: &usize| {
        let mut distributions =
            files_of(&image.image.layers[*index]).filter_map(|entry| image.distribution(entry));
        distributions.any(|distribution| divided.contains(distribution.name.as_str()))
    };
    let shared: HashSet<usize> = own_layers.iter().copied().filter(is_shared).collect();
    let sizes = sizes(image);
    let kept = layers.into_iter().filter(|(_, layers)| layers.is_disjoint(&shared));
    kept.map(|(name, layers)| (name.to_string(), sum(layers.iter().map(|layer| sizes[*layer])))).collect()
}

/// The compressed sizes of the files in each layer.
fn sizes(image: &DividedImage) -> Vec<u64> {
    image.image.layers.iter().map(|layer| sum(files_of(layer).map(|entry| entry.compressed))).collect()
}

/// What is in the group of packages, by the names that `split` uses.
fn units(image: &DividedImage) -> BTreeMap<String, Unit> {
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    for (index, layer) in image.image.layers.iter().enumerate() {
        for entry in files_of(layer) {
            if image.rules.group_of(&entry.path) == Some(PACKAGES) {
                let unit = units.entry(image.rules.distribution_of(&entry.path)).or_default();
                unit.size = unit.size.saturating_add(entry.compressed);
                unit.layers.insert(index);
                unit.has_distribution |= image.distribution(entry).is_some();
            }
        }
    }
    units
}

/// The largest distributions, at most `max`, that `pip_package` matches completely and alone.
fn candidates<'u>(image: &DividedImage, units: &'u BTreeMap<String, Unit>, max: usize) -> Vec<Candidate<'u>> {
    let mut by_size: Vec<(&String, &Unit)> = units.iter().filter(|(_, unit)| unit.has_distribution).collect();
    by_size.sort_by_key(|(name, unit)| (Reverse(unit.size), *name));
    let candidates = by_size
        .into_iter()
        .filter_map(|(name, _)| Some(Candidate { name, pattern: pip_package(name)?, size: 0 }));
    let mut candidates: Vec<Candidate> = candidates.take(max).collect();
    let patterns = candidates.iter().map(|candidate| candidate.pattern.as_str());
    let Some(patterns) = image.compile(patterns) else { return Vec::new() };
    let mut unusable: BTreeSet<usize> = BTreeSet::new();
    let numbers: HashMap<&str, usize> =
        candidates.iter().enumerate().map(|(number, candidate)| (candidate.name, number)).collect();
    for entry in image.files() {
        let found = patterns.matching(&[b"./", entry.path.as_slice()].concat());
        // A group of its own also takes files that are in other groups now.
        for &number in &found {
            candidates[number].size = candidates[number].size.saturating_add(entry.compressed);
        }
        if image.rules.group_of(&entry.path) == Some(PACKAGES) {
            let own = numbers.get(image.rules.distribution_of(&entry.path).as_str()).copied();
            unusable.extend(own.filter(|own| !found.contains(own)));
            unusable.extend(found.into_iter().filter(|number| Some(*number) != own));
        }
    }
    let mut numbers = 0..;
    candidates.retain(|_| numbers.next().is_some_and(|number| !unusable.contains(&number)));
    candidates
}

/// What to pull after an update of each distribution now.
fn present_pulls<'u>(
    image: &DividedImage,
    units: &'u BTreeMap<String, Unit>,
    kept: &'u BTreeMap<String, u64>,
) -> BTreeMap<&'u str, u64> {
    let sizes = sizes(image);
    let pull = |unit: &Unit| sum(unit.layers.iter().map(|layer| sizes[*layer]));
    let mut pulls: BTreeMap<&str, u64> = kept.iter().map(|(name, pull)| (name.as_str(), *pull)).collect();
    let updated = units.iter().filter(|(_, unit)| unit.has_distribution);
    pulls.extend(updated.map(|(name, unit)| (name.as_str(), pull(unit))));
    pulls
}

/// What to pull after an update of each distribution, if those of `own` have layers of their own and the
/// others are split.
fn pulls<'u>(
    units: &'u BTreeMap<String, Unit>,
    own: &[Candidate<'u>],
    split: usize,
    kept: &'u BTreeMap<String, u64>,
) -> BTreeMap<&'u str, u64> {
    let mut pulls: BTreeMap<&str, u64> = kept.iter().map(|(name, pull)| (name.as_str(), *pull)).collect();
    let own: BTreeMap<&str, u64> = own.iter().map(|candidate| (candidate.name, candidate.size)).collect();
    let rest: Vec<(&str, &Unit)> = units
        .iter()
        .map(|(name, unit)| (name.as_str(), unit))
        .filter(|(name, _)| !own.contains_key(name))
        .collect();
    let layer = |name: &str| layer_number(name.as_bytes(), split) - 1;
    let mut layers = vec![0u64; split];
    for (name, unit) in &rest {
        let size = &mut layers[layer(name)];
        *size = size.saturating_add(unit.size);
    }
    let updated = rest.into_iter().filter(|(_, unit)| unit.has_distribution);
    pulls.extend(updated.map(|(name, _)| (name, layers[layer(name)])));
    pulls.extend(own);
    pulls
}

/// `None` if there are no pulls.
fn mean(pulls: &BTreeMap<&str, u64>) -> Option<u64> {
    let sum: u128 = pulls.values().map(|pull| u128::from(*pull)).sum();
    let mean = sum.checked_div(pulls.len() as u128)?;
    u64::try_from(mean).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::samples::Sample;
    use super::*;
    use crate::contents::{ComponentKind, ImageContents};

    fn proposal(sample: &Sample) -> Option<Proposal> {
        propose(&DividedImage::new(&sample.image()).unwrap().unwrap())
    }

    /// The pull of each distribution in `groups`, from the files of an image.
    fn pulls_of(image: &ImageContents, groups: &[&str]) -> BTreeMap<String, u64> {
        let divided = DividedImage::new(image).unwrap().unwrap();
        let mut pulls: BTreeMap<String, u64> = BTreeMap::new();
        for layer in &image.layers {
            let bytes = sum(files_of(layer).map(|entry| entry.compressed));
            for entry in files_of(layer) {
                let group = divided.rules.group_of(&entry.path).unwrap();
                if divided.distribution(entry).is_some() && groups.contains(&group) {
                    pulls.insert(divided.rules.distribution_of(&entry.path), bytes);
                }
            }
        }
        pulls
    }

    /// Checks that the image with the proposal is as predicted, and returns the proposal.
    pub fn checked(sample: &Sample) -> Option<(Proposal, String)> {
        let image = sample.image();
        let divided = DividedImage::new(&image).unwrap().unwrap();
        let proposal = propose(&divided)?;
        let Advice { paste, .. } = advice(&proposal, &divided);
        let added = proposal.added().iter().map(|group| group.name.as_str());
        let groups: Vec<&str> = added.chain([PACKAGES]).collect();
        let applied = sample.with(&paste);
        let image_after = applied.image();
        let mut after = pulls_of(&image_after, &groups);
        let divided_after = DividedImage::new(&image_after).unwrap().unwrap();
        for (name, pull) in kept_pulls(&divided_after, &own_layers(&divided_after)) {
            after.entry(name).or_insert(pull);
        }
        for (name, pull) in &proposal.pulls {
            assert_eq!(after.get(name), Some(&pull.after), "{name} in {proposal:?}");
        }
        let mean = |pulls: Vec<u64>| {
            let sum: u128 = pulls.iter().map(|pull| u128::from(*pull)).sum();
            (sum / pulls.len() as u128) as u64
        };
        assert_eq!(proposal.before, mean(proposal.pulls.values().map(|pull| pull.before).collect()));
        assert_eq!(proposal.after, mean(proposal.pulls.values().map(|pull| pull.after).collect()));
        Some((proposal, paste))
    }

    const KIB: u64 = 1024;

    /// Adds a package for each char of `names`.
    fn packages(sample: Sample, names: &str, kib: u64) -> Sample {
        names.chars().fold(sample, |sample, name| sample.package(&format!("package-{name}"), kib * KIB))
    }

    #[test]
    fn packages_of_similar_sizes_are_split() {
        let sample = packages(Sample::new(&[]).own("main.py", 10), "abcdefghijklmnop", 1000);
        let (proposal, paste) = checked(&sample).unwrap();
        assert_eq!((proposal.before, proposal.split, paste.as_str()), (16_000 * KIB, 8, "split = 8,"));
        assert!(proposal.after < 4000 * KIB && proposal.added().is_empty(), "{proposal:?}");
        assert_eq!(proposal, super::tests::proposal(&sample).unwrap());
    }

    #[test]
    fn a_large_package_gets_a_layer_of_its_own() {
        let sample =
            packages(Sample::new(&[("data", "/data/")]), "abcdef", 10).package("torch", 1_000_000 * KIB);
        let (proposal, paste) = checked(&sample).unwrap();
        let names: Vec<&str> = proposal.layer_groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!((proposal.added().len(), &names[..]), (1, &["torch", "data"][..]), "{paste}");
        assert_eq!(proposal.pulls["torch"], Pull { before: 1_000_060 * KIB, after: 1_000_000 * KIB });
    }

    #[test]
    fn nothing_is_proposed_if_updates_would_pull_about_as_much() {
        assert_eq!(checked(&Sample::new(&[]).own("main.py", 10)), None);
        assert_eq!(checked(&Sample::new(&[])), None);
        assert_eq!(checked(&Sample::new(&[]).package("torch", 1000 * KIB)), None);
        assert_eq!(checked(&packages(Sample::new(&[]), "abc", 0)), None);
        let mut sample = packages(Sample::new(&[]), "abcdefghijklmnop", 1000);
        sample.split = vec![Split { group: PACKAGES.into(), layers: 8 }];
        assert_eq!(checked(&sample), None);
        // They have groups of their own already.
        let groups = [("a", "{pip_package:package-a}"), ("b", "{pip_package:package-b}")];
        assert_eq!(checked(&packages(Sample::new(&groups), "ab", 1000)), None);
    }

    /// The samples after each proposal, until there is no more.
    fn applied(mut sample: Sample) -> Vec<Sample> {
        let mut all = Vec::new();
        while let Some((_, paste)) = checked(&sample) {
            sample = sample.with(&paste);
            all.push(sample.clone());
        }
        all
    }

    /// The packages of an image with machine learning: each is about 0.8 times as large as the one before.
    fn of_decreasing_sizes(sample: Sample) -> Sample {
        let names = "abcdefghijklmnopqrstuvwxyz";
        let mut kib = 200_000;
        names.chars().fold(sample, |sample, name| {
            kib = kib * 4 / 5;
            packages(sample, &name.to_string(), kib)
        })
    }

    #[test]
    fn a_proposal_that_was_applied_is_the_last_one() {
        let sample = of_decreasing_sizes(Sample::new(&[("data", "/data/")]).own("data/x", 1));
        for max_layers in [None, Some(5), Some(9), Some(127)] {
            let mut sample = sample.clone();
            sample.max_layers = max_layers;
            let applied = applied(sample);
            assert_eq!(applied.len(), 1, "{max_layers:?}: {applied:?}");
            let layers = applied[0].image().layers.len();
            assert!(layers <= 9.min(max_layers.unwrap_or(127) as usize), "{max_layers:?}: {layers}");
        }
    }

    #[test]
    fn layers_with_nothing_but_packages_count() {
        let groups = [
            ("a", "{pip_package:package-a}"),
            ("b-and-c", "package_[bc]/"),
            // Not of a distribution, but in its repository.
            ("d", "{pip_package:package-d}"),
            ("other", "/other/"),
        ];
        let stray = (ComponentKind::Repository, "pip_package_d", None);
        let sample =
            of_decreasing_sizes(Sample::new(&groups)).file(stray, "pip_package_d/BUILD", 1).own("other/x", 1);
        let image = sample.image();
        let divided = DividedImage::new(&image).unwrap().unwrap();
        let own = own_layers(&divided);
        assert_eq!((own.len(), limit(&divided, own.len())), (3, 5));
        assert_eq!(applied(sample.clone())[0].image().layers.len(), 9);
        // A split with more layers is not undone.
        let mut sample = sample;
        sample.split = vec![Split { group: PACKAGES.into(), layers: 20 }];
        let present = sample.image().layers.len() - 4;
        let image = sample.image();
        let divided = DividedImage::new(&image).unwrap().unwrap();
        assert_eq!(limit(&divided, own_layers(&divided).len()), present);
    }

    #[test]
    fn less_than_a_mebibyte_is_not_worthwhile() {
        assert!(proposal(&packages(Sample::new(&[]), "abcdefgh", 200)).is_some());
        assert_eq!(proposal(&packages(Sample::new(&[]), "abcdefgh", 100)), None);
    }

    #[test]
    fn the_package_with_the_largest_difference_is_named() {
        let sample = packages(Sample::new(&[]), "abcdef", 10).package("torch", 1_000_000 * KIB);
        let image = sample.image();
        let divided = DividedImage::new(&image).unwrap().unwrap();
        let detail = advice(&propose(&divided).unwrap(), &divided).detail;
        let (_, example) = detail.split_once(" instead of ").unwrap();
        assert!(example.contains(". The difference is largest for package-"), "{detail}");
        assert!(example.ends_with(" KiB instead of 976.6 MiB."), "{detail}");
    }

    #[test]
    fn an_image_may_have_no_packages() {
        let has_packages = |sample: Sample| {
            let image = sample.image();
            super::has_packages(&DividedImage::new(&image).unwrap().unwrap())
        };
        assert!(!has_packages(Sample::new(&[]).own("main.py", 1)));
        assert!(has_packages(Sample::new(&[]).package("six", 1)));
        assert!(has_packages(Sample::new(&[("six", "{pip_package:six}")]).package("six", 1)));
    }

    #[test]
    fn the_number_of_layers_is_limited() {
        for max_layers in [0, 1, 2, 3, 5, 12, 127, u32::MAX] {
            let mut sample = packages(Sample::new(&[("data", "/data/")]), "abcdefghijklmnopqrst", 1000);
            sample = sample.package("torch", 300_000 * KIB).own("main.py", 1).own("data/x", 1);
            sample.max_layers = Some(max_layers);
            let before = sample.image().layers.len();
            match checked(&sample) {
                Some((_, paste)) => {
                    let after = sample.with(&paste).image().layers.len();
                    assert!(after <= 10.min(max_layers as usize), "{paste}");
                }
                None => assert!(max_layers as usize <= before, "{max_layers}"),
            }
        }
    }

    #[test]
    fn a_present_split_is_changed_and_others_are_kept() {
        let mut sample = packages(Sample::new(&[("web", "/web/")]), "abcdefghijklmnop", 1000).own("web/x", 1);
        sample.split =
            [("web", 3), (PACKAGES, 2)].map(|(group, layers)| Split { group: group.into(), layers }).to_vec();
        let (_, paste) = checked(&sample).unwrap();
        assert_eq!(paste, "split = {\n    \"web\": 3,\n    \"packages\": 8,\n},");
        // All packages but one get layers of their own, so the split is undone.
        let mut sample = packages(Sample::new(&[]), "ab", 1_000_000);
        sample.split = vec![Split { group: PACKAGES.into(), layers: 2 }];
        if let Some((proposal, paste)) = checked(&sample) {
            assert_eq!(paste.contains("split = 1,"), proposal.split == 1, "{paste}");
        }
    }

    #[test]
    fn groups_of_the_target_are_respected() {
        // The target's own group of packages is the one to divide, and shared libraries stay together.
        let groups = [("so", r"\.so$"), (PACKAGES, "/site-packages/")];
        let mut sample = packages(Sample::new(&groups), "abcdefghij", 10).package("torch", 1_000_000 * KIB);
        sample = sample.of("torch", "torch/x.so", 500_000 * KIB).own("x.so", 1);
        sample.max_layers = Some(4);
        sample.dropped.push("interpreter".into());
        let (proposal, paste) = checked(&sample).unwrap();
        assert_eq!(proposal.pulls["torch"].after, 1_500_000 * KIB);
        assert!(paste.contains("\"interpreter\": None"), "{paste}");
        // A group has the name of the distribution.
        let sample =
            packages(Sample::new(&[("torch", "/models/")]), "abcdef", 10).package("torch", 1_000_000 * KIB);
        let (proposal, _) = checked(&sample.own("models/x", 1)).unwrap();
        assert_eq!(proposal.added()[0].name, "torch_package");
    }

    #[test]
    fn only_what_pip_package_matches_gets_a_layer_of_its_own() {
        let odd = (ComponentKind::Distribution, "odd", Some("1"));
        let sample = packages(Sample::new(&[]), "abcdef", 10)
            // A repository without metadata, and a name that `pip_package` does not accept.
            .file(odd, "hub_odd/site-packages/odd/x.py", 1_000_000 * KIB)
            .of("a+b", "a+b-1.dist-info/METADATA", 1_000_000 * KIB);
        if let Some((proposal, _)) = checked(&sample) {
            assert!(proposal.added().iter().all(|group| group.name.starts_with("package-")), "{proposal:?}");
        }
    }
}
