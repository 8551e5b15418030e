//! What analysis says of a pattern and a path against what the program does with them.
//!
//! The rule chooses a layer's inputs by `bazel/private/layer_groups.bzl`; the program chooses its
//! entries by `LayerGroups`. A file that only the rule leaves out would be lost.

mod bazel_private;

use bazel_private::patterns::{Decided, SOURCE, check, strings};
use bazel_private::{File, Strings};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use pylayer::groups::{DEFAULT_EXCLUDE, DEFAULT_GROUP, DEFAULT_GROUPS, LayerGroups, for_binary, image_order};
use pylayer::image_path::ImagePath;
use serde_json::json;

/// Patterns of users and of other tools.
const PATTERNS_IN_USE: &[&str] = &[
    // Documented and built-in groups of aspect_rules_py.
    r"\.runfiles/pip_deps.*",
    r"\.runfiles/python.*-.*/",
    r"\.runfiles/.*/site-packages",
    r"\.runfiles/.*/site-packages/.*",
    r"\.runfiles/[^/]*python_?[0-9]+_[0-9]+(_[0-9]+)?_[a-z0-9_]+[_-](unknown|apple|pc)[_-][^/]*/",
    r".whl",
    r"\.whl$",
    // Copied from example to example.
    r"\.runfiles/.*python.*-.*",
    r".*\.runfiles/python.*-.*/.*?",
    r"\.venv/bin/python([0-9.]*)?$",
    r"/site-packages/setuptools",
    r"\.runfiles/[^_ ]",
    r"rules_Upython\+\+python\+python.*libpython",
    r"\.runfiles/rules_python~~pip~pip_deps_311_numpy/",
    r"\.runfiles/rules_python\+\+pip\+.*_(numpy|torch|scipy)/",
    r"\.runfiles/[^/]*[~+]+pip[~+]",
    r"pip_deps_torch",
    r"pip_deps_numpy.*",
    r".*/site-packages/(torch|nvidia|triton)/.*",
    r"(?i)/licen[cs]e(\.txt|\.md)?$",
    r"^\./app/.*\.runfiles/_main/.*",
    r"^./app/[^/]+$",
    r"_main/",
    r"/(data|models)/.*\.(bin|onnx|safetensors)$",
    r"\.so(\.\d+)*$",
    r"/__pycache__/|\.py[co]$",
    r"(^|/)tests?(/|$)",
    r"pypi_\d{2,3}_numpy\b",
    r".*",
];

