//! Finds layer groups whose patterns take no file. Pure.

use super::division::{DividedImage, pip_package};
use super::{Advice, files, starlark};
use crate::contents::ComponentKind;
use crate::groups::{Decision, LayerGroup};
use crate::warnings;

/// What the pattern of one group did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Use {
    /// Files that it took.
    taken: usize,
    /// Files that it matches, but an earlier one took.
    missed: usize,
    /// Files that it matches, but that are excluded.
    excluded: usize,
    /// The earlier pattern that took most of the missed files.
    taker: Option<Taker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taker {
    /// The index of its group.
    group: usize,
    /// Whether all files that it took are among the missed ones.
    takes_no_others: bool,
}

/// Suggestions for groups without files.
pub fn advise(image: &DividedImage) -> Vec<Advice> {
    let components = image.image.components.iter();
    let distributions = components.filter(|component| component.kind == ComponentKind::Distribution);
    let packages: Vec<String> = distributions.map(|component| component.name.clone()).collect();
    let uses = uses(image);
    let groups = image.target.layer_groups.iter().enumerate().zip(&uses);
    let unused = groups.filter(|(_, found)| found.taken == 0);
    unused
        .map(|((index, group), found)| match found.taker {
            Some(taker) => shadowed(image, index, group, found, taker),
            None => empty(image, index, group, found, &packages),
        })
        .collect()
}

/// Moves a group before the one that takes its files. If that one would then have none, only one of the
/// two is needed.
fn shadowed(image: &DividedImage, index: usize, group: &LayerGroup, found: &Use, taker: Taker) -> Advice {
    let pattern = warnings::shown_pattern(&group.pattern);
    let by = image.rules.groups[taker.group].group.as_deref().unwrap_or_default();
    let matched = files(found.missed);
    let mut groups = image.target.layer_groups.clone();
    let moved = groups.remove(index);
    let detail = if taker.takes_no_others {
        format!(
            "Its pattern {pattern} matches {matched}, but {by:?}, which is tried before it, takes the same files. The lines remove {:?}.",
            group.name
        )
    } else {
        groups.insert(taker.group, moved);
        format!(
            "Its pattern {pattern} matches {matched}, but groups that are tried before it take all of them, most of them {by:?}. The lines move it before {by:?}."
        )
    };
    Advice {
        title: format!("Layer group {:?} is shadowed by {by:?}", group.name),
        detail,
        saves: String::new(),
        paste: starlark::layer_groups(&groups, &image.partition.dropped).lines("layer_groups"),
    }
}

/// Gives a group the package that its pattern mentions, corrects the pattern, or removes the group.
fn empty(image: &DividedImage, index: usize, group: &LayerGroup, found: &Use, packages: &[String]) -> Advice {
    let pattern = warnings::shown_pattern(&group.pattern);
    let mut groups = image.target.layer_groups.clone();
    let reason = if found.excluded > 0 {
        groups.remove(index);
        format!("Its pattern {pattern} matches {}, but all of them are excluded", files(found.excluded))
    } else {
        let by_package = group.pattern.contains("{pip_package:");
        let package = warnings::mentioned_package(&group.pattern, packages).filter(|_| !by_package);
        let package = package.and_then(|package| pip_package(package));
        match package
            .or_else(|| corrected(&group.pattern))
            .filter(|pattern| takes_files(image, index, pattern))
        {
            Some(pattern) => groups[index].pattern = pattern,
            None => drop(groups.remove(index)),
        }
        let runfiles = image.partition.groups.runfiles.as_str();
        let is_set = runfiles == ".runfiles" || runfiles.ends_with("/.runfiles");
        let reasons = warnings::likely_reasons(&group.pattern, packages, is_set.then_some(runfiles));
        format!("No file left by earlier groups matches its pattern {pattern}{reasons}")
    };
    let change = if groups.len() < image.target.layer_groups.len() {
        format!(" The lines remove {:?}.", group.name)
    } else {
        String::new()
    };
    Advice {
        title: format!("Layer group {:?} is empty", group.name),
        detail: format!("{reason}.{change}"),
        saves: String::new(),
        paste: starlark::layer_groups(&groups, &image.partition.dropped).lines("layer_groups"),
    }
}

