//! Warnings about valid layers. Pure.

use crate::groups::LayerGroup;
use crate::plan::{self, LayerPlan};
use crate::show::show;

/// The maximum number of unused exceptions that a warning names.
const MAX_UNUSED: usize = 5;

/// Warns if `layer` has entries where base images often have symlinks.
pub fn shadows_base_image(layer: &str, plan: &LayerPlan) -> Option<String> {
    let entry = plan::shadows_base_image(plan)?;
    Some(format!(
        "layer {layer:?} contains {}; in most base images that top-level directory is a symlink, which some tools replace with a directory. Set root to \"/app\", for example; the same applies to runfiles_root",
        show(&entry.name)
    ))
}

/// Warns that `layer` is empty, if it is one of `groups`.
pub fn empty_layer(layer: &str, groups: &[LayerGroup]) -> Option<String> {
    let groups = groups.iter().filter(|group| group.name == layer);
    let patterns: Vec<&str> = groups.map(|group| group.pattern.as_str()).collect();
    (!patterns.is_empty()).then(|| unused_group(layer, &patterns.join("|"), &[], None))
}

/// Warns about `unused` patterns of `validation_exceptions`, if there are any.
pub fn unused_exceptions(unused: &[&str]) -> Option<String> {
    let shown: Vec<String> =
        unused.iter().take(MAX_UNUSED).map(|pattern| format!("\"{}\"", show(pattern.as_bytes()))).collect();
    let more = if unused.len() > MAX_UNUSED { " and more" } else { "" };
    (!unused.is_empty()).then(|| {
        format!(
            "no problem was found at a path that matches {}{more}: remove unneeded patterns from validation_exceptions",
            shown.join(" or ")
        )
    })
}

/// Warns that these paths, a binary or the link to its runfiles, are in no layer, if there are any.
pub fn left_out(paths: &[String]) -> Option<String> {
    let shown: Vec<String> = paths.iter().map(|path| show(path.as_bytes())).collect();
    (!shown.is_empty()).then(|| {
        format!(
            "exclude or layer_groups leaves out {}, without which the binary cannot start",
            shown.join(" and ")
        )
    })
}

/// Warns that no file of the image is in the prefetch list, whose first line is `first`.
pub fn unused_prefetch(first: &[u8]) -> String {
    format!(
        "no file of the image is in the prefetch list, which begins with {}: each line is a file's path, or the end of it; record the list again",
        show(first)
    )
}

/// Warns that the layer group `name` has no files, and suggests likely reasons. `packages` are the
/// normalized names of the packages in the runfiles, `runfiles_root` is the directory of these if it is set.
pub fn unused_group(name: &str, pattern: &str, packages: &[String], runfiles_root: Option<&str>) -> String {
    format!(
        "layer {name:?} is empty: no file left by earlier groups matches its pattern {}{}",
        shown_pattern(pattern),
        likely_reasons(pattern, packages, runfiles_root)
    )
}

/// Sentences that tell why `pattern` may match no file, each after a period and a space. Parameters are
/// those of [`unused_group`].
pub fn likely_reasons(pattern: &str, packages: &[String], runfiles_root: Option<&str>) -> String {
    let mut reasons = String::new();
    if pattern.contains(r"\\") || pattern.contains("$$") {
        reasons +=
            r". It looks escaped for awk: in a regular expression, write \. for a dot and $ for the end";
    }
    // The repositories of other modules have a `~` in their names in Bazel 7, a `+` in later versions. A
    // `+` is an operator, unless it is escaped or in a class.
    let of_bazel_7 = pattern.contains('~') && !pattern.contains('+');
    let of_bazel_8 = !pattern.contains('~') && (pattern.contains(r"\+") || pattern.contains("[+]"));
    if of_bazel_7 || of_bazel_8 {
        reasons += ". Bazel 7 uses ~ in repository names, later versions use +; [~+] matches both";
    }
    // pip_deps_torch in a WORKSPACE is called pip_deps_311_torch_cp311_… with modules.
    let by_package = pattern.contains("{pip_package:");
    match mentioned_package(pattern, packages) {
        Some(package) if !by_package => {
            reasons += &format!(
                ". The binary has a package {package:?}: pip_package({package:?}) finds it whatever its repository is called"
            );
        }
        None if by_package => {
            reasons += ". Use the package's name in a requirements file (pyyaml, not yaml)";
        }
        _ => {}
    }
    if let Some(root) = runfiles_root
        && pattern.contains(".runfiles")
        && !pattern.contains("{")
    {
        reasons += &format!(". All runfiles are in /{}, not next to the binary", show(root.as_bytes()));
    }
    reasons
}

