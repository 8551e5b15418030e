//! `pylayer pack`: layers of a built binary without Bazel, from the runfiles that Bazel leaves on disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::readers::{Member, members};
use crate::support::{PYLAYER, Workspace};
use rustix::process::{Pid, Signal, kill_process};

const BINARY: &str = "base/execroot/_main/bazel-out/k8-fastbuild/bin/app/server";
const RUNFILES: &str = "base/execroot/_main/bazel-out/k8-fastbuild/bin/app/server.runfiles";
const IN_IMAGE: &str = "./app/server.runfiles/";

/// A directory with Bazel's output base in `base`, the main repository in `ws`, and a binary.
fn built() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("base/DO_NOT_BUILD_HERE", workspace.path("ws").as_os_str().as_bytes());
    workspace.write(BINARY, "#!/bin/sh");
    runfile(&workspace, "_main/app/server", BINARY);
    workspace
}

/// Creates a file with a link to it in the runfiles tree, as Bazel does.
fn runfile(workspace: &Workspace, runfile: &str, file: &str) {
    if !workspace.path(file).exists() {
        workspace.write(file, file);
    }
    workspace.link(format!("{RUNFILES}/{runfile}"), absolute(workspace, file));
}

fn absolute(workspace: &Workspace, file: &str) -> Vec<u8> {
    workspace.path(file).into_os_string().into_encoded_bytes()
}

/// Creates a declared symlink, as an output and in the runfiles tree.
fn declared_symlink(workspace: &Workspace, path: &str, text: &[u8]) {
    workspace.link(format!("base/execroot/_main/bazel-out/k8-fastbuild/bin/{path}"), text);
    workspace.link(format!("{RUNFILES}/_main/{path}"), text);
}

fn pack(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = Command::new(PYLAYER);
    command.args(["pack", "--binary", BINARY]).args(arguments);
    for default in ["--out=out", "--compress=none"] {
        let (option, _) = default.split_once('=').unwrap();
        if !arguments.iter().any(|argument| argument.starts_with(option)) {
            command.arg(default);
        }
    }
    command.current_dir(workspace.path(""));
    command
}

/// Packs, and expects no output on stderr.
fn packed(workspace: &Workspace, arguments: &[&str]) {
    let Output { status, stderr, .. } = pack(workspace, arguments).output().unwrap();
    assert!(status.success() && stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
}

/// The message of a command that fails.
fn error(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(!status.success() && status.code() != Some(101), "{status}: {stderr}");
    assert_eq!(stdout, b"");
    stderr
}

/// The runfiles in the default layer: the target of a symlink, or `None`.
fn runfiles(workspace: &Workspace) -> BTreeMap<String, Option<String>> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    members(&workspace.path("out/default.tar"))
        .into_iter()
        .filter(|member| member.kind != 'd')
        .filter_map(|Member { name, kind, target, .. }| {
            let path = text(name).strip_prefix(IN_IMAGE)?.to_string();
            Some((path, (kind == 'l').then(|| text(target))))
        })
        .collect()
}

fn layers(workspace: &Workspace) -> BTreeMap<String, Vec<u8>> {
    let content = |name: &String| fs::read(workspace.path("out").join(name)).unwrap();
    workspace.leftovers().into_iter().map(|name| (name.clone(), content(&name))).collect()
}

// --- several binaries ----------------------------------------------------------------------------

const WORKER: &str = "base/execroot/_main/bazel-out/k8-fastbuild/bin/app/worker";

/// The workspace of [`built`] with a second binary and a wheel that both have.
fn built_two() -> Workspace {
    let workspace = built();
    workspace.write(WORKER, "#!/bin/sh");
    let wheel = "base/external/pip_six/site-packages/six-1.0.dist-info/METADATA";
    for (binary, mapping) in [(BINARY, ",a,a~\n,b,b~\n"), (WORKER, ",b,b~\n,c,c~\n")] {
        let name = binary.rsplit_once('/').unwrap().1;
        workspace.write(format!("{binary}.repo_mapping"), mapping);
        for (runfile, file) in [
            (format!("_main/app/{name}"), binary.to_string()),
            ("_repo_mapping".to_string(), format!("{binary}.repo_mapping")),
            ("pip_six/site-packages/six-1.0.dist-info/METADATA".to_string(), wheel.to_string()),
        ] {
            if !workspace.path(&file).exists() {
                workspace.write(&file, &file);
            }
            let link = format!("{binary}.runfiles/{runfile}");
            if fs::symlink_metadata(workspace.path(&link)).is_err() {
                workspace.link(link, absolute(&workspace, &file));
            }
        }
    }
    workspace
}

