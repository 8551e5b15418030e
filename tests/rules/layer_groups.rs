//! Compares how analysis and the program match patterns.
//!
//! The rule chooses a layer's inputs with `bazel/private/layer_groups.bzl`; the program chooses its
//! entries with `LayerGroups`. A file that only the rule leaves out would be lost.

use crate::bazel_private::patterns::{Decided, SOURCE, check, compile, strings};
use crate::bazel_private::{File, Strings};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use pylayer::groups::{DEFAULT_GROUP, DEFAULT_GROUPS, for_binary, image_order};
use pylayer::image_path::ImagePath;
use pylayer::split;
use pylayer::survey::Survey;
use serde_json::json;

/// Patterns from users and other tools.
const PATTERNS_IN_USE: &[&str] = &[
    // Documented and built-in groups of aspect_rules_py.
    r"\.runfiles/pip_deps.*",
    r"\.runfiles/python.*-.*/",
    r"\.runfiles/.*/site-packages",
    r"\.runfiles/.*/site-packages/.*",
    r"\.runfiles/[^/]*python_?[0-9]+_[0-9]+(_[0-9]+)?_[a-z0-9_]+[_-](unknown|apple|pc)[_-][^/]*/",
    r".whl",
    r"\.whl$",
    // Widely copied examples.
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

/// Layers and image paths.
fn default_layers() -> Vec<(&'static str, String)> {
    include_str!("../fixtures/default_layers.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(layer, path)| (layer, format!("app/server.runfiles/{path}")))
        .collect()
}

/// Expands a pattern for the binary of `default_layers()`.
fn for_server(pattern: &str, found: &Survey) -> String {
    for_binary(pattern, &ImagePath::new("app/server.runfiles").unwrap(), found)
}

/// The default groups for that binary, with an empty survey.
fn default_groups() -> Vec<(String, String)> {
    let for_server = |pattern| for_server(pattern, &Survey::default());
    DEFAULT_GROUPS.iter().map(|group| (group.name.clone(), for_server(&group.pattern))).collect()
}

/// `SLIM_INTERPRETER` for that binary.
fn slim_interpreter(file: &File) -> Vec<String> {
    let slim = strings(&file.call("constants", &[])[2]);
    slim.iter().map(|pattern| for_server(pattern, &Survey::default())).collect()
}

/// The default patterns, those of `SLIM_INTERPRETER`, and those in use.
fn known_patterns(file: &File) -> Vec<String> {
    let defaults = default_groups().into_iter().map(|(_, pattern)| pattern);
    let in_use = PATTERNS_IN_USE.iter().map(|pattern| pattern.to_string());
    defaults.chain(in_use).chain(slim_interpreter(file)).collect()
}

fn survey_of(paths: &[&str], binary: &str) -> Survey {
    Survey::of(paths.iter().map(|path| path.as_bytes()), &[binary.as_bytes()])
}

fn files() -> [File; 2] {
    [Strings::Bytes, Strings::Unicode].map(|strings| File::new(SOURCE, strings))
}

/// Part of a pattern, and texts that it matches or almost matches.
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

/// Empty matches, syntax errors and borderline cases.
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

/// Paths that a pattern with these samples matches or almost matches.
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
    // Image paths are never empty.
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
fn corner_cases_of_the_syntax() {
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
    let slim = slim_interpreter(&file);
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
        let program = compile(&groups, &exclude).unwrap();
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
    let groups: Vec<_> = DEFAULT_GROUPS.iter().map(|group| (&group.name, &group.pattern)).collect();
    assert_eq!(constants[1], json!(groups));
    for names in [
        &["torch", "interpreter", "default", "packages"][..],
        &["packages", "b", "a", "interpreter", "default"],
        &["default"],
    ] {
        assert_eq!(file.call("ordered", &[json!(names)]), json!(image_order(names.to_vec())));
    }
    assert_eq!(file.call("ordered", &[json!(["b", "default", "a", "b"])]), json!(["b", "a", "default"]));
}

/// Runfiles, and the expected result of a survey.
struct Surveyed {
    paths: &'static [&'static str],
    interpreters: &'static [&'static str],
    packages: &'static [(&'static str, &'static [&'static str])],
    wheels: &'static [&'static str],
}

