//! The settings that the actions of an image share, and the files in which the Bazel rule passes them.
//! `pylayer pack` has the same settings as options.
//!
//! A settings file contains one JSON object (docs/formats.md). An absent setting has its default value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, ValueEnum};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};

use crate::codec::{self, Codec};
use crate::contents::Target;
use crate::elf;
use crate::exec_path;
use crate::groups::LayerGroup;
use crate::image_path::ImagePath;
use crate::metadata::Metadata;
use crate::show::{show, show_path};
use crate::tables::CODECS;

/// The minimum size in bytes of files that are deduplicated. Smaller ones save little, and one-shot runs
/// would have to hash them.
pub const DEDUPE_FROM: u64 = 4096;

/// How the name of a runfiles directory ends.
pub const RUNFILES: &str = ".runfiles";

/// Everything that determines the bytes of an image's layers, except their manifests and files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Args)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Exclude paths that match REGEX
    #[arg(long, value_name = "REGEX", value_parser = NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub exclude: Vec<String>,
    /// Directory of the image that everything goes into
    // Without leading or trailing slashes. Directories above it get no entries.
    #[arg(long, default_value = "/", value_name = "DIR", value_parser = parse_root)]
    #[serde(deserialize_with = "root")]
    pub root: String,
    /// Directory of the image for the runfiles, which other images can share; ends in .runfiles [default:
    /// PATH.runfiles next to the binary]
    // As `root`. Directories in it get entries even if it is outside of `root`.
    #[arg(long, value_name = "DIR", value_parser = parse_runfiles_root)]
    #[serde(deserialize_with = "runfiles_root")]
    pub runfiles_root: Option<String>,
    #[arg(long, default_value_t = Settings::default().compress, value_name = "NAME", help = codec::names())]
    pub compress: String,
    #[arg(long, value_name = "N", help = codec::levels(), allow_negative_numbers = true)]
    pub level: Option<u8>,
    #[arg(long, value_name = "FORMAT", help = format!("Make layers that can be pulled in part: {}", codec::lazy_names()))]
    pub lazy: Option<String>,
    #[command(flatten)]
    pub metadata: Metadata,
    /// Store equal files as copies instead of hard links
    #[arg(long = "no-dedupe", action = ArgAction::SetFalse)]
    pub dedupe: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            exclude: Vec::new(),
            root: String::new(),
            runfiles_root: None,
            compress: CODECS[0].name.clone(),
            level: None,
            lazy: None,
            metadata: Metadata::default(),
            dedupe: true,
        }
    }
}

impl Settings {
    /// How layers are compressed.
    pub fn codec(&self) -> Result<Codec, codec::Error> {
        let codec = Codec::new(&self.compress, self.level)?;
        match &self.lazy {
            None => Ok(codec),
            Some(format) => codec.lazy(format),
        }
    }

    /// Whether a file of `size` bytes becomes a hard link to an equal file of the same layer.
    pub fn dedupes(&self, size: u64) -> bool {
        self.dedupe && size >= DEDUPE_FROM
    }
}

/// The settings of validation, in addition to the patterns of the layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Args)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationSettings {
    /// Leave a default group out of the image
    #[arg(long = "drop", value_name = "NAME", value_parser = ["interpreter", "packages"])]
    pub dropped: Vec<String>,
    /// What to do if the layers do not match the runfiles, or a link dangles
    #[arg(long, default_value = "error", value_name = "HOW")]
    pub validation: Validation,
    /// Accept problems at paths that match REGEX
    #[arg(long = "validation-exception", value_name = "REGEX", allow_hyphen_values = true, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub validation_exceptions: Vec<String>,
    /// `e_machine` of the image's platform, if known. In JSON, the name of the processor.
    #[arg(skip)]
    #[serde(rename = "cpu", deserialize_with = "machine")]
    pub machine: Option<u16>,
    /// The number of distinct image paths in all manifests, if known.
    #[arg(skip)]
    pub paths: Option<usize>,
    /// The image paths of the binaries, and of their copies among the runfiles.
    #[arg(skip)]
    pub executables: Vec<String>,
}

/// What to do about problems that validation finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// Report problems, and write no layer
    #[default]
    Error,
    /// Report problems, but write the layers
    Warn,
    /// Skip validation
    Off,
}

/// The groups of an image that have no files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnusedGroups {
    /// With patterns as in the BUILD file.
    pub layer_groups: Vec<LayerGroup>,
    /// Normalized names of the packages in the runfiles.
    pub packages: Vec<String>,
    /// As in [`Settings`].
    #[serde(deserialize_with = "runfiles_root")]
    pub runfiles_root: Option<String>,
}

/// What the report about an image says about its target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReportSettings {
    pub target: Target,
    /// As in [`ValidationSettings`].
    pub dropped: Vec<String>,
    /// As in [`Groups`](crate::groups::Groups), where they are only set for `split`.
    pub runfiles: String,
    pub distributions: BTreeMap<String, String>,
}

