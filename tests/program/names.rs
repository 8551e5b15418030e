//! Names and sizes that tools often handle incorrectly.

use crate::support::readers::{self, Member, directory, file, hard_link, symlink};
use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, Outputs, Workspace, noise, sha256};

/// Names with one component.
const ODD_NAMES: &[&[u8]] = &[
    b" ",
    b"  two  spaces  ",
    b"tab\tin",
    b"\ttab",
    b"new\nline",
    b"\n",
    b"carriage\rreturn",
    b"back\\slash",
    b"\\t",
    b"\\",
    b"@types",
    b"@@",
    b"-rf",
    b"--",
    b"#hash",
    b"a=b",
    b"quote'\"`",
    b"$HOME",
    b"*?[]",
    b"~",
    b"%s%n",
    b"\x01\x7f\x1b",
    b"...",
    b"..x",
    "café".as_bytes(),
    "PAX\nnéwline\n".as_bytes(),
    "日本語".as_bytes(),
    "\u{feff}bom".as_bytes(),
    "🐍".as_bytes(),
    b"latin1 \xe9",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80 surrogate",
    b"\x80\xfe",
];

#[test]
fn odd_names_survive_in_manifests_and_trees() {
    let workspace = Workspace::new();
    let mut manifest = Manifest::new().tree("tree", "in/tree");
    for name in ODD_NAMES {
        let content = [b"content of ", *name].concat();
        workspace.write([b"in/tree/", *name].concat(), &content);
        workspace.write([b"in/tree/below/", *name, b"/", *name].concat(), &content);
        workspace.write([b"in/", *name].concat(), &content);
        manifest = manifest
            .file([b"file/", *name].concat(), [b"in/", *name].concat())
            .symlink([b"link/", *name].concat(), name)
            .empty([b"empty/", *name, b"/", *name].concat());
    }
    let mut expected =
        ["tree", "tree/below", "file", "link", "empty"].map(|name| directory(format!("./{name}"))).to_vec();
    for name in ODD_NAMES {
        let content = [b"content of ", *name].concat();
        let at = |prefix: &[u8]| [prefix, *name].concat();
        expected.extend([
            file(at(b"./tree/"), &content),
            directory(at(b"./tree/below/")),
            file([&at(b"./tree/below/"), &b"/"[..], name].concat(), &content),
            file(at(b"./file/"), &content),
            symlink(at(b"./link/"), name),
            directory(at(b"./empty/")),
            file([&at(b"./empty/"), &b"/"[..], name].concat(), ""),
        ]);
    }
    // `check_form` has already checked the layer.
    expected.sort();
    let mut found = workspace.members(&manifest, &[]);
    found.sort();
    assert_eq!(found, expected);
    for unpacker in ["tar", "bsdtar"] {
        let Some(unpacked) = readers::unpacked(unpacker, &workspace.path("out/layer")) else { continue };
        assert_eq!(unpacked.len(), expected.len(), "{unpacker}");
        for Member { name, target, kind, .. } in &expected {
            let unpacked = &unpacked[&name[2..]];
            assert_eq!(unpacked.kind, *kind, "{unpacker}");
            if *kind == 'l' {
                assert_eq!(unpacked.content, *target, "{unpacker}");
            }
        }
    }
}

#[test]
fn odd_names_reach_a_worker() {
    let workspace = Workspace::new();
    let mut manifest = Manifest::new();
    let mut inputs = Vec::new();
    for name in ODD_NAMES {
        let exec = [b"in/", *name].concat();
        // Equal contents, so that all digests are used.
        workspace.write(&exec, noise(1, 5000));
        manifest = manifest.file([b"app/", *name].concat(), &exec);
        inputs.push((exec, sha256(&noise(1, 5000))));
    }
    let expected = workspace.outputs(&manifest, &[]);
    let arguments = workspace.arguments(&manifest, &[]);
    let mut worker = Worker::start(&workspace.path(""));
    worker.succeed(&Work { id: 1, arguments, inputs, ..Work::default() });
    assert_eq!(Outputs::read(&workspace.path("out")), expected);
    worker.close();
}

