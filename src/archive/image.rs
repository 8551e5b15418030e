//! Paths on disk → the layers of an image.
//!
//! A path is a layer; a directory of layers; an image as an OCI layout (image-spec, `image-layout.md`) or as
//! `docker save` writes it, in a directory or in a tar; or the output of `pylayer inspect --json`. What it
//! is depends on its content, not on its name.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::compressed::Watch;
use super::layer::Layer;
use super::oci::{Config, Descriptor, Index, Manifest, Platform, Referent, SavedImage};
use super::problem::{Error, Problem};
use super::store::{Blob, Store};
use crate::contents::{ImageContents, LayerContents, SCHEMA};
use crate::groups::{DEFAULT_GROUP, image_order};
use crate::show::{hex, show, show_path};

/// The option that chooses one of several images, for messages.
pub const SELECT: &str = "--select";
/// The maximum number of images in an index and the indexes in it. Few have more than a dozen.
pub const MAX_IMAGES: usize = 1000;
/// The maximum depth of indexes in indexes. Tools write one in `index.json`.
const MAX_DEPTH: usize = 8;
/// How many images a message lists.
const MAX_CHOICES: usize = 20;
/// File extensions of layers.
const EXTENSIONS: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];
/// The files that make a directory or a tar an OCI layout.
const OCI_LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";
/// The file that `docker save` writes.
const SAVED: &str = "manifest.json";

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// From layers.
    Layers {
        /// The paths that were read.
        name: String,
        /// From bottom to top. Names are unique.
        layers: Vec<Layer>,
    },
    /// From the output of `pylayer inspect --json`.
    Contents(Box<ImageContents>),
}

/// What is to be read: manifests have been, layers have not.
#[derive(Debug)]
pub struct Source {
    /// The paths.
    name: String,
    parts: Parts,
}

#[derive(Debug)]
enum Parts {
    Layers(Vec<LayerSource>),
    Contents(Box<ImageContents>),
}

/// A layer that is to be read.
#[derive(Debug)]
struct LayerSource {
    name: String,
    blob: Blob,
    media_type: Option<String>,
    /// What the image says its digest is.
    digest: Option<String>,
    diff_id: Option<String>,
    /// Whether it may in fact be an image, compressed as a whole.
    is_file: bool,
}

impl LayerSource {
    fn file(path: &Path) -> Result<LayerSource, Error> {
        let file_name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Ok(LayerSource {
            is_file: true,
            ..LayerSource::new(layer_name(&file_name).to_string(), Blob::whole(path)?)
        })
    }

    fn new(name: String, blob: Blob) -> LayerSource {
        LayerSource { name, blob, media_type: None, digest: None, diff_id: None, is_file: false }
    }

    fn read(&self, watch: Watch) -> Result<Layer, Error> {
        let mut layer =
            self.read_unchecked(watch).map_err(|problem| Error::new(self.blob.show(), problem))?;
        if let Some(media_type) = &self.media_type {
            layer.contents.media_type = media_type.clone();
        }
        Ok(layer)
    }

    fn read_unchecked(&self, watch: Watch) -> Result<Layer, Problem> {
        let layer = Layer::read(&self.name, self.blob.open()?, watch)?;
        let contents = &layer.contents;
        if let Some(expected) = self.digest.as_ref().filter(|digest| **digest != contents.digest) {
            let (found, expected) = (contents.digest.clone(), show(expected.as_bytes()));
            return Err(Problem::Digest { of: self.name.clone(), found, expected });
        }
        if let Some(expected) = self.diff_id.as_ref().filter(|diff_id| **diff_id != contents.diff_id) {
            let (found, expected) = (contents.diff_id.clone(), show(expected.as_bytes()));
            return Err(Problem::DiffId { of: self.name.clone(), found, expected });
        }
        if self.is_file && is_image(contents) {
            return Err(Problem::CompressedImage);
        }
        Ok(layer)
    }
}

/// Whether what was read as a layer is the archive of an image.
fn is_image(layer: &LayerContents) -> bool {
    let has = |path: &str| layer.entries.iter().any(|entry| entry.path == path.as_bytes());
    let has_layers = || {
        layer
            .entries
            .iter()
            .any(|entry| entry.path.starts_with(b"blobs/sha256/") || entry.path.ends_with(b".tar"))
    };
    has(OCI_LAYOUT) && has(INDEX) || has(SAVED) && has_layers()
}