#[test]
fn two_binaries_share_their_runfiles() {
    let workspace = built_two();
    packed(&workspace, &["--binary", WORKER, "--root=/srv", "--runfiles-root=/srv/.runfiles", "--split=3"]);
    let found = workspace.leftovers();
    assert!(found.len() == 2 && found[0] == "default.tar" && found[1].starts_with("packages_"), "{found:?}");
    let members = members(&workspace.path("out/default.tar"));
    let names: Vec<String> = members
        .iter()
        .filter(|member| member.kind != 'd')
        .map(|member| String::from_utf8(member.name.clone()).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "./srv/.runfiles/_main/app/server",
            "./srv/.runfiles/_main/app/worker",
            "./srv/.runfiles/_repo_mapping",
            "./srv/app/server",
            "./srv/app/server.runfiles",
            "./srv/app/worker",
            "./srv/app/worker.runfiles",
        ]
    );
    let link = members.iter().find(|member| member.name == b"./srv/app/server.runfiles").unwrap();
    assert_eq!((link.kind, &*link.target), ('l', &b"../.runfiles"[..]));
    let tar = fs::read(workspace.path("out/default.tar")).unwrap();
    let merged = b",a,a~\n,b,b~\n,c,c~\n\0";
    assert!(tar.windows(merged.len()).any(|window| window == merged));
}

#[test]
fn two_binaries_need_a_directory_for_the_runfiles_of_both() {
    let workspace = built_two();
    let both = ["--binary", WORKER];
    for (arguments, problem) in [
        (&[][..], "--binary is given 2 times: set --runfiles-root, for the runfiles of all binaries"),
        (&["--runfiles-root=/x/.runfiles", "--name=app/x"], "--name is for a single binary"),
        (&["--runfiles-root=/x/.runfiles", "--runfiles=base"], "--runfiles is for a single binary"),
        (
            &["--runfiles-root=/runfiles"],
            "expected a directory whose name ends in .runfiles, such as /app/.runfiles",
        ),
        (&["--runfiles-root=/x/.runfiles", "--split=0"], "expected a number of layers from 1 to 127"),
        (
            &["--runfiles-root=/x/.runfiles", "--split=2", "--drop=packages"],
            "--split packages=…: it is dropped with --drop; use only one of them",
        ),
        (
            &["--runfiles-root=/x/.runfiles", "--split=a=2"],
            "--split a=…: there is no such group; the groups are",
        ),
        (
            &["--runfiles-root=/x/.runfiles", "--split=2", "--split=packages=3"],
            "--split packages=…: it is given twice",
        ),
        (
            &["--runfiles-root=/x/.runfiles", "--split=2", "--layer-group=packages_1=x"],
            "--split packages=…: \"packages_1\" is also the name of a group; rename that",
        ),
    ] {
        let message = error(&mut pack(&workspace, &[&both, arguments].concat()));
        assert!(message.contains(problem), "{message}");
    }
    for (root, runfiles_root) in [
        ("--root=/a.runfiles", "--runfiles-root=/a.runfiles"),
        ("--root=/a", "--runfiles-root=/a/app/server/.runfiles"),
        ("--root=/a", "--runfiles-root=/a/app/server.runfiles/x.runfiles"),
    ] {
        let message = error(&mut pack(&workspace, &[root, runfiles_root]));
        assert!(message.contains("cannot be inside each other; set another --runfiles-root"), "{message}");
    }
    let message = error(&mut pack(&workspace, &["--binary", BINARY, "--runfiles-root=/x/.runfiles"]));
    assert!(message.contains("two binaries would both be app/server; pack them separately"), "{message}");
    workspace.write(format!("{WORKER}.other"), ",a,a~2\n");
    fs::remove_file(workspace.path(format!("{WORKER}.runfiles/_repo_mapping"))).unwrap();
    workspace
        .link(format!("{WORKER}.runfiles/_repo_mapping"), absolute(&workspace, &format!("{WORKER}.other")));
    let message = error(&mut pack(&workspace, &[&both[..], &["--runfiles-root=/x/.runfiles"]].concat()));
    assert!(message.contains("contradict each other: \",a,a~\" and \",a,a~2\""), "{message}");
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
}

// --- contents -----------------------------------------------------------------------------------

