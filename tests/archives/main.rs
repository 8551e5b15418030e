//! Layers and images that other tools write, compared with what Python's tarfile reads; and those that the
//! program itself writes, compared with their listings.

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod images;
mod layers;
mod own;

use std::io::Read;
use std::path::Path;

use bazel_worker::Cancel;
use pylayer::archive::{Image, Layer, Problem, Source, Watch};
use pylayer::contents::Entry;

/// Reads a layer from memory.
fn layer(file: impl Read) -> Result<Layer, Problem> {
    let cancel = Cancel::new();
    Layer::read("layer", file, Watch { progress: &|_| (), cancel: &cancel })
}

/// The layers at a path, which is not the output of `inspect`.
fn layers_at(path: &Path, select: Option<&str>) -> Vec<Layer> {
    let cancel = Cancel::new();
    let source = Source::open(&[path.to_path_buf()], select).unwrap();
    match source.read(Watch { progress: &|_| (), cancel: &cancel }).unwrap() {
        Image::Layers { layers, .. } => layers,
        Image::Contents(_) => panic!("{} is not an image", path.display()),
    }
}

/// The entries without what depends on the compression.
fn entries(layer: &Layer) -> Vec<Entry> {
    layer.contents.entries.iter().map(|entry| Entry { compressed: 0, ..entry.clone() }).collect()
}
