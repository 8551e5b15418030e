//! Runs one action of the Bazel rule, from its arguments to its outputs: writes a layer, validates all
//! layers, warns about groups without files, merges repository mappings, configures a launcher, compares
//! files that have the same path in site-packages, or describes the layers of an image. Persistent workers and one-shot processes, started by
//! Bazel or a remote executor, run the same code.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tracing::{debug_span, info_span};

use crate::advice;
use crate::cache::Cache;
use crate::collisions;
use crate::contents::Partition;
use crate::describe::describe;
use crate::descriptor::Descriptor;
use crate::exec_path;
use crate::groups::{Groups, LayerGroups};
use crate::inputs::{Digests, Inputs, KnownFiles, LastingContent, Links};
use crate::launcher;
use crate::layer::Image;
use crate::manifest::Manifest;
use crate::output::{self, Output};
use crate::pipeline::{Pool, Times};
use crate::prefetch::Prefetch;
use crate::repo_mapping;
use crate::report;
use crate::request::{
    self, ActionRequest, LauncherRequest, LayerRequest, MetadataRequest, PackageCollisionsRequest,
    RepoMappingRequest, ReportRequest, UnusedGroupsRequest, ValidationRequest,
};
use crate::settings::{
    self, CollisionPolicy, LauncherSettings, PackageCollision, PackageCollisions, ReportSettings, Settings,
    UnusedGroups, Validation, ValidationSettings,
};
use crate::show::{show, show_path};
use crate::validate::{self, ListedLayer, Verdict};
use crate::warnings;
use crate::wheel::{KnownWheels, Wheels};
use bazel_worker::{Cancel, Handler, Request, Response};

/// Invalid paths of outputs.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{} is the path of two outputs of one action; give each its own path", show_path(.0))]
    SameOutput(PathBuf),
    #[error(
        "{} is an output of the action, and {} is an input; an output must not replace or be inside an input",
        show_path(output),
        show_path(input)
    )]
    OutputIsInput { output: PathBuf, input: PathBuf },
}

/// Capacity of the cache of compiled patterns, in KiB of pattern text. An image has about 1 KiB.
const MAX_GROUPS: u64 = 64;
/// Parsed manifests are cached in a quarter of the memory for compressed chunks, but at most this much.
/// A manifest of 50,000 files takes 20 MB.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;
/// Capacity of the cache of whether files are programs: 250 bytes per file.
const MAX_FILES: u64 = 1 << 18;

/// Capacity of the cache of wheels, in members that can be lifted: 100 bytes per member.
const MAX_MEMBERS: u64 = 1 << 18;

/// The thread pool, and the caches that outlive an action.
pub struct Engine {
    pool: Pool,
    groups: Cache<(Groups, Vec<String>), Arc<LayerGroups>>,
    manifests: Cache<LastingContent, Arc<Manifest>>,
    files: KnownFiles,
    wheels: KnownWheels,
    log: bool,
}

impl Engine {
    /// An engine that runs on `pool`, and logs each work request to stderr if `log`.
    pub fn new(pool: Pool, log: bool) -> Engine {
        let manifest_bytes = (pool.cache_bytes() / 4).min(MAX_MANIFEST_BYTES);
        Engine {
            pool,
            groups: Cache::new(MAX_GROUPS),
            manifests: Cache::new(manifest_bytes),
            files: Cache::new(MAX_FILES),
            wheels: Cache::new(MAX_MEMBERS),
            log,
        }
    }