const NOTHING: Surveyed = Surveyed { paths: &[], interpreters: &[], packages: &[], wheels: &[] };

/// Paths of runfiles. The binary is `app/server`.
const SURVEYS: &[Surveyed] = &[
    NOTHING,
    // Names of interpreters in `WORKSPACE` files.
    Surveyed {
        paths: &[
            "python39_x86_64-unknown-linux-gnu/lib/python3.9/os.py",
            "python_toolchain_x86_64-unknown-linux-gnu/lib/python3.12/os.py",
            "py311_toolchain/lib/python3.11/os.py",
            "+python+é/lib/python3.13t/os.py",
            "_main/app/server",
        ],
        interpreters: &[
            "+python+é",
            "py311_toolchain",
            "python39_x86_64-unknown-linux-gnu",
            "python_toolchain_x86_64-unknown-linux-gnu",
        ],
        ..NOTHING
    },
    // In a directory of a repository.
    Surveyed {
        paths: &["_main/python/runtime/lib/python3.11/os.py", "_main/app/server", "x/a/lib/python3.9/os.py"],
        interpreters: &["_main/python/runtime", "x/a"],
        ..NOTHING
    },
    // Next to the binary, within a package, and almost a standard library.
    Surveyed {
        paths: &[
            "_main/lib/python3.11/os.py",
            "_main/app/lib/python3.11/os.py",
            "_main/app/server",
            "pypi_bpy/site-packages/bpy/python/lib/python3.11/os.py",
            "venv/lib/python3.11/site-packages/os.py",
            "a/lib/python/os.py",
            "a/lib/python3/os.py",
            "a/lib/python3./os.py",
            "a/lib/python3.1x/os.py",
            "a/lib/pypy3.9/os.py",
            "a/lib/python3.11/json/os.py",
            "a/lib/python3.11/posixos.py",
            "a/mylib/python3.11/os.py",
            "lib/python3.11/os.py",
        ],
        ..NOTHING
    },
    // The binary has the same name, but is elsewhere.
    Surveyed {
        paths: &["py/app/server/lib/python3.11/os.py", "other/deep/app/server", "py/lib/python3.11/os.py"],
        interpreters: &["py", "py/app/server"],
        ..NOTHING
    },
    Surveyed {
        paths: &[
            "pypi_yaml/site-packages/PyYAML-6.0.1.dist-info/METADATA",
            "pip_deps_3_11_flask_sqlalchemy/site-packages/Flask_SQLAlchemy-3.1.dist-info/METADATA",
            "a/site-packages/zope.interface-6.0+local.1.dist-info/METADATA",
            "b/site-packages/zope_interface-6.0.dist-info/METADATA",
            "old/site-packages/with-dash-1.0.dist-info/METADATA",
            // Vendored, so not the repository's own package.
            "pypi_setuptools/site-packages/setuptools/_vendor/wheel-0.43.dist-info/METADATA",
            "py/lib/python3.11/site-packages/pip-24.0.dist-info/METADATA",
            "_main/site-packages/METADATA",
        ],
        packages: &[
            ("flask-sqlalchemy", &["pip_deps_3_11_flask_sqlalchemy"]),
            ("pyyaml", &["pypi_yaml"]),
            ("with-dash", &["old"]),
            ("zope-interface", &["a", "b"]),
        ],
        ..NOTHING
    },
    // Wheels next to their unpacked contents, and wheels that are data.
    Surveyed {
        paths: &[
            "pypi_six/six-1.16.0-py2.py3-none-any.whl",
            "pypi_six/site-packages/six.py",
            "pypi_tree/tree-1.0-py3-none-any.whl",
            "pypi_tree/site-packages/",
            "pypi_data/data-1.0-py3-none-any.whl",
            "pypi_data/other/site-packages/data.py",
            "pypi_sub/wheels/sub-1.0-py3-none-any.whl",
            "pypi_sub/site-packages/sub.py",
            "_main/plugin-1.0-py3-none-any.whl",
            "_main/site-packages/plugin.py",
            "_main/app/server",
            "_main/app/plugin-1.0-py3-none-any.whl",
            "py/lib/python3.11/ensurepip/_bundled/pip-24.0-py3-none-any.whl",
            "root-1.0-py3-none-any.whl",
            "pypi_six/menu.whl.txt",
        ],
        wheels: &["pypi_six/six-1.16.0-py2.py3-none-any.whl", "pypi_tree/tree-1.0-py3-none-any.whl"],
        ..NOTHING
    },
];

