//! The contents of layers: every kind of manifest entry, deduplication, and the listing.

use crate::support::readers::{self, Member, directory, file, hard_link, symlink};
use crate::support::{Manifest, Outputs, Workspace, noise};
use serde_json::json;

const BOTH_UNPACKERS: [&str; 2] = ["tar", "bsdtar"];

#[test]
fn every_kind_of_entry() {
    let workspace = Workspace::new();
    workspace.write("in/main.py", "print()");
    workspace.write("in/tree/b/deep/x", "x");
    workspace.write("in/tree/a b", "");
    workspace.link("in/tree/link to file", "b/deep/x");
    workspace.link("in/tree/link to directory", "b");
    workspace.link("in/tree/absolute", workspace.path("in/main.py").as_os_str().as_encoded_bytes());
    workspace.link("in/python3", "../../py/bin/python3");
    workspace.link("in/local", "/usr/bin/no such python");
    let manifest = Manifest::new()
        .tree("app/tree", "in/tree")
        .empty("app/__init__.py")
        .symlink("app/venv/lib", "../py/lib")
        .declared_symlink("app/venv/bin/python3", "in/python3")
        .declared_symlink("app/venv/bin/local", "in/local")
        .file("app/main.py", "in/main.py");
    let expected = [
        directory("./app"),
        file("./app/__init__.py", ""),
        file("./app/main.py", "print()"),
        directory("./app/tree"),
        file("./app/tree/a b", ""),
        file("./app/tree/absolute", "print()"),
        directory("./app/tree/b"),
        directory("./app/tree/b/deep"),
        file("./app/tree/b/deep/x", "x"),
        directory("./app/tree/link to directory"),
        directory("./app/tree/link to directory/deep"),
        file("./app/tree/link to directory/deep/x", "x"),
        file("./app/tree/link to file", "x"),
        directory("./app/venv"),
        directory("./app/venv/bin"),
        symlink("./app/venv/bin/local", "/usr/bin/no such python"),
        symlink("./app/venv/bin/python3", "../../py/bin/python3"),
        symlink("./app/venv/lib", "../py/lib"),
    ];
    assert_eq!(workspace.members(&manifest, &[]), expected);
}

#[test]
fn siblings_with_a_common_beginning_are_in_order() {
    let manifest = ["d/x", "d-x", "d.x", "d/y/z", "d/y-z", "d0", "d x", "d\u{1}x"]
        .iter()
        .fold(Manifest::new(), |manifest, path| manifest.empty(path));
    let expected = [
        file("./d\u{1}x", ""),
        file("./d x", ""),
        file("./d-x", ""),
        file("./d.x", ""),
        directory("./d"),
        file("./d/x", ""),
        file("./d/y-z", ""),
        directory("./d/y"),
        file("./d/y/z", ""),
        file("./d0", ""),
    ];
    assert_eq!(Workspace::new().members(&manifest, &[]), expected);
}

#[test]
fn directories_are_written_at_and_below_the_root_only() {
    let workspace = Workspace::new();
    let manifest = Manifest::new().empty("opt/my/app/pkg/x").empty("opt/my/application/x").empty("etc/x");
    let names = |root: &str| readers::names(&workspace.members(&manifest, &[root]));
    for root in ["--root=/opt/my/app", "--root=opt/my/app/", "--root=//opt/my/app//"] {
        let expected =
            ["./etc/x", "./opt/my/app", "./opt/my/app/pkg", "./opt/my/app/pkg/x", "./opt/my/application/x"];
        assert_eq!(names(root), expected, "{root}");
    }
    for root in ["--root=/", "--root="] {
        assert_eq!(names(root)[..3], ["./etc/x", "./opt/my", "./opt/my/app"], "{root}");
    }
}