    /// Runs the action with these arguments. Exec paths are relative to `base`.
    pub fn run(
        &self,
        arguments: &[Bytes],
        base: &Path,
        digests: &Digests,
        cancel: &Cancel,
    ) -> Result<Outcome> {
        let (now, links) = (SystemTime::now(), Links::Ambiguous);
        let inputs = Inputs { base, digests, known: &self.files, cancel, now, links };
        let (arguments, flagfiles) = expand_flagfiles(arguments, inputs)?;
        match ActionRequest::parse(arguments.iter().map(Bytes::as_ref))? {
            ActionRequest::Layer(request) => self.write_layer(request, &flagfiles, inputs),
            ActionRequest::Validation(request) => self.validate_layers(request, &flagfiles, inputs),
            ActionRequest::UnusedGroups(request) => report_unused_groups(request, &flagfiles, inputs),
            ActionRequest::RepoMapping(request) => merge_repo_mappings(request, &flagfiles, inputs),
            ActionRequest::Launcher(request) => configure_launcher(request, &flagfiles, inputs),
            ActionRequest::Report(request) => self.report(request, &flagfiles, inputs),
            ActionRequest::PackageCollisions(request) => check_collisions(request, &flagfiles, inputs),
        }
    }

    fn write_layer(&self, request: LayerRequest, flagfiles: &[PathBuf], inputs: Inputs) -> Result<Outcome> {
        let LayerRequest {
            layer,
            settings,
            groups,
            manifest: manifest_path,
            wheels,
            prefetch,
            output,
            descriptor,
            listing,
            metadata,
        } = request;
        let _span = info_span!("layer", layer).entered();
        let start = Instant::now();
        let inputs = inputs.compared_to(&manifest_path);
        let manifest = debug_span!("manifest").in_scope(|| self.manifest(&manifest_path, inputs))?;
        let outputs: Vec<&Path> = [Some(&output), descriptor.as_ref(), listing.as_ref()]
            .into_iter()
            .chain([metadata.as_ref().map(|metadata| &metadata.path)])
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        let read = flagfiles
            .iter()
            .chain([&manifest_path, &settings])
            .chain(&groups)
            .chain(&wheels)
            .chain(&prefetch);
        let read = read.map(PathBuf::as_path);
        check_outputs(&outputs, read.chain(manifest.sources()))?;
        let settings: Settings = read_settings(&settings, inputs)?;
        let is_whole_manifest = groups.is_none();
        let groups: Groups =
            groups.map_or_else(|| Ok(Groups::default()), |path| read_settings(&path, inputs))?;
        let compiled = self.groups(&groups, &settings.exclude)?;
        let layers = compiled.layers();
        if !is_whole_manifest && !layers.contains(&layer.as_str()) {
            let known = layers.join(", ");
            bail!(
                "--layer={}: there is no such layer; the layers are {}",
                show(layer.as_bytes()),
                show(known.as_bytes())
            );
        }
        let prefetch = prefetch.map(|path| read_prefetch(&path, inputs)).transpose()?;
        let image = Image::new(settings, compiled, prefetch)?;
        let entries = image.entries(&manifest, inputs, |name| is_whole_manifest || name == layer)?;
        let wheels = if image.codec.lifts() { wheels } else { Vec::new() };
        let wheels = debug_span!("wheels").in_scope(|| Wheels::open(&wheels, inputs, &self.wheels))?;
        let planned = image.plan(entries, &wheels, inputs.cancel)?;
        let mut warnings: Vec<String> =
            wheels.warning().into_iter().chain(planned.warnings(&layer)).collect();
        // The rule detects an empty manifest at analysis, and another action warns about it. An empty
        // default group is not a mistake: a tree might have contained files for it.
        if planned.plan.file_count() == 0 && !manifest.entries.is_empty() {
            warnings.extend(warnings::empty_layer(&layer, &groups.layer_groups));
        }
        let planning = start.elapsed();
        let (output, written) =
            planned.write(&inputs.base.join(output), &self.pool, inputs.cancel, &|_| ())?;
        let mut outputs = vec![output];
        if let Some(path) = descriptor {
            let json = Descriptor::new(image.codec, &written).to_json();
            outputs.push(Output::with_content(&inputs.base.join(path), json.as_bytes())?);
        }
        if let Some(MetadataRequest { path, created_by }) = metadata {
            let json = Descriptor::new(image.codec, &written).created_by(created_by).to_json();
            outputs.push(Output::with_content(&inputs.base.join(path), json.as_bytes())?);
        }
        if let Some(path) = listing {
            let path = inputs.base.join(path);
            let mut output = Output::create(&path)?;
            let listed = planned.write_listing(&written, output.file());
            listed.map_err(|error| output::Error { path, error })?;
            outputs.push(output);
        }
        Output::keep(outputs)?;
        let entries = planned.plan.entries.len();
        let Times { read, verify, compress, hash, write } = written.times;
        let lifted = match written.lifted {
            0 => String::new(),
            bytes => format!(", lifted {bytes} bytes from wheels, verified in {verify:.1?}"),
        };
        let summary = format!(
            "layer {layer:?}: {entries} entries, {} bytes of tar, {} bytes of {}; planned in {planning:.1?}, then read {read:.1?}, compressed {compress:.1?}{lifted}, hashed {hash:.1?}, wrote {write:.1?}",
            written.uncompressed_size, written.size, image.codec
        );
        Ok(Outcome { warnings, summary })
    }

