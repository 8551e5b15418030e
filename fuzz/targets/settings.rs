//! Settings files: parsed settings can be written and parsed again, and error messages are short.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pylayer::contents::ImageContents;
use pylayer::groups::{Groups, LayerGroup, Split};
use pylayer::metadata::Metadata;
use pylayer::settings::{
    CollisionPolicy, LauncherSettings, PackageCollision, PackageCollisions, ReportSettings, Settings, UnusedGroups,
    Validation, ValidationSettings, parse,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fuzz_target!(|content: &[u8]| {
    round_trip(content, settings);
    round_trip(content, groups);
    round_trip(content, validation_settings);
    round_trip(content, unused_groups);
    round_trip(content, launcher_settings);
    round_trip(content, package_collisions);
    round_trip(content, report_settings);
    round_trip::<ImageContents>(content, |image| serde_json::to_value(image).unwrap());
});

fn round_trip<T: DeserializeOwned + PartialEq + std::fmt::Debug>(content: &[u8], json: impl Fn(&T) -> Value) {
    let file = Path::new("layers.settings.json");
    match parse::<T>(file, content) {
        Ok(value) => assert_eq!(parse::<T>(file, json(&value).to_string().as_bytes()).unwrap(), value),
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("layers.settings.json: ") && message.len() < 2000, "{message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}

fn layer_groups(groups: &[LayerGroup]) -> Value {
    groups.iter().map(|LayerGroup { name, pattern }| json!({"name": name, "pattern": pattern})).collect()
}

fn settings(settings: &Settings) -> Value {
    let Settings { exclude, root, runfiles_root, compress, level, lazy, metadata, dedupe } = settings;
    // The codec may be invalid.
    let _ = settings.codec();
    let Metadata { uid, gid, uname, gname, mtime, mode } = metadata;
    json!({
        "exclude": exclude,
        "root": root,
        "runfiles_root": runfiles_root,
        "compress": compress,
        "level": level,
        "metadata": {
            "uid": uid,
            "gid": gid,
            "uname": uname,
            "gname": gname,
            "mtime": mtime,
            "mode": mode.to_string(),
        },
        "lazy": lazy,
        "dedupe": dedupe,
    })
}

fn groups(groups: &Groups) -> Value {
    let Groups { layer_groups: own, default_groups, split, runfiles, distributions } = groups;
    let split = split.iter().map(|Split { group, layers }| json!({"group": group, "layers": layers}));
    json!({
        "layer_groups": layer_groups(own),
        "default_groups": layer_groups(default_groups),
        "split": split.collect::<Value>(),
        "runfiles": runfiles,
        "distributions": distributions,
    })
}

fn validation_settings(settings: &ValidationSettings) -> Value {
    let ValidationSettings { dropped, validation, validation_exceptions, machine, paths, executables } = settings;
    let validation = match validation {
        Validation::Error => "error",
        Validation::Warn => "warn",
        Validation::Off => "off",
    };
    json!({
        "dropped": dropped,
        "validation": validation,
        "validation_exceptions": validation_exceptions,
        "cpu": machine.map(pylayer::elf::name),
        "paths": paths,
        "executables": executables,
    })
}

fn unused_groups(settings: &UnusedGroups) -> Value {
    let UnusedGroups { layer_groups: unused, packages, runfiles_root } = settings;
    json!({"layer_groups": layer_groups(unused), "packages": packages, "runfiles_root": runfiles_root})
}

fn report_settings(settings: &ReportSettings) -> Value {
    let ReportSettings { target, dropped, runfiles, distributions } = settings;
    json!({"target": target, "dropped": dropped, "runfiles": runfiles, "distributions": distributions})
}

fn launcher_settings(settings: &LauncherSettings) -> Value {
    let LauncherSettings { venv, main, interpreter, options, env, python_version } = settings;
    json!({
        "venv": venv,
        "main": main,
        "interpreter": interpreter,
        "options": options,
        "env": env,
        "python_version": python_version,
    })
}

fn package_collisions(settings: &PackageCollisions) -> Value {
    let PackageCollisions { policy, collisions } = settings;
    let policy = match policy {
        CollisionPolicy::Error => "error",
        CollisionPolicy::Warning => "warning",
    };
    let collisions: Value = collisions
        .iter()
        .map(|PackageCollision { path, chosen, other }| json!({"path": path, "chosen": chosen, "other": other}))
        .collect();
    json!({"policy": policy, "collisions": collisions})
}
