//! Determines which layer an image path belongs to.
//!
//! A layer group is a name and a regular expression that is *searched* in the image path with a leading
//! `./` (`./app/bin.runfiles/…`), like awk's `~` in the original macro. The first matching group wins; a
//! path that matches none belongs to [`DEFAULT_GROUP`].
//!
//! Patterns match bytes, because paths need not be UTF-8: `.` matches any byte, and classes such as `\w`
//! are ASCII.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use clap::Args;
use regex::bytes::{RegexBuilder, RegexSet, RegexSetBuilder};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::image_path::ImagePath;
use crate::show::show;
use crate::split;
use crate::survey::{self, Survey};
use crate::tables::{DEFAULT_GROUP_PATTERNS, REPOSITORY_NAMES};

/// The group of paths that match no pattern.
pub const DEFAULT_GROUP: &str = "default";

/// Placeholder in patterns for the binary's runfiles directory; [`for_binary`] fills it in. A pattern that
/// begins with it can be ruled out for most directories as a whole, so a tree artifact, whose files are
/// not known until it is built, is an input of few layers.
const RUNFILES: &str = "{runfiles}";

/// Placeholder for the directories of interpreters in the runfiles, including the slash after them.
const INTERPRETER_DIRECTORY: &str = "{interpreter}";

/// Start of `{pip_package:NAME}`, the placeholder for the repositories of a package, including the slash
/// after them.
const PIP_PACKAGE: &str = "{pip_package:";

/// A name and the pattern of the paths that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerGroup {
    /// Becomes part of a file name.
    #[serde(deserialize_with = "layer_name")]
    pub name: String,
    pub pattern: String,
}

impl LayerGroup {
    /// A group whose name is known to be valid.
    pub fn new(name: impl Into<String>, pattern: impl Into<String>) -> LayerGroup {
        LayerGroup { name: name.into(), pattern: pattern.into() }
    }
}

/// How the files of an image are divided among its layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, Args)]
#[serde(default, deny_unknown_fields)]
pub struct Groups {
    /// Put paths that match REGEX into a layer of their own; the first matching group wins
    #[arg(long = "layer-group", value_name = "NAME=REGEX", value_parser = parse_layer_group)]
    pub layer_groups: Vec<LayerGroup>,
    /// The groups that are tried after `layer_groups`.
    #[arg(skip)]
    pub default_groups: Vec<LayerGroup>,
    /// Divide a group, by default the group packages, into at most N layers, by distribution
    #[arg(long = "split", value_name = "[NAME=]N", value_parser = parse_split)]
    pub split: Vec<Split>,
    /// The runfiles directory, whose subdirectories are repositories.
    #[arg(skip)]
    pub runfiles: String,
    /// The normalized name of the distribution in each repository. For others, see
    /// [`split::distribution_of`].
    #[arg(skip)]
    pub distributions: BTreeMap<String, String>,
}

/// A group that becomes several layers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    pub group: String,
    /// How many at most.
    #[serde(deserialize_with = "layer_count")]
    pub layers: u32,
}

impl Groups {
    /// All groups in matching order.
    pub fn groups(&self) -> impl Iterator<Item = &LayerGroup> {
        self.layer_groups.iter().chain(&self.default_groups)
    }

    /// These groups and the default groups, with the placeholders filled in for a binary whose runfiles
    /// are at `runfiles`, as in the Bazel rule.
    pub fn for_binary(&self, runfiles: &ImagePath, found: &Survey) -> Groups {
        let is_own =
            |name: &str| name != DEFAULT_GROUP && self.layer_groups.iter().any(|own| own.name == name);
        let group =
            |group: &LayerGroup| LayerGroup::new(&group.name, for_binary(&group.pattern, runfiles, found));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // In reverse order, so that the first of several distributions in a repository replaces the others.
        let packages = found.packages.iter().rev();
        let distributions = packages.flat_map(|(distribution, repositories)| {
            repositories.iter().map(move |repository| (text(repository), text(distribution)))
        });
        Groups {
            layer_groups: self.layer_groups.iter().map(group).collect(),
            default_groups: DEFAULT_GROUPS
                .iter()
                .filter(|default| !is_own(&default.name))
                .map(group)
                .collect(),
            split: self.split.clone(),
            runfiles: text(runfiles.as_bytes()),
            distributions: distributions.collect(),
        }
    }
}