    fn validate_layers(
        &self,
        request: ValidationRequest,
        flagfiles: &[PathBuf],
        inputs: Inputs,
    ) -> Result<Outcome> {
        let _span = info_span!("validation").entered();
        let ValidationRequest {
            report,
            settings,
            groups,
            validation_settings,
            manifests: paths,
            listings,
            prefetch,
        } = request;
        let manifests: Vec<Arc<Manifest>> =
            paths.iter().map(|path| self.manifest(path, inputs)).collect::<Result<_>>()?;
        let read = flagfiles.iter().chain(&paths).chain([&settings, &groups, &validation_settings]);
        let read = read.chain(listings.iter().map(|(_, path)| path)).chain(&prefetch).map(PathBuf::as_path);
        check_outputs(&[&report], read.chain(manifests.iter().flat_map(|manifest| manifest.sources())))?;
        let Settings { exclude, .. } = read_settings(&settings, inputs)?;
        let groups = self.groups(&read_settings(&groups, inputs)?, &exclude)?;
        let settings: ValidationSettings = read_settings(&validation_settings, inputs)?;
        let prefetch = prefetch.map(|path| read_prefetch(&path, inputs)).transpose()?.unwrap_or_default();
        let layers = read_listings(listings, inputs)?;
        let summary = format!("{} layers validated", layers.len());
        let manifests: Vec<&Manifest> = manifests.iter().map(Arc::as_ref).collect();
        let verdict =
            validate::validate(layers, &manifests, &groups, &settings, &prefetch, inputs, Some(&report))?;
        let Verdict { report: text, problems, warnings } = verdict;
        // Written even if the action fails: Bazel keeps the outputs of a failed action.
        Output::keep([Output::with_content(&inputs.base.join(report), text.as_bytes())?])?;
        let fails = problems.is_some() && settings.validation == Validation::Error;
        let messages: Vec<String> = problems.into_iter().chain(warnings).collect();
        if fails {
            bail!(
                "{}\n  to build anyway, set validation = \"warn\"; to accept single paths, name them in validation_exceptions",
                messages.join("\n  ")
            );
        }
        Ok(Outcome { summary, warnings: messages })
    }