#[test]
fn directories_of_base_images_keep_their_owner_and_mode() {
    let workspace = Workspace::new();
    let manifest = Manifest::new().empty("home/nonroot/app/x").empty("tmp/app/x");
    for (root, names) in [
        ("/", ["./home/nonroot/app", "./home/nonroot/app/x", "./tmp/app", "./tmp/app/x"].as_slice()),
        ("/home/nonroot", &["./home/nonroot/app", "./home/nonroot/app/x", "./tmp/app/x"]),
        ("/tmp", &["./home/nonroot/app/x", "./tmp/app", "./tmp/app/x"]),
        ("/tmp/app", &["./home/nonroot/app/x", "./tmp/app", "./tmp/app/x"]),
    ] {
        let members = workspace.members(&manifest, &[&format!("--root={root}")]);
        assert_eq!(readers::names(&members), names, "{root}");
    }
}

#[test]
fn base_images_keep_their_symlinks() {
    let workspace = Workspace::new();
    for top in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
        let manifest = Manifest::new().empty(format!("{top}/tool/x")).empty("usr/bin/y");
        let output = workspace.run(&manifest, &["--compress=none"]);
        let warning = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success());
        assert!(warning.contains(&format!("layer \"default\" contains ./{top}/tool/")), "{warning}");
        assert!(warning.contains("Set root to \"/app\""), "{warning}");
        let mut expected =
            [format!("./{top}/tool"), format!("./{top}/tool/x"), "./usr/bin/y".to_string()].to_vec();
        expected.sort();
        assert_eq!(readers::names(&readers::members(&workspace.path("out/layer"))), expected);
    }
}

#[test]
fn a_path_that_is_named_twice_is_written_once() {
    let workspace = Workspace::new();
    workspace.write("in/a", "same");
    workspace.write("in/b", "same");
    workspace.write("in/tree/x", "same");
    workspace.link("in/link", "there");
    let manifest = Manifest::new()
        .file("app/x", "in/a")
        .file("app/x", "in/b")
        .tree("app", "in/tree")
        .empty("app/x")
        .empty("app/y")
        .empty("app/y")
        .symlink("app/z", "there")
        .declared_symlink("app/z", "in/link");
    let expected =
        [directory("./app"), file("./app/x", "same"), file("./app/y", ""), symlink("./app/z", "there")];
    assert_eq!(workspace.members(&manifest, &[]), expected);
    assert_eq!(workspace.members(&manifest.reversed(), &[]), expected);
}

#[test]
fn different_files_at_one_path_are_an_error() {
    let workspace = Workspace::new();
    workspace.write("in/a", "1");
    workspace.write("in/b", "2");
    let message = workspace.error(&Manifest::new().file("app/x", "in/a").file("app/x", "in/b"), &[]);
    assert_eq!(
        message,
        "pylayer: two different files have the image path app/x: in/a and in/b; rename one, build them into separate images, or exclude both\n"
    );
    let message = workspace.error(&Manifest::new().file("app/x", "in/a").symlink("app/x", "y"), &[]);
    assert!(message.contains("the image path app/x: in/a and a symlink to y"), "{message}");
    let message = workspace.error(&Manifest::new().symlink("app/x", "y").symlink("app/x", "z"), &[]);
    assert!(message.contains("a symlink to y and a symlink to z"), "{message}");
}

#[test]
fn a_file_where_a_directory_is_needed_is_an_error() {
    let workspace = Workspace::new();
    let message = workspace.error(&Manifest::new().empty("a/b/c/d").empty("a/b-c").empty("a/b"), &[]);
    assert_eq!(
        message,
        "pylayer: a/b is both a file and a directory (a/b/c/d is inside it); exclude one of them\n"
    );
    let message = workspace.error(&Manifest::new().empty("a/b/c").symlink("a/b", "x"), &[]);
    assert!(message.contains("a/b is both a file and a directory (a/b/c is inside it)"), "{message}");
}

#[test]
fn only_the_layers_own_files_are_looked_at() {
    let workspace = Workspace::new();
    let manifest = Manifest::new()
        .empty("app/main.py")
        .file("app/site-packages/x.py", "not/an/input")
        .declared_symlink("app/site-packages/y", "not/an/input")
        .file("app/x.whl", "not/an/input");
    let members =
        workspace.members(&manifest, &["--layer-group=packages=/site-packages/", r"--exclude=\.whl$"]);
    assert_eq!(readers::names(&members), ["./app", "./app/main.py"]);
}

