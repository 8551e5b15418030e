//! A layer's bytes depend only on the contents of the declared inputs and the arguments, not on the disk,
//! the machine, the process or Bazel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use crate::support::readers::{is_installed, stdout};
use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, OUTPUTS, Outputs, PYLAYER, Workspace, noise, path, sha256};

/// The inputs: exec path and content. They cover everything that affects order, links, modes and chunks.
fn files() -> Vec<(Vec<u8>, Vec<u8>)> {
    let elf = |seed, length| [b"\x7fELF\x02\x01\x01".to_vec(), noise(seed, length)].concat();
    let mut files: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b"bin/server".to_vec(), b"#!/bin/sh\n".to_vec()),
        (b"py/python".to_vec(), elf(1, 400_000)),
        (b"py/python3".to_vec(), elf(1, 400_000)),
        (b"py/python3.11".to_vec(), elf(1, 400_000)),
        (b"py/libpython3.11.so".to_vec(), elf(2, 270_000)),
        (b"py/libpython3.11.so.1.0".to_vec(), elf(2, 270_000)),
        (b"twice/a".to_vec(), b"the same file with two owners".to_vec()),
        (b"twice/b".to_vec(), b"the same file with two owners".to_vec()),
        (b"tree/same as lib 7".to_vec(), noise(7, 4500)),
        (b"tree/sub/deep/x".to_vec(), noise(99, 5000)),
    ];
    for number in 0..60 {
        // Equal sizes with equal and different contents, on both sides of the threshold.
        let content = noise(number % 25, [0, 100, 4096, 4500, 9000][number as usize % 5]);
        files.push((format!("lib/{number}.py").into_bytes(), content.clone()));
        files.push((format!("tree/sub/{number}").into_bytes(), content));
    }
    for name in [&b"caf\xc3\xa9"[..], b"new\nline", b"\xff", b"-x", b"@y", b"a b"] {
        files.push(([b"tree/", name].concat(), name.to_vec()));
    }
    files
}

/// Declared symlinks. In an exec root and in every sandbox they are links with this target.
const DECLARED: [(&str, &str); 2] =
    [("venv/python3", "../../py/bin/python3"), ("venv/local", "/no/such/python")];

fn manifest() -> Manifest {
    let mut manifest = Manifest::new()
        .file("app/server", "bin/server")
        .tree("app/server.runfiles/_main/tree", "tree")
        .file("app/server.runfiles/twice", "twice/a")
        .file("app/server.runfiles/twice", "twice/b")
        .empty("app/server.runfiles/twice")
        .empty("app/server.runfiles/__init__.py")
        .symlink("app/server.runfiles/link", "py/python3");
    for (exec, _) in DECLARED {
        manifest = manifest.declared_symlink(format!("app/server.runfiles/{exec}"), exec);
    }
    for (exec, _) in files() {
        if exec.starts_with(b"py/") || exec.starts_with(b"lib/") {
            manifest = manifest.file([b"app/server.runfiles/", &exec[..]].concat(), &exec);
        }
    }
    manifest
}

const OPTIONS: [&str; 3] = ["--root=/app", "--mode=detect", "--compress=gzip"];

/// A workspace whose inputs are created by `put`, which is called with exec path and content.
fn workspace(workspace: Workspace, mut put: impl FnMut(&Workspace, &[u8], &[u8])) -> Workspace {
    for (exec, content) in files() {
        put(&workspace, &exec, &content);
    }
    for (exec, text) in DECLARED {
        workspace.link(exec, text);
    }
    workspace
}

fn plain() -> Workspace {
    workspace(Workspace::new(), |workspace, exec, content| workspace.write(exec, content))
}

/// The layer that a one-shot process writes from plain files.
fn reference() -> &'static Outputs {
    static REFERENCE: OnceLock<Outputs> = OnceLock::new();
    REFERENCE.get_or_init(|| plain().outputs(&manifest(), &OPTIONS))
}

