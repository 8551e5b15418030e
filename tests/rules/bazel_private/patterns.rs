//! Compares how analysis and the program match a pattern.

use std::cell::Cell;
use std::collections::BTreeSet;

use pylayer::groups::{self, Groups, LayerGroup, LayerGroups};
use regex_automata::{meta, util::syntax};
use serde_json::{Value, json};

use super::File;

const NO: u64 = 0;
const MAYBE: u64 = 1;
const YES: u64 = 2;

pub const SOURCE: &str = r#"
load("//bazel/private/regex:defs.bzl", "new_matcher", "syntax_problem")
load(":layer_groups.bzl", "DEFAULT_GROUP", "DEFAULT_GROUPS", "for_binary", "image_order", "layer_finder", "normalize_pattern", "pattern_problem", "pip_package")
load(":slim.bzl", "SLIM_INTERPRETER")
load(":split.bzl", "distribution_of", "layer_name", "layer_number")
load(":survey.bzl", _survey = "survey")

def _answer(indices, is_certain):
    return 0 if not indices else 2 if is_certain else 1

def answers(pattern, paths, directories):
    problem = syntax_problem(pattern)
    if problem:
        return {"problem": problem}
    match = new_matcher([pattern])
    return {
        "paths": [_answer(*match("./" + path)) for path in paths],
        "below": [_answer(*match("./" + path + "/", is_prefix = True)) for path in directories],
    }

def layers(groups, exclude, paths, directories):
    groups_of = layer_finder(groups, exclude)
    return [[groups_of(path, False)[0] for path in paths], [groups_of(path, True)[0] for path in directories]]

def constants():
    return [DEFAULT_GROUP, DEFAULT_GROUPS, SLIM_INTERPRETER]

def normalized(patterns):
    return [normalize_pattern(pattern) for pattern in patterns]

def problems(patterns):
    return [pattern_problem(pattern) for pattern in patterns]

def survey(paths, binary):
    found = _survey(paths, [binary])
    return [found.interpreters, found.packages, found.wheels]

def of_binary(patterns, runfiles, paths, binary):
    found = _survey(paths, [binary])
    return [for_binary(pattern, runfiles, found) for pattern in patterns]

def split(repositories, layers):
    names = [distribution_of(repository) for repository in repositories]
    return [[name, layer_name("packages", layer_number(name, layers))] for name in names]

def packages(names):
    return pip_package(*names)

def ordered(names):
    return image_order(names)
"#;

pub fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_string()).collect()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|item| item.as_u64().unwrap()).collect()
}

/// The number of answers, and how many of them were not `MAYBE`.
#[derive(Default)]
pub struct Decided {
    pub paths: Cell<usize>,
    pub decided: Cell<usize>,
}

impl Decided {
    fn count(&self, answers: &[u64]) {
        self.paths.set(self.paths.get() + answers.len());
        self.decided.set(self.decided.get() + answers.iter().filter(|answer| **answer != MAYBE).count());
    }

    pub fn share(&self) -> f64 {
        self.decided.get() as f64 / self.paths.get() as f64
    }
}

/// Compiles groups, by name and pattern, and patterns to exclude.
pub fn compile(groups: &[(String, String)], exclude: &[String]) -> Result<LayerGroups, groups::Error> {
    let layer_groups = groups.iter().map(|(name, pattern)| LayerGroup::new(name, pattern)).collect();
    LayerGroups::compile(&Groups { layer_groups, ..Groups::default() }, exclude)
}

/// Compares the answers for all paths, and for all of their parent directories, with the program.
pub fn check(file: &File, pattern: &str, paths: &[String], decided: &Decided) {
    let program = compile(&[("x".to_string(), pattern.to_string())], &[]);
    let directories: BTreeSet<&str> =
        paths.iter().flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).collect();
    let answers = file.call("answers", &[json!(pattern), json!(paths), json!(directories)]);
    // The rule need not detect every syntax error.
    let Ok(program) = program else { return };
    assert_eq!(answers.get("problem"), None, "{pattern:?} is right");
    let is_wrong = |answer: u64, path: &str| {
        let wrong = if program.group_of(format!("./{path}").as_bytes()) == Some("x") { NO } else { YES };
        answer == wrong && !is_mistake_of_full_dfa(pattern, path)
    };
    let of_paths = numbers(&answers["paths"]);
    decided.count(&of_paths);
    for (path, answer) in paths.iter().zip(of_paths) {
        assert!(!is_wrong(answer, path), "{answer} for {pattern:?} in {path:?}");
    }
    for (directory, answer) in directories.iter().zip(numbers(&answers["below"])) {
        let below = format!("{directory}/");
        for path in paths.iter().filter(|path| path.starts_with(&below) && **path != below) {
            assert!(!is_wrong(answer, path), "{answer} for {pattern:?} in {path:?} below {directory:?}");
        }
    }
}

/// Whether this is a bug of `regex` with the feature `perf-dfa-full`: version 1.13.1 finds `[^]a]ab.+[~+]`
/// in `bab~`. A dependency of `starlark` enables the feature in tests. The program is built without it.
fn is_mistake_of_full_dfa(pattern: &str, path: &str) -> bool {
    let syntax = syntax::Config::new().unicode(false).dot_matches_new_line(true).utf8(false);
    let [with, without] = [true, false].map(|full_dfa| {
        let config = meta::Config::new().dfa(full_dfa).utf8_empty(false);
        let regex = meta::Regex::builder().configure(config).syntax(syntax).build(pattern).unwrap();
        regex.is_match(&format!("./{path}"))
    });
    with != without
}