    /// Describes the layers of an image.
    fn report(&self, request: ReportRequest, flagfiles: &[PathBuf], inputs: Inputs) -> Result<Outcome> {
        let _span = info_span!("report").entered();
        let ReportRequest {
            page,
            contents,
            settings,
            groups,
            report_settings,
            layers,
            listings,
            manifests: paths,
        } = request;
        let read = flagfiles.iter().chain(&paths).chain([&settings, &groups, &report_settings]);
        let read = read.chain(layers.iter().chain(&listings).map(|(_, path)| path));
        check_outputs(&[&page, &contents], read.map(PathBuf::as_path))?;
        let settings: Settings = read_settings(&settings, inputs)?;
        let groups: Groups = read_settings(&groups, inputs)?;
        let ReportSettings { target, dropped, runfiles, distributions } =
            read_settings(&report_settings, inputs)?;
        let compiled = self.groups(&groups, &settings.exclude)?;
        let manifests: Vec<Arc<Manifest>> =
            paths.iter().map(|path| self.manifest(path, inputs)).collect::<Result<_>>()?;
        let manifests: Vec<&Manifest> = manifests.iter().map(Arc::as_ref).collect();
        let listed = read_listings(listings, inputs)?;
        let layers = layers.into_iter().map(|(name, path)| (name, inputs.base.join(path))).collect();
        let name = target.label.clone();
        let (exclude, target) = (settings.exclude, Some(target));
        let groups = Groups { runfiles, distributions, ..groups };
        let partition = Partition { groups, exclude, dropped, left_out: Vec::new(), target };
        let image = describe(name, layers, partition, &compiled, &manifests, &listed, inputs)?;
        let html = report::page(&image, &advice::advise(&image)?, None)?;
        let json = image.to_json();
        Output::keep([
            Output::with_content(&inputs.base.join(page), html.as_bytes())?,
            Output::with_content(&inputs.base.join(contents), json.as_bytes())?,
        ])?;
        Ok(Outcome { summary: format!("report about {}", show(image.name.as_bytes())), warnings: Vec::new() })
    }

    fn groups(&self, groups: &Groups, exclude: &[String]) -> Result<Arc<LayerGroups>> {
        let key = (groups.clone(), exclude.to_vec());
        if let Some(compiled) = self.groups.get(&key) {
            return Ok(compiled);
        }
        let compiled = Arc::new(LayerGroups::compile(groups, exclude)?);
        let patterns = groups.groups().map(|group| &group.pattern).chain(exclude);
        let distributions = groups.distributions.iter().flat_map(|(directory, name)| [directory, name]);
        let bytes = patterns.chain(distributions).map(String::len).sum::<usize>();
        self.groups.put(key, compiled.clone(), 1 + bytes as u64 / 1024);
        Ok(compiled)
    }

    fn manifest(&self, path: &Path, inputs: Inputs) -> Result<Arc<Manifest>> {
        let key = inputs.lasting(path);
        if let Some(manifest) = key.as_ref().and_then(|key| self.manifests.get(key)) {
            return Ok(manifest);
        }
        let (text, stamp) = inputs.read(path)?;
        let manifest = Arc::new(Manifest::parse(&text)?);
        if let Some(key) = key.filter(|(_, expected)| *expected == stamp) {
            self.manifests.put(key, manifest.clone(), manifest.weight());
        }
        Ok(manifest)
    }
}

/// Reads the listings of layers, by name and exec path.
fn read_listings(listings: Vec<(String, PathBuf)>, inputs: Inputs) -> Result<Vec<ListedLayer>> {
    let read = |(name, file): (String, PathBuf)| {
        let (listing, _) = inputs.read(&file)?;
        Ok(ListedLayer { name, file, listing })
    };
    listings.into_iter().map(read).collect()
}

/// Reads the settings file at an exec path.
fn read_settings<T: DeserializeOwned>(path: &Path, inputs: Inputs) -> Result<T> {
    let (content, _) = inputs.read(path)?;
    Ok(settings::parse(path, &content)?)
}

/// Reads the list of files that come first, at an exec path.
fn read_prefetch(path: &Path, inputs: Inputs) -> Result<Prefetch> {
    let (text, _) = inputs.read(path)?;
    Prefetch::parse(&text).map_err(|error| anyhow!("{}: {error}", show_path(path)))
}

