//! The outputs next to a layer, and what a failed action leaves.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::readers::{self, Member};
use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, OUTPUTS, Workspace, noise, sha256};

const OCI: &str = "application/vnd.oci.image.layer.v1.tar";

/// A workspace whose layer has several chunks, including a file of `large` megabytes.
fn several_chunks(large: usize) -> (Workspace, Manifest) {
    let workspace = Workspace::new();
    workspace.write("in/large", noise(1, 1_000_003).repeat(large));
    for number in 0..300 {
        workspace.write(format!("in/small/{number}"), noise(number, 3000));
    }
    (workspace, Manifest::new().tree("app", "in"))
}

#[test]
fn the_descriptor_describes_the_layer() {
    let (workspace, manifest) = several_chunks(1);
    for (options, suffix) in [
        (&["--compress=none"][..], ""),
        (&["--compress=gzip"], "+gzip"),
        (&["--compress=gzip", "--level=0"], "+gzip"),
        (&["--compress=zstd"], "+zstd"),
    ] {
        let outputs = workspace.outputs(&manifest, options);
        let descriptor: serde_json::Value = serde_json::from_str(&outputs.descriptor).unwrap();
        let expected = serde_json::json!({
            "mediaType": format!("{OCI}{suffix}"),
            "digest": format!("sha256:{}", sha256(&outputs.layer)),
            "size": outputs.layer.len(),
            "diff_id": format!("sha256:{}", sha256(&readers::decompressed(&outputs.layer))),
        });
        assert_eq!(descriptor, expected);
    }
}

#[test]
fn layer_metadata_is_the_descriptor_with_its_history() {
    let (workspace, manifest) = several_chunks(1);
    let created_by = "bazel build //app:layers (\"é\")";
    let history = format!("--created_by={created_by}");
    let outputs = workspace.outputs(&manifest, &["--layer_metadata=out/metadata.json", &history]);
    let metadata = fs::read_to_string(workspace.path("out/metadata.json")).unwrap();
    let history = serde_json::json!([{ "created_by": created_by }]);
    let descriptor = outputs.descriptor.strip_suffix("}\n").unwrap();
    assert_eq!(metadata, format!("{descriptor},\"history\":{history}}}\n"));

    workspace.remove_outputs();
    fs::remove_file(workspace.path("out/metadata.json")).unwrap();
    let message = workspace.error(&manifest, &["--layer_metadata=out/layer", "--created_by=x"]);
    assert!(message.contains("out/layer is the path of two outputs of one action"), "{message}");
}

#[test]
fn chunks_are_invisible() {
    // Two parts for zstd.
    let (workspace, manifest) = several_chunks(9);
    let plain = workspace.outputs(&manifest, &["--compress=none"]).layer;

    let gzip = workspace.outputs(&manifest, &["--compress=gzip", "--level=1"]).layer;
    assert!(readers::decompressed(&gzip) == plain);
    let mut members = 0;
    let mut rest = &gzip[..];
    while !rest.is_empty() {
        let mut member = flate2::bufread::GzDecoder::new(&mut rest);
        std::io::copy(&mut member, &mut std::io::sink()).unwrap();
        let header = member.header().unwrap();
        assert_eq!(
            (header.mtime(), header.filename(), header.extra(), header.comment()),
            (0, None, None, None)
        );
        members += 1;
    }
    assert!(members > 10, "{members} members");
    let script = "import gzip, sys; sys.stdout.write(str(len(gzip.open(sys.argv[1]).read())))";
    let length =
        readers::stdout(Command::new("python3").args(["-c", script]).arg(workspace.path("out/layer")));
    assert_eq!(length, plain.len().to_string());
    readers::stdout(Command::new("tar").arg("-tzf").arg(workspace.path("out/layer")));

    let zstd = workspace.outputs(&manifest, &["--compress=zstd"]).layer;
    assert!(readers::decompressed(&zstd) == plain);
    let mut rest = &zstd[..];
    let (mut frames, mut length) = (0, 0);
    while !rest.is_empty() {
        let frame = zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
        length += zstd::zstd_safe::get_frame_content_size(rest).unwrap().expect("frames say their size");
        rest = &rest[frame..];
        frames += 1;
    }
    assert!(frames > 1, "{frames} frames");
    assert_eq!(length, plain.len() as u64);
    for program in ["zstd", "bsdtar"] {
        if readers::is_installed(program) {
            readers::stdout(Command::new(program).arg("-tf").arg(workspace.path("out/layer")));
        }
    }
}