/// What the launcher of a Python binary starts, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LauncherSettings {
    /// The virtual environment, below the runfiles directory.
    pub venv: String,
    /// The main file, below the runfiles directory.
    pub main: String,
    /// The interpreter, below the virtual environment.
    #[serde(default = "interpreter")]
    pub interpreter: String,
    /// Arguments of the interpreter before the main file.
    #[serde(default)]
    pub options: Vec<String>,
    /// Variables that are set unless the environment has them.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The version that the interpreter must have, such as `3.11.7`.
    #[serde(default, deserialize_with = "python_version")]
    pub python_version: Option<String>,
}

/// Files of several distributions that have the same path in the site-packages directory of a Python
/// binary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageCollisions {
    pub policy: CollisionPolicy,
    /// A path of more than two distributions occurs once for each file that is not used.
    pub collisions: Vec<PackageCollision>,
}

/// What to do if such files differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollisionPolicy {
    /// Fail the action
    #[default]
    Error,
    /// Warn, and succeed
    Warning,
}

/// Two files with the same path in site-packages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageCollision {
    /// In site-packages; for messages.
    pub path: String,
    /// Exec path of the file that is used.
    #[serde(deserialize_with = "input")]
    pub chosen: PathBuf,
    /// Exec path of the file that is not used.
    #[serde(deserialize_with = "input")]
    pub other: PathBuf,
}

fn interpreter() -> String {
    "bin/python3".to_string()
}

/// A malformed settings file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", show_path(file))]
pub struct Error {
    pub file: PathBuf,
    pub problem: String,
}

/// Parses the content of the settings file `file`.
pub fn parse<T: DeserializeOwned>(file: &Path, content: &[u8]) -> Result<T, Error> {
    let error = |problem| Error { file: file.to_path_buf(), problem };
    // serde reads structs from arrays, too.
    if content.trim_ascii_start().starts_with(b"[") {
        return Err(error("expected a JSON object".to_string()));
    }
    let mut json = serde_json::Deserializer::from_slice(content);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|invalid| {
        let problem = show(invalid.inner().to_string().as_bytes());
        match invalid.path().to_string() {
            place if place == "." || place == "?" => error(problem),
            place => error(format!("{}: {problem}", show(place.as_bytes()))),
        }
    })?;
    json.end().map_err(|invalid| error(show(invalid.to_string().as_bytes())))?;
    Ok(value)
}