fn assert_same(found: &Outputs, what: &str) {
    let Outputs { layer, descriptor, listing } = reference();
    assert_eq!(&found.listing, listing, "{what}");
    assert_eq!(&found.descriptor, descriptor, "{what}");
    assert!(found.layer == *layer, "{what}: the layer differs, although its descriptor says it does not");
}

#[test]
fn modes_and_times_of_files_do_not_matter() {
    for (mode, time) in [(0o444, 0), (0o777, 1), (0o600, 4_000_000_000)] {
        let workspace = workspace(Workspace::new(), |workspace, exec, content| {
            workspace.write(exec, content);
            let file = fs::File::open(workspace.path(exec)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(time)).unwrap();
            file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        });
        assert_same(&workspace.outputs(&manifest(), &OPTIONS), &format!("{mode:o}"));
    }
}

#[test]
fn the_order_in_which_files_were_made_does_not_matter() {
    let mut files = files();
    // tmpfs lists directory entries in creation order, other file systems by a hash.
    for directory in ["/dev/shm", "/tmp"].map(Path::new).into_iter().filter(|directory| directory.is_dir()) {
        for _ in 0..2 {
            files.reverse();
            let workspace = Workspace::below(directory);
            for (exec, content) in &files {
                workspace.write(exec, content);
            }
            for (exec, text) in DECLARED {
                workspace.link(exec, text);
            }
            assert_same(&workspace.outputs(&manifest(), &OPTIONS), &directory.to_string_lossy());
        }
    }
}

#[test]
fn inputs_may_be_links() {
    let store = tempfile::tempdir().unwrap();
    let in_store = |content: &[u8]| {
        let file = store.path().join(sha256(content));
        fs::write(&file, content).unwrap();
        file.into_os_string().into_encoded_bytes()
    };
    let absolute = workspace(Workspace::new(), |workspace, exec, content| {
        workspace.link(exec, in_store(content));
    });
    assert_same(&absolute.outputs(&manifest(), &OPTIONS), "absolute links");

    let chains = workspace(Workspace::new(), |workspace, exec, content| {
        let hop = [b"hops/", exec].concat();
        workspace.link(&hop, in_store(content));
        workspace.link(exec, workspace.path(&hop).into_os_string().into_encoded_bytes());
    });
    assert_same(&chains.outputs(&manifest(), &OPTIONS), "links to links");

    let relative = workspace(Workspace::new(), |workspace, exec, content| {
        workspace.write([b"hops/", exec].concat(), content);
        let up = b"../".repeat(exec.iter().filter(|byte| **byte == b'/').count());
        workspace.link(exec, [&up, &b"hops/"[..], exec].concat());
    });
    assert_same(&relative.outputs(&manifest(), &OPTIONS), "relative links");

    let hard = workspace(Workspace::new(), |workspace, exec, content| {
        workspace.write(exec, b"");
        fs::remove_file(workspace.path(exec)).unwrap();
        fs::hard_link(path(&in_store(content)), workspace.path(exec)).unwrap();
    });
    assert_same(&hard.outputs(&manifest(), &OPTIONS), "hard links");

    let directories = Workspace::new();
    let elsewhere = plain();
    for directory in ["bin", "py", "lib", "twice", "tree", "venv"] {
        directories.link(directory, elsewhere.path(directory).into_os_string().into_encoded_bytes());
    }
    assert_same(&directories.outputs(&manifest(), &OPTIONS), "links to directories");
}

#[test]
fn the_order_of_the_manifest_does_not_matter() {
    let workspace = plain();
    assert_same(&workspace.outputs(&manifest().reversed(), &OPTIONS), "reversed");
    assert_same(&workspace.outputs(&manifest().shuffled(), &OPTIONS), "shuffled");
    assert_same(&workspace.outputs(&manifest().shuffled().reversed(), &OPTIONS), "shuffled, reversed");
}

