//! Patterns at analysis and in the program: a pattern, then paths, separated by NUL bytes. What the
//! Starlark automaton decides is what the regex crate decides.

#![no_main]

#[path = "../../tests/rules/bazel_private/mod.rs"]
mod bazel_private;

use std::sync::LazyLock;

use bazel_private::patterns::{Decided, SOURCE, check};
use bazel_private::{File, Strings};
use libfuzzer_sys::fuzz_target;

/// Longer ones take longer and say the same.
const MAX_PATTERN_BYTES: usize = 100;

static FILES: LazyLock<[File; 2]> =
    LazyLock::new(|| [Strings::Bytes, Strings::Unicode].map(|strings| File::new(SOURCE, strings)));

fuzz_target!(|text: &str| {
    let (pattern, paths) = text.split_once('\0').unwrap_or((text, "a"));
    // A pattern is a line of a flagfile.
    if pattern.len() > MAX_PATTERN_BYTES || pattern.contains('\n') {
        return;
    }
    let paths: Vec<String> = paths.split('\0').filter(|path| !path.is_empty()).map(String::from).collect();
    for file in &*FILES {
        check(file, pattern, &paths, &Decided::default());
    }
});