#[test]
fn links_to_what_is_excluded_are_left_out() {
    let workspace = Workspace::new();
    workspace.link("in/python3", "../../py/bin/python3");
    let manifest = Manifest::new()
        // The targets of these are not in this layer's manifest, but in those of other layers.
        .symlink("app/venv/numpy/core/tests", "../../../pip/numpy/core/tests")
        .symlink("app/venv/numpy/core/tests.py", "../../../pip/numpy/core/tests.py")
        .symlink("app/venv/wheel", "./x/..//numpy.whl")
        .symlink("app/venv/absolute", "/app/pip/numpy/core/tests/x.py")
        // These lead through other links.
        .symlink("app/venv/a", "b")
        .symlink("app/venv/b", "./c/x")
        .symlink("app/venv/c", "numpy/core/tests/y")
        .symlink("app/venv/d", "e")
        .symlink("app/venv/e", "d")
        .symlink("app/venv/out", "../../../../tests/")
        .symlink("app/venv/tests/x", "../numpy")
        .declared_symlink("app/venv/bin/python3", "in/python3")
        .symlink("app/venv/bin/python", "python3")
        .empty("app/venv/main.py");
    let options = ["--root=/app/venv", r"--exclude=/tests/", r"--exclude=\.whl$", "--exclude=/py/"];
    let expected = [
        directory("./app/venv"),
        symlink("./app/venv/d", "e"),
        symlink("./app/venv/e", "d"),
        file("./app/venv/main.py", ""),
        directory("./app/venv/numpy"),
        directory("./app/venv/numpy/core"),
        symlink("./app/venv/numpy/core/tests.py", "../../../pip/numpy/core/tests.py"),
        symlink("./app/venv/out", "../../../../tests/"),
    ];
    assert_eq!(workspace.members(&manifest, &options), expected);
    let listing = Outputs::read(&workspace.path("out")).listing;
    let (_, excluded) = listing.split_once("#excluded").unwrap();
    let excluded: Vec<&str> = excluded.lines().collect();
    assert_eq!(
        excluded,
        [
            " link=/app/pip/numpy/core/tests/x.py ./app/venv/absolute",
            "#excluded link=../../py/bin/python3 ./app/venv/bin/python3",
            "#excluded link=numpy/core/tests/y ./app/venv/c",
            "#excluded link=../../../pip/numpy/core/tests ./app/venv/numpy/core/tests",
            "#excluded link=./x/..//numpy.whl ./app/venv/wheel",
            "#excluded link=python3 ./app/venv/bin/python",
            "#excluded link=./c/x ./app/venv/b",
            "#excluded link=b ./app/venv/a",
        ]
    );
    assert_eq!(workspace.members(&manifest.reversed(), &options), expected);
    assert_eq!(Outputs::read(&workspace.path("out")).listing, listing);
}

#[test]
fn a_layer_without_files_is_the_empty_tar_and_a_warning() {
    let workspace = Workspace::new();
    let options = ["--layer-group=torch=/torch/", "--layer=torch", "--compress=none"];
    let output = workspace.run(&Manifest::new().empty("app/x"), &options);
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.starts_with("pylayer: layer \"torch\" is empty"), "{warning}");
    let layer = std::fs::read(workspace.path("out/layer")).unwrap();
    // The well-known diff ID of the empty layer.
    let known = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(crate::support::sha256(&layer), known);
    assert_eq!(readers::members(&workspace.path("out/layer")), []);
}