#[test]
fn a_survey_finds_interpreters_packages_and_wheels() {
    for strings in [Strings::Bytes, Strings::Unicode] {
        let file = File::new(SOURCE, strings);
        for Surveyed { paths, interpreters, packages, wheels } in SURVEYS {
            let found = survey_of(paths, "app/server");
            let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
            let texts = |list: &[Vec<u8>]| list.iter().map(text).collect::<Vec<_>>();
            assert_eq!(texts(&found.interpreters), *interpreters);
            let of_names: Vec<_> = found.packages.iter().map(|(name, of)| (text(name), texts(of))).collect();
            let expected = packages.iter().map(|(name, of)| {
                (name.to_string(), of.iter().map(|repository| repository.to_string()).collect::<Vec<_>>())
            });
            assert_eq!(of_names, expected.collect::<Vec<_>>());
            assert_eq!(texts(&found.wheels), *wheels);

            let at_analysis = file.call("survey", &[json!(paths), json!("app/server")]);
            let bytes = |text: &str| match strings {
                Strings::Bytes => text.bytes().map(char::from).collect(),
                Strings::Unicode => text.to_string(),
            };
            let interpreters: Vec<String> = interpreters.iter().map(|directory| bytes(directory)).collect();
            assert_eq!(at_analysis[0], json!(interpreters));
            assert_eq!(
                at_analysis[1],
                json!(std::collections::BTreeMap::from_iter(packages.iter().copied()))
            );
            assert_eq!(at_analysis[2], json!(wheels));
        }
    }
}

#[test]
fn the_rule_and_the_program_expand_patterns_alike() {
    let file = File::new(SOURCE, Strings::Bytes);
    let patterns = [
        "{runfiles}pip_|{runfiles}.*/x",
        "no",
        r"\.runfiles/x{2}",
        "{interpreter}(a|b)",
        "{pip_package:zope-interface}|{pip_package:Missing.Name}x",
        "{pip_package:a+b",
        "{pip_package:a+b}{runfiles}",
    ];
    for runfiles in ["app/server.runfiles", "a", "a.b+c/{d}[e]^f$g&h-i~j#k|(l) *?<m>", "srv/é/日本"] {
        let path = ImagePath::new(runfiles).unwrap();
        for Surveyed { paths, .. } in SURVEYS {
            let arguments = [json!(patterns), json!(runfiles), json!(paths), json!("app/server")];
            let found = survey_of(paths, "app/server");
            let expected = patterns.map(|pattern| for_binary(pattern, &path, &found));
            assert_eq!(file.call("of_binary", &arguments), json!(expected));
        }
    }
}

/// The layer that both engines choose for `path`. Analysis must be certain.
fn layer_of(file: &File, groups: &[(String, String)], path: &str) -> String {
    let path = format!("app/server.runfiles/{path}");
    let none: [String; 0] = [];
    let program = compile(groups, &none).unwrap();
    let layer = program.group_of(format!("./{path}").as_bytes()).unwrap().to_string();
    let found = file.call("layers", &[json!(groups), json!(none), json!([path]), json!(none)]);
    assert_eq!(strings(&found[0][0]), [&layer[..]], "{path}");
    layer
}

#[test]
fn an_interpreter_is_known_by_its_standard_library() {
    let file = File::new(SOURCE, Strings::Bytes);
    for repository in [
        "python39_x86_64-unknown-linux-gnu",
        "python3_11_aarch64-unknown-linux-gnu",
        "python_x86_64-unknown-linux-gnu",
        "python_toolchain_x86_64-unknown-linux-gnu",
        "rules_poetry_python3_10_x86_64-unknown-linux-gnu",
        "python_3_8_x86_64-unknown-linux-gnu",
        "py311_toolchain_x86_64-unknown-linux-gnu",
        "_main/python/runtime",
    ] {
        let standard_library = format!("{repository}/lib/python3.11/os.py");
        let found = survey_of(&["_main/app/server", &standard_library], "app/server");
        let groups: Vec<_> = DEFAULT_GROUPS
            .iter()
            .map(|group| (group.name.clone(), for_server(&group.pattern, &found)))
            .collect();
        for below in
            ["bin/python3", "lib/python3.11/site-packages/pip/__init__.py", "include/python3.11/Python.h"]
        {
            assert_eq!(layer_of(&file, &groups, &format!("{repository}/{below}")), "interpreter");
            assert_ne!(layer_of(&file, &groups, &format!("x_{repository}/{below}")), "interpreter");
        }
        // SLIM_INTERPRETER recognizes it, too.
        let slim: Vec<_> = strings(&file.call("constants", &[])[2])
            .iter()
            .map(|pattern| ("slim".to_string(), for_server(pattern, &found)))
            .collect();
        assert_eq!(layer_of(&file, &slim, &format!("{repository}/include/python3.11/Python.h")), "slim");
        assert_eq!(layer_of(&file, &slim, &format!("{repository}/bin/python3")), "default");
    }
}