/// Parses `NAME=REGEX`; the pattern may contain further equals signs.
fn parse_layer_group(value: &str) -> Result<LayerGroup, String> {
    match value.split_once('=') {
        Some((name, "")) => {
            Err(format!("an empty pattern matches every path; write {name}=. if that is meant"))
        }
        Some((name, pattern)) => Ok(LayerGroup::new(parse_layer_name(name)?, pattern)),
        None => Err("expected NAME=REGEX".to_string()),
    }
}

/// Parses `NAME=N`, or `N` for the default group of packages.
fn parse_split(value: &str) -> Result<Split, String> {
    let (group, layers) = value.split_once('=').unwrap_or(("packages", value));
    let layers = layers.parse().ok().and_then(|layers| check_layer_count(layers).ok());
    let layers = layers.ok_or_else(|| format!("expected a number of layers from 1 to {MAX_LAYERS}"))?;
    Ok(Split { group: parse_layer_name(group)?, layers })
}

fn check_layer_count(layers: u32) -> Result<u32, String> {
    match layers {
        1..=MAX_LAYERS => Ok(layers),
        _ => Err(format!("expected a number of layers from 1 to {MAX_LAYERS}, not {layers}")),
    }
}

fn layer_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    check_layer_count(u32::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// Parses the name of a group, which is also that of its layer's file. Names must not begin with `_` or
/// `.`, like some output groups and hidden files.
fn parse_layer_name(name: &str) -> Result<String, String> {
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || "_-.+".contains(char);
    if name.is_empty() || name.starts_with(['.', '_']) || !name.chars().all(is_allowed) {
        return Err(format!(
            "{} cannot be the name of a layer: use letters, digits, _, -, . and +, without . or _ at the start",
            if name.is_empty() { "an empty string".to_string() } else { show(name.as_bytes()) }
        ));
    }
    Ok(name.to_string())
}

fn layer_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    parse_layer_name(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// The groups that are tried after the user's own.
pub static DEFAULT_GROUPS: LazyLock<Vec<LayerGroup>> = LazyLock::new(|| {
    let mut groups: Vec<LayerGroup> = Vec::new();
    for row in DEFAULT_GROUP_PATTERNS.iter() {
        match groups.last_mut() {
            // Consecutive rows of a group are alternatives of one pattern.
            Some(group) if group.name == row.group => {
                group.pattern.push('|');
                group.pattern.push_str(&row.pattern);
            }
            _ => groups.push(LayerGroup::new(&row.group, &row.pattern)),
        }
    }
    groups
});

/// The pattern for names of repositories that contain an `interpreter` or a `package`.
fn repository_name(holds: &str) -> &'static str {
    let row = REPOSITORY_NAMES.iter().find(|row| row.holds == holds);
    &row.expect("the table has a row for each of the two").pattern
}

/// Fills in the placeholders of `pattern`: the binary's runfiles directory, and what the survey found
/// there.
pub fn for_binary(pattern: &str, runfiles: &ImagePath, found: &Survey) -> String {
    if !pattern.contains('{') {
        return pattern.to_string();
    }
    let start = format!("^{}/", literal(runfiles.tar_name()));
    let directories = |known: &[Vec<u8>], pattern: &str| {
        let known = known.iter().map(|directory| literal(directory));
        let patterns: Vec<String> = known.chain([pattern.to_string()]).collect();
        format!("{start}({})/", patterns.join("|"))
    };
    let pattern = pattern
        .replace(RUNFILES, &start)
        .replace(INTERPRETER_DIRECTORY, &directories(&found.interpreters, repository_name("interpreter")));
    let mut parts = pattern.split(PIP_PACKAGE);
    let mut expanded = parts.next().unwrap_or_default().to_string();
    for part in parts {
        // Without the closing brace, the pattern is not a valid regular expression either.
        let Some((name, rest)) = part.split_once('}') else { return pattern };
        let distribution = survey::normalize_distribution(name.as_bytes());
        let repositories = found.packages.get(&distribution).map_or(&[][..], Vec::as_slice);
        // The survey does not know the files of a tree artifact, but aspect_rules_py delimits the name.
        let words: Vec<String> = distribution.split(|&byte| byte == b'-').map(literal).collect();
        let name = words.join("[-_.]");
        let tree = repository_name("package").replace("{package}", &name);
        expanded += &directories(repositories, &tree);
        expanded += rest;
    }
    expanded
}

/// A regular expression for these bytes, with a dot for each that is not ASCII: Starlark's patterns are
/// bytes, Rust's are text.
pub fn literal(bytes: &[u8]) -> String {
    let text = bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\0' });
    regex::escape(&text.collect::<String>()).replace('\0', ".")
}

/// Sorts groups in image order. Those that change least come first, because a container runtime unpacks
/// every layer above a changed one again.
pub fn image_order(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_by_key(|name| match *name {
        "interpreter" => 0,
        "packages" => 2,
        DEFAULT_GROUP => 3,
        _ => 1,
    });
    names
}

/// The maximum number of layers of a group. Container runtimes take at most 127 layers per image.
pub const MAX_LAYERS: u32 = 127;
/// The maximum length of a pattern, and of all patterns in a list. The parser needs about 100 bytes of
/// memory per byte. A list of a thousand patterns has 50 KiB.
const PATTERN_TEXT_BYTES: usize = 64 << 10;
const LIST_TEXT_BYTES: usize = 256 << 10;
/// The maximum size of a compiled pattern in memory, which bounds the cost of a hostile one.
const PATTERN_BYTES: usize = 10 << 20;
/// The maximum size of a compiled list in memory.
const LIST_BYTES: usize = 64 << 20;
/// The maximum size of the lazy DFA's cache, per thread.
const MATCHER_BYTES: usize = 16 << 20;

/// An invalid list of groups.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} \"{}\" is not a valid regular expression: {problem}", show(pattern.as_bytes()))]
    Pattern { what: String, pattern: String, problem: String },
    #[error(
        "the {count} patterns have {bytes} bytes in total, and the limit is {LIST_TEXT_BYTES}; write fewer or shorter ones"
    )]
    List { count: usize, bytes: usize },
}

