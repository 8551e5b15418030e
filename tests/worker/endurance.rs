//! A long-running worker: concurrent requests for many layers, mixed with edits, cancellations and faults.
//! Every response is compared with a one-shot run of the same request. Memory, descriptors and threads must
//! not grow.
//!
//! Runs are short by default. The long run, whose last result is in `docs/dev/endurance.md`:
//!
//! ```sh
//! PYLAYER_ENDURANCE_REQUESTS=20000 cargo test --release --test worker endurance:: -- --nocapture
//! ```
//!
//! `PYLAYER_ENDURANCE_SEED` selects another sequence of events.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use crate::support::worker::{Work, WorkResponse, Worker};
use crate::support::{self, Manifest, Outputs, PYLAYER, Random, Workspace, noise, setting, sha256};

/// Less than all layers need, so that chunks are evicted all the time.
const CACHE_MIB: u64 = 4;
/// The number of requests that Bazel sends to one multiplex worker by default.
const IN_FLIGHT: u64 = 8;
/// How often the resource usage of the process is sampled.
const SAMPLES: usize = 20;
/// Without a leak, memory grows by less: the caches are far from full at the end of a run, and the allocator keeps
/// more memory on a busy machine.
const FLUCTUATION_KIB: u64 = 16 << 10;
/// The cache of chunks, the chunks in flight of layers of a few megabytes, and the other caches.
const MAX_RESIDENT_KIB: u64 = 100 << 10;

/// A layer, its inputs on disk, and the result of a one-shot run.
struct Layer {
    workspace: Workspace,
    options: Vec<&'static str>,
    /// Exec path to digest.
    files: BTreeMap<String, String>,
    expected: Option<Outputs>,
    busy: bool,
}

impl Layer {
    fn new(top: &Workspace, random: &mut Random) -> Layer {
        let codecs = [
            &["--compress=gzip"][..],
            &["--compress=gzip", "--level=1"],
            &["--compress=zstd"],
            &["--compress=none", "--mode=detect"],
        ];
        let mut layer = Layer {
            workspace: Workspace::below(&top.path("")),
            options: random.pick(&codecs).to_vec(),
            files: BTreeMap::new(),
            expected: None,
            busy: false,
        };
        for _ in 0..3 + random.below(15) {
            layer.put(random);
        }
        layer
    }

    /// Writes a file, which is new or has different content than before.
    fn put(&mut self, random: &mut Random) {
        let directory = random.pick(&["in", "in/sub", "tree", "tree/sub"]);
        let name = format!("{directory}/{}", random.below(30));
        let size = if random.one_in(30) { 250_000 + random.below(1_500_000) } else { random.below(20_000) };
        // Few different contents, so that layers share some.
        let content = noise(random.below(500), size as usize);
        self.workspace.write(&name, &content);
        self.files.insert(name, sha256(&content));
        self.expected = None;
    }

    fn remove(&mut self, random: &mut Random) {
        let names: Vec<_> = self.files.keys().cloned().collect();
        // A tree that exists has at least one file.
        if let Some(name) = names.get(random.below(names.len() as u64 + 1) as usize)
            && names.len() > 1
        {
            fs::remove_file(self.workspace.path(name)).unwrap();
            self.files.remove(name);
            self.expected = None;
        }
    }

    fn manifest(&self) -> Manifest {
        let files = self.files.keys().filter(|name| name.starts_with("in/"));
        let manifest =
            files.fold(Manifest::new(), |manifest, name| manifest.file(format!("app/{name}"), name));
        let manifest = manifest.empty("app/__init__.py").symlink("app/link", "in/1");
        fs::create_dir_all(self.workspace.path("tree")).unwrap();
        manifest.tree("app/tree", "tree")
    }

    /// A request for the layer, with digests for a random subset of the inputs.
    fn request(&self, id: i32, manifest: &Manifest, random: &mut Random) -> Work {
        let arguments = self.workspace.arguments(manifest, &self.options);
        let mut inputs: Vec<_> =
            self.files.iter().map(|(name, digest)| (name.clone().into_bytes(), digest.clone())).collect();
        inputs.push((b"manifest".to_vec(), sha256(&manifest.text())));
        match random.below(8) {
            0 => inputs.clear(),
            1 => inputs.retain(|_| random.one_in(2)),
            _ => {}
        }
        let directory = self.workspace.path("");
        let sandbox_dir = directory.file_name().unwrap().to_str().unwrap().to_string();
        Work { id, arguments, inputs, sandbox_dir, ..Work::default() }
    }

