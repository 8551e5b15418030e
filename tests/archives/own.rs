//! Layers that the program itself wrote.

use std::collections::HashMap;

use pylayer::contents::{Entry, Kind};
use serde_json::Value;

use crate::layers_at;
use crate::support::readers::{Member, mtree_line};
use crate::support::{Manifest, Workspace, noise};

/// An entry in the form of the listing, which does not tell hard links from files.
fn listed(entry: &Entry, sizes: &HashMap<&str, u64>) -> Member {
    let kind = match entry.kind {
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::File | Kind::Hardlink => 'f',
        other => panic!("{other:?}"),
    };
    let slash = if kind == 'd' { &b"/"[..] } else { b"" };
    Member {
        name: [b"./", &entry.path[..], slash].concat(),
        kind,
        mode: entry.mode,
        owner: entry.uid,
        group: entry.gid,
        owner_name: entry.uname.clone(),
        group_name: entry.gname.clone(),
        mtime: entry.mtime,
        size: entry.sha256.as_deref().map_or(0, |digest| sizes[digest]),
        target: if kind == 'l' { entry.link.clone().unwrap() } else { Vec::new() },
        content: String::new(),
    }
}

#[test]
fn a_layer_has_the_entries_of_its_listing() {
    let workspace = Workspace::new();
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(150));
    workspace.write("in/elf", [&b"\x7fELF\x02\x01"[..], &[0; 12], b"\x3e\0"].concat());
    workspace.write("in/large", noise(1, 3 << 20));
    workspace.write("in/also large", noise(4, 3 << 20));
    workspace.write("in/same", noise(2, 5000));
    workspace.write("in/tree/b/x", noise(3, 100));
    let manifest = Manifest::new()
        .file("app/elf", "in/elf")
        .file("app/large", "in/large")
        .file("app/also large", "in/also large")
        .file("app/same 1", "in/same")
        .file("app/same 2", "in/same")
        .file(&long, "in/elf")
        .file(b"app/caf\xe9", "in/elf")
        .tree("app/tree", "in/tree")
        .symlink("app/link", "../x")
        .empty("app/__init__.py");
    for codec in ["none", "gzip", "zstd"] {
        let compress = format!("--compress={codec}");
        let options = [&compress[..], "--uid=4000000000", "--uname=J\u{fc}rgen", "--mtime=1700000000"];
        let outputs = workspace.outputs(&manifest, &options);
        let [layer] = layers_at(&workspace.path("out/layer"), None).try_into().unwrap();
        let contents = &layer.contents;
        let files = contents.entries.iter().filter_map(|entry| Some((entry.sha256.as_deref()?, entry.size)));
        let sizes: HashMap<&str, u64> = files.filter(|(_, size)| *size > 0).collect();
        let empty = contents.entries.iter().find(|entry| entry.path.ends_with(b"__init__.py")).unwrap();
        let sizes = sizes.into_iter().chain([(empty.sha256.as_deref().unwrap(), 0)]).collect();
        let found: Vec<Member> = contents.entries.iter().map(|entry| listed(entry, &sizes)).collect();
        let lines = outputs.listing.lines().filter(|line| !line.starts_with('#'));
        let expected: Vec<Member> = lines.map(mtree_line).collect();
        assert_eq!(found, expected, "{codec}");

        let descriptor: Value = serde_json::from_str(&outputs.descriptor).unwrap();
        assert_eq!(descriptor["digest"], contents.digest);
        assert_eq!(descriptor["diff_id"], contents.diff_id);
        assert_eq!(descriptor["size"], contents.size);
        assert_eq!(descriptor["mediaType"], contents.media_type);
        // zstd chunks are larger than these files.
        assert_eq!(contents.chunks > 1, codec == "gzip");
        let hard_link = contents.entries.iter().find(|entry| entry.kind == Kind::Hardlink).unwrap();
        assert_eq!(hard_link.link.as_deref(), Some(&b"app/same 1"[..]));
        let machines = contents.entries.iter().filter(|entry| entry.machine == Some(62)).count();
        assert_eq!(machines, 3);
        let sum: u64 = contents.entries.iter().map(|entry| entry.compressed).sum();
        // All but the two blocks at the end.
        assert!(sum <= contents.size && sum + 1100 > contents.size, "{codec}: {sum} of {}", contents.size);
        let large = contents.entries.iter().find(|entry| entry.path.ends_with(b"large")).unwrap();
        assert!(large.compressed > contents.size * 4 / 10, "{codec}");
    }
}