/// Layers and paths below `.runfiles/`.
fn default_layers() -> Vec<(&'static str, String)> {
    include_str!("fixtures/default_layers.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(layer, path)| (layer, format!("app/server.runfiles/{path}")))
        .collect()
}

/// The default groups of the binary that `default_layers()` is about.
fn default_groups() -> Vec<(String, String)> {
    let runfiles = ImagePath::new("app/server.runfiles").unwrap();
    DEFAULT_GROUPS.map(|(name, pattern)| (name.to_string(), for_binary(pattern, &runfiles))).to_vec()
}

/// The patterns of `default_layers()`' groups, of `SLIM_INTERPRETER`, and those in use.
fn known_patterns(file: &File) -> Vec<String> {
    let slim = strings(&file.call("constants", &[])[3]);
    let defaults = default_groups().into_iter().map(|(_, pattern)| pattern);
    let others = DEFAULT_EXCLUDE.iter().chain(PATTERNS_IN_USE).map(|pattern| pattern.to_string());
    defaults.chain(others).chain(slim).collect()
}

fn files() -> [File; 2] {
    [Strings::Bytes, Strings::Unicode].map(|strings| File::new(SOURCE, strings))
}

/// Part of a pattern, and texts that it finds (or nearly finds).
#[derive(Clone, Debug)]
struct Part {
    pattern: String,
    samples: Vec<String>,
}

const SAMPLES: usize = 3;

impl Part {
    fn new(pattern: impl Into<String>, samples: &[&str]) -> Part {
        let samples = samples.iter().cycle().take(SAMPLES).map(|sample| sample.to_string()).collect();
        Part { pattern: pattern.into(), samples }
    }

    fn literal(text: &str) -> Part {
        Part::new(regex::escape(text), &[text])
    }

    fn join(parts: Vec<Part>) -> Part {
        Part {
            pattern: parts.iter().map(|part| part.pattern.as_str()).collect(),
            samples: (0..SAMPLES)
                .map(|i| parts.iter().map(|part| part.samples[i].as_str()).collect())
                .collect(),
        }
    }

    fn choose(parts: Vec<Part>) -> Part {
        Part {
            pattern: parts.iter().map(|part| part.pattern.as_str()).collect::<Vec<_>>().join("|"),
            samples: (0..SAMPLES).map(|i| parts[i % parts.len()].samples[i].clone()).collect(),
        }
    }

    fn within(self, before: &str, after: &str) -> Part {
        Part { pattern: format!("{before}{}{after}", self.pattern), samples: self.samples }
    }

    fn times(self, how_often: &str, counts: [usize; SAMPLES]) -> Part {
        let samples = self.samples.iter().zip(counts).map(|(sample, count)| sample.repeat(count)).collect();
        Part { pattern: format!("{}{how_often}", self.pattern), samples }
    }
}

const LITERALS: &[&str] = &[
    "a",
    "b",
    "ab",
    "/",
    ".",
    "_",
    "-",
    "+",
    "~",
    "3",
    ".runfiles/",
    "/site-packages/",
    "numpy",
    "pip_deps_",
    "pip_",
    "rules_python++pip+",
    "python_3_11_",
    "unknown",
    "_main/",
    "lib",
    ".py",
    ".venv/",
    "é",
    "ü/é",
    "日本",
    " ",
    "A",
    "Z",
    "[",
    "\\",
    "$",
    "\n",
];

/// Classes and escapes, with members.
const CLASSES: &[(&str, &[&str])] = &[
    (".", &["a", "/", "\n"]),
    ("[^/]", &["a", "_", "é"]),
    ("[a-z]", &["b", "z"]),
    ("[a-z0-9_]", &["3", "_", "p"]),
    ("[^a-z0-9_]", &["/", "A"]),
    ("[~+]", &["~", "+"]),
    ("[_-]", &["_", "-"]),
    ("[-_]", &["_", "-"]),
    ("[--a]", &["-", "a", "/"]),
    ("[]a]", &["]", "a"]),
    ("[^]a]", &["b"]),
    ("[+--]", &["+", ",", "-"]),
    ("[!-~]", &["a", "~"]),
    (r"[\w.]", &["a", ".", "_"]),
    (r"[^\w]", &["/", "-"]),
    (r"[^\W3]", &["a"]),
    (r"[\W\S]", &["a", " "]),
    (r"[\D\S]", &["3", "a"]),
    (r"[\]\-\\]", &["]", "-"]),
    (r"[\x61-\x63]", &["a", "b"]),
    ("[[:alpha:]_]", &["a", "Z"]),
    ("[[:^digit:]]", &["a", "/"]),
    ("[^[:upper:][:punct:]]", &["a", "3"]),
    ("[[:^upper:]]", &["a", "A"]),
    ("[[:space:]]", &[" ", "\n", "\t"]),
    ("[a-z&&[^b]]", &["a", "b"]),
    ("[a[bc]]", &["a", "b"]),
    ("[a-z--b]", &["a"]),
    ("[a-f~~d-z]", &["a", "d"]),
    ("[^\n]", &["a"]),
    (r"\d", &["3", "0"]),
    (r"\D", &["a", "/"]),
    (r"\w", &["a", "3"]),
    (r"\W", &["/", "."]),
    (r"\s", &[" ", "\t"]),
    (r"\S", &["a"]),
    (r"\x2e", &["."]),
    (r"\x{2e}", &["."]),
    (r"\n", &["\n"]),
    (r"\/", &["/"]),
    ("(?-s:.)", &["\n", "a", "é"]),
    ("(?s-i:.)", &["a", "\n"]),
];

/// What stands for no character, and what is wrong or nearly so.
const ODDITIES: &[&str] = &[
    "",
    "",
    "^",
    "$",
    r"\b",
    r"\B",
    r"\A",
    r"\z",
    "$$",
    "(?i)",
    "(?s)",
    "(?-i)",
    "(?x)",
    "(?m)",
    "(?U)",
    "()",
    "(?:)",
    "|",
    "a{",
    "a}",
    "]",
    "[",
    "(",
    ")",
    "*",
    "{",
    "{2}",
    "?",
    "(?=a)",
    "(?!a)",
    "(?<!a)",
    r"\",
    r"\Q",
    r"\1",
    r"\pL",
    r"\<",
    r"\b{start}",
    "[z-a]",
    "a{3,2}",
    "a{,2}",
    "(?u:é)",
    "[é]",
    "(?P<x>a)",
    "(?<y>a)",
    "(?P=x)",
    r"\u0061",
    "[a",
    "[]",
    "[^]",
    "(?i:é)",
    "a**",
    "a{2}{2}",
    "(a*)*",
    "(|a)+",
    "^*",
    "[[:foo:]]",
    "[[:alpha:]",
    "[a-]",
    "[a-\\d]",
    "é*",
    "é?a",
    "aé{2}",
    "(?",
    "(?i",
    "[\\",
    "[a&&",
    "(?P<",
    r"\x",
    r"\x4",
    r"[\b]",
    "[&&]",
    "[a--]",
    "[~~a]",
];

fn quantified(part: Part) -> BoxedStrategy<Part> {
    prop::sample::select(vec![
        ("*", [0, 1, 3]),
        ("*?", [0, 1, 2]),
        ("+", [1, 2, 3]),
        ("+?", [1, 2, 1]),
        ("?", [0, 1, 1]),
        ("??", [1, 0, 1]),
        ("{2}", [2, 1, 3]),
        ("{1,2}", [1, 2, 3]),
        ("{0}", [0, 1, 0]),
        ("{2,}", [2, 3, 4]),
        ("{0,3}?", [0, 3, 2]),
    ])
    .prop_map(move |(how_often, counts)| part.clone().within("(?:", ")").times(how_often, counts))
    .boxed()
}

fn any_part() -> impl Strategy<Value = Part> {
    let literal = prop::sample::select(LITERALS).prop_map(Part::literal);
    let class = prop::sample::select(CLASSES).prop_map(|(pattern, samples)| Part::new(pattern, samples));
    let gap = prop::sample::select(vec![".*", ".*?", "[^/]*", ".+", "(.*)", r"\S*", "[^/]+?"])
        .prop_map(|pattern| Part::new(pattern, &["", "a", "b/é"]));
    let oddity = prop::sample::select(ODDITIES).prop_map(|pattern| Part::new(pattern, &["", "a"]));
    let class_times = (class.clone(), prop::sample::select(vec!["*", "+", "?", "{2}", "{1,3}", "*?"]))
        .prop_map(|(class, how)| class.times(how, [1, 2, 1]));
    let leaf = prop_oneof![12 => literal, 6 => gap, 4 => class, 4 => class_times, 1 => oddity];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..5).prop_map(Part::join),
            1 => prop::collection::vec(inner.clone(), 2..4).prop_map(|parts| Part::choose(parts).within("(", ")")),
            1 => inner.clone().prop_map(|part| part.within("(?i:", ")")),
            1 => inner.prop_flat_map(quantified),
        ]
    })
}

