//! Very many small layers in one output directory, written concurrently, and workers that are killed
//! while they write: every layer is correct, and no temporary file remains.
//!
//! Runs are short by default. To run longer:
//!
//! ```sh
//! PYLAYER_STRESS_REQUESTS=20000 PYLAYER_STRESS_IMAGES=1000 PYLAYER_STRESS_KILLS=200 \
//!     cargo test --release --test program stress:: -- --nocapture
//! ```
//!
//! `PYLAYER_STRESS_SEED` selects another sequence of events.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::worker::{Work, Worker};
use crate::support::{Manifest, Random, Workspace, noise, setting, sha256};
use rustix::process::Signal;
use serde_json::json;

/// The number of requests that Bazel sends to one multiplex worker by default.
const IN_FLIGHT: usize = 8;
/// The layers of an image.
const GROUPS: [&str; 4] = ["interpreter", "numpy", "packages", "default"];
const EXTENSIONS: [&str; 3] = ["tar.gz", "json", "mtree"];

/// Requests for the layers of small images, with their inputs on disk. All write to the same directory.
struct Images {
    workspace: Workspace,
    layers: Vec<Layer>,
}

struct Layer {
    arguments: Vec<String>,
    inputs: Vec<(Vec<u8>, String)>,
    /// The outputs of a one-shot process, in the order of [`EXTENSIONS`].
    expected: Vec<Vec<u8>>,
}

impl Images {
    fn new(count: usize) -> Images {
        let mut images = Images { workspace: Workspace::new(), layers: Vec::new() };
        for number in 0..count {
            images.add(number);
        }
        images
    }

    fn add(&mut self, number: usize) {
        let (mut manifest, mut inputs) = (Manifest::new(), Vec::new());
        for group in GROUPS {
            for file in 0..3 {
                let exec = format!("in/{number}/{group}/{file}");
                let content = noise((number + file) as u64, 500 + 20_000 * file * number);
                self.workspace.write(&exec, &content);
                manifest = manifest.file(format!("{group}/{file}"), &exec);
                inputs.push((exec.into_bytes(), sha256(&content)));
            }
        }
        let exec = format!("manifest-{number}");
        self.workspace.write(&exec, manifest.text());
        let groups = GROUPS[..3].iter();
        let groups: Vec<_> =
            groups.map(|group| json!({"name": group, "pattern": format!("^./{group}/")})).collect();
        let settings = self.workspace.settings_file(&json!({}));
        let groups = self.workspace.settings_file(&json!({"layer_groups": groups}));
        let arguments = vec![
            format!("--manifest={exec}"),
            format!("--settings={settings}"),
            format!("--groups={groups}"),
        ];
        inputs.push((exec.into_bytes(), sha256(&manifest.text())));
        for group in GROUPS {
            let arguments = [arguments.clone(), vec![format!("--layer={group}")]].concat();
            let mut layer = Layer { arguments, inputs: inputs.clone(), expected: Vec::new() };
            let process = self.workspace.command(&layer.arguments_for("expected")).output().unwrap();
            assert!(process.status.success(), "{}", String::from_utf8_lossy(&process.stderr));
            layer.expected.extend(self.take("expected").into_iter().flatten());
            self.layers.push(layer);
        }
    }

    fn worker(&self) -> Worker {
        Worker::start(&self.workspace.path(""))
    }

    /// A request for a layer whose outputs are named `name`.
    fn request(&self, id: usize, layer: usize, name: &str) -> Work {
        let layer = &self.layers[layer];
        Work { inputs: layer.inputs.clone(), ..Work::new(id as i32, layer.arguments_for(name)) }
    }

    /// Removes the outputs named `name`, and returns those that existed.
    fn take(&self, name: &str) -> [Option<Vec<u8>>; 3] {
        EXTENSIONS.map(|extension| {
            let path = self.workspace.path(format!("out/{name}.{extension}"));
            let content = fs::read(&path).ok()?;
            fs::remove_file(path).unwrap();
            Some(content)
        })
    }

    /// Removes and checks the outputs named `name`: all of them, or, if the worker was killed, those that exist.
    fn check(&self, layer: usize, name: &str, killed: bool) {
        for ((found, expected), extension) in
            self.take(name).into_iter().zip(&self.layers[layer].expected).zip(EXTENSIONS)
        {
            match found {
                Some(found) => assert!(found == *expected, "{name}.{extension} is wrong"),
                None => assert!(killed, "{name}.{extension} is not there"),
            }
        }
    }