/// Runfiles that `symlinks` and `root_symlinks` add at a second path.
fn aliases(workspace: &Workspace) {
    let wheel = "base/external/pip_numpy/site-packages/numpy/core.so";
    let generated = "base/execroot/_main/bazel-out/k8-fastbuild/bin/app/generated.txt";
    let of_other = "base/execroot/_main/bazel-out/k8-fastbuild/bin/external/other/lib/generated.txt";
    let optimized = "base/execroot/_main/bazel-out/k8-opt/bin/app/generated.txt";
    let tree = "base/execroot/_main/bazel-out/k8-fastbuild/bin/app/tree";
    workspace.write(format!("{tree}/file"), "file");
    for (path, file) in [
        ("pip_numpy/site-packages/numpy/core.so", wheel),
        ("_main/app/_server.venv/lib/numpy/core.so", wheel),
        ("_main/app/main.py", "ws/app/main.py"),
        ("at_the_root.py", "ws/app/main.py"),
        ("_main/app/generated.txt", generated),
        ("_main/app/again.txt", generated),
        ("_main/app/optimized.txt", optimized),
        ("other/lib/generated.txt", of_other),
        ("_main/of_other.txt", of_other),
        ("_main/app/tree", tree),
        ("_main/links/tree", tree),
        ("_main/links/hidden.txt", "ws/app/hidden.txt"),
    ] {
        runfile(workspace, path, file);
    }
}

#[test]
fn a_file_at_another_place_becomes_a_link_to_its_own() {
    let workspace = built();
    aliases(&workspace);
    packed(&workspace, &["--layer-group=default=."]);
    let links = [
        ("_main/app/_server.venv/lib/numpy/core.so", "../../../../../pip_numpy/site-packages/numpy/core.so"),
        ("_main/app/again.txt", "generated.txt"),
        ("_main/links/tree", "../app/tree"),
        ("_main/of_other.txt", "../other/lib/generated.txt"),
        ("at_the_root.py", "_main/app/main.py"),
    ];
    let files = [
        "_main/app/generated.txt",
        "_main/app/main.py",
        // From another configuration, which has the same path but not the same file.
        "_main/app/optimized.txt",
        "_main/app/server",
        "_main/app/tree/file",
        // Not elsewhere in the runfiles.
        "_main/links/hidden.txt",
        "other/lib/generated.txt",
        "pip_numpy/site-packages/numpy/core.so",
    ];
    let links = links.map(|(path, text)| (path.to_string(), Some(text.to_string())));
    let files = files.map(|path| (path.to_string(), None));
    assert_eq!(runfiles(&workspace), links.into_iter().chain(files).collect());
}

