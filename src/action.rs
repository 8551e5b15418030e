//! One action, `PyImageLayer` or `PyImageLayerValidation`, from its arguments to its outputs. The same
//! code serves a persistent worker and a process that Bazel or a remote executor starts for one action.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracing::{debug_span, info_span};

use crate::cache::Cache;
use crate::codec::Codec;
use crate::exec_path;
use crate::groups::{self, LayerGroups};
use crate::image_path::ImagePath;
use crate::inputs::{self, Digests, Inputs, KnownFiles, Questions};
use crate::listing;
use crate::manifest::{self, Manifest};
use crate::output::{self, Descriptor, Output};
use crate::pipeline::{self, Pool, Times, Written};
use crate::plan::{self, LayerPlan};
use crate::request::{self, ActionRequest, LayerRequest, ModeRule, Settings, ValidationRequest};
use crate::validate::{self, Expected};
use crate::worker::{Cancel, Handler, Request, Response};

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("sandbox_dir of the work request is wrong, {0}")]
    SandboxDir(exec_path::Error),
    #[error(transparent)]
    Request(#[from] request::Error),
    #[error(transparent)]
    Manifest(#[from] manifest::Error),
    #[error(transparent)]
    Groups(#[from] groups::Error),
    #[error(transparent)]
    Inputs(#[from] inputs::Error),
    #[error(transparent)]
    Plan(#[from] plan::Error),
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    #[error(transparent)]
    Output(#[from] output::Error),
    #[error("{}: {error}", path.display())]
    Listing { path: PathBuf, error: listing::Error },
    #[error("the layers are not what the binary asks for (attribute validation: \"warn\" to build all the same)\n  {}", .0.join("\n  "))]
    Violations(Vec<String>),
}

/// Lists of patterns: a handful per image.
const MAX_GROUPS: u64 = 64;
/// Manifests: one per layer that somebody works on. One of 50,000 files takes 20 MB.
const MAX_MANIFESTS: u64 = 32;
/// Files whose size is remembered: 150 bytes each.
const MAX_FILES: u64 = 1 << 20;

/// A list of groups, and one of patterns to exclude.
type Patterns = (Vec<(String, String)>, Vec<String>);

/// What does the work, and what it remembers from action to action.
pub struct Engine {
    pool: Pool,
    groups: Cache<Patterns, Arc<LayerGroups>>,
    manifests: Cache<Bytes, Arc<Manifest>>,
    files: KnownFiles,
    log: bool,
}

impl Engine {
    /// An engine that does its work on `pool`, and logs each request of a worker to stderr if `log`.
    pub fn new(pool: Pool, log: bool) -> Engine {
        Engine {
            pool,
            groups: Cache::new(MAX_GROUPS),
            manifests: Cache::new(MAX_MANIFESTS),
            files: Cache::new(MAX_FILES),
            log,
        }
    }

    /// Does what `arguments` ask for with the files in `base`.
    pub fn run(
        &self,
        arguments: &[Bytes],
        base: &Path,
        digests: &Digests,
        cancel: &Cancel,
    ) -> Result<Outcome, Error> {
        let inputs = Inputs { base, digests, known: &self.files, cancel };
        let arguments = expand_flagfiles(arguments, inputs)?;
        match ActionRequest::parse(arguments.iter().map(Bytes::as_ref))? {
            ActionRequest::Layer(request) => self.write_layer(request, inputs),
            ActionRequest::Validation(request) => self.validate_layers(request, inputs),
        }
    }

    fn write_layer(&self, request: LayerRequest, inputs: Inputs) -> Result<Outcome, Error> {
        let LayerRequest { layer, manifest, output, descriptor, listing, settings } = request;
        let _span = info_span!("layer", layer).entered();
        let start = Instant::now();
        let manifest = debug_span!("manifest").in_scope(|| self.manifest(&manifest, inputs))?;
        let groups = self.groups(&settings.groups, &settings.exclude)?;
        let questions = questions(&settings);
        let wanted = |path: &ImagePath| groups.group_of(path.tar_name()) == Some(layer.as_str());
        let items = debug_span!("inputs").in_scope(|| inputs.items(&manifest, questions, wanted))?;
        let plan = debug_span!("plan").in_scope(|| plan::plan(items, &settings))?;
        let warnings = warnings(&plan, &layer, &settings.groups);
        let files = LayerFiles {
            layer: inputs.base.join(output),
            descriptor: descriptor.map(|path| inputs.base.join(path)),
            listing: listing.map(|path| inputs.base.join(path)),
        };
        let entries = plan.entries.len();
        let planned = start.elapsed();
        let written = write(plan, settings.codec, &files, inputs.cancel, &self.pool, &|_| ())?;
        let Times { read, compress, hash, write } = written.times;
        let summary = format!(
            "layer {layer:?}: {entries} entries, {} bytes of tar, {} bytes of {}; planned in {planned:.1?}, then read {read:.1?}, compressed {compress:.1?}, hashed {hash:.1?}, wrote {write:.1?}",
            written.uncompressed_size, written.size, settings.codec
        );
        Ok(Outcome { warnings, summary })
    }

    fn validate_layers(&self, request: ValidationRequest, inputs: Inputs) -> Result<Outcome, Error> {
        let _span = info_span!("validation").entered();
        let manifest = self.manifest(&request.manifest, inputs)?;
        let groups = self.groups(&request.groups, &request.exclude)?;
        let mut layers = Vec::with_capacity(request.listings.len());
        for (layer, path) in request.listings {
            let text = inputs.read(&path)?;
            let listed = listing::parse(&String::from_utf8_lossy(&text));
            layers.push((layer, listed.map_err(|error| Error::Listing { path, error })?));
        }
        let paths = inputs.paths(&manifest)?;
        let dropped = |layer: &str| request.dropped.iter().any(|dropped| dropped == layer);
        let expected = paths.iter().filter_map(|path| {
            let layer = groups.group_of(path.tar_name()).filter(|layer| !dropped(layer))?;
            Some((path, layer))
        });
        let violations = validate::violations(&layers, &Expected::new(expected, request.machine));
        if !violations.is_empty() && !request.lenient {
            return Err(Error::Violations(violations));
        }
        let report: String = violations.iter().map(|line| format!("{line}\n")).collect();
        Output::keep([Output::with_content(&inputs.base.join(request.report), report.as_bytes())?])?;
        Ok(Outcome { summary: format!("{} layers validated", layers.len()), warnings: violations })
    }

    fn groups(&self, groups: &[(String, String)], exclude: &[String]) -> Result<Arc<LayerGroups>, Error> {
        let key = (groups.to_vec(), exclude.to_vec());
        Ok(self.groups.get_or_make(Some(key), || LayerGroups::compile(groups, exclude).map(Arc::new))?)
    }

    fn manifest(&self, path: &Path, inputs: Inputs) -> Result<Arc<Manifest>, Error> {
        // A copy: a slice of the request would keep all of it in memory.
        let digest = inputs.digest(path).map(|digest| Bytes::copy_from_slice(&digest));
        self.manifests.get_or_make(digest, || Ok(Arc::new(Manifest::parse(&inputs.read(path)?)?)))
    }
}

impl Handler for Engine {
    fn handle(&self, request: &Request, cancel: &Cancel) -> Response {
        let known = request.inputs.iter().filter(|input| !input.digest.is_empty());
        let digests = known.map(|input| (input.path.clone(), input.digest.clone())).collect();
        let start = Instant::now();
        let outcome = exec_path::sandbox_dir(&request.sandbox_dir)
            .map_err(Error::SandboxDir)
            .and_then(|base| self.run(&request.arguments, base, &digests, cancel));
        // stderr is the worker's log; Bazel shows it to those who ask by --worker_verbose.
        if self.log || request.verbosity > 0 {
            let result = match &outcome {
                Ok(Outcome { summary, .. }) => summary.clone(),
                Err(_) if cancel.is_cancelled() => "cancelled".to_string(),
                Err(error) => format!("failed: {error}"),
            };
            let (id, elapsed, stats) = (request.request_id, start.elapsed(), self.pool.stats());
            // A log that cannot be written, on a full disk say, is no reason to fail.
            let _ =
                writeln!(std::io::stderr(), "pylayer: request {id}: {result}; {elapsed:.1?} in all; {stats}");
        }
        respond(outcome)
    }
}

/// What an action that succeeded has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// For people, in Bazel's output.
    pub warnings: Vec<String>,
    /// For the log.
    pub summary: String,
}

/// The exit code and the text that Bazel shows.
pub fn respond(result: Result<Outcome, Error>) -> Response {
    match result {
        Ok(Outcome { warnings, .. }) => Response {
            exit_code: 0,
            output: warnings.iter().map(|line| format!("pylayer: {line}\n")).collect(),
        },
        Err(error) => Response { exit_code: 1, output: format!("pylayer: {error}\n") },
    }
}

/// What has to be asked about files for a layer with these settings.
pub fn questions(settings: &Settings) -> Questions {
    Questions { dedupe_from: settings.dedupe_from, executable: settings.metadata.mode == ModeRule::Detect }
}

/// Where a layer and what is said about it go.
pub struct LayerFiles {
    pub layer: PathBuf,
    pub descriptor: Option<PathBuf>,
    pub listing: Option<PathBuf>,
}

/// Writes `plan` to `files`: all of them or none.
pub fn write(
    plan: LayerPlan,
    codec: Codec,
    files: &LayerFiles,
    cancel: &Cancel,
    pool: &Pool,
    progress: &dyn Fn(u64),
) -> Result<Written, Error> {
    let plan = Arc::new(plan);
    output::remove_abandoned(&files.layer);
    let mut layer = Output::create(&files.layer)?;
    let written = match pool.write(plan.clone(), codec, cancel, layer.file(), progress) {
        Err(pipeline::Error::Write(error)) => {
            return Err(output::Error { path: files.layer.clone(), error }.into());
        }
        other => other?,
    };
    let mut outputs = vec![layer];
    if let Some(path) = &files.descriptor {
        outputs.push(Output::with_content(path, Descriptor::new(codec, &written).to_json().as_bytes())?);
    }
    if let Some(path) = &files.listing {
        outputs.push(Output::with_content(path, listing::listing(&plan, &written.machines).as_bytes())?);
    }
    Output::keep(outputs)?;
    Ok(written)
}

/// What people should know about a layer that is valid. `names_and_patterns` are those of all groups.
pub fn warnings(plan: &LayerPlan, layer: &str, names_and_patterns: &[(String, String)]) -> Vec<String> {
    let mut warnings = Vec::new();
    if plan.entries.is_empty() {
        let patterns: Vec<&str> = names_and_patterns
            .iter()
            .map(|(name, pattern)| (name.as_str(), pattern.as_str()))
            // A default group is empty wherever a tree might have had files for it: nobody's mistake.
            .filter(|group| group.0 == layer && !groups::is_default(group.0, group.1))
            .map(|(_, pattern)| pattern)
            .collect();
        if !patterns.is_empty() {
            warnings.push(empty_layer(layer, &patterns));
        }
    }
    if let Some(entry) = plan::shadows_base_image(plan) {
        warnings.push(format!(
            "layer {layer:?} holds {}; in most base images that top-level directory is a symlink, which some tools replace by a directory. Set root = \"/app\" or the like",
            String::from_utf8_lossy(&entry.name)
        ));
    }
    warnings
}

/// Says that `layer` has no files, and what is a frequent reason for it.
fn empty_layer(layer: &str, patterns: &[&str]) -> String {
    let mut warning =
        format!("layer {layer:?} is empty: no file is found by its pattern {}", patterns.join(" or "));
    if patterns.iter().any(|pattern| pattern.contains(r"\\") || pattern.contains("$$")) {
        warning += r". It looks escaped for awk: a dot is \. in a regular expression, and an end is $";
    }
    // Bazel 7 has `~` in the names of other modules' repositories, later versions have `+`. That is
    // also an operator, unless it is escaped or in a class.
    let of_bazel_7 = |pattern: &&str| pattern.contains('~') && !pattern.contains('+');
    let of_bazel_8 =
        |pattern: &&str| !pattern.contains('~') && (pattern.contains(r"\+") || pattern.contains("[+]"));
    if patterns.iter().any(|pattern| of_bazel_7(pattern) || of_bazel_8(pattern)) {
        warning += ". Bazel 7 spells repositories with ~, later versions with +; [~+] matches both";
    }
    warning
}

/// Replaces `@file` and `--flagfile=file` by the lines of the file. Bazel does so for workers, but
/// not for one-shot runs, and remote executors may forward the flagfile to their workers.
fn expand_flagfiles(arguments: &[Bytes], inputs: Inputs) -> Result<Vec<Bytes>, Error> {
    let mut expanded = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match request::flagfile(argument)? {
            Some(path) => expanded.extend(request::flagfile_arguments(&inputs.read(&path)?.into())),
            None => expanded.push(argument.clone()),
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_of_an_empty_layer_knows_frequent_reasons() {
        let of = |pattern: &str| empty_layer("torch", &[pattern]);
        let plain =
            |pattern: &str| format!("layer \"torch\" is empty: no file is found by its pattern {pattern}");
        for pattern in [r"\.so$", "[a-z]+/x", r"[^/]*[~+]torch"] {
            assert_eq!(of(pattern), plain(pattern));
        }
        for pattern in [r"\\.runfiles/torch", "torch$$"] {
            assert!(of(pattern).starts_with(&plain(pattern)) && of(pattern).contains("for awk"));
        }
        for pattern in ["rules_python~~pip~torch", r"rules_python\+\+pip\+torch", "[+]torch"] {
            assert!(of(pattern).starts_with(&plain(pattern)) && of(pattern).contains("later versions"));
        }
        assert!(empty_layer("a", &["x", "y"]).ends_with(" x or y"));
    }
}