#[test]
fn the_listing_says_what_readers_find_in_the_layer() {
    let workspace = Workspace::new();
    for name in [&b"a b"[..], b"new\nline", b"#=\\", b"\xff", "é".as_bytes(), b"plain", b"twin"] {
        workspace.write([b"in/", name].concat(), noise(1, 5000));
    }
    let manifest = Manifest::new().tree("app", "in").empty("app/e").symlink("app/l", "a b\n\\#=\u{e9}");
    let options = ["--uid=1000", "--gid=5", "--uname=a b", "--gname=é", "--mode=0644"];
    let members = workspace.members(&manifest, &options);
    let listing = fs::read_to_string(workspace.path("out/listing.mtree")).unwrap();
    assert!(listing.is_ascii() && listing.starts_with("#mtree\n"), "{listing}");
    let listed: Vec<Member> = listing.lines().skip(1).map(readers::mtree_line).collect();
    let size = 5000;
    let expected = members.iter().map(|member| match member.kind {
        'h' => Member { kind: 'f', target: Vec::new(), size, ..member.clone() },
        _ => Member { content: String::new(), ..member.clone() },
    });
    let without_slash = |member: Member| Member {
        name: member.name.strip_suffix(b"/").unwrap_or(&member.name).to_vec(),
        ..member
    };
    let listed: Vec<Member> = listed.into_iter().map(without_slash).collect();
    assert_eq!(listed, expected.collect::<Vec<_>>());
    if readers::is_installed("bsdtar") {
        let mut command = Command::new("bsdtar");
        command.arg("-tf").arg(workspace.path("out/listing.mtree")).env("LC_ALL", "C");
        let names = readers::stdout(&mut command);
        let expected = members.iter().map(|member| {
            let slash = if member.kind == 'd' { "/" } else { "" };
            // As bsdtar writes non-ASCII bytes, and whitespace other than spaces.
            let name = String::from_utf8_lossy(&member.name).replace('\\', "\\\\").replace('\n', "\\n");
            let name = name.replace('é', "\\303\\251").replace('\u{fffd}', "\\377");
            format!("{name}{slash}\n")
        });
        assert_eq!(names, expected.collect::<String>());
    }
}

#[test]
fn elf_images_are_listed_with_their_processor() {
    let workspace = Workspace::new();
    let elf = |machine: u8, length: usize| {
        let mut image = noise(u64::from(machine), length);
        image[..20].copy_from_slice(&[0; 20]);
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[18] = machine;
        image
    };
    workspace.write("in/small", elf(62, 20));
    workspace.write("in/large", elf(183, 3_000_000));
    workspace.write("in/short", &elf(62, 20)[..19]);
    let outputs = workspace.outputs(&Manifest::new().tree("app", "in"), &["--compress=none"]);
    let comments: Vec<&str> = outputs.listing.lines().filter(|line| line.starts_with("#elf")).collect();
    assert_eq!(comments, ["#elf machine=183 ./app/large", "#elf machine=62 ./app/small"]);
}

#[test]
fn inputs_that_cannot_be_read_are_named() {
    let workspace = Workspace::new();
    workspace.write("in/x", "x");
    workspace.link("in/dangling", "nowhere");
    workspace.link("in/loop", "loop");
    workspace.link("tree/dangling", "nowhere");
    workspace.link("round/and", "../round");
    readers::stdout(Command::new("mkfifo").arg(workspace.path("in/pipe")));
    fs::create_dir(workspace.path("devices")).unwrap();
    readers::stdout(Command::new("mkfifo").arg(workspace.path("devices/pipe")));
    let new = Manifest::new;
    for (manifest, expected) in [
        (new().file("x", "in/gone"), "cannot read in/gone: No such file or directory"),
        (new().file("x", "in/dangling"), "cannot read in/dangling: No such file or directory"),
        (new().file("x", "in/loop"), "cannot read in/loop: Too many levels of symbolic links"),
        (new().file("x", "in/x/y"), "cannot read in/x/y: Not a directory"),
        (
            new().file("x", "in"),
            "in is a source directory, whose files Bazel does not track; in data, list the files instead of the directory: glob([\"in/**\"])",
        ),
        (new().file("x", "in/pipe"), "in/pipe is a device, pipe or socket, which"),
        (new().tree("x", "gone"), "cannot read gone: No such file or directory"),
        (new().tree("x", "in/x"), "cannot read in/x: Not a directory"),
        (new().tree("x", "tree"), "cannot read tree/dangling: No such file or directory"),
        (new().tree("x", "devices"), "devices/pipe is a device, pipe or socket, which"),
        (new().tree("x", "round"), "Too many levels of symbolic links"),
        (new().declared_symlink("x", "in/gone"), "cannot read in/gone: No such file or directory"),
        (new().declared_symlink("x", "in/x"), "cannot read in/x: Invalid argument"),
        (new().line("q", &[b"x"]), "line 1 of the manifest is malformed: \"q\\tx\""),
    ] {
        // The first files of the layer are valid.
        let manifest = manifest.and(Manifest::new().file("a", "in/x").file("z", "in/x"));
        let message = workspace.error(&manifest, &[]);
        assert!(message.starts_with("pylayer: ") && message.contains(expected), "{message}");
        assert!(message.ends_with('\n') && message.lines().count() == 1, "{message}");
    }
}