impl Source {
    /// Finds out what `paths` are, and what layers they have; those of several paths are stacked from bottom
    /// to top. `select` is the platform (`linux/arm64`), tag or digest of one of several images.
    ///
    /// # Errors
    /// If a path is none of the above, or an image is incomplete, or there are several and `select` is not
    /// one of them.
    pub fn open(paths: &[PathBuf], select: Option<&str>) -> Result<Source, Error> {
        let names: Vec<String> = paths.iter().map(show_path).collect();
        let name = names.join(", ");
        let mut layers = Vec::new();
        for path in paths {
            match find(path, select)? {
                Parts::Layers(more) => layers.extend(more),
                parts if paths.len() == 1 => return Ok(Source { name, parts }),
                Parts::Contents(_) => return Err(Error::new(show_path(path), Problem::ContentsAmongOthers)),
            }
        }
        make_names_unique(&mut layers);
        Ok(Source { name, parts: Parts::Layers(layers) })
    }

    /// Layers with these names, whatever their files look like, from bottom to top.
    ///
    /// # Errors
    /// If a file cannot be accessed.
    pub fn layers(layers: Vec<(String, PathBuf)>) -> Result<Source, Error> {
        let source = |(name, path): (String, PathBuf)| {
            Ok(LayerSource { name, is_file: false, ..LayerSource::file(&path)? })
        };
        let layers = layers.into_iter().map(source).collect::<Result<_, Error>>()?;
        Ok(Source { name: String::new(), parts: Parts::Layers(layers) })
    }

    /// How many bytes [`Source::read`] reads, for an indication of progress.
    pub fn total_bytes(&self) -> u64 {
        match &self.parts {
            Parts::Layers(layers) => layers.iter().map(|layer| layer.blob.size).sum(),
            Parts::Contents(_) => 0,
        }
    }

    /// Reads the layers, as many at a time as there are processors.
    ///
    /// # Errors
    /// If a layer cannot be read, or its digests are not those in the image. If several cannot, the error is
    /// that of the lowest.
    pub fn read(self, watch: Watch) -> Result<Image, Error> {
        match self.parts {
            Parts::Layers(layers) => Ok(Image::Layers { name: self.name, layers: read_all(&layers, watch)? }),
            Parts::Contents(contents) => Ok(Image::Contents(contents)),
        }
    }
}