#[test]
fn a_layer_without_files_holds_its_root() {
    let workspace = Workspace::new();
    for (root, expected) in [
        ("/app", &[directory("./app")][..]),
        ("/srv/app", &[directory("./srv/app")]),
        ("/srv", &[]),
        ("/home/nonroot", &[]),
        ("/", &[]),
    ] {
        let root = format!("--root={root}");
        let options = ["--layer-group=torch=/torch/", "--layer=torch", "--compress=none", &root];
        let output = workspace.run(&Manifest::new().empty("app/x"), &options);
        let warning = String::from_utf8(output.stderr).unwrap();
        assert!(warning.starts_with("pylayer: layer \"torch\" is empty"), "{root}: {warning}");
        assert_eq!(readers::members(&workspace.path("out/layer")), expected, "{root}");
        // An empty manifest causes no warning, because the rule has already warned.
        let output = workspace.run(&Manifest::new(), &options);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        assert_eq!(readers::members(&workspace.path("out/layer")), expected, "{root}");
    }
}

#[test]
fn groups_without_files_are_reported() {
    let workspace = Workspace::new();
    let groups =
        [("a", "x"), ("b", "pip_six$")].map(|(name, pattern)| json!({"name": name, "pattern": pattern}));
    let settings = workspace.settings_file(&json!({"layer_groups": groups, "packages": ["six"]}));
    let arguments = ["--unused_groups=out/report".to_string(), format!("--settings={settings}")];
    let output = workspace.command(&arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = std::fs::read_to_string(workspace.path("out/report")).unwrap();
    assert_eq!(
        report,
        "layer \"a\" is empty: no file left by earlier groups matches its pattern \"x\"\n\
         layer \"b\" is empty: no file left by earlier groups matches its pattern \"pip_six$\". The binary has a \
         package \"six\": pip_package(\"six\") finds it whatever its repository is called\n"
    );
    let printed: String = report.lines().map(|line| format!("pylayer: {line}\n")).collect();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), printed);
}

#[test]
fn equal_contents_are_stored_once_from_4096_bytes() {
    let workspace = Workspace::new();
    for length in [0, 1, 4095, 4096, 4097, 300_000] {
        let content = noise(length, length as usize);
        workspace.write(format!("in/{length}/b"), &content);
        workspace.write(format!("in/{length}/a"), &content);
    }
    // The same size as others, but different content.
    workspace.write("in/4096/c", noise(7, 4096));
    let members = workspace.members(&Manifest::new().tree("app", "in"), &[]);
    let links: Vec<&Member> = members.iter().filter(|member| member.kind == 'h').collect();
    let link = |length| hard_link(format!("./app/{length}/b"), format!("./app/{length}/a"));
    assert_eq!(links, [&link(300_000), &link(4096), &link(4097)]);
    for unpacker in BOTH_UNPACKERS {
        let Some(unpacked) = readers::unpacked(unpacker, &workspace.path("out/layer")) else { continue };
        for length in [0, 1, 4095, 4096, 4097, 300_000] {
            let [a, b] = ["a", "b"].map(|name| &unpacked[format!("app/{length}/{name}").as_bytes()]);
            assert_eq!(a.content, noise(length, length as usize), "{unpacker}");
            assert_eq!(a.content, b.content, "{unpacker}");
            assert_eq!(a.same_as == b.same_as, length >= 4096, "{unpacker}, {length} bytes");
        }
        assert_eq!(unpacked[&b"app/4096/c"[..]].content, noise(7, 4096), "{unpacker}");
    }
}

#[test]
fn deduplication_can_be_turned_off() {
    let workspace = Workspace::new();
    for name in ["a", "b"] {
        workspace.write(format!("in/big {name}"), noise(1, 5000));
    }
    let links = |options: &[&str]| {
        let members = workspace.members(&Manifest::new().tree("app", "in"), options);
        members.iter().filter(|member| member.kind == 'h').count()
    };
    assert_eq!(links(&[]), 1);
    assert_eq!(links(&["--no-dedupe"]), 0);
}

