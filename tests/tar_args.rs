//! How the rule understands bsdtar's options.

mod bazel_private;

use bazel_private::{File, Strings};
use regex::bytes::RegexBuilder;
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
        (&["--exclude=a", "--exclude", "b"], "", json!({"exclude": ["(^|/)a(/|$)", "(^|/)b(/|$)"]})),
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
        (&["--uid", "root"], "", "--uid wants a number, not \"root\""),
        (&["--numeric-owner=1"], "", "\"--numeric-owner=1\" is not supported"),
        (&["-C", "/"], "", "\"-C\" is not supported"),
        (&["--mtime=yesterday"], "", "--mtime wants @SECONDS"),
        (&["--uname=a\nb"], "", "--uname has a line break in its value, \"a\\nb\""),
        (&["--exclude", "a\r"], "", "--exclude has a line break in its value, \"a\\r\""),
    ] {
        let answer = parsed(&file, tar_args, compress);
        assert!(answer.as_str().is_some_and(|text| text.contains(problem)), "{tar_args:?}: {answer}");
    }
}

#[test]
fn globs_match_as_bsdtars() {
    let file = file();
    for (glob, found, not_found) in [
        ("*.pyc", &["./a/b.pyc", "./a.pyc/b"][..], &["./a/b.pyc2", "./a/bpyc"][..]),
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
    ] {
        let regex = file.call("regex", &[json!(glob)]);
        // The function gave characters that stand for bytes.
        let regex: Vec<u8> =
            regex.as_str().unwrap().chars().map(|char| u8::try_from(char).unwrap()).collect();
        let regex = String::from_utf8(regex).unwrap();
        let regex = RegexBuilder::new(&regex).unicode(false).dot_matches_new_line(true).build().unwrap();
        for path in found {
            assert!(regex.is_match(path.as_bytes()), "{glob} in {path}");
        }
        for path in not_found {
            assert!(!regex.is_match(path.as_bytes()), "{glob} not in {path}");
        }
    }
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
fn days_that_no_calendar_has_are_no_times() {
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
        assert!(answer.as_str().is_some_and(|text| text.starts_with("--mtime wants")), "{text}: {answer}");
    }
    assert_eq!(
        file.call("times", &[json!(["2024-02-29", "2000-02-29"])]),
        json!(["1709164800", "951782400"])
    );
}

#[test]
fn every_day_is_a_day_after_the_one_before() {
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