#[test]
fn copies_of_other_repositories_in_external_are_left_out() {
    let workspace = built();
    for place in ["", "_main/external/"] {
        runfile(&workspace, &format!("{place}other/lib.py"), "base/external/other/lib.py");
        workspace.link(format!("{RUNFILES}/{place}other/link"), "lib.py");
        workspace.write(format!("{RUNFILES}/{place}other/__init__.py"), "");
        workspace.write(format!("{RUNFILES}/{place}__init__.py"), "");
    }
    packed(&workspace, &[]);
    let expected = ["__init__.py", "_main/app/server", "other/__init__.py", "other/lib.py", "other/link"];
    assert_eq!(runfiles(&workspace).into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn the_placeholder_for_the_main_repository_is_left_out() {
    let workspace = built();
    workspace.write(format!("{RUNFILES}/_main/.runfile"), "");
    workspace.write(format!("{RUNFILES}/_main/app/.runfile"), "");
    runfile(&workspace, "other/.runfile", "base/external/other/.runfile");
    packed(&workspace, &[]);
    let expected = ["_main/app/.runfile", "_main/app/server", "other/.runfile"];
    assert_eq!(runfiles(&workspace).into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn a_directory_external_of_the_main_repository_is_kept() {
    let workspace = built();
    runfile(&workspace, "other/lib.py", "base/external/other/lib.py");
    runfile(&workspace, "_main/external/other/lib.py", "ws/external/other/lib.py");
    runfile(&workspace, "_main/external/other/more.py", "ws/external/other/more.py");
    packed(&workspace, &[]);
    let expected =
        ["_main/app/server", "_main/external/other/lib.py", "_main/external/other/more.py", "other/lib.py"];
    assert_eq!(runfiles(&workspace).into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn a_declared_symlink_is_kept_wherever_it_leads() {
    let workspace = built();
    workspace.write("machine/python3", "of this machine");
    let local = absolute(&workspace, "machine/python3");
    declared_symlink(&workspace, "local", &local);
    declared_symlink(&workspace, "nowhere", b"/usr/local/nowhere/bin/python3");
    declared_symlink(&workspace, "relative", b"app/server");
    // A link to the same file, not declared by a rule.
    runfile(&workspace, "_main/followed", "machine/python3");
    packed(&workspace, &[]);
    let found = runfiles(&workspace);
    let text = |path: &str| found[path].as_deref();
    assert_eq!(text("_main/local"), Some(std::str::from_utf8(&local).unwrap()));
    assert_eq!(text("_main/nowhere"), Some("/usr/local/nowhere/bin/python3"));
    assert_eq!(text("_main/relative"), Some("app/server"));
    assert_eq!(text("_main/followed"), None);
}

#[test]
fn any_directory_can_take_the_place_of_the_runfiles() {
    let workspace = built();
    workspace.write("files/MANIFEST", "not read where there are files");
    workspace.write("files/a/external/b/__init__.py", "");
    workspace.write("files/b/__init__.py", "");
    workspace.write("elsewhere/file", "file");
    workspace.link("files/b/followed", absolute(&workspace, "elsewhere/file"));
    workspace.link("files/b/tree", absolute(&workspace, "elsewhere"));
    packed(&workspace, &["--runfiles=files"]);
    let expected = ["a/external/b/__init__.py", "b/__init__.py", "b/followed", "b/tree/file"];
    assert_eq!(runfiles(&workspace), expected.map(|path| (path.to_string(), None)).into());
}

// --- Bazel's manifest ---------------------------------------------------------------------------

/// Bazel's manifest for a runfiles tree.
fn manifest_of(workspace: &Workspace, directory: &Path, lines: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            manifest_of(workspace, &path, lines);
            continue;
        }
        let target =
            fs::read_link(&path).map_or(Vec::new(), |text| text.into_os_string().into_encoded_bytes());
        let place = path.strip_prefix(workspace.path(RUNFILES)).unwrap().as_os_str().as_bytes();
        let escaped = place.iter().any(|byte| b" \n\\".contains(byte));
        let escape = |bytes: &[u8], space: &[u8]| -> Vec<u8> {
            let one = |byte: &u8| match byte {
                b' ' => space.to_vec(),
                b'\n' => b"\\n".to_vec(),
                b'\\' => b"\\b".to_vec(),
                other => vec![*other],
            };
            bytes.iter().flat_map(one).collect()
        };
        lines.push(match escaped {
            true => [b" ", &escape(place, b"\\s")[..], b" ", &escape(&target, b" ")].concat(),
            false => [place, b" ", &target].concat(),
        });
    }
}

#[test]
fn the_manifest_is_as_good_as_the_tree() {
    let workspace = built();
    aliases(&workspace);
    declared_symlink(&workspace, "nowhere", b"/usr/local/nowhere/bin/python3");
    declared_symlink(&workspace, "app/relative", b"main.py");
    workspace.write(format!("{RUNFILES}/_main/__init__.py"), "");
    for name in ["a space", "a\nline", "back\\slash", "all \\ of\nthem"] {
        runfile(&workspace, &format!("_main/app/{name}"), &format!("ws/app/{name}"));
    }
    packed(&workspace, &[]);
    let of_tree = layers(&workspace);
    let mut lines = Vec::new();
    manifest_of(&workspace, &workspace.path(RUNFILES), &mut lines);
    assert_eq!(lines.iter().filter(|line| line.starts_with(b" ")).count(), 4);

    // With --noenable_runfiles, Bazel creates a directory with only the manifest.
    fs::remove_dir_all(workspace.path(RUNFILES)).unwrap();
    workspace.write(format!("{RUNFILES}/MANIFEST"), lines.join(&b'\n'));
    packed(&workspace, &[]);
    assert!(layers(&workspace) == of_tree, "in the directory");

    fs::remove_dir_all(workspace.path(RUNFILES)).unwrap();
    workspace.write(format!("{RUNFILES}_manifest"), lines.join(&b'\n'));
    packed(&workspace, &[]);
    assert!(layers(&workspace) == of_tree, "beside the binary");
}

#[test]
fn a_manifest_that_is_damaged_is_named() {
    let workspace = built();
    fs::remove_dir_all(workspace.path(RUNFILES)).unwrap();
    for (line, expected) in [
        ("no_target".to_string(), "no_target, is malformed"),
        (" _main/a\\x /x".to_string(), " _main/a\\x /x, is malformed"),
        (" _main/a\\".to_string(), "is malformed"),
        ("_main/nul a\0b".to_string(), "is malformed"),
        ("_main/first ".to_string(), "_main/first , repeats a path"),
        ("x".repeat(1 << 20), "xxx…xxx"),
    ] {
        workspace.write(format!("{RUNFILES}/MANIFEST"), format!("_main/first \n{line}\n"));
        let message = error(&mut pack(&workspace, &[]));
        assert!(message.starts_with(&format!("pylayer: line 2 of {RUNFILES}/MANIFEST, ")), "{message}");
        assert!(message.contains(expected) && message.len() < 1000, "{message}");
        assert_eq!(workspace.leftovers(), [] as [String; 0]);
    }
}

// --- invalid runfiles ---------------------------------------------------------------------------

#[test]
fn a_runfile_that_leads_nowhere_is_an_error() {
    let workspace = built();
    let loops = format!("{RUNFILES}/_main/loop");
    workspace.link(&loops, absolute(&workspace, &loops));
    workspace.link(format!("{RUNFILES}/_main/dangling"), absolute(&workspace, "ws/dangling"));
    for (name, other, problem) in
        [("dangling", "loop", "No such file"), ("loop", "dangling", "Too many levels")]
    {
        let excluded = format!("--exclude=/{other}$");
        let message = error(&mut pack(&workspace, &[&excluded]));
        assert!(message.contains(problem), "{message}");
        let place = format!("it is app/server.runfiles/_main/{name} in the image; build the binary again");
        assert!(message.contains(&place), "{message}");
        assert_eq!(workspace.leftovers(), [] as [String; 0]);
    }
    packed(&workspace, &["--exclude=/(dangling|loop)$"]);
}

#[test]
fn a_link_that_the_rules_validation_refuses_is_refused() {
    let workspace = built();
    for (text, problem) in [
        ("../../../../../../etc/passwd", "symlink that points outside the image"),
        ("nothing", "symlink to a path that is not in the image"),
        ("link", "symlink loop"),
        ("app/server/x", "symlink that uses a file as a directory"),
    ] {
        let link = workspace.path(format!("{RUNFILES}/_main/link"));
        let _ = fs::remove_file(&link);
        workspace.link(format!("{RUNFILES}/_main/link"), text);
        let refused = error(&mut pack(&workspace, &[]));
        assert!(refused.contains(problem) && refused.contains("--validation=warn"), "{refused}");
        assert_eq!(workspace.leftovers(), [] as [String; 0]);

        let Output { status, stderr, .. } = pack(&workspace, &["--validation=warn"]).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(status.success() && stderr.contains(problem), "{stderr}");
        assert_eq!(workspace.leftovers(), ["default.tar"]);
        packed(&workspace, &["--validation=off"]);
        fs::remove_file(workspace.path("out/default.tar")).unwrap();
    }
}

#[test]
fn runfiles_that_are_not_there_are_an_error() {
    let workspace = built();
    fs::create_dir(workspace.path("empty")).unwrap();
    fs::create_dir_all(workspace.path("only/directories")).unwrap();
    workspace.write("file", "");
    for (runfiles, expected) in [
        ("nowhere", "nowhere is not there; build the binary with runfiles"),
        ("empty", "empty is empty; build the binary with runfiles"),
        ("only", "only is empty; build the binary with runfiles"),
        ("file", "file is not a directory; name a directory with --runfiles"),
    ] {
        let message = error(&mut pack(&workspace, &["--runfiles", runfiles]));
        assert!(message.starts_with(&format!("pylayer: {expected}")), "{message}");
    }
}

#[test]
fn a_wheel_must_be_a_file() {
    let workspace = built();
    fs::create_dir(workspace.path("directory")).unwrap();
    for (wheel, problem) in [("nowhere.whl", "No such file"), ("directory", "it is not a file")] {
        // Also with a codec for which no wheels are read.
        for codec in ["gzip", "zstd"] {
            let message = error(&mut pack(&workspace, &["--wheel", wheel, "--compress", codec]));
            assert!(message.starts_with(&format!("pylayer: --wheel {wheel}: {problem}")), "{message}");
        }
    }
}

#[test]
fn a_list_for_prefetch_must_be_a_file() {
    let workspace = built();
    fs::create_dir(workspace.path("directory")).unwrap();
    for (list, problem) in [
        ("nowhere", "No such file"),
        ("directory", "it is not a file"),
        // Would never end.
        ("/dev/zero", "it is not a file"),
    ] {
        let message =
            error(&mut pack(&workspace, &["--lazy=estargz", "--compress=gzip", "--prefetch", list]));
        assert!(message.starts_with(&format!("pylayer: --prefetch {list}: {problem}")), "{message}");
    }
}

#[test]
fn the_binary_is_looked_at_first() {
    let workspace = built();
    let run = |binary: &str| {
        let mut command = Command::new(PYLAYER);
        command.args(["pack", "--out=out", "--runfiles=nowhere", "--binary", binary]);
        error(command.current_dir(workspace.path("")))
    };
    assert_eq!(run("app/missing"), "pylayer: --binary app/missing: No such file or directory (os error 2)\n");
    assert_eq!(run("ws/.."), "pylayer: --binary ws/..: No such file or directory (os error 2)\n");
    assert_eq!(run("base"), "pylayer: --binary base: it is not a file\n");
    let long = run(&"long/\x1b[31m".repeat(10_000));
    assert!(long.len() < 1000 && !long.contains('\x1b'), "{long}");
}

// --- the output directory -----------------------------------------------------------------------

#[test]
fn layers_are_not_written_into_what_is_packed() {
    let workspace = built();
    workspace.write("ws/tree/file", "file");
    workspace.link(format!("{RUNFILES}/_main/tree"), absolute(&workspace, "ws/tree"));
    workspace.link("link", absolute(&workspace, RUNFILES));
    let inside = [
        RUNFILES.to_string(),
        format!("{RUNFILES}/new/layers"),
        "link/_main".to_string(),
        "ws/../link/new".to_string(),
        "ws/tree/layers".to_string(),
    ];
    for out in inside {
        let message = error(&mut pack(&workspace, &["--out", &out]));
        assert!(message.starts_with(&format!("pylayer: --out {out} is inside ")), "{message}");
    }
    let names = |path: &str| fs::read_dir(workspace.path(path)).unwrap().count();
    assert_eq!((names(RUNFILES), names("ws/tree")), (1, 1), "nothing was made there");
    // Not at the path of the tree either, if only its manifest exists: it would be mistaken for the tree.
    let tree = workspace.path(RUNFILES);
    let moved = tree.with_extension("moved");
    fs::rename(&tree, &moved).unwrap();
    workspace.write(format!("{RUNFILES}_manifest"), "_main/empty \n");
    let message = error(&mut pack(&workspace, &["--out", &format!("{RUNFILES}/new")]));
    assert!(message.contains("is inside") && !tree.exists(), "{message}");
    fs::remove_file(workspace.path(format!("{RUNFILES}_manifest"))).unwrap();
    fs::rename(&moved, &tree).unwrap();
    // Next to the runfiles is fine.
    packed(&workspace, &["--out", BINARY.rsplit_once('/').unwrap().0]);
}

#[test]
fn a_layer_of_another_run_is_not_left_among_the_layers() {
    let workspace = built();
    runfile(&workspace, "_main/app/data.txt", "ws/app/data.txt");
    packed(&workspace, &["--layer-group=data=data"]);
    let earlier = layers(&workspace);
    assert!(earlier.keys().eq(["data.tar", "default.tar"]));
    for arguments in [&[][..], &["--layer-group=data=data", "--compress=zstd"]] {
        let message = error(&mut pack(&workspace, arguments));
        let way_out = "which is not a layer of this image but would be mistaken for one; remove it";
        assert!(
            message.starts_with("pylayer: --out out contains ") && message.contains(way_out),
            "{message}"
        );
        assert!(layers(&workspace) == earlier, "earlier layers are left as they were");
    }
    fs::remove_file(workspace.path("out/default.tar")).unwrap();
    fs::create_dir(workspace.path("out/default.tar")).unwrap();
    let message = error(&mut pack(&workspace, &["--layer-group=data=data"]));
    assert!(message.starts_with("pylayer: --out out contains default.tar, "), "{message}");
    fs::remove_dir(workspace.path("out/default.tar")).unwrap();
    for foreign in ["image.tgz", "image.tar.xz", "image.tar.bz2"] {
        workspace.write(format!("out/{foreign}"), "");
        let message = error(&mut pack(&workspace, &["--layer-group=data=data"]));
        assert!(message.starts_with(&format!("pylayer: --out out contains {foreign}, ")), "{message}");
        fs::remove_file(workspace.path("out").join(foreign)).unwrap();
    }
    workspace.write("file", "");
    let message = error(&mut pack(&workspace, &["--out=file"]));
    assert_eq!(message, "pylayer: --out file: it is not a directory\n");
    // Other files are not layers.
    workspace.write("out/notes.txt", "");
    packed(&workspace, &["--layer-group=data=data"]);
    fs::remove_file(workspace.path("out/data.tar")).unwrap();
    packed(&workspace, &[]);
    assert_eq!(workspace.leftovers(), ["default.tar", "notes.txt"]);
}

/// A binary with a small layer `data`, which comes first, and a default layer that takes a long time.
fn slow() -> Workspace {
    let workspace = built();
    runfile(&workspace, "_main/app/data.txt", "ws/app/data.txt");
    workspace.sparse("ws/app/large", 64 << 30);
    runfile(&workspace, "_main/app/large", "ws/app/large");
    workspace
}

#[test]
fn a_failed_run_leaves_the_earlier_layers() {
    let workspace = built();
    runfile(&workspace, "_main/app/data.txt", "ws/app/data.txt");
    packed(&workspace, &["--layer-group=data=data"]);
    let earlier = layers(&workspace);
    workspace.write("ws/app/data.txt", "changed");
    // Detected after the first layer has been written.
    workspace.link(format!("{RUNFILES}/_main/link"), "nothing");
    error(&mut pack(&workspace, &["--layer-group=data=data"]));
    assert!(layers(&workspace) == earlier);
    packed(&workspace, &["--layer-group=data=data", "--validation=off"]);
    assert!(layers(&workspace) != earlier);
}

#[test]
fn an_interrupted_run_leaves_the_earlier_layers() {
    let workspace = slow();
    packed(&workspace, &["--layer-group=data=data", "--exclude=large"]);
    let earlier = layers(&workspace);
    workspace.write("ws/app/data.txt", "changed");
    let is_begun = |entry: &fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        name.ends_with(".tmp") && entry.metadata().is_ok_and(|metadata| metadata.len() > 0)
    };
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = pack(&workspace, &["--layer-group=data=data"]);
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::read_dir(workspace.path("out")).unwrap().flatten().filter(|entry| is_begun(entry)).count()
            < 2
        {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("the second layer is not begun");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{signal:?}");
        assert_eq!(output.stderr, b"pylayer: interrupted; no layer was written\n");
        assert!(layers(&workspace) == earlier, "{signal:?}");
    }
}

// --- output to the user -------------------------------------------------------------------------

#[test]
fn a_report_that_cannot_be_printed_is_an_error() {
    let workspace = built();
    for argument in ["--json", "--jobs=1"] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let Output { status, stderr, .. } = pack(&workspace, &[argument]).stdout(full).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{stderr}");
        assert_eq!(
            stderr,
            "pylayer: the layers are complete, but the report cannot be written to stdout: No space left on device (os error 28)\n"
        );
        assert_eq!(workspace.leftovers(), ["default.tar"]);
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let Output { status, stderr, .. } = pack(&workspace, &[]).stdout(writer).output().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8(stderr).unwrap().contains("Broken pipe"));
}

#[test]
fn warnings_that_cannot_be_printed_are_no_error() {
    let workspace = built();
    workspace.link(format!("{RUNFILES}/_main/link"), "nothing");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = pack(&workspace, &["--validation=warn", "--name=bin/server"]);
    assert!(command.stderr(full).output().unwrap().status.success());
}

#[test]
fn a_directory_that_json_cannot_name_is_refused() {
    let workspace = built();
    let out = crate::support::path(b"out/caf\xe9");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PYLAYER);
        command.args(["pack", "--binary", BINARY]).args(arguments).arg("--out").arg(out);
        command.current_dir(workspace.path(""));
        command
    };
    let message = error(&mut run(&["--json"]));
    assert!(message.contains("the name is not UTF-8, so it cannot be printed as JSON"), "{message}");
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
    assert!(run(&[]).output().unwrap().status.success());
}