#[test]
fn links_stay_within_a_layer() {
    let workspace = Workspace::new();
    for name in ["a", "b"] {
        workspace.write(format!("in/{name}/x"), noise(1, 5000));
        workspace.write(format!("in/{name}/y"), noise(1, 5000));
    }
    let manifest = Manifest::new().tree("app", "in");
    for (layer, name) in [("--layer=first", "a"), ("--layer=default", "b")] {
        let expected = [
            directory("./app"),
            directory(format!("./app/{name}")),
            file(format!("./app/{name}/x"), noise(1, 5000)),
            hard_link(format!("./app/{name}/y"), format!("./app/{name}/x")),
        ];
        assert_eq!(workspace.members(&manifest, &["--layer-group=first=^./app/a/", layer]), expected);
    }
}

#[test]
fn an_interpreter_costs_one() {
    let workspace = Workspace::new();
    let elf = |seed| [b"\x7fELF\x02\x01\x01".to_vec(), noise(seed, 1_000_000)].concat();
    let programs = ["bin/python", "bin/python3", "bin/python3.11"];
    let libraries = ["lib/libpython3.11.so", "lib/libpython3.11.so.1.0"];
    for (names, seed) in [(&programs[..], 1), (&libraries, 2)] {
        for name in names {
            workspace.write(format!("in/{name}"), elf(seed));
        }
    }
    let members = workspace.members(&Manifest::new().tree("py", "in"), &[]);
    let expected = [
        directory("./py"),
        directory("./py/bin"),
        file("./py/bin/python", elf(1)),
        hard_link("./py/bin/python3", "./py/bin/python"),
        hard_link("./py/bin/python3.11", "./py/bin/python"),
        directory("./py/lib"),
        file("./py/lib/libpython3.11.so", elf(2)),
        hard_link("./py/lib/libpython3.11.so.1.0", "./py/lib/libpython3.11.so"),
    ];
    assert_eq!(members, expected);
    let size = std::fs::metadata(workspace.path("out/layer")).unwrap().len();
    assert!(size < 2_010_000, "{size} bytes for two contents of a million bytes");
}

#[test]
fn owners_and_times_are_as_asked() {
    let workspace = Workspace::new();
    workspace.write("in/x", "x");
    let manifest = Manifest::new().file("app/x", "in/x").symlink("app/l", "x");
    let long_name = "a name that is longer than 32 bytes";
    for (owner, group, owner_name, group_name, mtime) in [
        (0, 0, "", "", 0),
        (1000, 2000, "app", "staff", 1),
        (65532, 65532, "nonroot", "Jürgen und Söhne", 1_700_000_000),
        (2_097_151, 2_097_152, long_name, "x", (1 << 31) - 1),
        (2_097_152, 2_097_151, "x", long_name, 1 << 31),
        (u32::MAX as u64 - 1, u32::MAX as u64 - 1, "", "", 1 << 33),
    ] {
        let options = [
            format!("--uid={owner}"),
            format!("--gid={group}"),
            format!("--uname={owner_name}"),
            format!("--gname={group_name}"),
            format!("--mtime={mtime}"),
        ];
        let set = |member: Member| Member {
            owner,
            group,
            owner_name: owner_name.to_string(),
            group_name: group_name.to_string(),
            mtime,
            ..member
        };
        let expected = [directory("./app"), symlink("./app/l", "x"), file("./app/x", "x")].map(set);
        assert_eq!(workspace.members(&manifest, &options.each_ref().map(String::as_str)), expected);
        for unpacker in BOTH_UNPACKERS {
            let Some(unpacked) = readers::unpacked(unpacker, &workspace.path("out/layer")) else { continue };
            assert_eq!(unpacked[&b"app/x"[..]].mtime, mtime, "{unpacker}");
        }
    }
}

