//! Patterns at analysis and in the program. The input is a pattern and paths, separated by NUL bytes. Where
//! the Starlark engine is certain, the regex crate agrees.

#![no_main]

#[path = "../../tests/rules/bazel_private/mod.rs"]
mod bazel_private;

use std::sync::LazyLock;

use bazel_private::patterns::{Decided, SOURCE, check};
use bazel_private::{File, Strings};
use libfuzzer_sys::fuzz_target;

/// Longer patterns take longer and find no more.
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