impl Handler for Engine {
    fn handle(&self, request: &Request, cancel: &Cancel) -> Response {
        let known = request.inputs.iter().filter(|input| !input.digest.is_empty());
        let digests = known.map(|input| (input.path.clone(), input.digest.clone())).collect();
        let start = Instant::now();
        let outcome = exec_path::sandbox_dir(&request.sandbox_dir)
            .map_err(|error| anyhow!("invalid sandbox_dir in the work request: {error}"))
            .and_then(|base| self.run(&request.arguments, base, &digests, cancel));
        // stderr is the worker's log file. --worker_verbose raises the verbosity of requests.
        if self.log || request.verbosity > 0 {
            let result = match &outcome {
                Ok(Outcome { summary, .. }) => summary.clone(),
                Err(_) if cancel.is_cancelled() => "cancelled".to_string(),
                Err(error) => format!("failed: {error}"),
            };
            let (id, elapsed, stats) = (request.request_id, start.elapsed(), self.pool.stats());
            // A failure to log, on a full disk for example, must not fail the action.
            let _ =
                writeln!(std::io::stderr(), "pylayer: request {id}: {result}; {elapsed:.1?} in all; {stats}");
        }
        respond(outcome)
    }
}

/// The messages of a successful action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Shown in Bazel's output.
    pub warnings: Vec<String>,
    /// For the log.
    pub summary: String,
}

/// The exit code and the text that Bazel shows.
pub fn respond(result: Result<Outcome>) -> Response {
    match result {
        Ok(Outcome { warnings, .. }) => Response {
            exit_code: 0,
            output: warnings.iter().map(|line| format!("pylayer: {line}\n")).collect(),
        },
        Err(error) => Response { exit_code: 1, output: format!("pylayer: {error}\n") },
    }
}

/// Writes one line per group without files.
fn report_unused_groups(
    request: UnusedGroupsRequest,
    flagfiles: &[PathBuf],
    inputs: Inputs,
) -> Result<Outcome> {
    let UnusedGroupsRequest { report, settings } = request;
    check_outputs(&[&report], flagfiles.iter().chain([&settings]).map(PathBuf::as_path))?;
    let UnusedGroups { layer_groups, packages, runfiles_root } = read_settings(&settings, inputs)?;
    let root = runfiles_root.as_deref();
    let warnings: Vec<String> = layer_groups
        .iter()
        .map(|group| warnings::unused_group(&group.name, &group.pattern, &packages, root))
        .collect();
    let lines: String = warnings.iter().map(|line| format!("{line}\n")).collect();
    Output::keep([Output::with_content(&inputs.base.join(report), lines.as_bytes())?])?;
    Ok(Outcome { summary: format!("{} layer groups without files", layer_groups.len()), warnings })
}

/// Writes the union of the repository mappings of several binaries.
fn merge_repo_mappings(
    request: RepoMappingRequest,
    flagfiles: &[PathBuf],
    inputs: Inputs,
) -> Result<Outcome> {
    let RepoMappingRequest { output, mappings } = request;
    check_outputs(&[&output], flagfiles.iter().chain(&mappings).map(PathBuf::as_path))?;
    let mut texts = Vec::with_capacity(mappings.len());
    for mapping in &mappings {
        texts.push((mapping.as_path(), inputs.read(mapping)?.0));
    }
    let merged = repo_mapping::merge(&texts)?;
    Output::keep([Output::with_content(&inputs.base.join(output), &merged)?])?;
    Ok(Outcome { summary: format!("{} repository mappings merged", mappings.len()), warnings: Vec::new() })
}

/// Writes the executable of a Python binary.
fn configure_launcher(request: LauncherRequest, flagfiles: &[PathBuf], inputs: Inputs) -> Result<Outcome> {
    let LauncherRequest { launcher: template, settings: path, patchlevel, output } = request;
    let read = flagfiles.iter().chain([&template, &path]).chain(&patchlevel);
    check_outputs(&[&output], read.map(PathBuf::as_path))?;
    let settings: LauncherSettings = read_settings(&path, inputs)?;
    if let (Some(wanted), Some(patchlevel)) = (&settings.python_version, &patchlevel) {
        check_version(wanted, patchlevel, inputs)?;
    }
    let (content, _) = inputs.read(&template)?;
    let executable = launcher::configure(&content, &settings).map_err(|error| {
        let of_settings = matches!(error, launcher::Error::Value { .. } | launcher::Error::TooLarge { .. });
        anyhow!("{}: {error}", show_path(if of_settings { &path } else { &template }))
    })?;
    let output = Output::executable(&inputs.base.join(output), &executable)?;
    Output::keep([output])?;
    Ok(Outcome { summary: format!("launcher of {}", show(settings.main.as_bytes())), warnings: Vec::new() })
}