    /// Removes what a worker has written, and compares it with what a one-shot process writes.
    fn check(&mut self) {
        let written = Outputs::read(&self.workspace.path("out"));
        self.workspace.remove_outputs();
        if self.expected.is_none() {
            self.expected = Some(self.workspace.outputs(&self.manifest(), &self.options));
            self.workspace.remove_outputs();
        }
        assert!(self.expected.as_ref() == Some(&written));
    }
}

/// The fault of a request, if any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    None,
    /// A missing input.
    MissingInput,
    Argument,
    Pattern,
    Manifest,
    OutputDirectory,
}

impl Fault {
    /// What the response contains.
    fn message(&self) -> &'static str {
        match self {
            Fault::None => "",
            Fault::MissingInput => {
                "/no/such: No such file or directory (os error 2); is it an input of the action?\n"
            }
            Fault::Argument => "pylayer: unknown argument \"--colour\"; ",
            Fault::Pattern => {
                "pylayer: the pattern of layer group \"x\", \"(\" is not a valid regular expression: "
            }
            Fault::Manifest => "pylayer: line 1 of the manifest is malformed: \"?\"; ",
            Fault::OutputDirectory => "/nowhere/layer: No such file or directory (os error 2)\n",
        }
    }
}

/// A pending request.
struct Pending {
    layer: usize,
    fault: Fault,
    cancelled: bool,
}

/// The resource usage of an idle process.
#[derive(Debug)]
struct Sample {
    requests: usize,
    rss_kib: u64,
    descriptors: usize,
    threads: u64,
}

impl Sample {
    fn of(pid: u32, requests: usize) -> Sample {
        // The thread of the last response may still be ending.
        crate::support::wait_for("the end of all threads of requests", || {
            (!thread_names(pid).contains(&"request".to_string())).then_some(())
        });
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        Sample { requests, rss_kib: status(pid, "VmRSS"), descriptors, threads: status(pid, "Threads") }
    }
}

/// The names of all threads of a process.
fn thread_names(pid: u32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread that has ended in the meantime has no name.
    let names = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).ok());
    names.map(|name| name.trim_end().to_string()).collect()
}

/// A number from `/proc/PID/status`; sizes are in KiB.
fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A worker with its pending requests.
struct Life {
    top: Workspace,
    layers: Vec<Layer>,
    worker: Worker,
    pending: BTreeMap<i32, Pending>,
    random: Random,
    next_id: i32,
    counts: BTreeMap<String, usize>,
}

impl Life {
    fn begin(layers: usize, seed: u64) -> Life {
        let (top, mut random) = (Workspace::new(), Random(seed));
        let layers = (0..layers).map(|_| Layer::new(&top, &mut random)).collect();
        let mut command = Command::new(PYLAYER);
        command.args(["--persistent_worker", &format!("--cache_mib={CACHE_MIB}")]);
        let worker = Worker::spawn(command.current_dir(top.path("")));
        Life { top, layers, worker, pending: BTreeMap::new(), random, next_id: 1, counts: BTreeMap::new() }
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    /// Sends a request for a layer that has no pending request.
    fn send(&mut self) {
        let random = &mut self.random;
        let idle: Vec<_> = (0..self.layers.len()).filter(|&index| !self.layers[index].busy).collect();
        let index = *random.pick(&idle);
        let layer = &mut self.layers[index];
        let edits = if random.one_in(8) { 1 + random.below(3) } else { 0 };
        for _ in 0..edits {
            if random.one_in(3) { layer.remove(random) } else { layer.put(random) }
        }
        let fault = match random.below(40) {
            0 => Fault::MissingInput,
            1 => Fault::Argument,
            2 => Fault::Pattern,
            3 => Fault::Manifest,
            4 => Fault::OutputDirectory,
            _ => Fault::None,
        };
        let manifest = match fault {
            Fault::MissingInput => layer.manifest().file("z", "no/such"),
            Fault::Manifest => Manifest::new().line("?", &[]).and(layer.manifest()),
            _ => layer.manifest(),
        };
        let mut work = layer.request(self.next_id, &manifest, random);
        match fault {
            Fault::Argument => work.arguments.push("--colour=red".to_string()),
            Fault::Pattern => {
                let (_, groups, _) = support::settings(&["--layer-group=x=("]);
                let groups = format!("--groups={}", layer.workspace.settings_file(&groups));
                work.arguments.retain(|argument| !argument.starts_with("--groups="));
                work.arguments.push(groups);
            }
            Fault::OutputDirectory => {
                let elsewhere = |argument: &String| argument.replace("--output=out/", "--output=nowhere/");
                work.arguments = work.arguments.iter().map(elsewhere).collect();
            }
            _ => {}
        }
        layer.busy = true;
        self.worker.send(&work);
        self.pending.insert(work.id, Pending { layer: index, fault, cancelled: false });
        // IDs start over with each build.
        self.next_id = if self.pending.len() == 1 && self.random.one_in(50) { 1 } else { self.next_id + 1 };
        while self.pending.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        if edits > 0 {
            self.count("edited layers");
        }
    }

    fn cancel(&mut self) {
        let ids: Vec<_> = self.pending.keys().copied().collect();
        let id = match self.random.below(4) {
            0 => self.random.below(1000) as i32 - 10,
            _ => *self.random.pick(&ids),
        };
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.cancelled = true;
        }
        self.worker.cancel(id);
        self.count("cancellations sent");
    }