#[test]
fn the_environment_does_not_matter() {
    let workspace = plain();
    let arguments = workspace.arguments(&manifest(), &OPTIONS);
    let mut cleared = workspace.command(&arguments);
    assert_same(&workspace.outputs_of(cleared.env_clear()), "no environment");
    let mut odd = workspace.command(&arguments);
    odd.env_remove("HOME").env("LC_ALL", "tr_TR.UTF-8").env("LANG", "xx").env("TZ", "Asia/Kathmandu");
    odd.env("SOURCE_DATE_EPOCH", "1").env("TMPDIR", "/no/such/directory").env("USER", "nobody");
    assert_same(&workspace.outputs_of(&mut odd), "odd environment");
}

#[test]
fn the_umask_does_not_matter() {
    let workspace = plain();
    workspace.command(&workspace.arguments(&manifest(), &OPTIONS));
    for umask in ["000", "077"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask {umask}; exec \"$0\" @flags"), PYLAYER]);
        assert_same(&workspace.outputs_of(shell.current_dir(workspace.path(""))), umask);
    }
}

#[test]
fn the_working_directory_does_not_matter() {
    let workspace = plain();
    let arguments = workspace.arguments(&manifest(), &OPTIONS);
    let elsewhere = Workspace::new();
    let deep = "d/".repeat(100) + "link";
    elsewhere.link(&deep, workspace.path("").into_os_string().into_encoded_bytes());
    let mut command = workspace.command(&arguments);
    assert_same(&workspace.outputs_of(command.current_dir(elsewhere.path(&deep))), "through a link");
}

#[test]
fn the_number_of_processors_does_not_matter() {
    if !is_installed("taskset") {
        return;
    }
    let workspace = plain();
    workspace.command(&workspace.arguments(&manifest(), &OPTIONS));
    let mut one = Command::new("taskset");
    one.args(["--cpu-list", "0", PYLAYER, "@flags"]).current_dir(workspace.path(""));
    assert_same(&workspace.outputs_of(&mut one), "one processor");
}

#[test]
fn the_number_of_threads_does_not_matter() {
    let workspace = plain();
    // A runfiles tree as Bazel creates it, with an absolute link for every file.
    for (exec, _) in files() {
        let runfile = [b"server.runfiles/_main/", &exec[..]].concat();
        workspace.link(runfile, workspace.path(&exec).into_os_string().into_encoded_bytes());
    }
    workspace.write("server", "#!/bin/sh");
    let pack = |jobs: &str| -> Vec<(String, Vec<u8>)> {
        let out = format!("packed {jobs}");
        let mut command = Command::new(PYLAYER);
        command.args(["pack", "--binary=server", "--layer-group=py=/py/", "--jobs", jobs, "--out", &out]);
        stdout(command.current_dir(workspace.path("")));
        let mut layers: Vec<_> = fs::read_dir(workspace.path(&out))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
            })
            .collect();
        layers.sort();
        layers
    };
    let one = pack("1");
    assert_eq!(one.len(), 2);
    for jobs in ["2", "7"] {
        assert!(pack(jobs) == one, "{jobs} threads");
    }
}

/// All inputs with their digests, as Bazel would send them.
fn inputs() -> Vec<(Vec<u8>, String)> {
    let files = files().into_iter().map(|(exec, content)| (exec, sha256(&content)));
    let declared = DECLARED.map(|(exec, text)| (exec.as_bytes().to_vec(), sha256(text.as_bytes())));
    files.chain(declared).collect()
}

fn take_outputs(workspace: &Workspace) -> Outputs {
    let outputs = Outputs::read(&workspace.path("out"));
    for output in OUTPUTS {
        fs::remove_file(workspace.path("out").join(output)).unwrap();
    }
    outputs
}

#[test]
fn a_worker_writes_what_a_process_writes() {
    let workspace = plain();
    let arguments = workspace.arguments(&manifest(), &OPTIONS);
    let mut worker = Worker::start(&workspace.path(""));
    let mut shuffled = inputs();
    shuffled.sort_by_key(|(exec, _)| sha256(exec));
    let half = inputs().into_iter().step_by(2).collect();
    let empty = inputs().into_iter().map(|(exec, _)| (exec, String::new())).collect();
    // First cold, then warm. Digests are opaque, so any text will do.
    let opaque = inputs().into_iter().map(|(exec, digest)| (exec, format!("blake3/{digest}"))).collect();
    for (id, inputs, what) in [
        (0, inputs(), "id 0, cold"),
        (0, inputs(), "id 0, warm"),
        (1, shuffled, "other order of inputs"),
        (-7, vec![], "no inputs"),
        (2, half, "half of the digests"),
        (3, empty, "empty digests"),
        (i32::MAX, opaque, "other digests"),
    ] {
        worker.succeed(&Work { id, inputs, arguments: arguments.clone(), ..Work::default() });
        assert_same(&take_outputs(&workspace), what);
    }
    worker.close();
}

