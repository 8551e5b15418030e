//! Finds files that most images do not need: tests, headers, static libraries, and bytecode that Python
//! ignores. Pure.

use std::cmp::Reverse;

use super::division::DividedImage;
use super::{Advice, files, starlark, sum};
use crate::contents::{ComponentKind, Entry};
use crate::show::size;
use crate::tables::{BALLAST, BallastRow};

/// Less than this part of the image is not worth a line in a BUILD file.
const WORTHWHILE: f64 = 0.002;

/// What a row of the table matches, except what those before it match.
struct Ballast<'a> {
    row: &'a BallastRow,
    /// The files that count. Of bytecode, these are the files that no interpreter of the image uses.
    unneeded: Total,
    all: Total,
}

#[derive(Debug, Clone, Copy, Default)]
struct Total {
    files: usize,
    /// In bytes.
    size: u64,
    compressed: u64,
}

impl Total {
    fn add(&mut self, entry: &Entry) {
        self.files += 1;
        self.size = self.size.saturating_add(entry.size);
        self.compressed = self.compressed.saturating_add(entry.compressed);
    }
}

impl Ballast<'_> {
    /// `type stubs: 12 files, 1.2 MiB`.
    fn describe(&self) -> String {
        let Ballast { row, unneeded, all, .. } = self;
        let what = &row.what;
        let total = format!("{}, {}", files(all.files), size(all.compressed));
        if is_bytecode(row) {
            format!("{what}: {total}; {} of it for other versions of Python", size(unneeded.compressed))
        } else if row.of == "distribution" {
            format!("{what}: {total}; some packages need them")
        } else {
            format!("{what}: {total}")
        }
    }
}

/// Suggests what to exclude.
pub fn advise(image: &DividedImage) -> Option<Advice> {
    let is_excluded = |row: &&BallastRow| {
        image
            .target
            .exclude
            .iter()
            .any(|exclude| exclude.attribute == "exclude" && exclude.pattern == row.pattern)
    };
    let rows: Vec<&BallastRow> = BALLAST.iter().filter(|row| !is_excluded(row)).collect();
    let patterns = image.compile(rows.iter().map(|row| row.pattern.as_str()))?;
    let tags = bytecode_tags(image);
    let mut matched: Vec<(&Entry, Vec<usize>)> = Vec::new();
    for entry in image.files() {
        let indices = patterns.matching(&[b"./", entry.path.as_slice()].concat());
        if !indices.is_empty() {
            matched.push((entry, indices));
        }
    }
    let compressed = |index: usize| {
        let matched = matched.iter().filter(|(_, indices)| indices.contains(&index));
        sum(matched.map(|(entry, _)| entry.compressed))
    };
    let mut order: Vec<(usize, u64)> = (0..rows.len()).map(|index| (index, compressed(index))).collect();
    order.sort_by_key(|(_, compressed)| Reverse(*compressed));
    let least = sum(image.image.layers.iter().map(|layer| layer.size)) as f64 * WORTHWHILE;
    let mut found: Vec<Ballast> = Vec::new();
    let mut total = Total::default();
    for (index, _) in order {
        let row = rows[index];
        let mut ballast = Ballast { row, unneeded: Total::default(), all: Total::default() };
        for (entry, _) in matched.iter().filter(|(_, indices)| indices.contains(&index)) {
            ballast.all.add(entry);
            if !is_bytecode(row) || is_unused(entry, &tags) {
                ballast.unneeded.add(entry);
            }
        }
        if ballast.unneeded.compressed as f64 > least {
            found.push(ballast);
            // A file that several patterns match counts for the first of them.
            matched.retain(|(entry, indices)| {
                let is_counted = indices.contains(&index);
                if is_counted {
                    total.add(entry);
                }
                !is_counted
            });
        }
    }
    let largest = &found.first()?.row.what;
    let lines: Vec<(String, String)> =
        found.iter().map(|ballast| (ballast.row.pattern.clone(), ballast.describe())).collect();
    Some(Advice {
        title: "Exclude what most images do not need".to_string(),
        detail: format!(
            "Remove the lines that you do not want, and start the image before you ship it. Largest: {largest}."
        ),
        saves: format!("{} compressed, {} unpacked", size(total.compressed), size(total.size)),
        paste: starlark::exclude(image.target, &lines).lines("exclude"),
    })
}

