//! The rule's handling of bsdtar options.

use std::collections::HashSet;
use std::process::Command;

use crate::bazel_private::{File, Strings};
use proptest::prelude::*;
use pylayer::groups::{Groups, LayerGroups};
use regex::Regex;
use serde_json::{Value, json};

const SOURCE: &str = r#"
load(":tar_args.bzl", "glob_to_regex", "parse_tar_args")

def parsed(tar_args, compress):
    settings, problem = parse_tar_args(tar_args, compress)
    return problem or {name: getattr(settings, name) for name in dir(settings) if getattr(settings, name) not in [None, []]}

def regex(glob):
    return glob_to_regex(glob)

def times(texts):
    return [parse_tar_args(["--mtime", text], "")[0].mtime for text in texts]
"#;

fn file() -> File {
    File::new(SOURCE, Strings::Bytes)
}

fn parsed(file: &File, tar_args: &[&str], compress: &str) -> Value {
    file.call("parsed", &[json!(tar_args), json!(compress)])
}

#[test]
fn options_become_settings() {
    let file = file();
    for (tar_args, compress, settings) in [
        (&["--options", "gzip:!timestamp"][..], "gzip", json!({})),
        (&["--options=gzip:!timestamp,gzip:compression-level=9"], "gzip", json!({"level": "9"})),
        (&["--options=compression-level=0"], "gzip", json!({"level": "0"})),
        (&["--options", "zstd:compression-level=22,zstd:threads=0"], "zstd", json!({"level": "22"})),
        (&["--options", "!timestamp"], "", json!({})),
        (&["--uid", "7", "--gid=8"], "", json!({"owner": "7", "group": "8"})),
        (&["--uname=a=b", "--gname", ""], "", json!({"owner_name": "a=b", "group_name": ""})),
        (&["--uname=a", "--numeric-owner"], "", json!({"owner_name": "", "group_name": ""})),
        (&["--uid=1", "--uid=2"], "", json!({"owner": "2"})),
        (&["--mtime", "@7"], "", json!({"mtime": "7"})),
        (&["--exclude=a", "--exclude", "b"], "", json!({"exclude": ["/a(/|$)", "/b(/|$)"]})),
        (&["--exclude=/a", "--exclude=b"], "", json!({"exclude": ["/b(/|$)"]})),
        (&[], "gzip", json!({})),
    ] {
        assert_eq!(parsed(&file, tar_args, compress), settings, "{tar_args:?}");
    }
}

#[test]
fn what_has_no_effect_is_refused() {
    let file = file();
    for (tar_args, compress, problem) in [
        (&["--options=gzip:compression-level=9"][..], "zstd", "has no effect with compress = \"zstd\""),
        (&["--options=gzip:compression-level=9"], "", "has no effect on a plain tar"),
        (&["--options=gzip:compression-level=10"], "gzip", "gzip has compression levels from 0 to 9, not 10"),
        (&["--options=zstd:compression-level=0"], "zstd", "zstd has compression levels from 1 to 22, not 0"),
        (&["--options=xz:threads=1"], "gzip", "\"xz:threads=1\" is not supported"),
        (&["--options=gzip:compression-level=x"], "gzip", "is not supported"),
        (&["--options"], "gzip", "--options has no value"),
        (&["--uid", "root"], "", "--uid requires a number, not \"root\""),
        (&["--numeric-owner=1"], "", "\"--numeric-owner=1\" is not supported"),
        (&["-C", "/"], "", "\"-C\" is not supported"),
        (&["--mtime=yesterday"], "", "--mtime requires @SECONDS"),
        (&["--uname=a\nb"], "", "--uname has a line break in its value, \"a\\nb\""),
        (&["--exclude", "a\r"], "", "--exclude has a line break in its value, \"a\\r\""),
        (&["--exclude=a[é]"], "", "brackets can contain only ASCII characters"),
        (&["--exclude="], "", "--exclude requires a glob, not \"\""),
    ] {
        let answer = parsed(&file, tar_args, compress);
        assert!(answer.as_str().is_some_and(|text| text.contains(problem)), "{tar_args:?}: {answer}");
    }
}