#[test]
fn mistakes_in_arguments_are_named() {
    let workspace = Workspace::new();
    let manifest = Manifest::new().empty("x");
    for (option, expected) in [
        ("--colour=red", "unknown argument \"--colour\""),
        (
            "--layer-group=x=a(b",
            "the pattern of layer group \"x\", \"a(b\" is not a valid regular expression",
        ),
        ("--exclude=[", "the exclude pattern \"[\" is not a valid regular expression"),
        ("--compress=bzip2", "unknown compression \"bzip2\"; use gzip, zstd or none"),
        ("--level=10", "gzip has no compression level 10; use 0 to 9"),
        ("--mode=0888", "json: metadata.mode: expected octal permission bits"),
        ("--root=../x", "json: root: image path \"../x\": `.` and `..` are not allowed in an image path"),
        ("--output=y", "argument \"--output\" is given twice"),
        ("stray", "unknown argument \"stray\""),
    ] {
        let message = workspace.error(&manifest, &[option]);
        assert!(message.starts_with("pylayer: ") && message.contains(expected), "{message}");
    }
    fs::remove_file(workspace.path("manifest")).unwrap();
    let arguments =
        ["--settings=s", "--manifest=manifest", "--output=out/layer", "--layer=x"].map(String::from);
    let message = workspace.error_of(&mut workspace.command(&arguments));
    assert!(message.contains("cannot read manifest: No such file or directory"), "{message}");
    let message = workspace.error_of(Command::new(crate::support::PYLAYER).arg("@no flags"));
    assert!(message.contains("cannot read no flags: No such file or directory"), "{message}");
}

#[test]
fn outputs_that_cannot_be_written_are_named() {
    let workspace = Workspace::new();
    workspace.write("a file", "");
    let manifest = Manifest::new().empty("x");
    let arguments = workspace.arguments(&manifest, &[]);
    for output in OUTPUTS {
        for place in ["no directory", "a file"] {
            let arguments = arguments
                .iter()
                .map(|argument| argument.replace(&format!("=out/{output}"), &format!("={place}/{output}")));
            let message = workspace.error_of(&mut workspace.command(&arguments.collect::<Vec<_>>()));
            assert!(message.starts_with(&format!("pylayer: cannot write {place}/{output}: ")), "{message}");
        }
    }
}

#[test]
fn all_outputs_are_there_or_none() {
    let workspace = Workspace::new();
    let manifest = Manifest::new().empty("x");
    for output in OUTPUTS {
        // A file cannot replace a directory.
        let obstacle = workspace.path("out").join(output);
        fs::create_dir(&obstacle).unwrap();
        let run = workspace.run(&manifest, &[]);
        assert_eq!(run.status.code(), Some(1));
        let message = String::from_utf8(run.stderr).unwrap();
        assert!(message.starts_with(&format!("pylayer: cannot write out/{output}: ")), "{message}");
        assert_eq!(workspace.leftovers(), [output]);
        fs::remove_dir(obstacle).unwrap();
    }
}

#[test]
fn an_old_output_is_replaced() {
    let workspace = Workspace::new();
    let manifest = Manifest::new().empty("x");
    let expected = workspace.outputs(&manifest, &[]);
    for output in OUTPUTS {
        workspace.write(format!("out/{output}"), noise(1, 100_000));
    }
    assert_eq!(workspace.outputs(&manifest, &[]), expected);
    // It does not write through a link either.
    workspace.write("precious", "precious");
    for output in OUTPUTS {
        fs::remove_file(workspace.path(format!("out/{output}"))).unwrap();
        workspace.link(format!("out/{output}"), "../precious");
    }
    assert_eq!(workspace.outputs(&manifest, &[]), expected);
    assert_eq!(fs::read(workspace.path("precious")).unwrap(), b"precious");
    let mut outputs = OUTPUTS.to_vec();
    outputs.sort();
    assert_eq!(workspace.leftovers(), outputs);
}