fn read_all(sources: &[LayerSource], watch: Watch) -> Result<Vec<Layer>, Error> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        // After an error, layers below are finished, and no more are begun.
        while let Some((number, source)) = take(&next, sources) {
            let result = source.read(watch);
            if result.is_err() {
                next.store(sources.len(), Ordering::Relaxed);
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(sources.len());
    std::thread::scope(|scope| {
        for number in 1..threads {
            let thread = std::thread::Builder::new().name(format!("layer-{number}"));
            // If there are no more threads, those that there are do the work.
            let _ = thread.spawn_scoped(scope, work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Takes the next source, and its number.
fn take<'a>(next: &AtomicUsize, sources: &'a [LayerSource]) -> Option<(usize, &'a LayerSource)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, sources.get(number)?))
}

/// Adds a number to each name that an earlier layer has.
fn make_names_unique(layers: &mut [LayerSource]) {
    let mut names = HashSet::new();
    for layer in layers {
        let mut name = layer.name.clone();
        let mut number = 1;
        while !names.insert(name.clone()) {
            number += 1;
            name = format!("{} ({number})", layer.name);
        }
        layer.name = name;
    }
}

/// The name of a layer's file without its extension.
fn layer_name(file_name: &str) -> &str {
    let names = EXTENSIONS.iter().filter_map(|extension| file_name.strip_suffix(extension));
    names.min_by_key(|name| name.len()).filter(|name| !name.is_empty()).unwrap_or(file_name)
}

/// What is at a path.
fn find(path: &Path, select: Option<&str>) -> Result<Parts, Error> {
    let error = |problem: Problem| Error::new(show_path(path), problem);
    let metadata = fs::metadata(path).map_err(|cause| error(Problem::Read(cause)))?;
    let (store, is_directory) = if metadata.is_dir() {
        (Some(Store::Directory(path.to_path_buf())), true)
    } else if metadata.is_file() {
        (Store::archive(path).map_err(error)?, false)
    } else {
        return Err(error(Problem::NotAFile));
    };
    let image = match &store {
        Some(store) => image_layers(store, select)?,
        None if is_json(path).map_err(error)? => {
            if select.is_some() {
                return Err(error(Problem::NothingToSelect));
            }
            return contents(path).map(|contents| Parts::Contents(Box::new(contents))).map_err(error);
        }
        None => None,
    };
    match image {
        None if select.is_some() => Err(error(Problem::NothingToSelect)),
        Some(layers) => Ok(Parts::Layers(layers)),
        None if is_directory => layers_in(path).map(Parts::Layers),
        None => Ok(Parts::Layers(vec![LayerSource::file(path)?])),
    }
}

/// Whether the first character of a file is that of a JSON object.
fn is_json(path: &Path) -> Result<bool, Problem> {
    let mut start = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut start)?;
    Ok(start.trim_ascii_start().starts_with(b"{"))
}

/// Reads the output of `pylayer inspect --json`. The result takes about as much memory as the file.
fn contents(path: &Path) -> Result<ImageContents, Problem> {
    /// The part that all versions have in common.
    #[derive(serde::Deserialize)]
    struct Versioned {
        schema: String,
    }
    let json = fs::read(path)?;
    let malformed = |error: serde_json::Error| Problem::Contents(error.to_string());
    let Versioned { schema } = serde_json::from_slice(&json).map_err(malformed)?;
    if schema != SCHEMA {
        return Err(Problem::Schema(schema));
    }
    let contents: ImageContents = serde_json::from_slice(&json).map_err(malformed)?;
    let entries = contents.layers.iter().flat_map(|layer| &layer.entries);
    match entries.map(|entry| entry.component).max() {
        Some(component) if component >= contents.components.len() => {
            Err(Problem::Contents(format!("there is no component {component}")))
        }
        _ => Ok(contents),
    }
}

/// The layers that are files of a directory, in image order as far as the names tell, or else by name.
fn layers_in(directory: &Path) -> Result<Vec<LayerSource>, Error> {
    let error = |cause| Error::new(show_path(directory), Problem::Read(cause));
    let mut layers = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if layer_name(&name) != name && path.is_file() {
            layers.push(LayerSource::file(&path)?);
        }
    }
    if layers.is_empty() {
        return Err(Error::new(show_path(directory), Problem::NoLayers));
    }
    layers
        .sort_by(|a, b| split_number(&a.name).cmp(&split_number(&b.name)).then_with(|| a.name.cmp(&b.name)));
    let groups: Vec<String> = layers.iter().map(|layer| group(&layer.name).to_string()).collect();
    let order = image_order(groups.iter().map(String::as_str).collect());
    layers.sort_by_key(|layer| order.iter().position(|other| *other == group(&layer.name)));
    Ok(layers)
}

/// Splits the number from the name of a layer of a group that has several: `packages_2`.
fn split_number(name: &str) -> (&str, u32) {
    let numbered = name.rsplit_once('_').and_then(|(group, number)| Some((group, number.parse().ok()?)));
    numbered.unwrap_or((name, 0))
}

/// The default group whose layer this is, also with the name of a target before it (`layers_default`), or
/// else its own name.
fn group(name: &str) -> &str {
    let (name, _) = split_number(name);
    let is_layer_of =
        |group: &&str| name.strip_suffix(group).is_some_and(|start| start.is_empty() || start.ends_with('_'));
    ["interpreter", "packages", DEFAULT_GROUP].into_iter().find(is_layer_of).unwrap_or(name)
}

/// The layers of the image in a directory or tar, if there is an image.
fn image_layers(store: &Store, select: Option<&str>) -> Result<Option<Vec<LayerSource>>, Error> {
    // Docker writes both. Only the OCI layout has digests.
    if store.find(OCI_LAYOUT)?.is_some() && store.find(INDEX)?.is_some() {
        return oci_layers(store, select).map(Some);
    }
    if store.find(SAVED)?.is_none() {
        return Ok(None);
    }
    let Ok(json) = store.json_bytes(SAVED) else { return Ok(None) };
    match serde_json::from_slice::<Vec<SavedImage>>(&json) {
        Ok(images) => saved_layers(store, images, select).map(Some),
        // Another file of this name, in a layer or in a directory of layers.
        Err(_) => Ok(None),
    }
}

/// An image that can be selected.
#[derive(Debug, Clone)]
struct Candidate<T> {
    image: T,
    platform: Option<Platform>,
    tags: Vec<String>,
    digest: String,
}

impl<T> Candidate<T> {
    fn is(&self, select: &str) -> bool {
        self.platform.as_ref().is_some_and(|platform| platform.is(select))
            || self.tags.iter().any(|tag| tag == select)
            || self.digest == select
    }

    /// What selects it.
    fn labels(&self) -> impl Iterator<Item = String> {
        let platform = self.platform.as_ref().map(Platform::to_string);
        let digest = show(self.digest.as_bytes());
        platform.into_iter().chain(self.tags.iter().map(|tag| show(tag.as_bytes()))).chain([digest])
    }
}

/// The only candidate, or the selected one.
fn choose<T>(store: &Store, candidates: Vec<Candidate<T>>, select: Option<&str>) -> Result<T, Error> {
    let choices = choices(&candidates);
    let is_selected = |candidate: &Candidate<T>| select.is_none_or(|select| candidate.is(select));
    let mut selected: Vec<Candidate<T>> = candidates.into_iter().filter(is_selected).collect();
    let problem = match (selected.pop(), select) {
        (Some(only), _) if selected.is_empty() => return Ok(only.image),
        (Some(last), _) => {
            selected.push(last);
            let choices = self::choices(&selected);
            let first = choices.first().cloned().unwrap_or_default();
            Problem::Several(list(&choices), first)
        }
        (None, Some(select)) if !choices.is_empty() => {
            Problem::NoSuchImage { select: select.to_string(), choices: list(&choices) }
        }
        (None, _) => Problem::NoImage,
    };
    Err(Error::new(store.show(), problem))
}

/// For each candidate, the first label that no other has, or else its digest.
fn choices<T>(candidates: &[Candidate<T>]) -> Vec<String> {
    let shown = &candidates[..candidates.len().min(MAX_CHOICES)];
    let label = |candidate: &Candidate<T>| {
        let is_unique = |label: &String| {
            candidates.iter().filter(|other| other.labels().any(|l| l == *label)).count() == 1
        };
        candidate.labels().find(is_unique).unwrap_or_else(|| show(candidate.digest.as_bytes()))
    };
    shown.iter().map(label).collect()
}

fn list(choices: &[String]) -> String {
    let more = if choices.len() == MAX_CHOICES { ", …" } else { "" };
    choices.join(", ") + more
}

/// The layers of an OCI layout.
fn oci_layers(store: &Store, select: Option<&str>) -> Result<Vec<LayerSource>, Error> {
    let index: Index = store.parse(INDEX, &store.json_bytes(INDEX)?)?;
    let mut images = Images { store, found: Vec::new(), descriptors: 0 };
    images.add(index, None, 0)?;
    let mut found = images.found;
    // Docker keeps the indexes of images of which only one platform was pulled.
    let is_present = |candidate: &Candidate<Descriptor>| is_present(store, &candidate.image);
    if found.iter().any(is_present) {
        found.retain(is_present);
    }
    let descriptor = choose(store, found, select)?;
    let manifest: Manifest = verified(store, &descriptor)?;
    let config: Config = verified(store, &manifest.config)?;
    let mut layers = Vec::new();
    for (index, descriptor) in manifest.layers.iter().enumerate() {
        let name = format!("layer {}", index + 1);
        let digits = descriptor.check_layer(&name).and_then(|()| descriptor.sha256());
        let digits = digits.map_err(|problem| Error::new(store.show(), problem))?;
        let (media_type, digest) = (Some(descriptor.media_type.clone()), Some(descriptor.digest.clone()));
        let blob = store.get(&blob_path(digits))?;
        layers.push(LayerSource { media_type, digest, ..LayerSource::new(name, blob) });
    }
    set_diff_ids(store, &mut layers, config)?;
    Ok(layers)
}

/// Where an OCI layout has a blob.
fn blob_path(digits: &str) -> String {
    format!("blobs/sha256/{digits}")
}

/// The images of an index, and of the indexes in it.
struct Images<'a> {
    store: &'a Store,
    found: Vec<Candidate<Descriptor>>,
    /// How many descriptors there were.
    descriptors: usize,
}

impl Images<'_> {
    /// Adds those of `index`, which has `tag`, and is in `depth` other indexes.
    fn add(&mut self, index: Index, tag: Option<&str>, depth: usize) -> Result<(), Error> {
        for descriptor in index.manifests {
            self.descriptors += 1;
            if self.descriptors > MAX_IMAGES || depth > MAX_DEPTH {
                return Err(Error::new(self.store.show(), Problem::Images));
            }
            let tag = descriptor.tag().or(tag);
            match descriptor.referent() {
                Referent::Other => {}
                Referent::Manifest => self.add_image(&descriptor, tag),
                Referent::Index => {
                    let index = verified(self.store, &descriptor)?;
                    self.add(index, tag, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn add_image(&mut self, descriptor: &Descriptor, tag: Option<&str>) {
        let tags = tag.map(str::to_string);
        match self.found.iter_mut().find(|other| other.digest == descriptor.digest) {
            // Docker lists an image once for each of its tags.
            Some(other) => other.tags.extend(tags),
            None => self.found.push(Candidate {
                platform: descriptor.platform.clone(),
                tags: tags.into_iter().collect(),
                digest: descriptor.digest.clone(),
                image: descriptor.clone(),
            }),
        }
    }
}

/// Whether an OCI layout has the blob.
fn is_present(store: &Store, descriptor: &Descriptor) -> bool {
    let blob = descriptor.sha256().ok().and_then(|digits| store.find(&blob_path(digits)).ok());
    blob.flatten().is_some()
}

/// The JSON that a descriptor refers to, if it has the descriptor's digest.
fn verified<T: serde::de::DeserializeOwned>(store: &Store, descriptor: &Descriptor) -> Result<T, Error> {
    let digits = descriptor.sha256().map_err(|problem| Error::new(store.show(), problem))?;
    let path = blob_path(digits);
    let json = store.json_bytes(&path)?;
    let found = hex(&Sha256::digest(&json));
    if found != digits {
        let (found, expected) = (format!("sha256:{found}"), descriptor.digest.clone());
        return Err(Error::new(store.show(), Problem::Digest { of: path, found, expected }));
    }
    store.parse(&path, &json)
}

/// The layers that `docker save` wrote.
fn saved_layers(
    store: &Store,
    images: Vec<SavedImage>,
    select: Option<&str>,
) -> Result<Vec<LayerSource>, Error> {
    let candidates = images.into_iter().map(|image| Candidate {
        platform: None,
        tags: image.repo_tags.clone().unwrap_or_default(),
        digest: image.config.clone(),
        image,
    });
    let image = choose(store, candidates.collect(), select)?;
    let config: Config = store.parse(&image.config, &store.json_bytes(&image.config)?)?;
    let sources = image
        .layers
        .iter()
        .enumerate()
        .map(|(index, path)| Ok(LayerSource::new(format!("layer {}", index + 1), store.get(path)?)));
    let mut layers: Vec<LayerSource> = sources.collect::<Result<_, Error>>()?;
    set_diff_ids(store, &mut layers, config)?;
    Ok(layers)
}

/// Tells each layer the diff ID that it must have.
fn set_diff_ids(store: &Store, layers: &mut [LayerSource], config: Config) -> Result<(), Error> {
    let Some(rootfs) = config.rootfs else { return Ok(()) };
    if rootfs.diff_ids.len() != layers.len() {
        let problem = Problem::DiffIdCount { layers: layers.len(), diff_ids: rootfs.diff_ids.len() };
        return Err(Error::new(store.show(), problem));
    }
    for (layer, diff_id) in layers.iter_mut().zip(rootfs.diff_ids) {
        layer.diff_id = Some(diff_id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bazel_worker::Cancel;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

    fn read(paths: &[PathBuf], select: Option<&str>) -> Result<Image, Error> {
        Source::open(paths, select)?.read(Watch { progress: &|_| (), cancel: &Cancel::new() })
    }

    /// The paths of all layers' entries, by layer.
    fn layers(path: &Path, select: Option<&str>) -> Vec<(String, Vec<String>)> {
        let Image::Layers { layers, .. } = read(&[path.to_path_buf()], select).unwrap() else { panic!() };
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let paths = |layer: &Layer| layer.contents.entries.iter().map(|entry| text(&entry.path)).collect();
        layers.iter().map(|layer| (layer.contents.name.clone(), paths(layer))).collect()
    }

    fn problem(path: &Path, select: Option<&str>) -> String {
        read(&[path.to_path_buf()], select).unwrap_err().to_string()
    }

    fn expected(layers: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let paths = |paths: &[&str]| paths.iter().map(|path| path.to_string()).collect();
        layers.iter().map(|(name, entries)| (name.to_string(), paths(entries))).collect()
    }

    /// A tar of empty files.
    fn tar(paths: &[&str]) -> Vec<u8> {
        let files: Vec<(&str, &[u8])> = paths.iter().map(|path| (*path, &b""[..])).collect();
        tar_of(&files)
    }

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// An OCI layout under construction.
    struct Layout(TempDir);

    impl Layout {
        fn new() -> Layout {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
            fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
            Layout(directory)
        }

        fn path(&self) -> &Path {
            self.0.path()
        }

        fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
            let digits = hex(&Sha256::digest(bytes));
            fs::write(self.path().join(blob_path(&digits)), bytes).unwrap();
            json!({"mediaType": media_type, "digest": format!("sha256:{digits}"), "size": bytes.len()})
        }

        fn json(&self, media_type: &str, json: Value) -> Value {
            self.blob(media_type, json.to_string().as_bytes())
        }

        /// An image with these layers.
        fn image(&self, layers: &[&[u8]]) -> Value {
            let diff_ids: Vec<String> =
                layers.iter().map(|layer| format!("sha256:{}", hex(&Sha256::digest(layer)))).collect();
            let config = json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}});
            let layers: Vec<Value> = layers.iter().map(|layer| self.blob(LAYER, layer)).collect();
            self.manifest(config, layers)
        }

        fn manifest(&self, config: Value, layers: Vec<Value>) -> Value {
            let config = self.json("application/vnd.oci.image.config.v1+json", config);
            self.json(MANIFEST, json!({"schemaVersion": 2, "config": config, "layers": layers}))
        }

        fn index(&self, manifests: &[Value]) {
            let index = json!({"schemaVersion": 2, "manifests": manifests});
            fs::write(self.path().join("index.json"), index.to_string()).unwrap();
        }

        /// The same in a tar.
        fn archive(&self) -> PathBuf {
            let file = self.path().join("image.tar");
            let mut builder = tar::Builder::new(File::create(&file).unwrap());
            for name in ["oci-layout", "index.json"] {
                builder.append_path_with_name(self.path().join(name), name).unwrap();
            }
            builder.append_dir_all("blobs", self.path().join("blobs")).unwrap();
            builder.finish().unwrap();
            file
        }
    }

    fn with(mut descriptor: Value, key: &str, value: Value) -> Value {
        descriptor[key] = value;
        descriptor
    }

    fn platform(descriptor: Value, architecture: &str) -> Value {
        with(descriptor, "platform", json!({"os": "linux", "architecture": architecture}))
    }

    #[test]
    fn an_oci_layout_is_read_from_a_directory_or_a_tar() {
        let layout = Layout::new();
        layout.index(&[layout.image(&[&tar(&["a", "b"]), &tar(&["c"])])]);
        let both = expected(&[("layer 1", &["a", "b"]), ("layer 2", &["c"])]);
        assert_eq!(layers(layout.path(), None), both);
        assert_eq!(layers(&layout.archive(), None), both);
    }

    #[test]
    fn one_of_several_images_must_be_selected() {
        let layout = Layout::new();
        let arm = platform(layout.image(&[&tar(&["arm"])]), "arm64");
        let amd = platform(layout.image(&[&tar(&["amd"])]), "amd64");
        let other = platform(layout.image(&[&tar(&["s390x"])]), "s390x");
        let digits = other["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        fs::remove_file(layout.path().join(blob_path(digits))).unwrap();
        let attestation = layout.json(MANIFEST, json!({}));
        let attestation = with(attestation, "platform", json!({"os": "unknown", "architecture": "unknown"}));
        let digest = arm["digest"].as_str().unwrap().to_string();
        let nested = layout.json(IMAGE_INDEX, json!({"manifests": [arm, amd, other, attestation]}));
        let tag = json!({"org.opencontainers.image.ref.name": "app:1"});
        layout.index(&[with(nested, "annotations", tag)]);
        let message = problem(layout.path(), None);
        let choices =
            "contains several images: linux/arm64, linux/amd64; choose one with --select=linux/arm64";
        assert!(message.ends_with(choices), "{message}");
        assert_eq!(layers(layout.path(), Some("linux/amd64")), expected(&[("layer 1", &["amd"])]));
        assert_eq!(layers(layout.path(), Some(&digest)), expected(&[("layer 1", &["arm"])]));
        assert!(problem(layout.path(), Some("app:1")).contains("several images: linux/arm64, linux/amd64"));
        let message = problem(layout.path(), Some("linux/riscv64"));
        assert!(
            message.contains("contains no image linux/riscv64, only linux/arm64, linux/amd64;"),
            "{message}"
        );
    }

    #[test]
    fn digests_and_diff_ids_are_verified() {
        let layout = Layout::new();
        let (a, b) = (tar(&["a"]), tar(&["b"]));
        let layer = layout.blob(LAYER, &a);
        let digest = layer["digest"].as_str().unwrap().to_string();
        let config = |diff_ids: &[&str]| json!({"rootfs": {"diff_ids": diff_ids}});
        layout.index(&[layout.manifest(config(&["sha256:00"]), vec![layer.clone()])]);
        let message = problem(layout.path(), None);
        assert!(message.contains("the diff ID of layer 1,") && message.contains(&digest), "{message}");
        layout.index(&[layout.manifest(config(&[&digest, &digest]), vec![layer.clone()])]);
        assert!(
            problem(layout.path(), None)
                .contains("the number of layers is 1, and that of diff IDs in the configuration 2")
        );
        layout.index(&[layout.manifest(json!({}), vec![layer])]);
        assert_eq!(layers(layout.path(), None), expected(&[("layer 1", &["a"])]));
        fs::write(layout.path().join(blob_path(&digest[7..])), b).unwrap();
        assert!(problem(layout.path(), None).contains(&format!("should be {digest}")));
        fs::remove_file(layout.path().join(blob_path(&digest[7..]))).unwrap();
        assert!(problem(layout.path(), None).contains("has no blobs/sha256/"));
    }

    #[test]
    fn malformed_images_are_errors() {
        let layout = Layout::new();
        let image = layout.image(&[]);
        let cases = [
            (json!({}), "index.json is not valid: missing field `manifests`"),
            (json!({"manifests": []}), "contains no image; name one"),
            (
                json!({"manifests": [with(image.clone(), "digest", json!("sha256:../.."))]}),
                "sha256:../.. is not a SHA-256",
            ),
            (
                json!({"manifests": vec![layout.json(IMAGE_INDEX, json!({"manifests": []})); 1001]}),
                "more than 1000 images",
            ),
        ];
        for (index, expected) in cases {
            fs::write(layout.path().join(INDEX), index.to_string()).unwrap();
            let message = problem(layout.path(), None);
            assert!(message.contains(expected), "{message}");
        }
        let digest = image["digest"].as_str().unwrap();
        let manifest = layout.path().join(blob_path(&digest[7..]));
        layout.index(std::slice::from_ref(&image));
        fs::write(&manifest, "{}").unwrap();
        let message = problem(layout.path(), None);
        assert!(message.contains(&format!("the digest of {}", blob_path(&digest[7..]))), "{message}");
        File::create(manifest).unwrap().set_len(super::super::store::MAX_JSON_BYTES + 1).unwrap();
        assert!(problem(layout.path(), None).contains("has more than 8388608 bytes"));
    }

    #[test]
    fn what_docker_saves_is_read() {
        let saved = |images: Value| {
            let config =
                json!({"rootfs": {"diff_ids": [format!("sha256:{}", hex(&Sha256::digest(tar(&["a"]))))]}});
            let mut builder = tar::Builder::new(Vec::new());
            let mut add = |path: &str, content: &[u8]| {
                let mut header = tar::Header::new_ustar();
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, path, content).unwrap();
            };
            add("5678.tar", &tar(&["a"]));
            add("c.json", config.to_string().as_bytes());
            add("manifest.json", images.to_string().as_bytes());
            let mut link = tar::Header::new_ustar();
            link.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut link, "1234/layer.tar", "../5678.tar").unwrap();
            builder.append_link(&mut link, "loop", "loop").unwrap();
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("saved"), builder.into_inner().unwrap()).unwrap();
            directory
        };
        let image =
            |tag: &str, layer: &str| json!({"Config": "c.json", "RepoTags": [tag], "Layers": [layer]});
        let one = saved(json!([image("a:1", "1234/layer.tar")]));
        assert_eq!(layers(&one.path().join("saved"), None), expected(&[("layer 1", &["a"])]));
        let two = saved(json!([image("a:1", "loop"), image("a:2", "./5678.tar")]));
        let path = two.path().join("saved");
        assert!(problem(&path, None).contains("several images: a:1, a:2; choose one with --select=a:1"));
        assert_eq!(layers(&path, Some("a:2")), expected(&[("layer 1", &["a"])]));
        assert!(problem(&path, Some("a:1")).contains("has no loop, so the image is incomplete"));
        let gzip = |content: &[u8]| {
            let mut encoder = flate2::read::GzEncoder::new(content, flate2::Compression::fast());
            let mut bytes = Vec::new();
            encoder.read_to_end(&mut bytes).unwrap();
            bytes
        };
        fs::write(&path, gzip(&fs::read(&path).unwrap())).unwrap();
        assert!(problem(&path, None).contains("compressed as a whole; decompress it first"));
    }

    #[test]
    fn a_layer_may_contain_files_with_the_names_of_an_image() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("layer.tar");
        fs::write(&path, tar_of(&[("manifest.json", b"{\"name\": \"extension\"}"), ("index.json", b"")]))
            .unwrap();
        assert_eq!(layers(&path, None), expected(&[("layer", &["manifest.json", "index.json"])]));
    }

    #[test]
    fn a_directory_of_layers_is_in_image_order() {
        let order = |names: &[&str]| -> Vec<String> {
            let directory = tempfile::tempdir().unwrap();
            for name in names {
                fs::write(directory.path().join(name), tar(&[])).unwrap();
            }
            layers(directory.path(), None).into_iter().map(|(name, _)| name).collect()
        };
        let pack = ["default.tar", "default.mtree", "interpreter.tar.gz", "packages.tar.zst", "torch.tgz"];
        assert_eq!(order(&pack), ["interpreter", "torch", "packages", "default"]);
        let bazel = [
            "app_default.tar",
            "app_packages_10.tar",
            "app_packages_2.tar",
            "app_interpreter.tar",
            "app_z.tar",
        ];
        assert_eq!(
            order(&bazel),
            ["app_interpreter", "app_z", "app_packages_2", "app_packages_10", "app_default"]
        );
        assert_eq!(order(&["b.tar", "a.tar", "a.tzst", "README"]), ["a", "a (2)", "b"]);
        let empty = tempfile::tempdir().unwrap();
        assert!(problem(empty.path(), None).contains("the directory is not an OCI layout"));
    }

    #[test]
    fn several_paths_are_stacked() {
        let directory = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["x/l.tar", "y/l.tar", "z"].map(|name| directory.path().join(name)).into();
        for path in &paths {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, tar(&["a"])).unwrap();
        }
        let source = Source::open(&paths, None).unwrap();
        assert_eq!(source.total_bytes(), 3 * 1536);
        let Image::Layers { name, layers } = read(&paths, None).unwrap() else { panic!() };
        let names: Vec<&str> = layers.iter().map(|layer| &layer.contents.name[..]).collect();
        assert_eq!(names, ["l", "l (2)", "z"]);
        assert_eq!(name.matches(", ").count(), 2);
        fs::write(&paths[1], "not a tar").unwrap();
        fs::write(&paths[2], "").unwrap();
        let message = read(&paths, None).unwrap_err().to_string();
        assert!(
            message.starts_with(&show_path(&paths[1])),
            "the error is that of the lowest layer: {message}"
        );
    }

    #[test]
    fn the_output_of_inspect_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.json");
        let write = |json: Value| fs::write(&path, format!("\n {json}")).unwrap();
        write(json!({"schema": SCHEMA, "name": "//app:layers", "layers": []}));
        let Image::Contents(contents) = read(std::slice::from_ref(&path), None).unwrap() else { panic!() };
        assert_eq!(contents.name, "//app:layers");
        let message = read(&[path.clone(), path.clone()], None).unwrap_err().to_string();
        assert!(message.contains("cannot be one of several layers"), "{message}");
        write(json!({"schema": "pylayer.image.v2", "new": 1}));
        assert!(problem(&path, None).contains("its schema is pylayer.image.v2"));
        write(json!({"schema": SCHEMA, "name": 1, "layers": []}));
        assert!(problem(&path, None).contains("is not the output of pylayer inspect --json: invalid type"));
        let entry =
            json!({"path": "a", "type": "file", "mode": 0, "uid": 0, "gid": 0, "mtime": 0, "component": 1});
        let layer = json!({"name": "l", "media_type": LAYER, "digest": "", "size": 0, "diff_id": "", "tar_size": 0, "chunks": 1, "entries": [entry]});
        write(json!({"schema": SCHEMA, "name": "", "layers": [layer]}));
        assert!(problem(&path, None).contains("there is no component 1"));
    }

    #[test]
    fn unreadable_paths_are_named() {
        assert!(problem(Path::new("/no/such/file"), None).starts_with("/no/such/file: cannot be read"));
        assert!(problem(Path::new("/dev/null"), None).contains("neither a file nor a directory"));
    }

    #[test]
    fn extensions_are_no_part_of_a_name() {
        let names = ["a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "a.tzst", "a"].map(layer_name);
        assert_eq!(names, ["a"; 6]);
        assert_eq!([".tar", "a.gz", "a.b.tar"].map(layer_name), [".tar", "a.gz", "a.b"]);
    }
}