/// A pattern as written in a BUILD file: `pip_package("torch")`, or a quoted string.
pub fn shown_pattern(pattern: &str) -> String {
    let package = |part: &str| Some(format!("{:?}", part.strip_prefix("{pip_package:")?.strip_suffix('}')?));
    match pattern.split('|').map(package).collect::<Option<Vec<String>>>() {
        Some(names) => show(format!("pip_package({})", names.join(", ")).as_bytes()),
        None => format!("\"{}\"", show(pattern.as_bytes())),
    }
}

/// The package with the longest name that is a whole word in `pattern`.
pub fn mentioned_package<'a>(pattern: &str, packages: &'a [String]) -> Option<&'a String> {
    // The placeholder does not mention the package pip.
    let pattern = pattern.replace("{pip_package:", "{").to_ascii_lowercase().replace(['_', '.'], "-");
    let is_mentioned = |package: &&String| {
        !package.is_empty()
            && pattern.match_indices(package.as_str()).any(|(start, _)| {
                let before = pattern[..start].chars().next_back();
                let after = pattern[start + package.len()..].chars().next();
                !before.into_iter().chain(after).any(char::is_alphanumeric)
            })
    };
    packages.iter().filter(is_mentioned).max_by_key(|package| package.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_of_an_unused_group_knows_frequent_reasons() {
        let packages = ["audio", "pip", "torch", "torch-audio", ""].map(String::from);
        for (pattern, reasons) in [
            (r"\.so$", &[][..]),
            ("[a-z]+/x", &[]),
            (r"[^/]*[~+]x", &[]),
            ("torchvision", &[]),
            (r"\\.runfiles/x", &["for awk"]),
            ("x$$", &["for awk"]),
            ("rules_python~~python~x", &["later versions use +"]),
            (r"rules_python\+\+x\+y", &["later versions use +"]),
            ("[+]x", &["later versions use +"]),
            ("pip_deps_torch", &["pip_package(\"torch\")"]),
            ("/site-packages/Torch_Audio/", &["pip_package(\"torch-audio\")"]),
            ("[~]pypi_311_torch/", &["later versions use +", "pip_package(\"torch\")"]),
            ("{pip_package:yaml}", &["pyyaml, not yaml"]),
            (r"server\.runfiles/_main/", &["All runfiles are in /app/.runfiles, not next to the binary"]),
            ("{pip_package:absent}", &["pyyaml, not yaml"]),
            // The package's files are in an earlier group.
            ("{pip_package:torch}", &[]),
        ] {
            let warning = unused_group("x", pattern, &packages, Some("app/.runfiles"));
            let plain = format!(
                "layer \"x\" is empty: no file left by earlier groups matches its pattern {}",
                shown_pattern(pattern)
            );
            let rest = warning.strip_prefix(&plain).unwrap();
            assert!(reasons.iter().all(|reason| rest.contains(reason)), "{warning}");
            assert_eq!(rest.is_empty(), reasons.is_empty(), "{warning}");
        }
        let groups =
            [("a", "x"), ("b", "z"), ("a", "y")].map(|(name, pattern)| LayerGroup::new(name, pattern));
        assert!(empty_layer("a", &groups).unwrap().ends_with(" its pattern \"x|y\""));
        assert_eq!(shown_pattern("{pip_package:torch}|{pip_package:six}"), r#"pip_package("torch", "six")"#);
        assert_eq!(shown_pattern("{pip_package:torch}|/x/"), r#""{pip_package:torch}|/x/""#);
        assert_eq!(empty_layer("c", &groups), None);
    }
}