fn is_bytecode(row: &BallastRow) -> bool {
    row.constant.as_deref() == Some("PYCACHE")
}

/// The tags of bytecode that the image's interpreters use: `.cpython-311.`. None if any of them is unknown.
fn bytecode_tags(image: &DividedImage) -> Vec<String> {
    let components = image.image.components.iter();
    let interpreters = components.filter(|component| component.kind == ComponentKind::Interpreter);
    let versions = interpreters.map(|component| component.version.as_deref());
    let Some(versions) = versions.collect::<Option<Vec<&str>>>() else { return Vec::new() };
    // Free-threaded builds, such as 3.13t, may share bytecode with others.
    let tags = versions.into_iter().flat_map(|version| [version, version.trim_end_matches('t')]);
    tags.map(|version| format!(".cpython-{}.", version.replace('.', ""))).collect()
}

/// Whether this is bytecode for other interpreters than those with these `tags`.
fn is_unused(entry: &Entry, tags: &[String]) -> bool {
    let path = String::from_utf8_lossy(&entry.path);
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_used = |tag: &String| {
        // Optimized bytecode is called `x.cpython-311.opt-1.pyc`.
        name.contains(tag.as_str())
    };
    !tags.is_empty() && name.contains(".cpython-") && !tags.iter().any(is_used)
}

#[cfg(test)]
mod tests {
    use super::super::samples::Sample;
    use super::*;

    fn advice(sample: &Sample) -> Option<Advice> {
        advise(&DividedImage::new(&sample.image()).unwrap().unwrap())
    }

    /// The lines of the suggested list.
    fn lines(sample: &Sample) -> Vec<String> {
        let Some(advice) = advice(sample) else { return Vec::new() };
        let (_, list) = advice.paste.split_once("exclude = [\n").unwrap();
        list.trim_end_matches("],").lines().map(|line| line.trim().to_string()).collect()
    }

    /// The comments in these lines.
    fn described(sample: &Sample) -> Vec<String> {
        lines(sample).iter().map(|line| line.split_once("# ").unwrap().1.to_string()).collect()
    }

    fn python() -> Sample {
        Sample::new(&[]).interpreter("lib/python3.11/os.py", 1000).interpreter("bin/python3", 9000)
    }

    #[test]
    fn parts_of_the_interpreter_are_found_in_its_directory() {
        let sample = python()
            .interpreter("include/python3.11/Python.h", 300)
            .interpreter("lib/python3.11/test/test_os.py", 200)
            .interpreter("lib/libpython3.11.a", 400)
            .interpreter("lib/python3.11/config-3.11/Makefile", 50)
            .interpreter("lib/python3.11/testing.py", 500)
            // Not in the interpreter.
            .own("include/x.h", 1000)
            .own("lib/python3.11/test/x.py", 1000)
            .own("py/include/x.h", 1000);
        assert_eq!(
            lines(&sample),
            [
                "INTERPRETER_STATIC_LIBRARIES,  # static libraries of the interpreter: 2 files, 450 B",
                "INTERPRETER_HEADERS,  # C headers of the interpreter: 1 file, 300 B",
                "INTERPRETER_TESTS,  # tests of the standard library: 1 file, 200 B",
            ]
        );
        let advice = advice(&sample).unwrap();
        assert_eq!(advice.saves, "950 B compressed, 2.8 KiB unpacked");
        let after = sample.with(&advice.paste);
        assert_eq!(after.image().partition.unwrap().left_out.len(), 4);
        assert_eq!(super::tests::advice(&after), None);
    }

    #[test]
    fn packages_of_the_interpreter_count_as_installers() {
        let pip = (ComponentKind::Distribution, "pip", Some("23.0"));
        let sample = python().file(pip, "py/lib/python3.11/site-packages/pip/main.py", 700);
        assert_eq!(
            lines(&sample),
            ["INTERPRETER_INSTALLERS,  # pip and setuptools in the interpreter: 1 file, 700 B"]
        );
    }