#[test]
fn a_flagfile_reaches_a_worker_unexpanded() {
    let workspace = plain();
    workspace.command(&workspace.arguments(&manifest(), &OPTIONS));
    let mut worker = Worker::start(&workspace.path(""));
    for flagfile in ["@flags", "--flagfile=flags"] {
        worker.succeed(&Work { id: 1, arguments: vec![flagfile.to_string()], ..Work::default() });
        assert_same(&take_outputs(&workspace), flagfile);
    }
    worker.close();
}

#[test]
fn sandboxes_do_not_matter_however_many_there_are() {
    const SANDBOXES: i32 = 12;
    let exec_root = plain();
    let mut worker = Worker::start(&exec_root.path(""));
    let sandbox = |id: i32| format!("__sandbox/{id}/_main");
    for id in 1..=SANDBOXES {
        // A sandbox as Bazel creates it: links into the exec root, and declared symlinks with their own targets.
        let directory = sandbox(id);
        for (exec, _) in files() {
            let link = [format!("{directory}/").as_bytes(), &exec].concat();
            exec_root.link(link, exec_root.path(&exec).into_os_string().into_encoded_bytes());
        }
        for (exec, text) in DECLARED {
            exec_root.link(format!("{directory}/{exec}"), text);
        }
        exec_root.write(format!("{directory}/manifest"), manifest().text());
        fs::create_dir(exec_root.path(format!("{directory}/out"))).unwrap();
    }
    let arguments = exec_root.arguments(&manifest(), &OPTIONS);
    let settings = arguments.iter().find_map(|argument| argument.strip_prefix("--settings=")).unwrap();
    for id in 1..=SANDBOXES {
        fs::copy(exec_root.path(settings), exec_root.path(format!("{}/{settings}", sandbox(id)))).unwrap();
    }
    // Nothing may be read from or written to the exec root itself.
    fs::remove_file(exec_root.path("manifest")).unwrap();
    fs::remove_file(exec_root.path(settings)).unwrap();
    for id in 1..=SANDBOXES {
        let (arguments, sandbox_dir) = (arguments.clone(), sandbox(id));
        let inputs = if id % 3 == 0 { vec![] } else { inputs() };
        worker.send(&Work { id, arguments, inputs, sandbox_dir, ..Work::default() });
    }
    let mut answered: Vec<i32> = (0..SANDBOXES)
        .map(|_| {
            let response = worker.receive();
            assert_eq!((response.exit_code, &*response.output), (0, ""));
            response.request_id
        })
        .collect();
    answered.sort();
    assert_eq!(answered, (1..=SANDBOXES).collect::<Vec<_>>());
    for id in 1..=SANDBOXES {
        let out = exec_root.path(format!("{}/out", sandbox(id)));
        assert_same(&Outputs::read(&out), &sandbox(id));
        assert_eq!(fs::read_dir(out).unwrap().count(), OUTPUTS.len());
    }
    assert_eq!(exec_root.leftovers(), [] as [String; 0]);
    worker.close();
}

