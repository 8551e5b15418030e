//! Reads eStargz layers as the specification says (`estargz.md` of stargz-snapshotter), and as ordinary readers do.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;

use serde_json::{Value, json};

use super::{Image, METADATA, check_metadata, check_unrepresentable};
use crate::support::wheel::{self, Member};
use crate::support::{Manifest, Outputs, Workspace, readers, sha256};

const LAZY: &str = "--lazy=estargz";

/// The table of contents and its offset, found from the footer.
fn table(layer: &[u8]) -> (Value, Vec<u8>, usize) {
    let footer = &layer[layer.len() - 51..];
    let mut member = flate2::bufread::GzDecoder::new(footer);
    let extra = member.header().unwrap().extra().unwrap().to_vec();
    assert_eq!(member.read(&mut [0]).unwrap(), 0, "the footer is empty");
    assert_eq!((&extra[..4], &extra[20..]), (&b"SG\x16\0"[..], &b"STARGZ"[..]));
    let offset = usize::from_str_radix(std::str::from_utf8(&extra[4..20]).unwrap(), 16).unwrap();
    let tar = member_at(layer, offset);
    let mut archive = tar::Archive::new(&tar[..]);
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.next().unwrap().unwrap();
    assert_eq!(&*entry.path_bytes(), b"stargz.index.json");
    let mut json = Vec::new();
    entry.read_to_end(&mut json).unwrap();
    assert!(entries.next().is_none(), "it is the last entry");
    (serde_json::from_slice(&json).unwrap(), json, offset)
}

/// The content of the gzip member at an offset.
fn member_at(layer: &[u8], offset: usize) -> Vec<u8> {
    let mut content = Vec::new();
    flate2::bufread::GzDecoder::new(&layer[offset..]).read_to_end(&mut content).unwrap();
    content
}

/// The contents of files according to the table, each part verified by its digest.
fn contents(layer: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let (table, _, _) = table(layer);
    assert_eq!(table["version"], 1);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut rest = 0;
    for entry in table["entries"].as_array().unwrap() {
        let (name, kind) = (entry["name"].as_str().unwrap().to_string(), entry["type"].as_str().unwrap());
        let size = entry["size"].as_u64().unwrap_or(0) as usize;
        if kind == "reg" {
            assert_eq!(rest, 0, "the file before {name} is complete");
            files.insert(name.clone(), Vec::new());
            rest = size;
        }
        if kind == "chunk" || kind == "reg" && size > 0 {
            let part = member_at(layer, entry["offset"].as_u64().unwrap() as usize);
            let file = files.get_mut(&name).unwrap();
            assert_eq!(entry["chunkOffset"].as_u64().unwrap_or(0) as usize, file.len(), "{name}");
            let length = entry["chunkSize"].as_u64().map_or(rest, |size| size as usize);
            assert_eq!(part.len(), length, "{name}");
            assert_eq!(entry["chunkDigest"], format!("sha256:{}", sha256(&part)), "{name}");
            file.extend(part);
            rest -= length;
        }
    }
    assert_eq!(rest, 0);
    for entry in table["entries"].as_array().unwrap().iter().filter(|entry| entry["size"].is_u64()) {
        let file = &files[entry["name"].as_str().unwrap()];
        assert_eq!(entry["size"], file.len());
        assert_eq!(entry["digest"], format!("sha256:{}", sha256(file)));
    }
    files
}

#[test]
fn files_are_found_by_the_table_of_contents() {
    let image = Image::new();
    let layer = image.outputs(&[LAZY]).layer;
    let mut expected = image.files.clone();
    expected.insert("./.no.prefetch.landmark".into(), vec![0x0f]);
    expected.insert("./app/nothing".into(), Vec::new());
    let found = contents(&layer);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found == expected);
}

#[test]
fn the_table_has_the_metadata_of_all_entries() {
    let (table, ..) = table(&Image::new().outputs(&[&[LAZY], &METADATA[..]].concat()).layer);
    let common = json!({"uid": 7, "gid": 8, "userName": "u", "groupName": "g"});
    check_metadata(table["entries"].as_array().unwrap(), &common);
}