/// Names of packages, and a path that does (`+`) or does not (`-`) belong to one of them.
const PACKAGES: &str = "\
+ torch pip_deps_torch/site-packages/torch/__init__.py
+ torch pip_deps_torch/site-packages/torch-2.1.0.dist-info/METADATA
+ torch pip_deps_torch/site-packages/torch.libs/libx.so
+ torch pip_deps_torch/site-packages/functorch/__init__.py
+ torch pip_deps_torch/bin/torchrun
+ torch pip_deps_torch/include/torch.h
+ torch pip_deps_torch/data/share/man
- torch pip_deps_torchvision/site-packages/torchvision/__init__.py
- torch pip_deps_torch_audio/site-packages/torch_audio/__init__.py
- torch pip_deps_my_torch/site-packages/my_torch/__init__.py
- torch _main/app/pip_deps_torch/x.py
- torch _main/app/_server.venv/lib/python3.11/site-packages/torch/__init__.py
+ torch-audio pip_deps_torch_audio/site-packages/torch_audio/__init__.py
+ Torch.Audio pip_deps_torch_audio/bin/x
+ torch,torchvision pip_deps_torchvision/bin/x
+ torch,torchvision pip_deps_torch/bin/x
+ pyyaml pypi_pyyaml/site-packages/yaml/__init__.py
- yaml pypi_pyyaml/site-packages/yaml/__init__.py
+ packaging pypi__packaging/site-packages/packaging/__init__.py
+ torch pip_deps_3_11_torch/site-packages/torch/__init__.py
+ torch rules_python~~pip~pip_deps_311_torch/bin/torchrun
+ torch rules_python~0.27.1~pip~pip_deps_311_torch/bin/torchrun
+ torch rules_python++pip+pip_deps_311_torch_cp311_cp311_manylinux_2_17_x86_64_666dbfb6/bin/torchrun
+ torch rules_python++pip+pip_deps_311_torch_cp311_none_macosx_11_0_arm64_0bdfb35c/bin/torchrun
- torch rules_python++pip+pip_deps_311_torchvision_cp311_cp311_manylinux_2_17_x86_64_1bb0d34f/bin/x
- torch rules_python++pip+pip_deps_311_torch_audio_cp311_cp311_manylinux_2_17_x86_64_8bb0d34f/bin/x
+ torch-audio rules_python++pip+pip_deps_311_torch_audio_cp311_cp311_manylinux_2_17_x86_64_8bb0d34f/bin/x
+ torch rules_python++pip+pip_deps_311_torch_sdist_9ab2c7de/bin/torchrun
+ torch rules_python++pip+pip_deps_311_torch_2_1_0_cp311_cp311_manylinux_2_17_x86_64/bin/torchrun
+ torch rules_python++pip+pip_deps_311_torch_linux_x86_64/bin/torchrun
+ torch _main~wheels~pip_deps_torch/bin/torchrun
+ torch aspect_rules_py++uv+whl_install__my_project__torch__2_1_0/actual_install.install/bin/torchrun
+ torch whl_install__my_project__torch__2_1_0/actual_install.install/bin/torchrun
- torch aspect_rules_py++uv+whl_install__my_project__torchvision__2_1_0/actual_install.install/bin/x
- torch aspect_rules_py++uv+whl_install__my_project__torch_audio__2_1_0/actual_install.install/bin/x
- torch aspect_rules_py++uv+whl_install__torch__numpy__2_1_0/actual_install.install/bin/x
+ torch_audio aspect_rules_py++uv+whl_install__my_project__torch-audio__2_1_0/actual_install.install/bin/x
";