/// Which pattern decides about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The first exclude pattern that matches, by index. It takes precedence over all groups.
    Excluded(usize),
    /// The first group whose pattern matches, by index in matching order.
    Matched(usize),
    /// No pattern matches, so the path belongs to [`DEFAULT_GROUP`].
    Unmatched,
}

/// Compiled patterns, in matching order.
#[derive(Debug)]
pub struct LayerGroups {
    /// The names of the groups, in the order of their patterns.
    groups: Vec<String>,
    /// The groups' patterns, then those of `exclude`. One pass over a path matches all of them.
    patterns: RegexSet,
    /// The layers of the groups that have several.
    split: HashMap<String, Vec<String>>,
    /// The tar name of the runfiles directory, including the slash after it.
    runfiles: Vec<u8>,
    distributions: BTreeMap<String, String>,
}

impl LayerGroups {
    /// Compiles the patterns of `groups` and `exclude`. Several groups may have the same name.
    pub fn compile(groups: &Groups, exclude: &[String]) -> Result<LayerGroups, Error> {
        // Each one separately first, because an error in a set does not say which pattern it is in.
        for LayerGroup { name, pattern } in groups.groups() {
            check(pattern, || format!("the pattern of layer group {name:?},"))?;
        }
        for pattern in exclude {
            check(pattern, || "the exclude pattern".to_string())?;
        }
        let all: Vec<&String> = groups.groups().map(|group| &group.pattern).chain(exclude).collect();
        let layers = |Split { group, layers }: &Split| {
            (1..=*layers as usize).map(|number| split::layer_name(group, number)).collect()
        };
        let split = groups.split.iter().filter(|split| split.layers > 1);
        Ok(LayerGroups {
            groups: groups.groups().map(|group| group.name.clone()).collect(),
            patterns: pattern_set(&all)?,
            split: split.map(|split| (split.group.clone(), layers(split))).collect(),
            runfiles: format!("./{}/", groups.runfiles).into_bytes(),
            distributions: groups.distributions.clone(),
        })
    }