fn any_pattern() -> impl Strategy<Value = Part> {
    let before = prop_oneof![6 => Just(""), 1 => Just("^"), 1 => Just(r"^\./")];
    let after = prop_oneof![4 => Just(""), 1 => Just("$")];
    let branch = (any_part(), before, after).prop_map(|(part, before, after)| part.within(before, after));
    prop::collection::vec(branch, 1..4).prop_map(Part::choose)
}

/// Paths in which a pattern with these samples is found, and such in which it is nearly found.
fn paths(samples: &[String], random: &str) -> Vec<String> {
    let mut paths = vec![random.to_string(), "app/server.runfiles/_main/lib/é.py".to_string()];
    for sample in samples {
        let shorter: String = sample.chars().skip(1).collect();
        paths.push(sample.clone());
        paths.push(format!("app/b.runfiles/{sample}/a/x.py"));
        paths.push(format!("{random}{sample}"));
        paths.push(format!("a/{shorter}/{random}"));
        paths.push(format!("{sample}/{sample}").to_uppercase());
        paths.push(sample.trim_start_matches("./").to_string());
    }
    // The program adds a `./` to paths that are never empty.
    paths.retain(|path| !path.is_empty());
    paths
}

fn check_random(cases: u32, file: &File, decided: &Decided) {
    let random = proptest::string::string_regex("[ab/._~+3A\n\x01\x0bé-]{0,12}").unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(any_pattern(), random), |(part, random)| {
            check(file, &part.pattern, &paths(&part.samples, &random), decided);
            Ok(())
        })
        .unwrap();
}

#[test]
fn analysis_never_contradicts_the_program() {
    for file in files() {
        let decided = Decided::default();
        check_random(2000, &file, &decided);
        println!("decided of random paths: {:.1} %", 100.0 * decided.share());
    }
}

