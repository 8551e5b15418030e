//! The facts that the program shares with the rules, from `bazel/private/tables.bzl`. Bazel loads the
//! file, and the program includes it. Each row of a table is one line, which is also a JSON object.

use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

const TEXT: &str = include_str!("../bazel/private/tables.bzl");

/// A codec.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecRow {
    pub name: String,
    /// The file extension of a layer.
    pub extension: String,
    /// The media type of a layer (OCI image-spec, `media-types.md`).
    pub media_type: String,
    pub levels: Option<Levels>,
    /// The levels at which files are [lifted](crate::wheel) from wheels.
    pub lifted_levels: Option<LiftedLevels>,
}

/// A format of layers that can be mounted or fetched in part.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LazyRow {
    pub name: String,
    /// The name of the codec that it requires.
    pub codec: String,
}

/// A range of levels.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiftedLevels {
    pub lowest: u8,
    pub highest: u8,
}

/// The levels of a codec.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    pub lowest: u8,
    pub highest: u8,
    pub default: u8,
}

/// A processor architecture that Linux supports.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorRow {
    /// `e_machine` in an ELF header.
    pub machine: u16,
    /// Its name in `@platforms//cpu`, or a descriptive name if it has none there.
    #[serde(alias = "cpu")]
    pub name: String,
}

/// One pattern of a default group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRow {
    pub group: String,
    pub pattern: String,
    /// What creates such paths.
    pub of: String,
    /// A path below the runfiles directory.
    pub example: String,
}

/// A pattern for the names of repositories whose contents are not known at analysis.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepositoryRow {
    pub holds: String,
    pub pattern: String,
    /// What creates such repositories.
    pub of: String,
    pub example: String,
}

/// Files that most images do not need.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BallastRow {
    /// The name of the pattern in the public `.bzl` file, if it is there.
    pub constant: Option<String>,
    /// Whose files these are: `interpreter`, `distribution` or `any`.
    pub of: String,
    pub what: String,
    /// For `exclude`.
    pub pattern: String,
}

pub static CODECS: LazyLock<Vec<CodecRow>> = LazyLock::new(|| rows("CODECS"));
pub static LAZY: LazyLock<Vec<LazyRow>> = LazyLock::new(|| rows("LAZY"));
pub static PROCESSORS: LazyLock<Vec<ProcessorRow>> = LazyLock::new(|| rows("PROCESSORS"));
pub static DEFAULT_GROUP_PATTERNS: LazyLock<Vec<GroupRow>> = LazyLock::new(|| rows("DEFAULT_GROUP_PATTERNS"));
pub static REPOSITORY_NAMES: LazyLock<Vec<RepositoryRow>> = LazyLock::new(|| rows("REPOSITORY_NAMES"));
pub static BALLAST: LazyLock<Vec<BallastRow>> = LazyLock::new(|| rows("BALLAST"));

/// Parses the rows of a table.
fn rows<T: DeserializeOwned>(table: &str) -> Vec<T> {
    let start = format!("{table} = [");
    let lines = TEXT.lines().skip_while(|line| *line != start).skip(1).take_while(|line| *line != "]");
    lines
        .map(|line| {
            let row = line.trim().trim_end_matches(',');
            serde_json::from_str(row).expect("the rows are part of the program, and a test reads all")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read() {
        let counts = [
            CODECS.len(),
            LAZY.len(),
            PROCESSORS.len(),
            DEFAULT_GROUP_PATTERNS.len(),
            REPOSITORY_NAMES.len(),
            BALLAST.len(),
        ];
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
        assert_eq!(
            counts.iter().sum::<usize>(),
            TEXT.lines().filter(|line| line.starts_with("    {")).count()
        );
    }

    #[test]
    fn machines_and_names_are_unique() {
        for (index, row) in PROCESSORS.iter().enumerate() {
            let is_other = |other: &ProcessorRow| other.machine != row.machine && other.name != row.name;
            assert!(PROCESSORS[..index].iter().all(is_other), "{row:?}");
        }
    }
}