#[test]
fn numbers_out_of_range_are_refused() {
    let workspace = built();
    for argument in [
        "--jobs=0",
        "--jobs=100000",
        "--jobs=99999999999999999999",
        "--mtime=9223372036854775808",
        "--uid=4294967295",
        "--gid=4294967295",
    ] {
        let (_, value) = argument.split_once('=').unwrap();
        let message = error(&mut pack(&workspace, &[argument]));
        assert!(message.contains(value), "{message}");
    }
    packed(&workspace, &["--mtime=9223372036854775807", "--uid=4294967294", "--gid=4294967294"]);
}

#[test]
fn names_and_patterns_of_groups_are_those_of_the_rule() {
    let workspace = built();
    for (arguments, problem) in [
        (&["--layer-group=a="][..], "an empty pattern matches every path; write a=. if that is meant"),
        (&["--layer-group=..=x"], ".. cannot be the name of a layer: use letters, digits, _, -, . and +"),
        (&["--layer-group=.hidden=x"], ".hidden cannot be the name of a layer"),
        (&["--layer-group=_validation=x"], "_validation cannot be the name of a layer"),
        (&["--layer-group=\x1b[31m=x"], "\\u{1b}[31m cannot be the name of a layer"),
        (
            &["--layer-group=a=x", "--layer-group=a=y"],
            "--layer-group \"a\" is given twice; join the patterns with |",
        ),
        (
            &["--layer-group=packages=x", "--drop=packages"],
            "--layer-group \"packages\" has a pattern but is dropped with --drop",
        ),
        (&["--drop=default"], "[possible values: interpreter, packages]"),
    ] {
        let message = error(&mut pack(&workspace, arguments));
        assert!(message.contains(problem), "{message}");
    }
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
}