    /// The layer of the tar entry `name` (`./app/main.py`), or `None` if it is excluded.
    pub fn layer_of(&self, name: &[u8]) -> Option<&str> {
        let group = self.group_of(name)?;
        let Some(layers) = self.split.get(group) else { return Some(group) };
        let number = split::layer_number(&self.distribution_of(name), layers.len());
        Some(&layers[number - 1])
    }

    /// The name by which the tar entry `name` is assigned to a layer of a group that has several.
    pub fn distribution_of(&self, name: &[u8]) -> Cow<'_, [u8]> {
        let repository = name.strip_prefix(self.runfiles.as_slice()).unwrap_or_default();
        let repository = repository.split(|&byte| byte == b'/').next().unwrap_or_default();
        let known = std::str::from_utf8(repository).ok().and_then(|text| self.distributions.get(text));
        match known {
            Some(distribution) => Cow::Borrowed(distribution.as_bytes()),
            None => Cow::Owned(split::distribution_of(repository)),
        }
    }

    /// The group of the tar entry `name`, or `None` if it is excluded.
    pub fn group_of(&self, name: &[u8]) -> Option<&str> {
        match self.decide(name) {
            Decision::Excluded(_) => None,
            Decision::Matched(pattern) => Some(&self.groups[pattern]),
            Decision::Unmatched => Some(DEFAULT_GROUP),
        }
    }

    /// Which pattern decides about the tar entry `name`.
    pub fn decide(&self, name: &[u8]) -> Decision {
        let found = self.patterns.matches(name);
        match found.iter().find(|pattern| *pattern >= self.groups.len()) {
            Some(pattern) => Decision::Excluded(pattern - self.groups.len()),
            None => found.iter().next().map_or(Decision::Unmatched, Decision::Matched),
        }
    }

    /// All groups whose patterns match the tar entry `name`, by their indices in matching order.
    pub fn matching(&self, name: &[u8]) -> Vec<usize> {
        self.patterns.matches(name).iter().filter(|pattern| *pattern < self.groups.len()).collect()
    }

    /// Whether `place` is excluded, as a file or as a directory with all its files.
    pub fn excludes(&self, place: &ImagePath) -> bool {
        let name = place.tar_name();
        self.group_of(name).is_none() || self.group_of(&[name, b"/"].concat()).is_none()
    }

    /// The names of all groups in matching order, each once, [`DEFAULT_GROUP`] last.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in &self.groups {
            if name != DEFAULT_GROUP && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names.push(DEFAULT_GROUP);
        names
    }

    /// The names of all layers in image order.
    pub fn layers(&self) -> Vec<&str> {
        let layers_of = |group| match self.split.get(group) {
            Some(layers) => layers.iter().map(String::as_str).collect(),
            None => vec![group],
        };
        image_order(self.names()).into_iter().flat_map(layers_of).collect()
    }
}

/// Patterns of paths at which validation accepts problems.
#[derive(Debug, Default)]
pub struct Exceptions(RegexSet);