#[test]
fn corners_of_the_syntax_are_understood() {
    let paths = [
        "a\nb", "aéb", "a.b", "A", "a", "é", "éé", "]", "-", "^", "a-b", "/", "aab", "a/b/", "~+", "\x0b",
        "a{2}", "b",
    ];
    let paths = paths.map(String::from);
    for file in files() {
        for pattern in [
            "a(?-s:.)b",
            "a(?-s).b|(?s:a.)$",
            "(?i)A$",
            "(?-i:A)(?i:A)|(?i:a-)B",
            "(?i)[[:^upper:]]$",
            "(?i)[\\Wa]$",
            "(?i)^\\./[^a]$",
            "a..b",
            "é{2}",
            "^\\./é?$",
            "[]-]$",
            "[^]-]$",
            "[-^]$",
            "[a^]$",
            "[--/]$",
            "(|a)+b$",
            "^*a|^^\\./b",
            "b$$|a\\z|\\A\\./-",
            "(a*)*b",
            "(a|b){2,3}b",
            "^(\\./)?a?{2}$",
            "(^|/)b(/|$)",
            "\\s$|[[:space:]]b",
            "a\\{2\\}",
            "[~+]{2}",
            "a\\b",
        ] {
            check(&file, pattern, &paths, &Decided::default());
        }
    }
}

#[test]
fn patterns_in_use_are_decided() {
    let corpus: Vec<String> = default_layers().into_iter().map(|(_, path)| path).collect();
    for file in files() {
        let (mut paths, mut decided) = (0, 0);
        let patterns = known_patterns(&file);
        let undecided: Vec<&String> = patterns
            .iter()
            .filter(|pattern| {
                let of_pattern = Decided::default();
                check(&file, pattern, &corpus, &of_pattern);
                paths += of_pattern.paths.get();
                decided += of_pattern.decided.get();
                of_pattern.share() < 1.0
            })
            .collect();
        println!("{} of {} patterns decided", patterns.len() - undecided.len(), patterns.len());
        println!("{decided} of {paths} paths decided; not all by {undecided:?}");
        assert!(undecided.len() <= 1 && decided * 1000 >= paths * 999, "{undecided:?}: {decided} of {paths}");
    }
}

#[test]
fn a_file_is_an_input_of_its_layer() {
    let file = File::new(SOURCE, Strings::Bytes);
    let slim = strings(&file.call("constants", &[])[3]);
    let corpus: Vec<String> = default_layers().into_iter().map(|(_, path)| path).collect();
    let directories: Vec<String> =
        corpus.iter().map(|path| path.rsplit_once('/').unwrap().0.to_string()).collect();
    let user: &[&[(&str, &str)]] = &[
        &[],
        &[
            ("numpy", r"numpy.*"),
            ("words", r"\bsite\b"),
            ("default", r"_argon2.*\.so$"),
            ("numpy", "dateutil"),
        ],
        &[("all", "")],
        &[("odd", r"\pL+x|[a&&b]"), ("interpreter", "python")],
    ];
    for (user, exclude) in user.iter().flat_map(|user| [(user, vec![]), (user, slim.clone())]) {
        let own = |(name, pattern): &(&str, &str)| (name.to_string(), pattern.to_string());
        let groups: Vec<_> = user.iter().map(own).chain(default_groups()).collect();
        let groups: Vec<_> = groups.into_iter().filter(|(_, pattern)| !pattern.contains(r"\pL")).collect();
        let exclude: Vec<_> = DEFAULT_EXCLUDE.iter().map(|p| p.to_string()).chain(exclude).collect();
        let program = LayerGroups::compile(&groups, &exclude).unwrap();
        let layers = file.call("layers", &[json!(groups), json!(exclude), json!(corpus), json!(directories)]);
        for (i, path) in corpus.iter().enumerate() {
            let (of_path, below) = (strings(&layers[0][i]), strings(&layers[1][i]));
            match program.group_of(format!("./{path}").as_bytes()) {
                Some(layer) => {
                    assert!(
                        of_path.iter().any(|name| name == layer),
                        "{path} is in {layer}, not in {of_path:?}"
                    );
                    assert!(below.iter().any(|name| name == layer), "{path} is in {layer}, not in {below:?}");
                    let exact = !user.iter().any(|(name, _)| ["words", "odd"].contains(name));
                    assert!(!exact || of_path.len() == 1, "{path} is in {layer}, not in {of_path:?}");
                }
                None => assert!(of_path.is_empty(), "{path} is left out, not in {of_path:?}"),
            }
        }
    }
}