/// Globs, paths that bsdtar excludes with them, and paths that it does not.
const GLOBS: &[(&str, &[&str], &[&str])] = &[
    ("*.pyc", &["./a/b.pyc", "./a.pyc/b"], &["./a/b.pyc2", "./a/bpyc"]),
    ("tests", &["./a/tests", "./tests/a"], &["./a/tests2", "./atests"]),
    ("a/b", &["./x/a/b/c"], &["./a/c/b", "./xa/b"]),
    ("a*b", &["./a/x/b", "./ab"], &["./a/bc"]),
    ("a?c", &["./a/c", "./abc"], &["./ac", "./abbc"]),
    ("[ab]c", &["./ac", "./x/bc"], &["./cc"]),
    ("[!ab]c", &["./cc"], &["./ac"]),
    ("[^ab]c", &["./cc"], &["./ac"]),
    ("[a[b]c", &["./ac", "./[c", "./bc"], &["./]c", "./[b]c"]),
    ("[&&]c", &["./&c"], &["./c", "./ac", "./&&c"]),
    ("[a~~b--c]c", &["./ac", "./~c", "./bc", "./cc"], &["./dc"]),
    ("[a--c]c", &["./ac", "./cc"], &["./-c", "./bc"]),
    ("[]a]c", &[], &["./]c", "./ac", "./a]c", "./[]a]c"]),
    ("x[!]c", &["./xac", "./x/c", "./x]c"], &["./xc"]),
    (r"[\]a]c", &["./]c", "./ac"], &[r"./\c", "./bc"]),
    (r"[a-\c]c", &["./ac", "./bc", "./cc"], &[r"./\c", "./-c"]),
    ("[c-a]c", &["./cc"], &["./ac", "./bc", "./-c"]),
    ("[a-]c", &["./ac", "./-c"], &["./bc"]),
    ("[!-a]c", &["./bc"], &["./ac", "./-c"]),
    ("[[:alpha:]]c", &["./[]c", "./a]c"], &["./ac"]),
    ("[ab", &["./[ab"], &["./a", "./b"]),
    (r"\[a]", &["./[a]"], &["./a", r"./\a"]),
    (r"a\", &[r"./a\"], &["./a"]),
    (r"a\$", &["./a$"], &["./a"]),
    ("a$b", &["./a$b"], &["./a"]),
    (r"\*", &["./*"], &["./a"]),
    ("^./a", &["./a/b", "./a"], &["./x/a", "./ab"]),
    ("a$", &["./x/a"], &["./a/x"]),
    ("(a|b)+{2}.c", &["./(a|b)+{2}.c"], &["./aa.c", "./(a|b)+{2}xc"]),
    ("é*", &["./x/éa"], &["./x/ea"]),
    ("tests/", &["./a/tests/b", "./tests/a", "./a/tests"], &["./a/tests2"]),
    ("*/tests/", &["./a/tests/b", "./a/b/tests"], &["./tests/a", "./a/tests2/b"]),
    ("*/__pycache__/*", &["./a/__pycache__/b.pyc", "./a/__pycache__"], &["./__pycache__/b", "./a/b.pyc"]),
    ("__pycache__/", &["./a/__pycache__/b.pyc", "./__pycache__/b"], &["./a/b.pyc"]),
    ("./tests", &["./a/tests/b", "./tests"], &["./a/tests2"]),
    (".//./tests", &["./a/tests/b", "./tests"], &["./a/tests2"]),
    ("./*", &["./a", "./a/b"], &[]),
    (".", &[], &["./a", "./a/b"]),
    ("^app/*/x", &["./app/a/x", "./app/a/b/x/c"], &["./srv/app/a/x", "./app/x"]),
    ("^./app", &["./app/x"], &["./srv/app", "./apps"]),
    ("^*.pyc", &["./a/b.pyc"], &["./a/b.py"]),
    ("^", &[], &["./a"]),
    ("^/app", &[], &["./app/x", "./a/app"]),
    ("/app", &[], &["./app/x", "./a/app"]),
    ("/", &[], &["./app/x"]),
    ("a//b", &["./a/b", "./x/a/b/c"], &["./a/c/b"]),
    ("a/./b", &["./a/b", "./x/a/b/c"], &["./a/c/b"]),
    ("a/.", &["./a/b", "./a"], &["./ab"]),
    ("a/.b", &["./a/.b"], &["./a/b"]),
    (r"a\/b", &["./a/b"], &["./a/c"]),
    (r"a\/\/b", &[], &["./a/b"]),
    ("a/*", &["./a/b", "./x/a"], &["./ab"]),
    ("a/?", &["./a/b"], &["./a", "./a/bc"]),
    ("a/$", &["./a"], &["./a/b"]),
    ("a$", &["./a", "./a."], &["./a/b", "./a.b"]),
    ("a*$", &["./ab."], &["./ab", "./ab/c", "./a"]),
    ("*", &["./a", "./a/b"], &[]),
    ("**/b**", &["./a/b", "./a/bc/d"], &["./b"]),
    ("*./b", &["./a/b", "./ab", "./b"], &["./ac"]),
    ("a*./*", &["./ab", "./a/b"], &["./a", "./b"]),
    ("*$/", &[], &["./a$/b"]),
    ("a?b", &["./a/b", "./a?b", "./a\nb"], &["./ab"]),
    (r"\\?b", &[r"./\ab", r"./\.b"], &["./.b", "./ab"]),
];

/// Whether each of `paths` would be excluded from a layer.
fn left_out(file: &File, glob: &str, paths: &[&str]) -> Vec<bool> {
    let regex = file.call("regex", &[json!(glob)]);
    let Some(regex) = regex.as_str() else { return vec![false; paths.len()] };
    // The function returns characters that stand for bytes.
    let regex: Vec<u8> = regex.chars().map(|char| u8::try_from(char).unwrap()).collect();
    let regex = String::from_utf8(regex).unwrap();
    let groups = LayerGroups::compile(&Groups::default(), &[regex]).unwrap();
    paths.iter().map(|path| groups.group_of(path.as_bytes()).is_none()).collect()
}

/// Whether bsdtar excludes each of `paths`, which are passed in an mtree specification as in the macro that
/// this one replaces; `None`, with a note, if bsdtar is not installed.
fn left_out_by_bsdtar(glob: &str, paths: &[&str]) -> Option<Vec<bool>> {
    let directory = tempfile::tempdir().unwrap();
    let mut specification = "#mtree\n".to_string();
    for path in paths {
        let escape = |byte| match byte {
            b'.' | b'/' => char::from(byte).to_string(),
            other => format!("\\{other:03o}"),
        };
        let name: String = path.bytes().map(escape).collect();
        specification += &format!("{name} type=file size=0\n");
    }
    std::fs::write(directory.path().join("specification"), specification).unwrap();
    let output = Command::new("bsdtar")
        .args(["--create", "--file=-", "--exclude", glob, "@specification"])
        .env("LC_ALL", "C.UTF-8")
        .current_dir(directory.path())
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("bsdtar is not installed (Debian: libarchive-tools); globs were not compared with it");
            return None;
        }
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{glob}: {}", String::from_utf8_lossy(&output.stderr));
    let mut archive = tar::Archive::new(&output.stdout[..]);
    let kept: HashSet<Vec<u8>> =
        archive.entries().unwrap().map(|entry| entry.unwrap().path_bytes().into_owned()).collect();
    Some(paths.iter().map(|path| !kept.contains(path.as_bytes())).collect())
}