impl Exceptions {
    /// Compiles the patterns.
    pub fn compile(patterns: &[String]) -> Result<Exceptions, Error> {
        for pattern in patterns {
            check(pattern, || "the pattern of validation_exceptions".to_string())?;
        }
        Ok(Exceptions(pattern_set(&patterns.iter().collect::<Vec<_>>())?))
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        self.0.patterns()
    }

    /// The indices of the patterns that match the tar entry `name`.
    pub fn found_in(&self, name: &[u8]) -> Vec<usize> {
        self.0.matches(name).iter().collect()
    }
}

/// Compiles patterns that have been checked one by one.
fn pattern_set(patterns: &[&String]) -> Result<RegexSet, Error> {
    let bytes: usize = patterns.iter().map(|pattern| pattern.len()).sum();
    if bytes > LIST_TEXT_BYTES {
        return Err(Error::List { count: patterns.len(), bytes });
    }
    RegexSetBuilder::new(patterns)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(LIST_BYTES)
        .dfa_size_limit(MATCHER_BYTES)
        .build()
        .map_err(|error| {
            problem(
                &error,
                "the list of patterns,",
                &patterns.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>().join(" "),
            )
        })
}

/// Checks that `pattern` compiles.
fn check(pattern: &str, what: impl Fn() -> String) -> Result<(), Error> {
    if pattern.len() > PATTERN_TEXT_BYTES {
        let problem = format!("it has {} bytes, and the limit is {PATTERN_TEXT_BYTES}", pattern.len());
        return Err(Error::Pattern { what: what(), pattern: pattern.to_string(), problem });
    }
    RegexBuilder::new(pattern)
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(PATTERN_BYTES)
        .build()
        .map(|_| ())
        .map_err(|error| problem(&error, &what(), pattern))
}