/// A path of `length` bytes after `./`, with components of `component` bytes; the last may have one more.
fn long_path(length: usize, component: usize, letter: u8) -> Vec<u8> {
    let mut path = vec![letter; length];
    for slash in (component..length - 1).step_by(component + 1) {
        path[slash] = b'/';
    }
    path
}

fn parents(path: &[u8]) -> Vec<Vec<u8>> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    slashes.map(|slash| path[..slash].to_vec()).collect()
}

#[test]
fn decomposed_names_are_not_composed() {
    let workspace = Workspace::new();
    let manifest = Manifest::new().empty("cafe\u{301}").empty("caf\u{e9}");
    workspace.outputs(&manifest, &["--compress=none"]);
    // Without bsdtar: libarchive normalizes names in PAX headers to composed form, so it sees one name twice.
    let expected = [file("./cafe\u{301}", ""), file("./caf\u{e9}", "")];
    assert_eq!(readers::python(&workspace.path("out/layer")), expected);
    let unpacked = readers::unpacked("tar", &workspace.path("out/layer")).unwrap();
    assert!(unpacked.into_keys().eq([b"cafe\xcc\x81".to_vec(), b"caf\xc3\xa9".to_vec()]));
}

#[test]
fn paths_of_every_critical_length() {
    let workspace = Workspace::new();
    workspace.write("in/x", noise(1, 5000));
    let mut paths: Vec<Vec<u8>> = Vec::new();
    for length in (96..=102).chain(152..=158).chain(253..=260).chain([512, 1024, 4094, 4095]) {
        for component in [50, 98, 99, 100, 153, 154, 155, 156, 253, 254] {
            // For two files, so that names are also targets of hard links.
            paths.extend([b'p', b'q'].map(|letter| {
                let mut path = long_path(length, component, letter);
                let unique = format!("{length} {component} ");
                path[..unique.len()].copy_from_slice(unique.as_bytes());
                path
            }));
        }
    }
    paths.push(long_path(4095, 1, b'x'));
    paths.sort();
    paths.dedup();
    let at = |path: &[u8]| [b"./", path].concat();
    let mut manifest = Manifest::new();
    let mut expected = Vec::new();
    for path in &paths {
        manifest = manifest.file(path, "in/x");
        expected.extend(parents(path).iter().map(|path| directory(at(path))));
        expected.push(if path == &paths[0] {
            file(at(path), noise(1, 5000))
        } else {
            hard_link(at(path), at(&paths[0]))
        });
    }
    let mut found = workspace.members(&manifest, &[]);
    found.sort();
    expected.sort();
    expected.dedup();
    assert!(found == expected);
}

#[test]
fn pax_headers_are_written_only_where_ustar_is_too_small() {
    let workspace = Workspace::new();
    // With this root there are no directories, so the layer has only one entry.
    let blocks = |manifest: Manifest, options: &[&str]| {
        let options = [&["--compress=none", "--root=/root"], options].concat();
        workspace.outputs(&manifest, &options).layer.len() / 512 - 2
    };
    // The `.` of `./` can go into the prefix, so a name of 100 bytes fits.
    for (length, expected) in [(100, 1), (101, 3), (255, 3)] {
        assert_eq!(blocks(Manifest::new().empty(long_path(length, 255, b'p')), &[]), expected, "{length}");
    }
    let prefixed = |prefix, name| [vec![b'p'; prefix], vec![b'n'; name]].join(&b'/');
    for (prefix, name, expected) in [(153, 100, 1), (154, 100, 3), (153, 101, 3)] {
        assert_eq!(blocks(Manifest::new().empty(prefixed(prefix, name)), &[]), expected);
    }
    for (length, expected) in [(100, 1), (101, 3)] {
        assert_eq!(blocks(Manifest::new().symlink("l", vec![b't'; length]), &[]), expected, "{length}");
    }
    for (owner, expected) in [("--uid=2097151", 1), ("--uid=2097152", 3)] {
        assert_eq!(blocks(Manifest::new().empty("x"), &[owner]), expected, "{owner}");
    }
    assert_eq!(blocks(Manifest::new().empty("café"), &[]), 3);
}

