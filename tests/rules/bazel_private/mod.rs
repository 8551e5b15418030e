//! Calls functions of the Starlark files in `bazel/private`.

#![allow(dead_code, reason = "each test program uses its own part")]

pub mod patterns;

use std::collections::HashMap;

use serde_json::Value;
use starlark::environment::{FrozenModule, Globals, LibraryExtension, Module};
use starlark::eval::{Evaluator, ReturnFileLoader};
use starlark::syntax::{AstModule, Dialect};
use starlark::values::FrozenHeapName;

/// What a file may load.
const FILES: &[(&str, &str)] = &[
    ("automaton.bzl", include_str!("../../../bazel/private/automaton.bzl")),
    ("layer_groups.bzl", include_str!("../../../bazel/private/layer_groups.bzl")),
    ("regex.bzl", include_str!("../../../bazel/private/regex.bzl")),
    ("slim.bzl", include_str!("../../../bazel/private/slim.bzl")),
    ("survey.bzl", include_str!("../../../bazel/private/survey.bzl")),
    ("tables.bzl", include_str!("../../../bazel/private/tables.bzl")),
    ("tar_args.bzl", include_str!("../../../bazel/private/tar_args.bzl")),
];

/// How strings of a file, and those that functions get, hold what is not ASCII.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strings {
    /// As in Bazel: one character for each byte.
    Bytes,
    /// As in other dialects of Starlark.
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
    /// Evaluates `source`, which may load from `bazel/private`.
    pub fn new(source: &str, strings: Strings) -> File {
        File { module: evaluate("test.bzl", source, strings), strings }
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

fn evaluate(name: &str, source: &str, strings: Strings) -> FrozenModule {
    let syntax = AstModule::parse(name, strings.decode(source), &Dialect::Standard).unwrap();
    let loaded: Vec<_> = syntax
        .loads()
        .iter()
        .map(|load| {
            let (file, source) = FILES.iter().find(|(file, _)| load.module_id == format!(":{file}")).unwrap();
            (load.module_id.to_string(), evaluate(file, source, strings))
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
        module.freeze_named(FrozenHeapName::User(Box::new(name.to_string()))).unwrap()
    })
}