/// A pattern without frequent mistakes: escapes for awk, and names of repositories of one version of Bazel.
fn corrected(pattern: &str) -> Option<String> {
    let mut corrected = pattern.replace(r"\\", r"\").replace("$$", "$");
    if corrected.contains('~') && !corrected.contains('+') {
        corrected = corrected.replace("[~]", "~").replace('~', "[~+]");
    } else if !corrected.contains('~') {
        corrected = corrected.replace(r"\+", "[+]").replace("[+]", "[~+]");
    }
    (corrected != pattern).then_some(corrected)
}

/// Whether the group at `index` has files if it has this pattern.
fn takes_files(image: &DividedImage, index: usize, pattern: &str) -> bool {
    let earlier = image.target.layer_groups[..index].iter().map(|group| group.pattern.as_str());
    let patterns = image.compile(earlier.chain([pattern]));
    patterns.is_some_and(|patterns| {
        let takes = |path: &[u8]| patterns.matching(&[b"./", path].concat()).first() == Some(&index);
        image.files().any(|entry| takes(&entry.path))
    })
}

/// What the pattern of each group did, in matching order.
fn uses(image: &DividedImage) -> Vec<Use> {
    let rules = &image.rules;
    let mut uses = vec![Use::default(); rules.groups.len()];
    // How often a group took a file that a later one matches.
    let mut takers = vec![vec![0usize; rules.groups.len()]; rules.groups.len()];
    for entry in image.files() {
        if let Some((first, others)) = rules.matching(&entry.path).split_first() {
            uses[*first].taken += 1;
            for other in others {
                uses[*other].missed += 1;
                takers[*other][*first] += 1;
            }
        }
    }
    for left_out in &image.partition.left_out {
        if matches!(rules.decide(&left_out.path), Decision::Excluded(_)) {
            for group in rules.matching(&left_out.path) {
                uses[group].excluded += 1;
            }
        }
    }
    for (index, takers) in takers.iter().enumerate() {
        let most = takers.iter().enumerate().max_by_key(|(group, count)| (**count, usize::MAX - group));
        uses[index].taker = most
            .filter(|(_, count)| **count > 0)
            .map(|(group, count)| Taker { group, takes_no_others: *count == uses[group].taken });
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, layers};
    use super::*;

    fn advice(sample: &Sample) -> Vec<Advice> {
        advise(&DividedImage::new(&sample.image()).unwrap().unwrap())
    }

    fn app() -> Sample {
        Sample::new(&[]).package("torch", 1000).package("six", 10).own("main.py", 5).own("data/a.bin", 7)
    }

    fn with_groups(groups: &[(&str, &str)]) -> Sample {
        Sample { layer_groups: Sample::new(groups).layer_groups, ..app() }
    }

    fn groups(sample: &Sample) -> Vec<(&str, &str)> {
        sample.layer_groups.iter().map(|group| (group.name.as_str(), group.pattern.as_str())).collect()
    }

    #[test]
    fn groups_with_files_need_no_advice() {
        assert_eq!(advice(&app()), []);
        assert_eq!(advice(&with_groups(&[("torch", "{pip_package:torch}"), ("data", "/data/")])), []);
    }

    #[test]
    fn an_empty_group_gets_the_package_that_its_pattern_mentions() {
        let sample = with_groups(&[("data", "/data/"), ("torch", "pip_deps_311_torch/"), ("main", "main")]);
        let [advice] = &advice(&sample)[..] else { panic!() };
        assert_eq!(advice.title, "Layer group \"torch\" is empty");
        assert_eq!(
            advice.detail,
            "No file left by earlier groups matches its pattern \"pip_deps_311_torch/\". The binary has a package \"torch\": pip_package(\"torch\") finds it whatever its repository is called."
        );
        let sample = sample.with(&advice.paste);
        assert_eq!(groups(&sample), [("data", "/data/"), ("torch", "{pip_package:torch}"), ("main", "main")]);
        assert_eq!(layers(&sample.image())["torch"].len(), 2);
    }

    #[test]
    fn an_empty_group_is_removed_and_the_likely_reason_given() {
        for (pattern, reason) in [
            ("/models/", "matches its pattern \"/models/\". The lines remove"),
            (r"\\.onnx$$", "escaped for awk"),
            ("rules_python~~pip~x", "later versions use +"),
            (r"rules_python\+\+pip\+x", "later versions use +"),
            ("{pip_package:pytorch}", "pyyaml, not yaml"),
            (r"server\.runfiles/_main/x", "All runfiles are in /app/.runfiles"),
        ] {
            let mut sample = with_groups(&[("empty", pattern), ("data", "/data/")]);
            sample.dropped.push("interpreter".into());
            let [advice] = &advice(&sample)[..] else { panic!("{pattern}") };
            assert!(advice.detail.contains(reason), "{}", advice.detail);
            assert!(advice.detail.ends_with(" The lines remove \"empty\"."), "{}", advice.detail);
            let sample = sample.with(&advice.paste);
            assert_eq!(groups(&sample), [("data", "/data/")]);
            assert_eq!(sample.dropped, ["interpreter"]);
        }
    }

    #[test]
    fn frequent_mistakes_in_a_pattern_are_corrected() {
        let repository = (ComponentKind::Repository, "rules_models++hub+onnx", None);
        for (pattern, expected) in [
            ("rules_models~~hub~onnx/", "rules_models[~+][~+]hub[~+]onnx/"),
            ("hub[~]onnx", "hub[~+]onnx"),
            (r"a\\.onnx$$", r"a\.onnx$"),
        ] {
            let sample = with_groups(&[("data", "/data/"), ("onnx", pattern)]);
            let sample = sample.file(repository, "rules_models++hub+onnx/a.onnx", 5);
            let [advice] = &advice(&sample)[..] else { panic!("{pattern}") };
            assert!(!advice.detail.contains("The lines remove"), "{}", advice.detail);
            let sample = sample.with(&advice.paste);
            assert_eq!(groups(&sample), [("data", "/data/"), ("onnx", expected)]);
            assert_eq!(layers(&sample.image())["onnx"], ["rules_models++hub+onnx/a.onnx"]);
        }
        assert_eq!(corrected(r"a\+b[+]c").as_deref(), Some("a[~+]b[~+]c"));
        assert_eq!(corrected("a[~+]b"), None);
    }

    #[test]
    fn the_placeholder_of_a_package_does_not_mention_pip() {
        let sample = with_groups(&[("x", "{pip_package:absent}")]).package("pip", 1);
        let [advice] = &advice(&sample)[..] else { panic!() };
        assert!(sample.with(&advice.paste).layer_groups.is_empty(), "{advice:?}");
    }

    #[test]
    fn a_group_whose_files_are_all_excluded_is_removed() {
        let mut sample = with_groups(&[("data", "/data/")]);
        sample.exclude.push(r"\.bin$".into());
        let [advice] = &advice(&sample)[..] else { panic!() };
        assert_eq!(
            advice.detail,
            "Its pattern \"/data/\" matches 1 file, but all of them are excluded. The lines remove \"data\"."
        );
        assert!(sample.with(&advice.paste).layer_groups.is_empty());
    }

    #[test]
    fn a_shadowed_group_is_moved_before_its_taker() {
        let sample = with_groups(&[
            ("main", "main[.]py"),
            ("python", r"\.py$|METADATA"),
            ("data", "/data/"),
            ("torch", "{pip_package:torch}"),
        ]);
        let [advice] = &advice(&sample)[..] else { panic!() };
        assert_eq!(advice.title, "Layer group \"torch\" is shadowed by \"python\"");
        assert_eq!(
            advice.detail,
            "Its pattern pip_package(\"torch\") matches 2 files, but groups that are tried before it take all of them, most of them \"python\". The lines move it before \"python\"."
        );
        let sample = sample.with(&advice.paste);
        let names: Vec<&str> = sample.layer_groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["main", "torch", "python", "data"]);
        let image = sample.image();
        assert_eq!(layers(&image)["torch"].len(), 2);
        assert_eq!(layers(&image)["python"].len(), 2);
        assert_eq!(super::tests::advice(&sample), []);
    }

    #[test]
    fn a_group_that_would_only_swap_places_is_removed() {
        let sample = with_groups(&[("torch", "{pip_package:torch}"), ("again", "pip_torch/")]);
        let [advice] = &advice(&sample)[..] else { panic!() };
        assert!(advice.detail.ends_with("takes the same files. The lines remove \"again\"."), "{advice:?}");
        let sample = sample.with(&advice.paste);
        assert_eq!(groups(&sample), [("torch", "{pip_package:torch}")]);
    }
}