    #[test]
    fn parts_of_packages() {
        let sample = python()
            .of("numpy", "numpy/core/tests/test_x.py", 550)
            .of("numpy", "numpy/core/x.h", 250)
            .of("numpy", "numpy/core/x.pyi", 200)
            .of("numpy", "numpy/core/x.pyx", 100)
            .of("numpy", "numpy/core/latest.py", 1000)
            .own("tests/x.py", 1000);
        assert_eq!(
            described(&sample),
            [
                "tests of packages: 1 file, 550 B; some packages need them",
                "headers and static libraries of packages: 1 file, 250 B; some packages need them",
                "type stubs: 1 file, 200 B; some packages need them",
                "source code of compiled modules: 1 file, 100 B; some packages need them",
            ]
        );
        assert_eq!(advice(&sample).unwrap().saves, "1.1 KiB compressed, 3.2 KiB unpacked");
    }

    #[test]
    fn a_file_that_two_patterns_match_counts_for_the_first_of_them() {
        let sample = python()
            .of("numpy", "numpy/core/tests/test_x.py", 300)
            .of("numpy", "numpy/core/tests/x.h", 250)
            .of("numpy", "numpy/core/x.h", 200);
        assert_eq!(
            described(&sample),
            [
                "tests of packages: 2 files, 550 B; some packages need them",
                "headers and static libraries of packages: 1 file, 200 B; some packages need them",
            ]
        );
        assert_eq!(advice(&sample).unwrap().saves, "750 B compressed, 2.2 KiB unpacked");
        // Nothing worthwhile is left for the second pattern.
        let sample = python()
            .of("numpy", "numpy/core/tests/test_x.py", 300)
            .of("numpy", "numpy/core/tests/x.h", 250)
            .of("numpy", "numpy/core/x.h", 20);
        assert_eq!(described(&sample), ["tests of packages: 2 files, 550 B; some packages need them"]);
        assert_eq!(advice(&sample).unwrap().saves, "550 B compressed, 1.6 KiB unpacked");
    }

    #[test]
    fn bytecode_of_other_versions() {
        let cached =
            |sample: Sample, tag: &str, bytes: u64| sample.own(&format!("__pycache__/x.{tag}.pyc"), bytes);
        let used = cached(cached(python(), "cpython-311", 500), "cpython-311.opt-1", 500);
        assert_eq!(lines(&used), [] as [&str; 0]);
        let unused = cached(used.clone(), "cpython-39", 100);
        assert_eq!(
            lines(&unused),
            ["PYCACHE,  # bytecode: 3 files, 1.1 KiB; 100 B of it for other versions of Python"]
        );
        // An interpreter of an unknown version may use it.
        let mut unknown = unused;
        unknown.components[0].version = None;
        assert_eq!(lines(&unknown), [] as [&str; 0]);
        // So may that of the base image.
        let without = cached(Sample::new(&[]), "cpython-39", 100);
        assert_eq!(lines(&without), [] as [&str; 0]);
    }

    #[test]
    fn patterns_of_the_target_are_kept_and_not_suggested_again() {
        let mut sample = python().interpreter("include/x.h", 300).own("docs/x", 100);
        let headers = BALLAST.iter().find(|row| row.constant.as_deref() == Some("INTERPRETER_HEADERS"));
        sample.exclude = vec!["/docs/".into(), headers.unwrap().pattern.clone()];
        assert_eq!(lines(&sample), [] as [&str; 0]);
        let sample = sample.interpreter("lib/libpython3.11.a", 400);
        let lines = lines(&sample);
        assert_eq!(lines[..2], ["\"/docs/\",", "INTERPRETER_HEADERS,"]);
        assert!(lines[2].starts_with("INTERPRETER_STATIC_LIBRARIES,"), "{lines:?}");
    }

    #[test]
    fn a_small_part_of_the_image_is_not_worth_a_line() {
        // 0.2 % of 10,000 bytes is 20.
        let sample = |bytes: u64| python().interpreter("include/x.h", bytes);
        assert_eq!(lines(&sample(20)), [] as [&str; 0]);
        assert_eq!(lines(&sample(21)).len(), 1);
        assert_eq!(lines(&Sample::new(&[])), [] as [&str; 0]);
    }
}
