//! One action, from its arguments to its outputs: `PyImageLayer` or `PyImageLayerValidation`. The same code serves a persistent
//! worker and a process that Bazel or a remote executor starts for one action.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::Codec;
use crate::groups::{self, LayerGroups};
use crate::image_path::ImagePath;
use crate::inputs::{self, Digests, Inputs, Questions};
use crate::listing;
use crate::manifest::{self, Manifest};
use crate::output::{self, Descriptor, Output};
use crate::pipeline::{self, Pool, Written};
use crate::plan::{self, LayerPlan};
use crate::request::{self, ActionRequest, LayerRequest, ModeRule, Settings, ValidationRequest};
use crate::validate::{self, Expected};
use crate::worker::{Cancel, Handler, Request, Response};

/// Why a layer was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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

/// Serves a persistent worker's requests.
pub struct LayerHandler {
    pub pool: Pool,
}

impl Handler for LayerHandler {
    fn handle(&self, request: &Request, cancel: &Cancel) -> Response {
        let digests: Digests = request
            .inputs
            .iter()
            .filter(|input| !input.digest.is_empty())
            .map(|input| (input.path.clone(), input.digest.clone()))
            .collect();
        let inputs = Inputs { base: &request.sandbox_dir, digests: &digests, cancel };
        respond(run(&request.arguments, inputs, &self.pool))
    }
}

/// The exit code and the text that Bazel shows.
pub fn respond(result: Result<Vec<String>, Error>) -> Response {
    match result {
        Ok(warnings) => Response {
            exit_code: 0,
            output: warnings.iter().map(|line| format!("pylayer: {line}\n")).collect(),
        },
        Err(error) => Response { exit_code: 1, output: format!("pylayer: {error}\n") },
    }
}

/// Does what `arguments` ask for, and returns warnings for people.
pub fn run(arguments: &[Bytes], inputs: Inputs, pool: &Pool) -> Result<Vec<String>, Error> {
    let arguments = expand_flagfiles(arguments, inputs)?;
    match ActionRequest::parse(arguments.iter().map(Bytes::as_ref))? {
        ActionRequest::Layer(request) => write_layer(request, inputs, pool),
        ActionRequest::Validation(request) => validate_layers(request, inputs),
    }
}

fn write_layer(request: LayerRequest, inputs: Inputs, pool: &Pool) -> Result<Vec<String>, Error> {
    let LayerRequest { layer, manifest, output, descriptor, listing, settings } = request;
    let manifest = Manifest::parse(&inputs.read(&manifest)?)?;
    let groups = LayerGroups::compile(&settings.groups, &settings.exclude)?;
    let questions = questions(&settings);
    let wanted = |path: &ImagePath| groups.group_of(path.as_bytes()) == Some(layer.as_str());
    let plan = plan::plan(inputs.items(&manifest, questions, wanted)?, &settings)?;
    let warnings = warnings(&plan, &layer);
    let files = LayerFiles {
        layer: inputs.base.join(output),
        descriptor: descriptor.map(|path| inputs.base.join(path)),
        listing: listing.map(|path| inputs.base.join(path)),
    };
    write(plan, settings.codec, &files, inputs.cancel, pool, &|_| ())?;
    Ok(warnings)
}

fn validate_layers(request: ValidationRequest, inputs: Inputs) -> Result<Vec<String>, Error> {
    let manifest = Manifest::parse(&inputs.read(&request.manifest)?)?;
    let groups = LayerGroups::compile(&request.groups, &request.exclude)?;
    let mut layers = Vec::with_capacity(request.listings.len());
    for (layer, path) in request.listings {
        let text = inputs.read(&path)?;
        let listed = listing::parse(&String::from_utf8_lossy(&text));
        layers.push((layer, listed.map_err(|error| Error::Listing { path, error })?));
    }
    let paths = inputs.paths(&manifest)?;
    let dropped = |layer: &str| request.dropped.iter().any(|dropped| dropped == layer);
    let expected = paths.iter().filter_map(|path| {
        let layer = groups.group_of(path.as_bytes()).filter(|layer| !dropped(layer))?;
        Some((path, layer))
    });
    let violations = validate::violations(&layers, &Expected::new(expected, request.machine));
    if !violations.is_empty() && !request.lenient {
        return Err(Error::Violations(violations));
    }
    let report: String = violations.iter().map(|line| format!("{line}\n")).collect();
    Output::keep([Output::with_content(&inputs.base.join(request.report), report.as_bytes())?])?;
    Ok(violations)
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
    let mut layer = Output::create(&files.layer)?;
    let written = pool.write(plan.clone(), codec, cancel, layer.file(), progress)?;
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

/// What people should know about a layer that is valid.
pub fn warnings(plan: &LayerPlan, layer: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    if plan.entries.is_empty() {
        warnings.push(format!(
            "layer {layer:?} is empty: its pattern matches no file. Does it name a repository as another Bazel version spells it (`~` or `+`)?"
        ));
    }
    if let Some(entry) = plan::shadows_base_image(plan) {
        warnings.push(format!(
            "layer {layer:?} holds {}; in most base images that top-level directory is a symlink, which some tools replace by a directory. Set root = \"/app\" or the like",
            String::from_utf8_lossy(&entry.name)
        ));
    }
    warnings
}

/// Replaces `@file` and `--flagfile=file` by the lines of the file. Bazel does so for workers, but
/// not for one-shot runs, and remote executors may forward the flagfile to their workers.
fn expand_flagfiles(arguments: &[Bytes], inputs: Inputs) -> Result<Vec<Bytes>, inputs::Error> {
    let mut expanded = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let flagfile = argument.strip_prefix(b"@").or_else(|| argument.strip_prefix(b"--flagfile="));
        let Some(flagfile) = flagfile else {
            expanded.push(argument.clone());
            continue;
        };
        let lines = Bytes::from(inputs.read(Path::new(OsStr::from_bytes(flagfile)))?);
        let lines = lines.split(|&byte| byte == b'\n').map(|line| lines.slice_ref(line));
        expanded.extend(lines.filter(|line| !line.is_empty()));
    }
    Ok(expanded)
}
