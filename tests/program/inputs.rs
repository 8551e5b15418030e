//! Invalid inputs and outputs: pipes, devices, colliding paths, exceeded limits.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, Workspace};
use rustix::fs::{CWD, FileType, Mode, mkfifoat, mknodat};

fn pipe(path: &Path) {
    let _ = fs::create_dir_all(path.parent().unwrap());
    mkfifoat(CWD, path, Mode::RWXU).unwrap();
}

fn socket(path: &Path) {
    mknodat(CWD, path, FileType::Socket, Mode::RWXU, 0).unwrap();
}

/// Opening a pipe for reading blocks until there is a writer.
#[test]
fn a_pipe_in_the_place_of_any_input_is_refused() {
    let workspace = Workspace::new();
    pipe(&workspace.path("in/pipe"));
    let arguments = workspace.arguments(&Manifest::new().file("a", "in/pipe"), &[]);
    let error = "pylayer: in/pipe is a device, pipe or socket, which cannot be put into a layer\n";
    assert_eq!(workspace.error_of(&mut workspace.command(&arguments)), error);

    workspace.write("settings", "{}");
    workspace.write("listing", "#mtree\n");
    let layer = [
        "--layer=default",
        "--settings=settings",
        "--groups=settings",
        "--manifest=manifest",
        "--output=out/layer",
    ];
    let validation = [
        "--validation=out/report",
        "--settings=settings",
        "--groups=settings",
        "--validation_settings=settings",
        "--manifest=manifest",
        "--layer_listing=default=listing",
    ];
    for arguments in [&layer[..], &validation] {
        let is_input = |argument: &str| {
            argument.ends_with("=settings")
                || argument.ends_with("=manifest")
                || argument.ends_with("=listing")
        };
        for (index, argument) in arguments.iter().enumerate().filter(|(_, argument)| is_input(argument)) {
            let mut arguments: Vec<String> = arguments.iter().map(|argument| argument.to_string()).collect();
            arguments[index] = format!("{}=in/pipe", argument.rsplit_once('=').unwrap().0);
            assert_eq!(workspace.error_of(&mut workspace.command(&arguments)), error);
        }
    }
    let mut command = Command::new(crate::support::PYLAYER);
    assert_eq!(workspace.error_of(command.arg("@in/pipe").current_dir(workspace.path(""))), error);
}

#[test]
fn pipes_keep_neither_a_worker_nor_its_threads_waiting() {
    let workspace = Workspace::new();
    workspace.write("in/file", "content");
    pipe(&workspace.path("in/tree/pipe"));
    pipe(&workspace.path("out/.pylayer-1-0.tmp"));
    let pipes = workspace.arguments(&Manifest::new().tree("a", "in/tree"), &[]);
    let mut worker = Worker::start(&workspace.path(""));
    for id in 0..20 {
        let message = worker.fail(&Work::new(id, pipes.clone()));
        assert!(message.starts_with("pylayer: in/tree/pipe is a device, pipe or socket"), "{message}");
    }
    let good = workspace.arguments(&Manifest::new().file("a", "in/file"), &[]);
    worker.succeed(&Work::new(21, good));
    worker.close();
}

#[test]
fn devices_and_sockets_are_refused() {
    let workspace = Workspace::new();
    workspace.link("in/zero", "/dev/zero");
    socket(&workspace.path("in/socket"));
    for name in ["in/zero", "in/socket"] {
        let error = workspace.error(&Manifest::new().file("a", name), &[]);
        assert_eq!(
            error,
            format!("pylayer: {name} is a device, pipe or socket, which cannot be put into a layer\n")
        );
    }
}

/// Files in /proc have a size of 0 but are not empty.
#[test]
fn a_file_that_claims_to_be_empty_is_read_all_the_same() {
    let workspace = Workspace::new();
    workspace.link("in/status", "/proc/self/status");
    let error = workspace.error(&Manifest::new().file("a", "in/status"), &[]);
    assert_eq!(error, "pylayer: in/status changed while it was read; build again\n");
    workspace.link("in/mem", "/proc/self/mem");
    let error = workspace.error(&Manifest::new().file("a", "in/mem"), &[]);
    assert!(error.starts_with("pylayer: cannot read in/mem: "), "{error}");
}