#[test]
fn a_warm_worker_sees_every_change() {
    let workspace = plain();
    let mut worker = Worker::start(&workspace.path(""));
    let mut files = files();
    let mut manifest = manifest();
    let mut options: Vec<&str> = OPTIONS.to_vec();
    // The steps are cumulative.
    for step in 0..9 {
        match step {
            0 => {}
            // The same size, for a small and a large file.
            1 => files[1].1[350_000] ^= 1,
            2 => files.iter_mut().find(|(exec, _)| exec == b"lib/3.py").unwrap().1[0] ^= 1,
            // Files swap their contents, so all digests are already cached.
            3 => {
                let (a, b) = (files[1].1.clone(), files[4].1.clone());
                (files[1].1, files[4].1) = (b, a);
            }
            4 => options.push("--uid=1000"),
            5 => options.push("--no-dedupe"),
            6 => options.push("--level=1"),
            7 => manifest = manifest.empty("app/new"),
            _ => options[2] = "--compress=zstd",
        }
        let mut inputs = Vec::new();
        for (exec, content) in &files {
            workspace.write(exec, content);
            inputs.push((exec.clone(), sha256(content)));
        }
        let expected = workspace.outputs(&manifest, &options);
        take_outputs(&workspace);
        let arguments = workspace.arguments(&manifest, &options);
        worker.succeed(&Work { id: step, inputs, arguments: arguments.clone(), ..Work::default() });
        assert!(take_outputs(&workspace) == expected, "step {step}");
        // Without digests, nothing may be cached.
        worker.succeed(&Work { id: step, arguments, ..Work::default() });
        assert!(take_outputs(&workspace) == expected, "step {step}, without digests");
    }
    worker.close();
}

#[test]
fn layers_of_all_codecs_at_once_do_not_disturb_each_other() {
    let exec_root = plain();
    let variants: Vec<Vec<&str>> = ["--compress=none", "--compress=gzip", "--compress=zstd"]
        .into_iter()
        .flat_map(|compress| [vec![compress], vec![compress, "--mtime=1"], vec![compress, "--uid=1"]])
        .collect();
    let expected: Vec<Outputs> =
        variants.iter().map(|options| exec_root.outputs(&manifest(), options)).collect();
    // Each request rewrites the manifest, so the previous one must be done before the worker reads it.
    let requests: Vec<Work> = (0..)
        .zip(&variants)
        .map(|(id, options)| {
            fs::create_dir(exec_root.path(format!("out{id}"))).unwrap();
            let arguments = exec_root.arguments(&manifest(), options).into_iter();
            let arguments =
                arguments.map(|argument| argument.replace("=out/", &format!("=out{id}/"))).collect();
            Work { id: id + 1, arguments, inputs: inputs(), ..Work::default() }
        })
        .collect();
    let mut worker = Worker::start(&exec_root.path(""));
    for request in &requests {
        worker.send(request);
    }
    for _ in &variants {
        assert_eq!(worker.receive().exit_code, 0);
    }
    for (id, expected) in expected.iter().enumerate() {
        let found = Outputs::read(&exec_root.path(format!("out{id}")));
        assert!(found == *expected, "{:?}", variants[id]);
    }
    worker.close();
}

/// A change of these digests is a change of every image; see CONTRIBUTING.md.
#[test]
fn the_bytes_of_layers_are_pinned() {
    let workspace = Workspace::new();
    let mut manifest = Manifest::new();
    for number in 0..400u64 {
        // Runs of small files, files with chunks of their own, and files of several parts.
        let size = match number % 40 {
            0 if number < 80 => 3_000_000,
            0 | 1 => 100_000,
            other => other * 97,
        };
        let exec = format!("in/{number}");
        workspace.write(&exec, noise(number, size as usize));
        manifest = manifest.file(format!("app/{}/{number}.py", number % 7), exec);
    }
    manifest = manifest.symlink("app/link", "1/1.py").empty("app/__init__.py");
    for (codec, digest) in [
        ("none", "f972844cbd651fdc1d134baa4ac85ff5b21c8f2dc72e80d632e93088d59ac58f"),
        ("gzip", "f3ea967fb620301156eae572821fcf057c0c759948f76e9116243d9e3fef0043"),
        ("zstd", "da8a06e9d10ad0042402ba53bd64deb496f87d696b1bad18a893b6cb70973928"),
    ] {
        let layer = workspace.outputs(&manifest, &[&format!("--compress={codec}")]).layer;
        assert_eq!(sha256(&layer), digest, "{codec}");
    }
}