#[test]
fn globs_exclude_what_bsdtar_excludes() {
    let file = file();
    for (glob, found, not_found) in GLOBS {
        let paths = [*found, *not_found].concat();
        let expected = [vec![true; found.len()], vec![false; not_found.len()]].concat();
        assert_eq!(left_out(&file, glob, &paths), expected, "{glob} of {paths:?}");
    }
}

#[test]
fn bsdtar_excludes_what_the_table_says() {
    for (glob, found, not_found) in GLOBS {
        let paths = [*found, *not_found].concat();
        let expected = [vec![true; found.len()], vec![false; not_found.len()]].concat();
        let Some(left_out) = left_out_by_bsdtar(glob, &paths) else { return };
        assert_eq!(left_out, expected, "{glob} of {paths:?}");
    }
}

/// Globs with everything that has a special meaning.
///
/// Three things are omitted, since versions of libarchive differ (archive_pathmatch.c, 2026): `^` after a
/// star, whether the part after a star can match a slash, and negated classes at the end of a path.
fn globs() -> impl Strategy<Value = String> {
    let parts = [
        "a", "b", "a", "b", ".", "/", "/", "//", "./", "/./", "*", "*", "?", "$", "[ab]", "[a-b]", "[]", "[",
        "]", "-", r"\", r"\*", r"\a", r"\/",
    ];
    let parts = prop::collection::vec(prop::sample::select(parts.to_vec()), 1..7);
    let globs = (prop::sample::select(vec!["", "", "^"]), parts)
        .prop_map(|(start, parts)| start.to_string() + &parts.concat());
    let differs = Regex::new(r"\*(\./[./]*)?([\[?]|\\/)|\*[./]*/[./]*$").unwrap();
    globs.prop_filter("versions of bsdtar differ", move |glob| {
        !differs.is_match(glob.strip_suffix('/').unwrap_or(glob))
    })
}