#[test]
fn a_link_to_itself_is_named() {
    let workspace = Workspace::new();
    workspace.link("in/tree/loop", "loop");
    for manifest in [Manifest::new().tree("a", "in/tree"), Manifest::new().file("a", "in/tree/loop")] {
        let error = workspace.error(&manifest, &[]);
        assert!(error.starts_with("pylayer: cannot read in/tree/loop: "), "{error}");
        assert!(error.ends_with("; it is a symlink loop\n"), "{error}");
    }
}

#[test]
fn outputs_have_paths_of_their_own() {
    let workspace = Workspace::new();
    workspace.write("in/file", "content");
    let manifest = Manifest::new().file("a", "in/file").tree("b", "tree").declared_symlink("l", "in/link");
    workspace.write("tree/x", "x");
    workspace.link("in/link", "file");
    workspace.write("manifest", manifest.text());
    workspace.write("settings", "{}");
    let error = |output: &str, descriptor: &str| {
        let arguments = ["--layer=default", "--settings=settings", "--manifest=manifest"]
            .map(String::from)
            .into_iter()
            .chain([format!("--output={output}"), format!("--descriptor={descriptor}")]);
        workspace.error_of(&mut workspace.command(&arguments.collect::<Vec<_>>()))
    };
    for again in ["out/layer", "./out/layer", "out//./layer"] {
        let said = error("out/layer", again);
        assert_eq!(
            said,
            "pylayer: out/layer is the path of two outputs of one action; give each its own path\n"
        );
    }
    for (output, input) in [
        ("in/file", "in/file"),
        ("./in//file", "in/file"),
        ("in/link", "in/link"),
        ("manifest", "manifest"),
        ("settings", "settings"),
        ("flags", "flags"),
        ("tree/x", "tree"),
        ("tree/new/layer", "tree"),
    ] {
        for said in [error(output, "out/d"), error("out/layer", output)] {
            let output = output.replace("./", "").replace("//", "/");
            assert!(
                said.starts_with(&format!(
                    "pylayer: {output} is an output of the action, and {input} is an input"
                )),
                "{said}"
            );
        }
    }
    assert_eq!(fs::read(workspace.path("in/file")).unwrap(), b"content");
}

#[test]
fn a_layer_that_no_group_makes_is_refused() {
    let workspace = Workspace::new();
    let error = workspace.error(&Manifest::new().empty("a"), &["--layer=numpi", "--layer-group=numpy=numpy"]);
    assert_eq!(error, "pylayer: --layer=numpi: there is no such layer; the layers are numpy, default\n");
}

#[test]
fn without_groups_everything_in_the_manifest_belongs_to_the_layer() {
    let workspace = Workspace::new();
    workspace.write("in/file", "content");
    let manifest = Manifest::new().file("a/numpy/x", "in/file").empty("b").empty("c.pyc");
    workspace.run(&manifest, &["--layer=anything", "--exclude=\\.pyc$"]);
    let listing = crate::support::Outputs::read(&workspace.path("out")).listing;
    assert!(
        listing.contains("./a/numpy/x ") && listing.contains("./b ") && !listing.contains("c.pyc"),
        "{listing}"
    );
}