#[test]
fn ordinary_readers_find_the_same_files() {
    let image = Image::new();
    let layer = image.outputs(&[LAZY]).layer;
    image.workspace.write("lazy.tar", readers::decompressed(&layer));
    let plain = image.workspace.members(&image.manifest, &[]);
    let special = ["./.no.prefetch.landmark", readers::TABLE];
    let found = readers::tar_crate(&image.workspace.path("lazy.tar"));
    let (special, others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|member| special.iter().any(|name| name.as_bytes() == member.name));
    assert_eq!(special.len(), 2);
    assert!(others == plain);
    image.workspace.write("lazy.tar.gz", &layer);
    for (program, option) in [("tar", "-tzf"), ("bsdtar", "-tf"), ("gzip", "-t")] {
        let output = Command::new(program).arg(option).arg(image.workspace.path("lazy.tar.gz")).output();
        // bsdtar may not be installed.
        if let Ok(output) = output {
            assert!(output.status.success() && output.stderr.is_empty(), "{program}: {output:?}");
        }
    }
}

#[test]
fn the_descriptor_has_the_digest_of_the_table() {
    let image = Image::new();
    let Outputs { layer, descriptor, listing } = image.outputs(&[LAZY]);
    let (_, json, _) = table(&layer);
    let tar = readers::decompressed(&layer);
    let expected = json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": format!("sha256:{}", sha256(&layer)),
        "size": layer.len(),
        "diff_id": format!("sha256:{}", sha256(&tar)),
        "annotations": {
            "containerd.io/snapshot/stargz/toc.digest": format!("sha256:{}", sha256(&json)),
            "io.containers.estargz.uncompressed-size": tar.len().to_string(),
        },
    });
    assert_eq!(serde_json::from_str::<Value>(&descriptor).unwrap(), expected);
    let ordinary = image.workspace.outputs(&image.manifest, &[]);
    assert_eq!(listing, ordinary.listing, "what belongs to the format is not listed");
    assert!(!ordinary.descriptor.contains("annotations"));
}

#[test]
fn members_begin_where_the_specification_wants_them() {
    let image = Image::new();
    let layer = image.outputs(&[LAZY]).layer;
    let (table, _, offset) = table(&layer);
    let mut begins = Vec::new();
    let mut rest = &layer[..];
    while !rest.is_empty() {
        begins.push(layer.len() - rest.len());
        let mut member = flate2::bufread::GzDecoder::new(&mut rest);
        std::io::copy(&mut member, &mut std::io::sink()).unwrap();
    }
    let offsets = table["entries"].as_array().unwrap().iter().filter_map(|entry| entry["offset"].as_u64());
    let mut wanted: Vec<usize> = offsets.map(|offset| offset as usize).collect();
    wanted.extend([0, offset, layer.len() - 51]);
    assert!(wanted.iter().all(|offset| begins.contains(offset)), "{wanted:?} in {begins:?}");
}

#[test]
fn small_files_are_lifted_as_members_of_their_own() {
    let image = Image::new();
    let members = [
        Member::new("app/exact", &image.files["./app/exact"]),
        Member::new("app/large", &image.files["./app/large"]),
    ];
    image.workspace.write("x.whl", wheel::wheel(&members));
    let layer = image.outputs(&[LAZY, "--wheel=x.whl"]).layer;
    assert!(contents(&layer) == contents(&image.outputs(&[LAZY]).layer));
    // A file of several parts would be one member, which a reader would have to fetch as a whole.
    let streams = members.map(|member| layer.windows(member.data.len()).any(|window| *window == member.data));
    assert_eq!(streams, [true, false]);
}

/// The names of a layer's members, before the table of contents.
fn names(layer: &[u8]) -> Vec<String> {
    let mut names = readers::names(&readers::tar_crate_members(&readers::decompressed(layer)));
    assert_eq!(names.pop().as_deref(), Some(readers::TABLE));
    names
}