#[test]
fn the_rule_and_the_program_have_the_same_defaults() {
    let file = File::new(SOURCE, Strings::Bytes);
    let constants = file.call("constants", &[]);
    assert_eq!(constants[0], json!(DEFAULT_GROUP));
    assert_eq!(constants[1], json!(DEFAULT_GROUPS));
    assert_eq!(constants[2], json!(DEFAULT_EXCLUDE));
    for names in [
        &["torch", "interpreter", "default", "packages"][..],
        &["packages", "b", "a", "interpreter", "default"],
        &["default"],
    ] {
        assert_eq!(file.call("ordered", &[json!(names)]), json!(image_order(names.to_vec())));
    }
    assert_eq!(file.call("ordered", &[json!(["b", "default", "a", "b"])]), json!(["b", "a", "default"]));
}

#[test]
fn the_rule_and_the_program_put_a_binary_into_patterns_alike() {
    let file = File::new(SOURCE, Strings::Bytes);
    for runfiles in ["app/server.runfiles", "a", "a.b+c/{d}[e]^f$g&h-i~j#k|(l) *?<m>", "srv/é/日本"] {
        let path = ImagePath::new(runfiles).unwrap();
        for pattern in ["{runfiles}pip_|{runfiles}.*/x", "no", r"\.runfiles/x{2}"] {
            let found = file.call("of_binary", &[json!(pattern), json!(runfiles)]);
            assert_eq!(found, json!(for_binary(pattern, &path)));
        }
    }
}

/// The trees that rule sets make of wheels, and those whose files nobody can foresee.
#[test]
fn a_tree_is_an_input_of_few_layers() {
    let file = File::new(SOURCE, Strings::Bytes);
    let repository = "app/server.runfiles/aspect_rules_py++uv+whl_install__p__numpy__1_26_4";
    let trees = [
        (format!("{repository}/actual_install.install"), vec!["packages"]),
        ("app/server.runfiles/pypi_numpy/site-packages".to_string(), vec!["packages"]),
        (
            "app/server.runfiles/rules_python++python+python_3_11_x86_64-unknown-linux-gnu/lib".to_string(),
            vec!["interpreter"],
        ),
        ("app/server.runfiles/_main/generated".to_string(), vec!["default", "packages"]),
    ];
    let directories: Vec<&str> = trees.iter().map(|(tree, _)| tree.as_str()).collect();
    let none: [String; 0] = [];
    let layers =
        file.call("layers", &[json!(default_groups()), json!(none), json!(none), json!(directories)]);
    for ((tree, expected), found) in trees.iter().zip(layers[1].as_array().unwrap()) {
        assert_eq!(strings(found), *expected, "{tree}");
    }
}

#[test]
fn patterns_for_awk_keep_their_meaning() {
    let file = File::new(SOURCE, Strings::Bytes);
    let table = [
        (r"\\.runfiles/.*", r"\.runfiles/.*"),
        (r"\\.so$$", r"\.so$"),
        (r"\.runfiles/.*", r"\.runfiles/.*"),
        (r"\.so$", r"\.so$"),
        (r"a\\\\b", r"a\\b"),
        ("(a|b$$)|c$$", "(a|b$)|c$"),
        ("", ""),
    ];
    let (given, expected): (Vec<_>, Vec<_>) = table.into_iter().unzip();
    assert_eq!(file.call("normalized", &[json!(given)]), json!(expected));
}

#[test]
fn mistakes_are_explained() {
    let file = File::new(SOURCE, Strings::Bytes);
    for (pattern, problem) in [
        ("a\\", "it ends in a backslash"),
        ("a)", "a parenthesis is closed that was never opened"),
        ("(a|b", "a parenthesis is never closed"),
        ("[a", "a bracket is never closed"),
        ("a|*", "\"*\" has nothing to repeat"),
        ("(?!a)", "look-around, such as (?!…), is not supported"),
        ("a{2", "a repetition {…} is never closed"),
    ] {
        assert!(LayerGroups::compile(&[("x".into(), pattern.into())], &[]).is_err(), "{pattern}");
        let answer = file.call("answers", &[json!(pattern), json!([]), json!([])]);
        assert_eq!(answer["problem"], problem.bytes().map(char::from).collect::<String>(), "{pattern}");
    }
}

#[test]
fn a_pattern_is_one_line() {
    let file = File::new(SOURCE, Strings::Bytes);
    let problems = file.call("problems", &[json!(["a\nb", "a\r", r"a\nb", "a("])]);
    let line_break = r"has a line break in it: write it as \n, or \r";
    let open = "is not a regular expression: a parenthesis is never closed";
    assert_eq!(problems, json!([line_break, line_break, null, open]));
}