#[test]
fn a_default_group_can_be_left_out() {
    let workspace = built();
    runfile(&workspace, "pip_numpy/site-packages/numpy/core.so", "base/external/pip_numpy/core.so");
    // Paths that are excluded on purpose are not a problem.
    workspace.link(format!("{RUNFILES}/_main/core.so"), "../pip_numpy/site-packages/numpy/core.so");
    packed(&workspace, &["--drop=packages"]);
    assert_eq!(workspace.leftovers(), ["default.tar"]);
}

#[test]
fn single_links_can_be_excepted_from_validation() {
    let workspace = built();
    workspace.link(format!("{RUNFILES}/_main/link"), "nothing");
    error(&mut pack(&workspace, &["--validation-exception=/other$"]));
    packed(&workspace, &["--validation-exception=/link$"]);
    let output = pack(&workspace, &["--validation-exception=/link$", "--validation-exception=/x$"]).output();
    let stderr = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(stderr.starts_with("pylayer: no problem was found at a path that matches \"/x$\""), "{stderr}");
}

#[test]
fn a_list_for_prefetch_that_names_no_file_is_a_warning() {
    let workspace = built();
    let options = ["--compress=gzip", "--lazy=estargz", "--prefetch=list"];
    workspace.write("list", "_main/app/server\n");
    packed(&workspace, &options);
    workspace.write("list", "_main/app/gone\n");
    let Output { status, stderr, .. } = pack(&workspace, &options).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{stderr}");
    assert!(
        stderr.starts_with(
            "pylayer: no file of the image is in the prefetch list, which begins with _main/app/gone: "
        ),
        "{stderr}"
    );
}