#[test]
fn files_of_the_list_come_first() {
    let image = Image::new();
    image.workspace.write("list", "# What it reads.\napp/é ü\nlarge\napp/exact\nunknown\n\nlink\n");
    let Outputs { layer, listing, .. } = image.outputs(&[LAZY, "--prefetch=list"]);
    let mut expected: Vec<String> =
        ["./app", "./app/é ü", "./app/exact", "./app/link", "./.prefetch.landmark"].map(String::from).into();
    let ordinary = image.outputs(&[LAZY]);
    let rest = names(&ordinary.layer);
    let rest = rest.into_iter().filter(|name| !expected.contains(name) && name != "./.no.prefetch.landmark");
    let rest: Vec<String> = rest.collect();
    expected.extend(rest);
    assert_eq!(names(&layer), expected);
    // All of it can be fetched at once: where the landmark is in the layer.
    let (table, ..) = table(&layer);
    let offset = |name: &str| {
        let row = table["entries"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        row["offset"].as_u64().unwrap()
    };
    let landmark = offset("./.prefetch.landmark");
    assert!(offset("./app/é ü") < offset("./app/exact") && offset("./app/exact") < landmark);
    assert!(landmark < offset("./app/large"));
    // The same files, in another order.
    let mut found = contents(&layer);
    let one = found.remove("./.prefetch.landmark");
    found.insert("./.no.prefetch.landmark".into(), one.unwrap());
    assert!(found == contents(&ordinary.layer));
    let sorted = |listing: &str| {
        let mut lines: Vec<String> = listing.lines().map(String::from).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&listing), sorted(&ordinary.listing));
}

#[test]
fn a_list_in_which_nothing_is_found_changes_nothing() {
    let image = Image::new();
    let ordinary = image.outputs(&[LAZY]).layer;
    for list in ["", "# nothing\n", "unknown\napp\n", "./app/large"] {
        image.workspace.write("list", list);
        assert!(image.outputs(&[LAZY, "--prefetch=list"]).layer == ordinary, "{list}");
    }
}

#[test]
fn names_of_the_format_are_an_error() {
    for name in [".prefetch.landmark", ".no.prefetch.landmark", "stargz.index.json", "stargz.index.json/x"] {
        let workspace = Workspace::new();
        workspace.write("in/x", "x");
        let manifest = Manifest::new().file(name, "in/x");
        let message = workspace.error(&manifest, &[LAZY]);
        assert!(message.contains("eStargz layers have a file of that name"), "{message}");
        // In other layers, and in directories, they are like any other.
        workspace.outputs(&manifest, &[]);
        workspace.outputs(&Manifest::new().file(format!("app/{name}"), "in/x"), &[LAZY]);
    }
}

#[test]
fn a_list_that_cannot_be_used_is_an_error() {
    let workspace = Workspace::new();
    workspace.write("list", "a\nnumpy/\n");
    let error = |options: &[&str]| workspace.error(&Manifest::new(), options);
    let message = error(&[LAZY, "--prefetch=list"]);
    assert!(message.contains("list: line 2: \"numpy/\" is not the path of a file"), "{message}");
    let message = error(&[LAZY, "--prefetch=none"]);
    assert!(message.contains("none: No such file"), "{message}");
    workspace.write("list", "a\n");
    for options in [&[][..], &["--lazy=zstd:chunked", "--compress=zstd"]] {
        let message = error(&[options, &["--prefetch=list"]].concat());
        assert!(message.contains("prefetch requires lazy = \"estargz\""), "{message}");
    }
    let message = error(&[LAZY, "--prefetch=settings.json"]);
    assert!(message.contains("settings.json"), "{message}");
}

#[test]
fn a_layer_without_files_has_a_table_too() {
    let workspace = Workspace::new();
    let layer = workspace.outputs(&Manifest::new(), &[LAZY]).layer;
    assert_eq!(contents(&layer).keys().collect::<Vec<_>>(), ["./.no.prefetch.landmark"]);
    // As for ordinary layers, a group that has no files is a mistake.
    let manifest = Manifest::new().file("app/x", "in/x");
    workspace.write("in/x", "x");
    let warning = |options: &[&str]| {
        let options = [options, &["--layer=none", "--layer-group=none=^nothing"]].concat();
        String::from_utf8(workspace.run(&manifest, &options).stderr).unwrap()
    };
    let expected = warning(&[]);
    assert!(expected.contains("^nothing"), "{expected}");
    assert_eq!(warning(&[LAZY]), expected);
}

#[test]
fn what_the_format_cannot_represent_is_an_error() {
    check_unrepresentable(&[LAZY]);
    for codec in ["zstd", "none"] {
        let message = Workspace::new().error(&Manifest::new(), &[LAZY, &format!("--compress={codec}")]);
        assert!(
            message.contains(&format!("lazy estargz requires compression gzip, not {codec}")),
            "{message}"
        );
    }
}