/// Fails if the header `patchlevel` is that of an interpreter with another version than `wanted`. If the
/// header cannot be read, nothing is known about the version.
fn check_version(wanted: &str, patchlevel: &Path, inputs: Inputs) -> Result<()> {
    let Ok((content, _)) = inputs.read(patchlevel) else { return Ok(()) };
    match launcher::other_version(wanted, &content) {
        None => Ok(()),
        Some(other) => bail!(
            "the binary requires Python {}, but the registered Python toolchain has {} ({}); register a toolchain with that version: python.toolchain(python_version = \"{}\") of rules_python, for example",
            show(wanted.as_bytes()),
            show(other.as_bytes()),
            show_path(patchlevel),
            show(wanted.as_bytes())
        ),
    }
}

/// Compares files that have the same path in site-packages, and reports those that differ.
fn check_collisions(
    request: PackageCollisionsRequest,
    flagfiles: &[PathBuf],
    inputs: Inputs,
) -> Result<Outcome> {
    let PackageCollisionsRequest { report, settings } = request;
    let PackageCollisions { policy, collisions } = read_settings(&settings, inputs)?;
    let compared = collisions.iter().flat_map(|collision| [&collision.chosen, &collision.other]);
    check_outputs(&[&report], flagfiles.iter().chain([&settings]).chain(compared).map(PathBuf::as_path))?;
    let mut different: Vec<&PackageCollision> = Vec::new();
    for collision in &collisions {
        if !inputs.have_same_content(&collision.chosen, &collision.other)? {
            different.push(collision);
        }
    }
    let text = collisions::report(&different);
    // Written even if the action fails: Bazel keeps the outputs of a failed action.
    Output::keep([Output::with_content(&inputs.base.join(&report), text.as_bytes())?])?;
    let summary = format!("{} of {} package collisions are real", different.len(), collisions.len());
    match collisions::message(&different, &report) {
        Some(message) if policy == CollisionPolicy::Error => bail!(message),
        message => Ok(Outcome { summary, warnings: message.into_iter().collect() }),
    }
}

/// Rejects outputs with the same path, and outputs that are an input or inside one.
fn check_outputs<'a>(outputs: &[&Path], inputs: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    for (index, path) in outputs.iter().enumerate() {
        if outputs[..index].contains(path) {
            return Err(Error::SameOutput(path.to_path_buf()));
        }
    }
    let bytes = |path: &'a Path| path.as_os_str().as_bytes();
    let outputs_as_bytes: Vec<&[u8]> = outputs.iter().map(|path| path.as_os_str().as_bytes()).collect();
    for input in inputs {
        let inside = |output: &&[u8]| {
            output.strip_prefix(bytes(input)).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
        };
        if let Some(index) = outputs_as_bytes.iter().position(inside) {
            return Err(Error::OutputIsInput { output: outputs[index].into(), input: input.into() });
        }
    }
    Ok(())
}

/// Replaces `@file` and `--flagfile=file` with the lines of the file, and also returns the files' paths.
/// Bazel expands flagfiles for workers but not for one-shot runs, and remote executors may forward them
/// to their workers.
fn expand_flagfiles(arguments: &[Bytes], inputs: Inputs) -> Result<(Vec<Bytes>, Vec<PathBuf>)> {
    let mut expanded = Vec::with_capacity(arguments.len());
    let mut flagfiles = Vec::new();
    for argument in arguments {
        match request::flagfile(argument)? {
            Some(path) => {
                let (text, _) = inputs.read(&path)?;
                expanded.extend(request::flagfile_arguments(&text.into()));
                flagfiles.push(path);
            }
            None => expanded.push(argument.clone()),
        }
    }
    Ok((expanded, flagfiles))
}