#[test]
fn inputs_that_change_while_they_are_read_are_noticed() {
    for (change, expected) in [
        ("vanish", "cannot read in/last: No such file or directory"),
        ("grow", "in/last changed while it was read; build again"),
        ("shrink", "in/last changed while it was read; build again"),
    ] {
        // On a busy machine the change may come too late to be detected.
        let message = (0..10).find_map(|_| message_after(change));
        let message = message.expect("one of ten changes is in time");
        assert!(message.contains(expected), "{message}");
    }
}

/// The program's message about a file that changes after its size was determined; `None` if the program was
/// faster.
fn message_after(change: &str) -> Option<String> {
    // More than the program can have in flight.
    let (workspace, manifest) = Workspace::slow(96);
    let arguments = workspace.arguments(&manifest, &["--compress=none"]);
    let child = workspace.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    workspace.wait_until_under_way();
    match change {
        "vanish" => fs::remove_file(workspace.path("in/last")).unwrap(),
        "grow" => workspace.write("in/last", "longer"),
        _ => workspace.write("in/last", "x"),
    }
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return None;
    }
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
    Some(String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_cancelled_request_leaves_nothing_and_the_worker_goes_on() {
    let (workspace, manifest) = Workspace::slow(4096);
    let mut worker = Worker::start(&workspace.path(""));
    let arguments = workspace.arguments(&manifest, &["--compress=none"]);
    worker.send(&Work { id: 1, arguments, ..Work::default() });
    workspace.wait_until_under_way();
    worker.cancel(1);
    let response = worker.receive();
    assert!(response.was_cancelled && response.request_id == 1, "{response}");
    assert_eq!(workspace.leftovers(), [] as [String; 0]);

    let manifest = Manifest::new().file("last", "in/last");
    let expected = workspace.outputs(&manifest, &[]);
    let arguments = workspace.arguments(&manifest, &[]);
    worker.succeed(&Work { id: 1, arguments, ..Work::default() });
    assert_eq!(crate::support::Outputs::read(&workspace.path("out")), expected);
    worker.close();
}

/// The number of concurrent requests that Bazel sends to a worker (`--worker_max_multiplex_instances`).
const REQUESTS_AT_ONCE: i32 = 8;

#[test]
fn a_small_layer_does_not_wait_for_large_ones() {
    let (workspace, manifest) = Workspace::slow(8 << 10);
    let mut worker = Worker::start(&workspace.path(""));
    let large = workspace.arguments(&manifest, &[]);
    for id in 1..REQUESTS_AT_ONCE {
        worker.send(&Work::new(id, large.clone()));
    }
    workspace.wait_until_under_way();
    let small = Workspace::below(&workspace.path(""));
    small.write("in/a", "a");
    let manifest = Manifest::new().file("a", "in/a");
    let expected = small.outputs(&manifest, &[]);
    small.remove_outputs();
    let arguments = small.arguments(&manifest, &[]);
    worker.succeed(&Work { sandbox_dir: small.sandbox_dir(), ..Work::new(REQUESTS_AT_ONCE, arguments) });
    assert_eq!(crate::support::Outputs::read(&small.path("out")), expected);
    for id in 1..REQUESTS_AT_ONCE {
        worker.cancel(id);
        let response = worker.receive();
        assert!(response.was_cancelled && response.request_id == id, "{response}");
    }
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
    worker.close();
}

#[test]
fn a_failed_request_leaves_nothing_and_the_worker_goes_on() {
    let workspace = Workspace::new();
    workspace.write("in/x", "x");
    let mut worker = Worker::start(&workspace.path(""));
    let bad = workspace.arguments(&Manifest::new().file("x", "in/x").file("y", "in/y"), &[]);
    let response = {
        worker.send(&Work { id: 5, arguments: bad, ..Work::default() });
        worker.receive()
    };
    assert_eq!((response.exit_code, response.request_id, response.was_cancelled), (1, 5, false));
    let expected =
        "pylayer: cannot read in/y: No such file or directory (os error 2); is it an input of the action?\n";
    assert_eq!(response.output, expected);
    assert_eq!(workspace.leftovers(), [] as [String; 0]);
    let arguments = workspace.arguments(&Manifest::new().file("x", "in/x"), &[]);
    worker.succeed(&Work { id: 5, arguments, ..Work::default() });
    assert_eq!(workspace.leftovers().len(), OUTPUTS.len());
    worker.close();
}

#[test]
fn a_killed_process_leaves_no_output() {
    let (workspace, manifest) = Workspace::slow(4096);
    let arguments = workspace.arguments(&manifest, &["--compress=none"]);
    let mut child = workspace.command(&arguments).spawn().unwrap();
    workspace.wait_until_under_way();
    child.kill().unwrap();
    child.wait().unwrap();
    for output in OUTPUTS {
        assert!(!workspace.path("out").join(output).exists(), "{output}");
    }
}
