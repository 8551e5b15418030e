//! Calls functions of the Starlark files in `bazel/private`.

#![allow(dead_code, reason = "each test program uses its own part")]

pub mod patterns;

use std::collections::HashMap;

use serde_json::Value;
use starlark::environment::{FrozenModule, Globals, LibraryExtension, Module};
use starlark::eval::{Evaluator, ReturnFileLoader};
use starlark::syntax::{AstModule, Dialect};
use starlark::values::FrozenHeapName;

/// The files that can be loaded, by label.
const FILES: &[(&str, &str)] = &[
    ("//bazel/private:layer_groups.bzl", include_str!("../../../bazel/private/layer_groups.bzl")),
    ("//bazel/private:slim.bzl", include_str!("../../../bazel/private/slim.bzl")),
    ("//bazel/private:split.bzl", include_str!("../../../bazel/private/split.bzl")),
    ("//bazel/private:survey.bzl", include_str!("../../../bazel/private/survey.bzl")),
    ("//bazel/private:tables.bzl", include_str!("../../../bazel/private/tables.bzl")),
    ("//bazel/private:tar_args.bzl", include_str!("../../../bazel/private/tar_args.bzl")),
    ("//bazel/private/regex:automaton.bzl", include_str!("../../../bazel/private/regex/automaton.bzl")),
    ("//bazel/private/regex:defs.bzl", include_str!("../../../bazel/private/regex/defs.bzl")),
    ("//bazel/private/regex:parser.bzl", include_str!("../../../bazel/private/regex/parser.bzl")),
];

/// How strings, in files and arguments, represent non-ASCII characters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strings {
    /// As in Bazel: one character per byte.
    Bytes,
    /// As in other implementations of Starlark.
    Unicode,
}

impl Strings {
    fn decode(self, text: &str) -> String {
        match self {
            Strings::Bytes => text.bytes().map(char::from).collect(),
            Strings::Unicode => text.to_string(),
        }
    }

    fn decode_all(self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.decode(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.decode_all(item)).collect(),
            other => other,
        }
    }
}

/// A Starlark file.
pub struct File {
    module: FrozenModule,
    strings: Strings,
}

impl File {
    /// Evaluates `source`, which can load files from `bazel/private`.
    pub fn new(source: &str, strings: Strings) -> File {
        File { module: evaluate("//bazel/private:test.bzl", source, strings), strings }
    }

    /// Calls a function.
    pub fn call(&self, function: &str, arguments: &[Value]) -> Value {
        Module::with_temp_heap(|module| {
            let function = module.heap().access_owned_frozen_value(&self.module.get(function).unwrap());
            let heap = module.heap();
            let arguments: Vec<_> =
                arguments.iter().map(|value| heap.alloc(self.strings.decode_all(value.clone()))).collect();
            let mut evaluator = Evaluator::new(&module);
            let result = evaluator.eval_function(function, &arguments, &[]).unwrap();
            result.to_json_value().unwrap()
        })
    }
}

fn evaluate(label: &str, source: &str, strings: Strings) -> FrozenModule {
    let (package, _) = label.split_once(':').unwrap();
    let syntax = AstModule::parse(label, strings.decode(source), &Dialect::Standard).unwrap();
    let loaded: Vec<_> = syntax
        .loads()
        .iter()
        .map(|load| {
            let absolute = match load.module_id.strip_prefix(':') {
                Some(file) => format!("{package}:{file}"),
                None => load.module_id.to_string(),
            };
            let (label, source) = FILES.iter().find(|(label, _)| *label == absolute).unwrap();
            (load.module_id.to_string(), evaluate(label, source, strings))
        })
        .collect();
    let modules: HashMap<_, _> = loaded.iter().map(|(name, module)| (name.as_str(), module)).collect();
    let globals = Globals::extended_by(&[LibraryExtension::StructType]);
    Module::with_temp_heap(|module| {
        let loader = ReturnFileLoader { modules: &modules };
        {
            let mut evaluator = Evaluator::new(&module);
            evaluator.set_loader(&loader);
            evaluator.eval_module(syntax, &globals).unwrap();
        }
        module.freeze_named(FrozenHeapName::User(Box::new(label.to_string()))).unwrap()
    })
}