#[test]
fn all_globs_exclude_what_bsdtar_excludes() {
    // No directory ends in a dot: after a star, libarchive skips the end of `a./` as it does `./`.
    let paths = [
        "./a",
        "./b",
        "./c",
        "./ab",
        "./ba",
        "./a.",
        "./.a",
        "./a.b",
        "./a-b",
        "./a*",
        "./a$",
        "./[ab]",
        r"./a\b",
        "./é",
        "./a/b",
        "./b/a",
        "./ab/a",
        "./b/a.",
        "./a/.b",
        "./c/ab",
        "./é/a",
        "./a/a/b",
        "./a/b/a",
        "./b/c/ab.a",
        "./c/b/a.",
    ];
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let file = file();
    proptest!(config, |(glob in globs())| {
        if let Some(expected) = left_out_by_bsdtar(&glob, &paths) {
            let wrong: Vec<_> = left_out(&file, &glob, &paths)
                .into_iter()
                .zip(expected)
                .zip(paths)
                .filter(|((found, expected), _)| found != expected)
                .collect();
            prop_assert!(wrong.is_empty(), "{glob}: ((left out, left out by bsdtar), path) {wrong:?}");
        }
    });
}

#[test]
fn times_are_seconds() {
    let file = file();
    for (text, seconds) in [
        ("@0", json!("0")),
        ("@1672560000", json!("1672560000")),
        ("1672560000", json!("1672560000")),
        ("2023-01-01T08:00:00Z", json!("1672560000")),
        ("2023-01-01 08:00:00", json!("1672560000")),
        ("2038-01-19T03:14:08Z", json!("2147483648")),
    ] {
        assert_eq!(file.call("times", &[json!([text])])[0], seconds, "{text}");
    }
}

#[test]
fn nonexistent_dates_are_rejected() {
    let file = file();
    for text in [
        "2023-02-29",
        "2023-02-31",
        "2100-02-29",
        "2023-04-31",
        "2023-01-32",
        "2023-00-01",
        "2023-13-01",
        "2023-01-00",
    ] {
        let answer = parsed(&file, &["--mtime", text], "");
        assert!(answer.as_str().is_some_and(|text| text.starts_with("--mtime requires")), "{text}: {answer}");
    }
    assert_eq!(
        file.call("times", &[json!(["2024-02-29", "2000-02-29"])]),
        json!(["1709164800", "951782400"])
    );
}

#[test]
fn consecutive_days_are_a_day_apart() {
    let (mut dates, mut expected, mut day) = (Vec::new(), Vec::new(), 0_i64);
    for year in 1970..2110 {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        for (month, days) in (1..).zip(days) {
            for date in 1..=days {
                dates.push(format!("{year}-{month:02}-{date:02}"));
                expected.push((day * 86_400).to_string());
                day += 1;
            }
        }
    }
    assert_eq!(file().call("times", &[json!(dates)]), json!(expected));
}