#[test]
fn link_targets_of_every_critical_length() {
    let workspace = Workspace::new();
    let mut manifest = Manifest::new();
    let mut expected = vec![directory("./app")];
    for length in [1_usize, 99, 100, 101, 155, 156, 255, 256, 257, 1000, 4095] {
        for (kind, letter) in [("ascii", &b"t"[..]), ("utf8", "é".as_bytes()), ("binary", b"\xe9")] {
            let target = letter.repeat(length.div_ceil(letter.len()))[..length].to_vec();
            let name = format!("app/{kind} {length:04}");
            manifest = manifest.symlink(&name, &target);
            expected.push(symlink(format!("./{name}"), target));
        }
    }
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(workspace.members(&manifest, &[]), expected);
    workspace.link("in/link", "t".repeat(4095));
    let members = workspace.members(&Manifest::new().declared_symlink("l", "in/link"), &[]);
    assert_eq!(members, [symlink("./l", "t".repeat(4095))]);
}

#[test]
fn names_and_targets_that_are_not_utf8_survive_at_any_length() {
    let workspace = Workspace::new();
    workspace.write("in/x", noise(1, 5000));
    let mut manifest = Manifest::new().file("app/0", "in/x");
    let mut expected = vec![directory("./app"), file("./app/0", noise(1, 5000))];
    for length in [1, 92, 93, 94, 95, 150, 254] {
        for (letter, other) in [(b'\xe9', b'a'), (b'a', b'\xe9'), (b'\xe9', b'\xe8')] {
            let name = [b"app/", &vec![letter; length][..], b"/", &vec![other; length]].concat();
            manifest = manifest.file(&name, "in/x").symlink([&name, &b"l"[..]].concat(), &name);
            expected.push(directory([&b"./"[..], &name[..4 + length]].concat()));
            expected.push(hard_link([b"./", &name[..]].concat(), "./app/0"));
            expected.push(symlink([b"./", &name[..], b"l"].concat(), &name));
        }
    }
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    expected.dedup();
    let mut found = workspace.members(&manifest, &[]);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(found, expected);
}

#[test]
fn what_no_tar_can_hold_is_refused() {
    let workspace = Workspace::new();
    let message = workspace.error(&Manifest::new().empty("a/b\0c"), &[]);
    assert!(message.contains("it contains a NUL byte"), "{message}");
    let message = workspace.error(&Manifest::new().empty("x/".repeat(2048) + "x"), &[]);
    assert!(message.contains("it is longer than 4095 bytes"), "{message}");
    let message = workspace.error(&Manifest::new().empty("a/".to_string() + &"x".repeat(256)), &[]);
    assert!(message.contains("a name in it is longer than 255 bytes"), "{message}");
    let message = workspace.error(&Manifest::new().symlink("a", "b\0c"), &[]);
    assert!(message.contains("line 1 of the manifest"), "{message}");
    for path in ["/a", "a//b", "a/", "./a", "a/./b", "a/../b", ".."] {
        let message = workspace.error(&Manifest::new().empty(path), &[]);
        assert!(message.contains(&format!("image path {path:?}: ")), "{message}");
    }
}