#[test]
fn programs_can_be_executed_wherever_they_can_be_read() {
    let workspace = Workspace::new();
    let contents: [(&str, &[u8], u32); 7] = [
        ("data", b"\x7fEL", 0o644),
        ("elf", b"\x7fELF", 0o755),
        ("elf.so", &[b"\x7fELF".to_vec(), noise(1, 5000)].concat(), 0o755),
        ("hash", b"#", 0o644),
        ("main.py", b"import os", 0o644),
        ("script", b"#!", 0o755),
        ("zero", b"", 0o644),
    ];
    for (name, content, _) in &contents {
        workspace.write(format!("in/{name}"), content);
    }
    workspace.write("in/same as elf.so", contents[2].1);
    let manifest = Manifest::new().tree("app", "in").empty("app/empty").symlink("app/link", "elf");
    let modes = |option: &str| -> Vec<(String, u32)> {
        let members = workspace.members(&manifest, &[option]);
        readers::names(&members).into_iter().zip(members.iter().map(|member| member.mode)).collect()
    };
    for (mode, of_programs) in [
        (0o755, 0o755),
        (0o555, 0o555),
        (0o4750, 0o4750),
        (0o7777, 0o7777),
        (0, 0),
        (0o444, 0o555),
        (0o640, 0o750),
        (0o600, 0o700),
        (0o2664, 0o2775),
    ] {
        for (name, found) in modes(&format!("--mode={mode:04o}")) {
            let expected = match &*name {
                "./app" => 0o755,
                "./app/link" => 0o777,
                "./app/elf" | "./app/elf.so" | "./app/same as elf.so" | "./app/script" => of_programs,
                _ => mode,
            };
            assert_eq!(found, expected, "{name} with mode {mode:04o}");
        }
    }
    let mut expected = contents.map(|(name, _, mode)| (format!("./app/{name}"), mode)).to_vec();
    let others = [("", 0o755), ("/empty", 0o644), ("/link", 0o777), ("/same as elf.so", 0o755)];
    expected.extend(others.map(|(name, mode)| (format!("./app{name}"), mode)));
    expected.sort();
    assert_eq!(modes("--mode=0644"), expected);
    assert_eq!(modes("--mode=detect"), expected);
    for unpacker in BOTH_UNPACKERS {
        let Some(unpacked) = readers::unpacked(unpacker, &workspace.path("out/layer")) else { continue };
        for (name, mode) in expected.iter().filter(|(name, _)| name != "./app/link") {
            assert_eq!(unpacked[&name.as_bytes()[2..]].mode, *mode, "{unpacker}, {name}");
        }
    }
}

#[test]
fn link_texts_are_those_that_linux_can_hold() {
    let workspace = Workspace::new();
    let longest = "x/".repeat(2047) + "x";
    assert_eq!(longest.len(), 4095);
    workspace.link("in/link", &longest);
    let manifest = Manifest::new().symlink("app/l", &longest).declared_symlink("app/m", "in/link");
    let expected = [directory("./app"), symlink("./app/l", &longest), symlink("./app/m", &longest)];
    assert_eq!(workspace.members(&manifest, &[]), expected);
    workspace.remove_outputs();
    let message = workspace.error(&Manifest::new().symlink("app/l", longest + "/"), &[]);
    assert_eq!(
        message,
        "pylayer: app/l is a symlink with a target of 4096 bytes; Linux allows at most 4095; shorten or exclude it\n"
    );
}

#[test]
fn names_that_delete_files_are_refused() {
    let workspace = Workspace::new();
    workspace.write("in/sub/.wh.x", "");
    let reason = "names that begin with `.wh.` delete files in a container image (OCI image-spec, layer.md) and cannot be shipped; rename or exclude it\n";
    let message = workspace.error(&Manifest::new().empty("app/.wh..wh..opq"), &[]);
    assert!(message.ends_with(&format!("image path \"app/.wh..wh..opq\": {reason}")), "{message}");
    let message = workspace.error(&Manifest::new().tree("app/t", "in"), &[]);
    assert!(message.ends_with(&format!("image path \"app/t/sub/.wh.x\": {reason}")), "{message}");
    let message = workspace.error(&Manifest::new().empty("app/.wh.d/x"), &[]);
    assert!(message.ends_with(reason), "{message}");
    let manifest = Manifest::new().empty("a.wh.b/.wh").tree("app/t", "in");
    let members = workspace.members(&manifest, &[r"--exclude=/\.wh\."]);
    assert_eq!(readers::names(&members), ["./a.wh.b", "./a.wh.b/.wh"]);
}