/// Parses a directory: `/app`, `/app/` and `app` are the same; `/` and the empty string are the image's
/// root.
fn parse_root(value: &str) -> Result<String, String> {
    let root = value.trim_matches('/');
    match ImagePath::new(root) {
        _ if root.is_empty() => Ok(String::new()),
        Ok(_) => Ok(root.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    parse_root(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Parses the directory that images share. Launchers recognize a runfiles directory by its name.
fn parse_runfiles_root(value: &str) -> Result<String, String> {
    let root = parse_root(value)?;
    match root.ends_with(RUNFILES) {
        true => Ok(root),
        false => Err(format!("expected a directory whose name ends in {RUNFILES}, such as /app/{RUNFILES}")),
    }
}

fn runfiles_root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let root = Option::<String>::deserialize(deserializer)?;
    root.map(|root| parse_runfiles_root(&root)).transpose().map_err(de::Error::custom)
}

fn python_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let version = Option::<String>::deserialize(deserializer)?;
    match version {
        Some(version) if !is_python_version(&version) => {
            Err(de::Error::custom(format!("expected a full version, such as \"3.11.7\", not {version:?}")))
        }
        version => Ok(version),
    }
}

/// Whether `text` is the full version of a Python release: `3.11.7`, or `3.14.0rc1` before a release.
pub fn is_python_version(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('.').collect();
    let [major, minor, micro] = parts[..] else { return false };
    let pre_release = ["a", "b", "rc"].into_iter().find_map(|phase| micro.split_once(phase));
    let (micro, phase_number) = pre_release.unwrap_or((micro, "0"));
    [major, minor, micro, phase_number].into_iter().all(is_number)
}

fn input<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    exec_path::input(String::deserialize(deserializer)?.as_bytes()).map_err(de::Error::custom)
}

fn machine<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let cpu = Option::<String>::deserialize(deserializer)?;
    let machine = |cpu: String| {
        elf::machine_of(&cpu).ok_or_else(|| de::Error::custom(format!("{cpu:?} is not a known processor")))
    };
    cpu.map(machine).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::{Groups, Split};
    use crate::metadata::ModeRule;

    fn settings(json: &str) -> Result<Settings, String> {
        parse(Path::new("layers.settings.json"), json.as_bytes()).map_err(|error| error.to_string())
    }

    /// The settings of a command line without options.
    fn of_command_line() -> Settings {
        #[derive(clap::Parser)]
        struct CommandLine {
            #[command(flatten)]
            settings: Settings,
        }
        <CommandLine as clap::Parser>::parse_from(["pylayer"]).settings
    }

    #[test]
    fn defaults_are_the_same_in_json_and_on_the_command_line() {
        let settings = settings("{}").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings, of_command_line());
        assert_eq!(settings.codec(), Ok(Codec::Gzip { level: 6 }));
        assert!(settings.dedupes(4096) && !settings.dedupes(4095));
    }

    #[test]
    fn everything_can_be_set() {
        let json = r#"{
            "exclude": ["\\.whl$"],
            "root": "/srv/app/",
            "runfiles_root": "/opt/.runfiles",
            "compress": "zstd",
            "level": 19,
            "metadata": {"uid": 1000, "gid": 2000, "uname": "app", "gname": "é", "mtime": 0, "mode": "detect"},
            "lazy": "estargz",
            "dedupe": false
        }"#;
        let expected = Settings {
            exclude: vec![r"\.whl$".to_string()],
            root: "srv/app".to_string(),
            runfiles_root: Some("opt/.runfiles".to_string()),
            compress: "zstd".to_string(),
            level: Some(19),
            metadata: Metadata {
                uid: 1000,
                gid: 2000,
                uname: "app".to_string(),
                gname: "é".to_string(),
                mtime: 0,
                mode: ModeRule::DETECT,
            },
            lazy: Some("estargz".to_string()),
            dedupe: false,
        };
        assert!(!expected.dedupes(1 << 30));
        assert_eq!(settings(json), Ok(expected));

        let json = r#"{
            "layer_groups": [{"name": "numpy", "pattern": "é=b.*"}],
            "default_groups": [{"name": "packages", "pattern": ""}],
            "split": [{"group": "packages", "layers": 8}],
            "runfiles": "app/.runfiles",
            "distributions": {"pip_numpy": "numpy"}
        }"#;
        let expected = Groups {
            layer_groups: vec![LayerGroup::new("numpy", "é=b.*")],
            default_groups: vec![LayerGroup::new("packages", "")],
            split: vec![Split { group: "packages".to_string(), layers: 8 }],
            runfiles: "app/.runfiles".to_string(),
            distributions: [("pip_numpy".to_string(), "numpy".to_string())].into(),
        };
        assert_eq!(parse::<Groups>(Path::new("x"), json.as_bytes()).unwrap(), expected);

        let json = r#"{"dropped": ["packages"], "validation": "warn", "validation_exceptions": ["x"], "cpu": "aarch64", "paths": 7, "executables": ["app/server"]}"#;
        let expected = ValidationSettings {
            dropped: vec!["packages".to_string()],
            validation: Validation::Warn,
            validation_exceptions: vec!["x".to_string()],
            machine: Some(183),
            paths: Some(7),
            executables: vec!["app/server".to_string()],
        };
        assert_eq!(parse::<ValidationSettings>(Path::new("x"), json.as_bytes()).unwrap(), expected);

        let json = r#"{"venv": "_main/_a.venv", "main": "_main/a.py"}"#;
        let mut expected = LauncherSettings {
            venv: "_main/_a.venv".to_string(),
            main: "_main/a.py".to_string(),
            interpreter: "bin/python3".to_string(),
            options: Vec::new(),
            env: BTreeMap::new(),
            python_version: None,
        };
        assert_eq!(parse::<LauncherSettings>(Path::new("x"), json.as_bytes()).unwrap(), expected);
        let json = r#"{"venv": "_main/_a.venv", "main": "_main/a.py", "interpreter": "bin/python3.13t", "options": ["-I", "-B"], "env": {"A": "é"}, "python_version": "3.13.1"}"#;
        expected.interpreter = "bin/python3.13t".to_string();
        expected.options = vec!["-I".to_string(), "-B".to_string()];
        expected.env.insert("A".to_string(), "é".to_string());
        expected.python_version = Some("3.13.1".to_string());
        assert_eq!(parse::<LauncherSettings>(Path::new("x"), json.as_bytes()).unwrap(), expected);

        let collisions = |json: &str| parse::<PackageCollisions>(Path::new("x"), json.as_bytes()).unwrap();
        assert_eq!(collisions("{}"), PackageCollisions::default());
        let json =
            r#"{"policy": "warning", "collisions": [{"path": "é.py", "chosen": "a/é.py", "other": "./b"}]}"#;
        let (path, chosen, other) = ("é.py".to_string(), "a/é.py".into(), "b".into());
        let expected = PackageCollisions {
            policy: CollisionPolicy::Warning,
            collisions: vec![PackageCollision { path, chosen, other }],
        };
        assert_eq!(collisions(json), expected);
    }

    #[test]
    fn full_versions_of_python_are_recognized() {
        for version in ["3.11.7", "3.9.0", "3.14.0rc1", "3.15.0a12", "3.15.0b1"] {
            assert!(is_python_version(version), "{version}");
        }
        for other in
            ["", "3", "3.11", "3.11.", "3.11.7.1", "3.11.7+", "3.11.x", "3..7", "3.14.0rc", "3.14.0rca1"]
        {
            assert!(!is_python_version(other), "{other}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (json, expected) in [
            ("", "layers.settings.json: EOF while parsing"),
            ("{} x", "layers.settings.json: trailing characters"),
            (r#"{"level": 1,}"#, "layers.settings.json: trailing comma"),
            ("[]", "layers.settings.json: expected a JSON object"),
            (r#"{"colour": 1}"#, "layers.settings.json: colour: unknown field `colour`, expected one of"),
            (r#"{"root": "/a/../b"}"#, "root: image path \"a/../b\": `.` and `..` are not allowed"),
            (r#"{"level": 256}"#, "level: invalid value: integer `256`, expected u8"),
            (r#"{"level": 1, "level": 2}"#, "json: duplicate field `level`"),
            (r#"{"metadata": {"uid": -1}}"#, "metadata.uid: expected a whole number from 0 to 4294967294"),
            (r#"{"metadata": {"gid": 4294967295}}"#, "metadata.gid: expected a whole number from 0"),
            (r#"{"metadata": {"mtime": 9223372036854775808}}"#, "metadata.mtime: expected whole seconds"),
            (r#"{"metadata": {"mtime": 1.5}}"#, "metadata.mtime: expected whole seconds"),
            (r#"{"metadata": {"mode": "0888"}}"#, "metadata.mode: expected octal permission bits"),
            (r#"{"metadata": {"uname": "a\u0000b"}}"#, "metadata.uname: it contains a NUL byte"),
            (
                r#"{"runfiles_root": "/app/runfiles"}"#,
                "runfiles_root: expected a directory whose name ends in",
            ),
            (r#"{"runfiles_root": "/"}"#, "runfiles_root: expected a directory whose name ends in"),
        ] {
            let message = settings(json).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        let groups = |json: &str| parse::<Groups>(Path::new("x"), json.as_bytes()).map_err(|e| e.to_string());
        let message =
            groups(r#"{"layer_groups": [{"name": "a", "pattern": ""}, {"name": "b/c", "pattern": ""}]}"#);
        let expected = "x: layer_groups[1].name: b/c cannot be the name of a layer";
        assert!(message.unwrap_err().starts_with(expected));
        let message = groups(r#"{"split": [{"group": "a", "layers": 128}]}"#).unwrap_err();
        assert!(
            message.starts_with("x: split[0].layers: expected a number of layers from 1 to 127, not 128")
        );
        let message = parse::<Settings>(Path::new("x"), b"{\"root\": \"a\xff\"}").unwrap_err().to_string();
        assert!(message.starts_with("x: root: invalid unicode code point"), "{message}");
        let message =
            parse::<ValidationSettings>(Path::new("x"), br#"{"cpu": "z80"}"#).unwrap_err().to_string();
        assert!(message.starts_with("x: cpu: \"z80\" is not a known processor"), "{message}");
        for (json, expected) in [
            (r#"{"venv": "v"}"#, "x: missing field `main`"),
            (r#"{"venv": "v", "main": "m", "env": {"A": 1}}"#, "x: env.A: invalid type: integer `1`"),
            (r#"{"venv": "v", "main": "m", "isolated": true}"#, "x: isolated: unknown field `isolated`"),
            (
                r#"{"venv": "v", "main": "m", "python_version": "3.11"}"#,
                "x: python_version: expected a full version, such as \"3.11.7\", not \"3.11\"",
            ),
        ] {
            let message = parse::<LauncherSettings>(Path::new("x"), json.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        for (json, expected) in [
            (r#"{"policy": "ignore"}"#, "x: policy: unknown variant `ignore`, expected `error` or `warning`"),
            (r#"{"collisions": [{"path": "p", "chosen": "a"}]}"#, "x: collisions[0]: missing field `other`"),
            (
                r#"{"collisions": [{"path": "p", "chosen": "/a", "other": "b"}]}"#,
                "x: collisions[0].chosen: exec path \"/a\": it is absolute",
            ),
        ] {
            let message =
                parse::<PackageCollisions>(Path::new("x"), json.as_bytes()).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let long = "a".repeat(100_000);
        for json in [
            format!(r#"{{"{long}": 1}}"#),
            format!(r#"{{"dedupe": "{long}"}}"#),
            format!(r#"{{"root": "../{long}"}}"#),
        ] {
            assert!(settings(&json).unwrap_err().len() < 1000);
        }
    }
}