#[test]
fn a_file_of_more_than_8_gib_has_a_header_that_says_so() {
    let workspace = Workspace::new();
    workspace.sparse("in/big", (8 << 30) + 1);
    let listing = workspace.path("out/listing.mtree");
    let mut child =
        workspace.command(&workspace.arguments(&Manifest::new().file("big", "in/big"), &["--compress=none"]));
    let mut child = child.spawn().unwrap();
    // The layer begins with the headers. Other tests check the rest.
    let begin = crate::support::wait_for("the first bytes of the layer", || {
        let entry = std::fs::read_dir(workspace.path("out")).unwrap().next()?.unwrap();
        let mut begin = vec![0; 2048];
        use std::os::unix::fs::FileExt;
        std::fs::File::open(entry.path()).ok()?.read_exact_at(&mut begin, 0).ok().map(|()| begin)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!listing.exists() && !workspace.path("out/layer").exists());
    assert_eq!(&begin[512..535], b"19 size=8589934593\n\0\0\0\0");
    let mut archive = tar::Archive::new(&begin[..]);
    assert_eq!(archive.entries().unwrap().next().unwrap().unwrap().size(), (8 << 30) + 1);
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "minutes without optimisation: cargo test --release --test program names::"
)]
fn a_file_of_more_than_8_gib_is_streamed() {
    let workspace = Workspace::new();
    workspace.sparse("in/big", (8 << 30) + 1);
    let manifest = Manifest::new().file("big", "in/big").empty("last");
    for options in [&["--compress=gzip", "--level=1"], &["--compress=zstd", "--level=1"]] {
        let arguments = workspace.arguments(&manifest, options);
        let mut worker = Worker::start(&workspace.path(""));
        worker.succeed(&Work { id: 1, arguments, ..Work::default() });
        let peak = peak_kib(worker.pid());
        assert!(peak < 300 << 10, "{options:?}: {peak} KiB of memory");
        worker.close();
    }
    // GNU tar decompresses with zstd; gzip would take half a minute.
    if readers::is_installed("zstd") {
        let mut command = std::process::Command::new("tar");
        command.arg("--zstd").arg("-tvf").arg(workspace.path("out/layer"));
        let listed = readers::stdout(command.env("LC_ALL", "C"));
        let lines: Vec<&str> = listed.lines().collect();
        assert!(lines[0].contains(" 8589934593 ") && lines[0].ends_with(" ./big"), "{listed}");
        assert!(lines[1].ends_with(" ./last") && lines.len() == 2, "{listed}");
    }
}

/// The peak memory use of a process.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_large_file_is_never_in_memory() {
    let workspace = Workspace::new();
    workspace.sparse("in/big", 140 << 20);
    let arguments = workspace.arguments(&Manifest::new().file("big", "in/big"), &["--compress=none"]);
    let mut worker = Worker::start(&workspace.path(""));
    worker.succeed(&Work { id: 1, arguments, ..Work::default() });
    let peak = peak_kib(worker.pid());
    assert!(peak < 110 << 10, "{peak} KiB of memory for a file of 140 MiB");
    worker.close();
}

#[test]
fn a_layer_of_150_000_files_in_a_request_of_tens_of_megabytes() {
    const FILES: usize = 150_000;
    // Few files on disk, because creating them takes longer than packing them.
    const ON_DISK: usize = 300;
    let workspace = Workspace::new();
    let directory = "external/rules_python++pip+pypi_311_a_package_with_a_long_name/site-packages/a_package_with_a_long_name";
    let mut manifest = Manifest::new();
    let mut inputs = Vec::with_capacity(FILES);
    for number in 0..ON_DISK {
        workspace.write(format!("{directory}/{number}.py"), format!("{number}"));
    }
    for number in 0..FILES {
        manifest = manifest.file(
            format!("app/{}/{number}.py", number % 100),
            format!("{directory}/{}.py", number % ON_DISK),
        );
        // All inputs have digests, even those that the layer does not use.
        inputs.push((format!("{directory}/{number}.py").into_bytes(), format!("{number:064x}")));
    }
    let arguments = workspace.arguments(&manifest, &["--compress=zstd", "--level=1"]);
    let mut worker = Worker::start(&workspace.path(""));
    worker.succeed(&Work { id: 1, arguments, inputs, ..Work::default() });
    worker.close();
    let plain = readers::decompressed(&std::fs::read(workspace.path("out/layer")).unwrap());
    std::fs::write(workspace.path("out/plain"), &plain).unwrap();
    let listed =
        readers::stdout(std::process::Command::new("tar").arg("-tf").arg(workspace.path("out/plain")));
    assert_eq!(listed.lines().count(), FILES + 101);
    let mut archive = tar::Archive::new(&plain[..]);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let number: usize = entry.path().unwrap().file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let mut content = String::new();
            std::io::Read::read_to_string(&mut entry, &mut content).unwrap();
            assert_eq!(content, (number % ON_DISK).to_string());
        }
    }
}
