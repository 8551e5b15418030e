//! Distributes the files of a layer group among several layers, by distribution.
//!
//! The layer of a distribution follows from its name alone, so a distribution that is added, removed or
//! updated changes one layer. Names of repositories cannot serve: they contain versions, platforms and
//! hashes, which depend on the rule set, on Bazel's version, and on the machine.
//!
//! `bazel/private/split.bzl` does the same at analysis.

use crate::survey::normalize_distribution;

/// The name of layer `number` of a group; the first is 1.
pub fn layer_name(group: &str, number: usize) -> String {
    format!("{group}_{number}")
}

/// Which of `layers` layers contains a distribution: a number from 1.
///
/// Java's `String.hashCode`, which is what Starlark's `hash` is, and then the finalizer of MurmurHash3,
/// because the last bits of the former say little.
pub fn layer_number(distribution: &[u8], layers: usize) -> usize {
    let mut hash =
        distribution.iter().fold(0u32, |hash, &byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    hash as usize % layers.max(1) + 1
}

/// The name to use for a repository in which no distribution was found: the part of the repository's name
/// that most likely names a distribution.
///
/// Modules add prefixes that end in `~` or `+`. aspect_rules_py 2 unpacks a wheel into a tree artifact,
/// whose files are not known, in the repository `whl_install__<project>__<distribution>__<version>`.
pub fn distribution_of(repository: &[u8]) -> Vec<u8> {
    let start = repository.iter().rposition(|byte| b"~+".contains(byte)).map_or(0, |index| index + 1);
    let name = &repository[start..];
    let of_tree = || {
        let (rest, _version) = split_last(name.strip_prefix(b"whl_install__")?)?;
        split_last(rest).map(|(_project, distribution)| distribution)
    };
    match of_tree().map(normalize_distribution) {
        Some(distribution) if !distribution.is_empty() => distribution,
        _ => normalize_distribution(name),
    }
}

/// Splits `name` at the last `__`.
fn split_last(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = name.windows(2).rposition(|bytes| bytes == b"__")?;
    Some((&name[..end], &name[end + 2..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_of_a_distribution_never_changes() {
        // Each change would move all distributions of all images to other layers.
        for (distribution, of_8, of_127) in [("numpy", 5, 80), ("torch", 1, 52), ("", 1, 1)] {
            assert_eq!(layer_number(distribution.as_bytes(), 8), of_8, "{distribution}");
            assert_eq!(layer_number(distribution.as_bytes(), 127), of_127, "{distribution}");
        }
        assert_eq!(layer_number(b"numpy", 1), 1);
    }

    #[test]
    fn distributions_are_spread_evenly() {
        // Names as in a monorepo: similar ones, with the same ends.
        let names = ["google-cloud-", "types-", "opentelemetry-instrumentation-"];
        let names = names.iter().flat_map(|start| (0..100).map(move |number| format!("{start}{number}")));
        let mut counts = [0; 8];
        for name in names {
            counts[layer_number(name.as_bytes(), 8) - 1] += 1;
        }
        assert!(counts.iter().all(|count| (20..=60).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_repository_stands_for_a_distribution() {
        for (repository, expected) in [
            ("pip_deps_numpy", "pip-deps-numpy"),
            ("rules_python~~pip~hub_311_numpy", "hub-311-numpy"),
            ("rules_python++pip+hub_311_numpy", "hub-311-numpy"),
            ("aspect_rules_py++uv+whl_install__myproj__numpy__1_26_4", "numpy"),
            ("aspect_rules_py~~uv~whl_install__my__proj__charset_normalizer__3_4_1", "charset-normalizer"),
            ("whl_install__numpy", "whl-install-numpy"),
            ("whl_install__numpy__1", "whl-install-numpy-1"),
            ("", ""),
        ] {
            let name = distribution_of(repository.as_bytes());
            assert_eq!(String::from_utf8(name).unwrap(), expected, "{repository}");
        }
    }
}
