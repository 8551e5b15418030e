//! Reports files of several distributions that have the same path in the site-packages directory of a
//! Python binary. Pure.
//!
//! A file at a path hides those of other distributions at the same path, which is harmless only if they
//! are equal: distributions that share a namespace package often have the same `__init__.py`. What is
//! reported here are files that differ.

use std::fmt::Write;
use std::path::Path;

use crate::settings::PackageCollision;
use crate::show::{escape, show, show_path};

/// The maximum number of collisions in a message.
const SHOWN: usize = 10;

/// All collisions, one per line.
pub fn report(collisions: &[&PackageCollision]) -> String {
    collisions.iter().map(|collision| line(collision, escape) + "\n").collect()
}

/// A message about the collisions, if there are any. `report` is the file with all of them.
pub fn message(collisions: &[&PackageCollision], report: &Path) -> Option<String> {
    if collisions.is_empty() {
        return None;
    }
    let mut text = "distributions contain different files at the same path in site-packages:".to_string();
    for collision in collisions.iter().take(SHOWN) {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n    {}", line(collision, show));
    }
    if let Some(more @ 1..) = collisions.len().checked_sub(SHOWN) {
        let _ = write!(text, "\n    and {more} more, listed in {}", show_path(report));
    }
    text += "\n  depend on only one of the two distributions, or set package_collisions = \"warning\" or \"ignore\" on the binary to use the first file";
    Some(text)
}

fn line(PackageCollision { path, chosen, other }: &PackageCollision, show: fn(&[u8]) -> String) -> String {
    let [path, chosen, other] =
        [path.as_ref(), chosen.as_os_str(), other.as_os_str()].map(|path| show(path.as_encoded_bytes()));
    format!("{path}: {chosen} and {other}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collision(path: &str) -> PackageCollision {
        let file = |distribution: &str| format!("external/{distribution}/site-packages/{path}").into();
        PackageCollision { path: path.to_string(), chosen: file("a"), other: file("b") }
    }

    #[test]
    fn a_message_names_both_files_and_the_way_out() {
        let collision = collision("yaml/__init__.py");
        assert_eq!(
            message(&[&collision], Path::new("out/report")).unwrap(),
            "distributions contain different files at the same path in site-packages:\n    \
             yaml/__init__.py: external/a/site-packages/yaml/__init__.py and external/b/site-packages/yaml/__init__.py\n  \
             depend on only one of the two distributions, or set package_collisions = \"warning\" or \"ignore\" on the binary to use the first file"
        );
        assert_eq!(
            report(&[&collision]),
            "yaml/__init__.py: external/a/site-packages/yaml/__init__.py and external/b/site-packages/yaml/__init__.py\n"
        );
        assert_eq!((message(&[], Path::new("out/report")), report(&[])), (None, String::new()));
    }

    #[test]
    fn a_message_is_bounded_and_the_report_is_not() {
        let collisions: Vec<_> =
            (0..1000).map(|number| collision(&format!("{number}/{}.py", "x".repeat(4000)))).collect();
        let collisions: Vec<_> = collisions.iter().collect();
        let message = |count| message(&collisions[..count], Path::new("out/report")).unwrap();
        assert!(!message(10).contains("more"));
        assert!(message(11).contains("\n    and 1 more, listed in out/report\n"));
        assert!(message(1000).contains("\n    and 990 more, listed in out/report\n"));
        assert!(message(1000).len() < 10_000);
        assert_eq!(report(&collisions).lines().count(), 1000);
        assert!(report(&collisions).len() > 1000 * 3 * 4000);
    }

    #[test]
    fn control_characters_are_escaped() {
        let collision = collision("a\n\x1b[31m\\.py");
        assert!(report(&[&collision]).starts_with(r"a\n\u{1b}[31m\\.py: external/a/"));
        let message = message(&[&collision], Path::new("report")).unwrap();
        assert!(message.contains(r"    a\n\u{1b}[31m\.py: external/a/"), "{message}");
    }
}