#[test]
fn messages_about_the_command_line_are_short() {
    let workspace = Workspace::new();
    let long = "x".repeat(100_000);
    for arguments in [
        &["pack", "--mode", &long][..],
        &["pack", "--layer-group", &long],
        &["pack", "--uid", "-1"],
        &["pack", &long],
        &[&long],
        &["--persistent_workers"],
    ] {
        let mut command = Command::new(PYLAYER);
        let Output { status, stdout, stderr } =
            command.args(arguments).current_dir(workspace.path("")).output().unwrap();
        assert_eq!((status.code(), &*stdout), (Some(2), &b""[..]));
        assert!(stderr.starts_with(b"error: ") && stderr.len() < 2000, "{} bytes", stderr.len());
    }
}

#[test]
fn a_wrong_exception_is_found_before_the_work() {
    let workspace = built();
    let message = error(&mut pack(&workspace, &["--out=new", "--validation-exception=("]));
    assert!(message.contains("\"(\" is not a valid regular expression"), "{message}");
    // The work begins with the output directory.
    assert!(!workspace.path("new").exists());
}

// --- reports ---------------------------------------------------------------------------------------

#[test]
fn a_report_says_what_was_packed_and_left_out() {
    let workspace = built();
    runfile(&workspace, "_main/app/data.txt", "ws/app/data.txt");
    runfile(&workspace, "_main/app/notes.md", "ws/app/notes.md");
    for number in 0..20 {
        declared_symlink(&workspace, &format!("app/link_{number}"), b"data.txt");
    }
    packed(&workspace, &["--report", "--exclude=\\.md$", "--layer-group=data=data\\.txt$"]);
    let without = {
        packed(&workspace, &["--out=plain", "--exclude=\\.md$", "--layer-group=data=data\\.txt$"]);
        fs::read(workspace.path("plain/data.tar")).unwrap()
    };
    assert_eq!(fs::read(workspace.path("out/data.tar")).unwrap(), without);

    let contents = fs::read(workspace.path("out/contents.json")).unwrap();
    let contents: serde_json::Value = serde_json::from_slice(&contents).unwrap();
    let names: Vec<&str> =
        contents["layers"].as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["data", "default"]);
    let left_out = contents["partition"]["left_out"].as_array().unwrap();
    assert_eq!(left_out[0]["path"], "app/server.runfiles/_main/app/notes.md");
    assert_eq!(left_out[0]["size"], "ws/app/notes.md".len());
    assert_eq!(left_out.len(), 1);
    let page = fs::read_to_string(workspace.path("out/report.html")).unwrap();
    assert!(page.contains("notes.md") && page.contains("Content-Security-Policy"));

    for file in ["report.html", "contents.json"] {
        let first = fs::read(workspace.path("out").join(file)).unwrap();
        packed(&workspace, &["--report", "--exclude=\\.md$", "--layer-group=data=data\\.txt$"]);
        assert!(fs::read(workspace.path("out").join(file)).unwrap() == first, "{file} differs");
    }

    let explain = |path: &str| {
        let arguments = ["explain", "out/contents.json", path];
        let output = Command::new(PYLAYER).args(arguments).current_dir(workspace.path("")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(explain("data.txt").contains("in layer data: file, 15 B"), "{}", explain("data.txt"));
    assert!(explain("notes.md").contains("excluded by\n    \\.md$\n"), "{}", explain("notes.md"));
}

#[test]
fn excluding_the_binary_causes_a_warning() {
    let workspace = built();
    let Output { status, stderr, .. } = pack(&workspace, &["--exclude=^\\./app/server$"]).output().unwrap();
    assert!(status.success());
    let stderr = String::from_utf8(stderr).unwrap();
    let expected = "exclude or layer_groups leaves out app/server, without which the binary cannot start";
    assert!(stderr.contains(expected), "{stderr}");
    let arguments = ["--exclude=server\\.runfiles$", "--runfiles-root=/app/.runfiles"];
    let Output { stderr, .. } = pack(&workspace, &arguments).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.contains("leaves out app/server.runfiles, without which"), "{stderr}");
}