#[test]
fn repository_mappings_are_merged() {
    let workspace = Workspace::new();
    workspace.write("in/a", ",a,a~1\n,main,_main\n");
    workspace.write("in/b", ",b,b~\n,main,_main\n");
    workspace.write("in/c", ",a,a~2\n");
    let arguments = |inputs: &[&str], output: &str| -> Vec<String> {
        let inputs = inputs.iter().map(|input| format!("--repo_mapping={input}"));
        inputs.chain([format!("--merged_repo_mapping={output}")]).collect()
    };
    let output = workspace.command(&arguments(&["in/b", "in/a"], "out/merged")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(fs::read_to_string(workspace.path("out/merged")).unwrap(), ",a,a~1\n,b,b~\n,main,_main\n");
    fs::remove_file(workspace.path("out/merged")).unwrap();
    for (inputs, output, message) in [
        (
            &["in/a", "in/c"][..],
            "out/other",
            "in/a and in/c contradict each other: \",a,a~1\" and \",a,a~2\"; the binaries need separate images\n",
        ),
        (&["in/a"], "in/a", "in/a is an output of the action, and in/a is an input"),
        (&["in/a", "in/nothing"], "out/other", "cannot read in/nothing: "),
    ] {
        let said = workspace.error_of(&mut workspace.command(&arguments(inputs, output)));
        assert!(said.starts_with(&format!("pylayer: {message}")), "{said}");
    }
}

/// The program, run by `sh` after setting a resource limit.
fn limited(workspace: &Workspace, limit: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(crate::support::PYLAYER);
    command.current_dir(workspace.path(""));
    command
}

#[test]
fn a_file_size_limit_fails_only_that_request() {
    let workspace = Workspace::new();
    workspace.write("in/large", crate::support::noise(1, 3_000_000));
    workspace.write("in/small", "small");
    let large = workspace.arguments(&Manifest::new().file("a", "in/large"), &["--compress=none"]);
    let error = workspace.error_of(limited(&workspace, "-f 1000").args(&large));
    assert_eq!(error, "pylayer: cannot write out/layer: File too large (os error 27)\n");

    let mut worker = Worker::spawn(limited(&workspace, "-f 1000").arg("--persistent_worker"));
    let message = worker.fail(&Work::new(1, large));
    assert_eq!(message, "pylayer: cannot write out/layer: File too large (os error 27)\n");
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
    let small = workspace.arguments(&Manifest::new().file("a", "in/small"), &[]);
    worker.succeed(&Work::new(2, small));
    worker.close();
}

#[test]
fn too_few_descriptors_are_named() {
    let workspace = Workspace::new();
    workspace.write("in/file", "content");
    let arguments = workspace.arguments(&Manifest::new().file("a", "in/file"), &[]);
    let error = workspace.error_of(limited(&workspace, "-n 4").args(&arguments));
    let expected = "pylayer: cannot read in/file: Too many open files (os error 24); raise the limit of open files (ulimit -n)\n";
    assert_eq!(error, expected);
    for descriptors in 3..20 {
        let limit = format!("-n {descriptors}");
        let Output { status, stdout, stderr } = limited(&workspace, &limit)
            .arg("--persistent_worker")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(stderr).unwrap();
        let expected = if status.success() { 0 } else { 1 };
        assert_eq!((said.lines().count(), stdout.len()), (expected, 0), "{descriptors}: {said}");
        assert!(status.success() || said.contains("Too many open files"), "{descriptors}: {said}");
    }
}

/// Each directory has two links to the next one, so the tree doubles at each level.
#[test]
fn an_endless_tree_can_be_cancelled() {
    let workspace = Workspace::new();
    for level in 0..40 {
        for link in ["a", "b"] {
            workspace.link(format!("in/{level}/{link}"), format!("../{}", level + 1));
        }
    }
    workspace.write("in/40/file", "content");
    let arguments = workspace.arguments(&Manifest::new().tree("a", "in/0"), &[]);
    let mut worker = Worker::start(&workspace.path(""));
    worker.send(&Work::new(1, arguments));
    worker.cancel(1);
    assert!(worker.receive().was_cancelled);
    worker.close();
}

/// A hundred kilobytes of terminal control sequences.
fn hostile() -> String {
    "\u{1b}]0;title\u{7}".repeat(10_000)
}

#[test]
fn messages_are_short_and_printable() {
    let workspace = Workspace::new();
    let hostile = hostile();
    let name = "\u{1b}[31m".repeat(30);
    workspace.write("in/tree/.wh.x", "");
    workspace.write(format!("in/named/{name}/.wh.x"), "");
    workspace.sparse("in/file", 1);
    let one = Manifest::new().file("a", "in/file");
    let manifests = [
        Manifest::new().file(&hostile, "in/file"),
        Manifest::new().file("a", &hostile),
        Manifest::new().file("a", format!("in/{name}")),
        Manifest::new().line(&hostile, &[b"a"]),
        Manifest::new().symlink("a", &hostile),
        Manifest::new().tree("a", "in/named"),
        Manifest::new().file(&name, "in/file").symlink(&name, &hostile),
        Manifest::new().file(&name, "in/file").empty(format!("{name}/x")),
    ];
    let mut messages: Vec<String> = manifests.iter().map(|manifest| workspace.error(manifest, &[])).collect();
    for option in [
        "--",
        "--x=",
        "--layer=",
        "--layer-group=",
        "--layer-group=a=(",
        "--exclude=(",
        "--compress=",
        "--mode=",
        "--uid=",
        "--root=/../",
    ] {
        let argument = format!("{option}{hostile}");
        messages.push(workspace.error(&one, &[&argument, "--layer-group=known=x"]));
    }
    for message in messages {
        assert!(message.len() < 1000, "{} bytes: {message:.1000}", message.len());
        assert!(!message.trim_end().contains(char::is_control), "{message:?}");
    }
}

#[test]
fn patterns_are_bounded_before_they_are_read() {
    let workspace = Workspace::new();
    let manifest = Manifest::new().empty("a");
    let long = "a".repeat(70_000);
    let error = workspace.error(&manifest, &[&format!("--layer-group=torch={long}")]);
    assert!(error.contains("it has 70000 bytes, and the limit is 65536"), "{error}");
    let many: Vec<String> = (0..10).map(|_| format!("--exclude={}", &long[..60_000])).collect();
    let error = workspace.error(&manifest, &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        error,
        "pylayer: the 10 patterns have 600000 bytes in total, and the limit is 262144; write fewer or shorter ones\n"
    );
}

/// Each file has about two thousand parent directories.
#[test]
fn deep_paths_take_little_memory() {
    let workspace = Workspace::new();
    let deep = |number: u32| format!("{number:03}{}", "/a".repeat(1900));
    let manifest = (0..30).fold(Manifest::new(), |manifest, number| manifest.empty(deep(number)));
    let arguments = workspace.arguments(&manifest, &["--compress=gzip", "--level=1"]);
    let mut limited = Command::new("prlimit");
    limited
        .arg(format!("--as={}", 200 << 20))
        .arg(crate::support::PYLAYER)
        .args(arguments)
        .current_dir(workspace.path(""));
    let Output { status, stderr, .. } = limited.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

/// A worker whose cache is too small for any manifest.
#[test]
fn manifests_weigh_what_they_hold() {
    let workspace = Workspace::new();
    let long = "x".repeat(200);
    let mut command = Command::new(crate::support::PYLAYER);
    command.args(["--persistent_worker", "--cache_mib=1"]).current_dir(workspace.path(""));
    let mut worker = Worker::spawn(&mut command);
    let mut resident = Vec::new();
    for id in 1..=10 {
        let manifest = (0..10_000).fold(Manifest::new(), |manifest, number| {
            manifest.symlink(format!("{id}/{number}{long}"), &long)
        });
        let digest = crate::support::sha256(&manifest.text());
        let mut work = Work::new(id, workspace.arguments(&manifest, &["--compress=none", "--exclude=."]));
        work.inputs.push((b"manifest".to_vec(), digest));
        worker.send(&work);
        let response = worker.receive();
        assert_eq!(response.exit_code, 0, "{}", response.output);
        resident.push(resident_bytes(worker.pid()));
    }
    // Each manifest takes 5 MB.
    assert!(resident[9] < resident[2] + (15 << 20), "{resident:?}");
    worker.close();
}

fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