#[test]
fn a_package_is_found_under_any_name_of_its_repository() {
    let file = File::new(SOURCE, Strings::Bytes);
    // All repositories in the table have metadata, except trees.
    let distribution = regex::Regex::new(
        r"^[^/]*?(?:_3_?11_|pip_deps_|pypi__?)(torchvision|torch_audio|my_torch|torch|pyyaml|packaging)(_[^/]*)?/",
    )
    .unwrap();
    let lines = || PACKAGES.lines().map(|line| line.splitn(3, ' ').collect::<Vec<_>>());
    let metadata: Vec<String> = lines()
        .filter_map(|line| {
            let repository = line[2].split('/').next().unwrap();
            let name = &distribution.captures(line[2])?[1];
            Some(format!("{repository}/site-packages/{name}-2.1.0.dist-info/METADATA"))
        })
        .collect();
    let found = survey_of(&metadata.iter().map(String::as_str).collect::<Vec<_>>(), "app/server");
    for line in lines() {
        let [sign, names, path] = line[..] else { panic!("{line:?}") };
        let names: Vec<&str> = names.split(',').collect();
        let pattern = file.call("packages", &[json!(names)]).as_str().unwrap().to_string();
        let groups = [("found".to_string(), for_server(&pattern, &found))];
        let expected = if sign == "+" { "found" } else { "default" };
        assert_eq!(layer_of(&file, &groups, path), expected, "{names:?} in {path}");
        check(&file, &groups[0].1, &[format!("app/server.runfiles/{path}")], &Decided::default());
    }
}

/// Trees that rule sets create from wheels, and trees with arbitrary files.
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

/// Which layer of a group contains a distribution, and which distribution a repository has.
#[test]
fn the_rule_and_the_program_split_groups_in_the_same_way() {
    let repositories = [
        "",
        "pip_deps_numpy",
        "Pip__Numpy",
        "rules_python~~pip~hub_311_numpy_cp311_manylinux_2_17_x86_64_0123abcd",
        "rules_python++pip+hub_311_zope.interface",
        "aspect_rules_py++uv+whl_install__myproj__numpy__1_26_4",
        "aspect_rules_py~~uv~whl_install__my__proj__charset_normalizer__3_4_1",
        "whl_install__numpy",
        "whl_install__a__1",
        "whl_install____",
        "whl_install__________",
        "a~b+",
        "_main",
    ];
    let generated = (0..300).map(|number| format!("pip_package_{number}_{}", number * number));
    let repositories: Vec<String> =
        repositories.iter().map(|name| name.to_string()).chain(generated).collect();
    for file in files() {
        for layers in [1, 2, 8, 127] {
            let found = file.call("split", &[json!(repositories), json!(layers)]);
            for (repository, found) in repositories.iter().zip(found.as_array().unwrap()) {
                let name = split::distribution_of(repository.as_bytes());
                let layer = split::layer_name("packages", split::layer_number(&name, layers));
                assert_eq!(strings(found), [String::from_utf8(name).unwrap(), layer], "{repository}");
            }
        }
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
        ("a)", "unmatched closing parenthesis"),
        ("(a|b", "unclosed parenthesis"),
        ("[a", "unclosed bracket"),
        ("a|*", "\"*\" has nothing to repeat"),
        ("(?!a)", "look-around, such as (?!…), is not supported"),
        ("a{2", "unclosed repetition {…}"),
    ] {
        assert!(compile(&[("x".into(), pattern.into())], &[]).is_err(), "{pattern}");
        let answer = file.call("answers", &[json!(pattern), json!([]), json!([])]);
        assert_eq!(answer["problem"], problem.bytes().map(char::from).collect::<String>(), "{pattern}");
    }
}

#[test]
fn a_pattern_is_one_line() {
    let file = File::new(SOURCE, Strings::Bytes);
    let problems = file.call("problems", &[json!(["a\nb", "a\r", r"a\nb", "a("])]);
    let line_break = r"contains a line break: write it as \n, or \r";
    let open = "is not a regular expression: unclosed parenthesis";
    assert_eq!(problems, json!([line_break, line_break, null, open]));
}