    /// The temporary files in the output directory.
    fn temporary_files(&self) -> Vec<String> {
        let mut names = self.workspace.leftovers();
        names.retain(|name| name.starts_with(".pylayer-") && name.ends_with(".tmp"));
        names
    }
}

impl Layer {
    fn arguments_for(&self, name: &str) -> Vec<String> {
        let outputs = ["output", "descriptor", "listing"].into_iter().zip(EXTENSIONS);
        let outputs = outputs.map(|(option, extension)| format!("--{option}=out/{name}.{extension}"));
        self.arguments.iter().cloned().chain(outputs).collect()
    }
}

/// A worker and its unanswered requests. A request's ID is its index here, and the name of its outputs.
struct Session<'a> {
    images: &'a Images,
    worker: Worker,
    /// The layer of each request.
    pending: [Option<usize>; IN_FLIGHT],
}

impl Session<'_> {
    fn begin(images: &Images) -> Session<'_> {
        Session { images, worker: images.worker(), pending: [None; IN_FLIGHT] }
    }

    /// Requests a layer. First waits for a response if too many requests are pending.
    fn send(&mut self, layer: usize) {
        let id = match self.pending.iter().position(Option::is_none) {
            Some(id) => id,
            None => self.receive(),
        };
        self.worker.send(&self.images.request(id, layer, &id.to_string()));
        self.pending[id] = Some(layer);
    }

    /// Waits for a response and checks the layer. Returns the ID.
    fn receive(&mut self) -> usize {
        let response = self.worker.receive();
        assert_eq!((response.exit_code, &*response.output), (0, ""));
        let id = response.request_id as usize;
        let layer = self.pending[id].take().expect("the id of a request");
        self.images.check(layer, &id.to_string(), false);
        id
    }

    fn receive_all(&mut self) {
        while self.pending.iter().any(Option::is_some) {
            self.receive();
        }
    }

    /// Ends the worker, and checks that it leaves no files.
    fn close(mut self) {
        self.receive_all();
        self.worker.close();
        assert_eq!(self.images.workspace.leftovers(), [] as [String; 0]);
    }

    /// Kills the worker. Outputs that exist must be complete.
    fn kill(mut self) {
        self.worker.signal(Signal::KILL);
        while let Some(response) = self.worker.receive_or_end() {
            assert_eq!((response.exit_code, &*response.output), (0, ""));
        }
        self.worker.end();
        for (id, layer) in self.pending.into_iter().enumerate() {
            if let Some(layer) = layer {
                self.images.check(layer, &id.to_string(), true);
            }
        }
    }
}

fn random() -> Random {
    Random(setting("PYLAYER_STRESS_SEED", 1))
}

#[test]
fn many_layers_at_once_in_one_directory_are_all_right() {
    let requests = setting("PYLAYER_STRESS_REQUESTS", 500);
    let images = Images::new(4);
    let (mut random, mut session) = (random(), Session::begin(&images));
    let start = Instant::now();
    for _ in 0..requests {
        session.send(random.below(images.layers.len() as u64) as usize);
    }
    session.close();
    println!("{requests} layers, {IN_FLIGHT} at a time: {:?}", start.elapsed());
}

#[test]
fn all_layers_of_an_image_at_once_are_right() {
    let count = setting("PYLAYER_STRESS_IMAGES", 100);
    let images = Images::new(1);
    let mut session = Session::begin(&images);
    let start = Instant::now();
    for _ in 0..count {
        (0..GROUPS.len()).for_each(|layer| session.send(layer));
        session.receive_all();
    }
    session.close();
    println!("{count} images of {} layers: {:?}", GROUPS.len(), start.elapsed());
}

#[test]
fn killed_workers_leave_no_temporary_files() {
    let kills = setting("PYLAYER_STRESS_KILLS", 10);
    let images = Images::new(4);
    let mut random = random();
    let mut abandoned = 0;
    for _ in 0..kills {
        let mut session = Session::begin(&images);
        // Any moment will do: while the worker starts, while it writes, or afterwards.
        let answers = random.below(2 * IN_FLIGHT as u64);
        for _ in 0..IN_FLIGHT {
            session.send(random.below(images.layers.len() as u64) as usize);
        }
        for _ in 0..answers {
            let id = session.receive();
            session.send(id);
        }
        std::thread::sleep(Duration::from_micros(random.below(20_000)));
        session.kill();
        abandoned = abandoned.max(images.temporary_files().len());
    }
    println!("{kills} workers killed, with up to {abandoned} temporary files abandoned");
    let mut session = Session::begin(&images);
    session.send(0);
    session.close();
}