fn problem(error: &regex::Error, what: &str, pattern: &str) -> Error {
    let text = error.to_string();
    // The regex crate marks the place in a multi-line message; the last line states the problem.
    let problem = text.lines().last().unwrap_or(&text).trim().trim_start_matches("error: ").to_string();
    Error::Pattern { what: what.to_string(), pattern: pattern.to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(list: &[(&str, &str)]) -> Groups {
        let layer_groups = list.iter().map(|(name, pattern)| LayerGroup::new(*name, *pattern)).collect();
        Groups { layer_groups, ..Groups::default() }
    }

    fn groups(list: &[(&str, &str)], exclude: &[&str]) -> LayerGroups {
        let exclude: Vec<String> = exclude.iter().map(|pattern| pattern.to_string()).collect();
        LayerGroups::compile(&own(list), &exclude).unwrap()
    }

    fn group_of(groups: &LayerGroups, path: impl AsRef<[u8]>) -> Option<&str> {
        groups.group_of(&[b"./", path.as_ref()].concat())
    }

    #[test]
    fn the_first_group_in_order_wins() {
        let groups = groups(&[("numpy", "pip_deps_numpy.*"), ("pip", "pip_deps"), ("top", r"^\./app/")], &[]);
        assert_eq!(group_of(&groups, b"x/pip_deps_numpy/a"), Some("numpy"));
        assert_eq!(group_of(&groups, b"app/pip_deps_six/a"), Some("pip"));
        assert_eq!(group_of(&groups, b"app/main.py"), Some("top"));
        assert_eq!(group_of(&groups, b"srv/main.py"), Some("default"));
        assert_eq!(groups.names(), ["numpy", "pip", "top", "default"]);
    }

    #[test]
    fn a_pattern_may_send_files_to_the_default_group() {
        let groups = groups(&[("default", "keep"), ("rest", "")], &[]);
        assert_eq!(group_of(&groups, b"a/keep"), Some("default"));
        assert_eq!(groups.names(), ["rest", "default"]);
    }

    #[test]
    fn excluded_paths_have_no_group() {
        let groups = groups(&[("all", "")], &[r"\.whl$"]);
        assert_eq!(group_of(&groups, b"a/b.whl"), None);
        assert_eq!(group_of(&groups, b"a/whl_install__x/b.py"), Some("all"));
    }

    #[test]
    fn any_byte_matches_a_dot() {
        let groups = groups(&[("odd", "a.b")], &[]);
        assert_eq!(group_of(&groups, b"a\xffb"), Some("odd"));
        assert_eq!(group_of(&groups, b"a\nb"), Some("odd"));
    }

    #[test]
    fn bad_lists_are_explained() {
        let bad = |pattern: &str| LayerGroups::compile(&own(&[("x", pattern)]), &[]).unwrap_err().to_string();
        let what = r#"the pattern of layer group "x","#;
        assert_eq!(bad("a(b"), format!("{what} \"a(b\" is not a valid regular expression: unclosed group"));
        assert!(bad("a{1000000000}").contains("is not a valid regular expression"));
    }

    #[test]
    fn a_name_may_have_several_patterns() {
        let groups = groups(&[("x", "a"), ("y", "b"), ("x", "c")], &[]);
        assert_eq!(group_of(&groups, b"c"), Some("x"));
        assert_eq!(groups.names(), ["x", "y", "default"]);
    }

    #[test]
    fn default_groups_know_every_rule_sets_repositories() {
        let runfiles = ImagePath::new("app/server.runfiles").unwrap();
        let groups = Groups::default().for_binary(&runfiles, &Survey::default());
        let groups = LayerGroups::compile(&groups, &[]).unwrap();
        let table = include_str!("../tests/fixtures/default_layers.txt");
        for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (layer, path) = line.split_once(' ').unwrap();
            let path = format!("app/server.runfiles/{path}");
            assert_eq!(group_of(&groups, &path), Some(layer), "{path}");
        }
    }

    #[test]
    fn examples_are_of_their_groups() {
        let runfiles = ImagePath::new("app/server.runfiles").unwrap();
        for row in DEFAULT_GROUP_PATTERNS.iter() {
            let pattern = for_binary(&row.pattern, &runfiles, &Survey::default());
            let groups = groups(&[("found", &pattern)], &[]);
            let path = format!("app/server.runfiles/{}", row.example);
            assert_eq!(group_of(&groups, path), Some("found"), "{row:?}");
        }
        for row in REPOSITORY_NAMES.iter() {
            let pattern = format!("^({})$", row.pattern.replace("{package}", "numpy"));
            let pattern = regex::bytes::Regex::new(&pattern).unwrap();
            assert!(pattern.is_match(row.example.as_bytes()), "{row:?}");
        }
    }

    #[test]
    fn default_groups_are_those_of_one_binary() {
        let runfiles = ImagePath::new("srv/a+b é.runfiles").unwrap();
        for LayerGroup { name, pattern } in DEFAULT_GROUPS.iter() {
            let pattern = for_binary(pattern, &runfiles, &Survey::default());
            let groups = groups(&[("found", &pattern)], &[]);
            for (path, layer) in [
                ("srv/a+b é.runfiles/pypi_six/site-packages/six.py", "packages"),
                ("srv/a+b é.runfiles/python_3_11_x86_64-unknown-linux-gnu/bin/python3", "interpreter"),
                ("srv/a+b é.runfiles/_main/x.runfiles/pypi_six/six.py", ""),
                ("a+b é.runfiles/pypi_six/site-packages/six.py", ""),
                ("srv/aab é.runfiles/pypi_six/site-packages/six.py", ""),
            ] {
                let found = group_of(&groups, path) == Some("found");
                assert!(!found || name == layer, "{path} is not of {name}");
            }
        }
        assert_eq!(for_binary(r"\.runfiles/x", &runfiles, &Survey::default()), r"\.runfiles/x");
    }

    #[test]
    fn a_group_of_a_users_own_takes_the_place_of_the_default_one() {
        let runfiles = ImagePath::new("app/server.runfiles").unwrap();
        let own = own(&[("packages", "{pip_package:six}"), ("default", "x")]);
        let groups = own.for_binary(&runfiles, &Survey::default());
        let names: Vec<&str> = groups.groups().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["packages", "default", "interpreter", "default"]);
        assert!(groups.layer_groups[0].pattern.starts_with(r"^\./app/server\.runfiles/("));
        let pattern = for_binary("{runfiles}y", &runfiles, &Survey::default());
        assert_eq!(pattern, r"^\./app/server\.runfiles/y");
    }

    #[test]
    fn a_group_is_split_by_distribution() {
        let groups = Groups {
            layer_groups: vec![LayerGroup::new("packages", "/pip_"), LayerGroup::new("whole", "/hub_")],
            split: vec![Split { group: "packages".to_string(), layers: 8 }],
            runfiles: "app/.runfiles".to_string(),
            distributions: [("pip_311_six_py3", "six"), ("pip_six", "six")]
                .map(|(repository, name)| (repository.to_string(), name.to_string()))
                .into(),
            ..Groups::default()
        };
        let groups = LayerGroups::compile(&groups, &["cache".to_string()]).unwrap();
        let layer_of = |path: &str| groups.layer_of(format!("./app/.runfiles/{path}").as_bytes());
        let six = split::layer_name("packages", split::layer_number(b"six", 8));
        for path in ["pip_six/six.py", "pip_six/a/b", "pip_311_six_py3/six.py", "pip_six/"] {
            assert_eq!(layer_of(path), Some(six.as_str()), "{path}");
        }
        assert_eq!(groups.group_of(b"./app/.runfiles/pip_six/six.py"), Some("packages"));
        assert_eq!(layer_of("pip_six/cache"), None);
        assert_eq!(layer_of("hub_six/six.py"), Some("whole"));
        assert_eq!(layer_of("_main/six.py"), Some("default"));
        // Without metadata, and outside of the runfiles.
        assert!(layer_of("pip_other/x.py").unwrap().starts_with("packages_"));
        assert!(groups.layer_of(b"./app/pip_six").unwrap().starts_with("packages_"));
        let packages: Vec<String> = (1..=8).map(|number| format!("packages_{number}")).collect();
        let packages = packages.iter().map(String::as_str);
        assert_eq!(groups.layers(), [&["whole"], &packages.collect::<Vec<_>>()[..], &["default"]].concat());
    }

    #[test]
    fn a_split_into_one_layer_is_none() {
        let split = vec![Split { group: "x".to_string(), layers: 1 }];
        let groups = LayerGroups::compile(&Groups { split, ..own(&[("x", "x")]) }, &[]).unwrap();
        assert_eq!(groups.layer_of(b"./x"), Some("x"));
        assert_eq!(groups.layers(), ["x", "default"]);
    }

    #[test]
    fn numbers_of_layers_are_checked() {
        let split = |group: &str, layers| Ok(Split { group: group.to_string(), layers });
        assert_eq!(parse_split("8"), split("packages", 8));
        assert_eq!(parse_split("torch=127"), split("torch", 127));
        for value in ["", "0", "128", "-1", "x", "torch=", "torch=x", "4294967297"] {
            let problem = parse_split(value).unwrap_err();
            assert_eq!(problem, "expected a number of layers from 1 to 127", "{value}");
        }
        assert!(parse_split("a/b=2").unwrap_err().starts_with("a/b cannot be the name of a layer"));
    }

    #[test]
    fn names_of_layers_are_names_of_files() {
        assert_eq!(parse_layer_group("numpy=a=b.*"), Ok(LayerGroup::new("numpy", "a=b.*")));
        for (value, problem) in [
            ("x", "expected NAME=REGEX"),
            ("x=", "write x=. if that is meant"),
            ("=x", "an empty string cannot be the name of a layer"),
            ("../x=a", "../x cannot be the name of a layer"),
            ("_x=a", "without . or _ at the start"),
        ] {
            assert!(parse_layer_group(value).unwrap_err().contains(problem), "{value}");
        }
    }
}