    /// Waits for a response and checks it.
    fn receive(&mut self) {
        let response = self.worker.receive();
        let pending = self.pending.remove(&response.request_id).expect("the id of a request");
        let layer = &mut self.layers[pending.layer];
        layer.busy = false;
        let WorkResponse { exit_code, output, was_cancelled, .. } = response;
        let outcome = if was_cancelled {
            assert!(pending.cancelled);
            // Some cancellations come too late, and those layers are complete. The others have left nothing.
            if layer.workspace.leftovers().is_empty() {
                "cancelled"
            } else {
                layer.check();
                "written all the same"
            }
        } else if pending.fault == Fault::None {
            assert_eq!((exit_code, &*output), (0, ""));
            layer.check();
            "written"
        } else {
            assert_eq!(exit_code, 1, "{:?}", pending.fault);
            assert!(output.contains(pending.fault.message()), "{output}");
            "failed"
        };
        assert_eq!(layer.workspace.leftovers(), [] as [String; 0], "{:?} {outcome}", pending.fault);
        self.count(outcome);
    }

    fn finish_all(&mut self) {
        while !self.pending.is_empty() {
            self.receive();
        }
    }
}

#[test]
fn every_answer_is_right_and_nothing_grows() {
    let requests = setting("PYLAYER_ENDURANCE_REQUESTS", 500) as usize;
    let start = Instant::now();
    let mut life = Life::begin((requests / 20).min(200), setting("PYLAYER_ENDURANCE_SEED", 1));
    let mut samples: Vec<Sample> = Vec::new();
    for number in 1..=requests {
        life.send();
        if life.random.one_in(12) {
            life.cancel();
        }
        while life.pending.len() as u64 > life.random.below(IN_FLIGHT) {
            life.receive();
        }
        if number % (requests / SAMPLES) == 0 {
            life.finish_all();
            samples.push(Sample::of(life.worker.pid(), number));
        }
    }
    let peak_kib = status(life.worker.pid(), "VmHWM");
    println!("{requests} requests, {} layers, {:?}: {:?}", life.layers.len(), start.elapsed(), life.counts);
    for Sample { requests, rss_kib, descriptors, threads } in &samples {
        println!("after {requests:6}: {:4} MiB, {descriptors} descriptors, {threads} threads", rss_kib >> 10);
    }
    println!("peak: {} MiB", peak_kib >> 10);

    let first = &samples[0];
    for sample in &samples {
        assert_eq!(sample.descriptors, first.descriptors, "{sample:?}");
        assert_eq!(sample.threads, first.threads, "{sample:?}");
    }
    let resident = |samples: &[Sample]| samples.iter().map(|sample| sample.rss_kib).max().unwrap();
    let (early, late) = (resident(&samples[..SAMPLES / 2]), resident(&samples[SAMPLES / 2..]));
    assert!(late < early + FLUCTUATION_KIB, "{early} KiB, later {late} KiB");
    assert!(peak_kib < MAX_RESIDENT_KIB, "{peak_kib} KiB");
    life.worker.close();
    drop(life.top);
}
