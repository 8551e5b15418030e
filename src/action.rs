//! One action, `PyImageLayer` or `PyImageLayerValidation`, from its arguments to its outputs. The same
//! code serves a persistent worker and a process that Bazel or a remote executor starts for one action.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tracing::{debug_span, info_span};

use crate::cache::Cache;
use crate::codec::Codec;
use crate::exec_path;
use crate::groups::{self, Exceptions, LayerGroups};
use crate::image_path::ImagePath;
use crate::inputs::{self, ContentChecks, Digests, Inputs, KnownFiles, LastingContent, Links};
use crate::listing;
use crate::manifest::{self, Manifest};
use crate::output::{self, Descriptor, Output};
use crate::pipeline::{self, Pool, Times, Written};
use crate::plan::{self, ExcludedLink, LayerPlan};
use crate::request::{self, ActionRequest, LayerRequest, Settings, UnusedGroupsRequest, ValidationRequest};
use crate::show::{show, show_path};
use crate::validate::{self, Expected};
use bazel_worker::{Cancel, Cancelled, Handler, Request, Response};

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
    #[error("{}: {error}", show_path(path))]
    Listing { path: PathBuf, error: listing::Error },
    #[error("--layer={}: there is no such layer group; the groups are {}", show(layer.as_bytes()), show(known.as_bytes()))]
    UnknownLayer { layer: String, known: String },
    #[error("{} is named as two outputs of one action; give each a path of its own", show_path(.0))]
    SameOutput(PathBuf),
    #[error(
        "{} is an output of the action and {} an input; an output must not replace or be inside an input",
        show_path(output),
        show_path(input)
    )]
    OutputIsInput { output: PathBuf, input: PathBuf },
    #[error(
        "{0}\n  to build anyway, set validation = \"warn\"; to accept single paths, name them in validation_exceptions"
    )]
    Violations(String),
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Lists of patterns, by the length of their text in KiB. One image has one list of about 1 KiB.
const MAX_GROUPS: u64 = 64;
/// Manifests are remembered in a quarter of the memory that compressed chunks get, and in no more than
/// this: a manifest of 50,000 files takes 20 MB.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;
/// Files of which it is remembered whether they can be executed: 250 bytes each.
const MAX_FILES: u64 = 1 << 18;

/// How many patterns that accept nothing are named.
const MAX_UNUSED: usize = 5;

/// A list of groups, and one of patterns to exclude.
type Patterns = (Vec<(String, String)>, Vec<String>);

/// What does the work, and what it remembers from action to action.
pub struct Engine {
    pool: Pool,
    groups: Cache<Patterns, Arc<LayerGroups>>,
    manifests: Cache<LastingContent, Arc<Manifest>>,
    files: KnownFiles,
    log: bool,
}

impl Engine {
    /// An engine that does its work on `pool`, and logs each request of a worker to stderr if `log`.
    pub fn new(pool: Pool, log: bool) -> Engine {
        let manifest_bytes = (pool.cache_bytes() / 4).min(MAX_MANIFEST_BYTES);
        Engine {
            pool,
            groups: Cache::new(MAX_GROUPS),
            manifests: Cache::new(manifest_bytes),
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
        let (now, links) = (SystemTime::now(), Links::Ambiguous);
        let inputs = Inputs { base, digests, known: &self.files, cancel, now, links };
        let (arguments, flagfiles) = expand_flagfiles(arguments, inputs)?;
        match ActionRequest::parse(arguments.iter().map(Bytes::as_ref))? {
            ActionRequest::Layer(request) => self.write_layer(request, &flagfiles, inputs),
            ActionRequest::Validation(request) => self.validate_layers(request, &flagfiles, inputs),
            ActionRequest::UnusedGroups(request) => report_unused_groups(request, &flagfiles, inputs.base),
        }
    }

    fn write_layer(
        &self,
        request: LayerRequest,
        flagfiles: &[PathBuf],
        inputs: Inputs,
    ) -> Result<Outcome, Error> {
        let LayerRequest { layer, manifest: manifest_path, output, descriptor, listing, settings } = request;
        let _span = info_span!("layer", layer).entered();
        let start = Instant::now();
        let inputs = inputs.compared_to(&manifest_path);
        let manifest = debug_span!("manifest").in_scope(|| self.manifest(&manifest_path, inputs))?;
        let outputs: Vec<&Path> = [Some(&output), descriptor.as_ref(), listing.as_ref()]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        let read = flagfiles.iter().chain([&manifest_path]).map(PathBuf::as_path);
        check_outputs(&outputs, read.chain(manifest.sources()))?;
        let groups = self.groups(&settings.groups, &settings.exclude)?;
        if !groups.names().contains(&layer.as_str()) {
            return Err(Error::UnknownLayer { layer, known: groups.names().join(", ") });
        }
        let checks = checks(&settings);
        let wanted = |path: &ImagePath| groups.group_of(path.tar_name()) == Some(layer.as_str());
        let mut items = debug_span!("inputs").in_scope(|| inputs.items(&manifest, checks, wanted))?;
        let excluded_links = plan::take_excluded_links(&mut items, &groups, inputs.cancel)?;
        let plan = debug_span!("plan").in_scope(|| plan::plan(items, &settings, inputs.cancel))?;
        let mut warnings = warnings(&plan, &layer);
        // Of an empty manifest the rule knows at analysis, and another action has warned.
        if !plan.holds_files() && !manifest.entries.is_empty() {
            warnings.extend(empty_layer(&layer, &settings.groups));
        }
        let files = LayerFiles {
            layer: inputs.base.join(output),
            descriptor: descriptor.map(|path| inputs.base.join(path)),
            listing: listing.map(|path| (inputs.base.join(path), excluded_links)),
        };
        let entries = plan.entries.len();
        let planned = start.elapsed();
        let written = write(plan, settings.codec, &files, inputs.cancel, &self.pool)?;
        let Times { read, compress, hash, write } = written.times;
        let summary = format!(
            "layer {layer:?}: {entries} entries, {} bytes of tar, {} bytes of {}; planned in {planned:.1?}, then read {read:.1?}, compressed {compress:.1?}, hashed {hash:.1?}, wrote {write:.1?}",
            written.uncompressed_size, written.size, settings.codec
        );
        Ok(Outcome { warnings, summary })
    }

    fn validate_layers(
        &self,
        request: ValidationRequest,
        flagfiles: &[PathBuf],
        inputs: Inputs,
    ) -> Result<Outcome, Error> {
        let _span = info_span!("validation").entered();
        let manifests: Vec<_> =
            request.manifests.iter().map(|path| self.manifest(path, inputs)).collect::<Result<_, _>>()?;
        let listings = request.listings.iter().map(|(_, path)| path);
        let read = flagfiles.iter().chain(&request.manifests).chain(listings).map(PathBuf::as_path);
        let sources = manifests.iter().flat_map(|manifest| manifest.sources());
        check_outputs(&[&request.report], read.chain(sources))?;
        let groups = self.groups(&request.groups, &request.exclude)?;
        let exceptions = Exceptions::compile(&request.exceptions)?;
        let mut layers = Vec::with_capacity(request.listings.len());
        for (layer, path) in request.listings {
            let (text, _) = inputs.read(&path)?;
            let listed = listing::parse(&String::from_utf8_lossy(&text), inputs.cancel);
            layers.push((layer, listed.map_err(|error| Error::Listing { path, error })?));
        }
        // What may be in several layers is in the manifests of all of them.
        let mut seen = HashSet::new();
        let entries = manifests.iter().flat_map(|manifest| &manifest.entries);
        let entries: Vec<_> = entries.filter(|entry| seen.insert(*entry)).collect();
        let expected = Expected {
            paths: &inputs.paths(entries.iter().copied())?,
            links: manifests.iter().flat_map(|manifest| manifest.links()).collect(),
            groups: &groups,
            dropped: &request.dropped,
            machine: request.machine,
            exceptions: &exceptions,
        };
        let mut findings = validate::check(&layers, &expected, inputs.cancel)?;
        let found = entries.iter().map(|entry| &entry.path).collect::<HashSet<_>>().len();
        findings.lost = request.paths.filter(|runfiles| *runfiles != found).map(|runfiles| (runfiles, found));
        // Written even if the action fails: Bazel keeps the outputs of a failed action.
        let report = inputs.base.join(&request.report);
        Output::keep([Output::with_content(&report, findings.report().as_bytes())?])?;
        let unused = unused_exceptions(&findings.unused_exceptions);
        let message = (!findings.is_empty()).then(|| findings.message(Some(&request.report)));
        let messages: Vec<String> = message.into_iter().chain(unused).collect();
        if !findings.is_empty() && !request.lenient {
            return Err(Error::Violations(messages.join("\n  ")));
        }
        Ok(Outcome { summary: format!("{} layers validated", layers.len()), warnings: messages })
    }

    fn groups(&self, groups: &[(String, String)], exclude: &[String]) -> Result<Arc<LayerGroups>, Error> {
        let key = (groups.to_vec(), exclude.to_vec());
        if let Some(compiled) = self.groups.get(&key) {
            return Ok(compiled);
        }
        let compiled = Arc::new(LayerGroups::compile(groups, exclude)?);
        let bytes = groups.iter().map(|(_, pattern)| pattern).chain(exclude).map(String::len).sum::<usize>();
        self.groups.put(key, compiled.clone(), 1 + bytes as u64 / 1024);
        Ok(compiled)
    }

    fn manifest(&self, path: &Path, inputs: Inputs) -> Result<Arc<Manifest>, Error> {
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
pub fn checks(settings: &Settings) -> ContentChecks {
    ContentChecks {
        dedupe_from: settings.dedupe_from,
        executable: settings.metadata.mode.depends_on_content(),
    }
}

/// Where a layer and what is said about it go.
struct LayerFiles {
    layer: PathBuf,
    descriptor: Option<PathBuf>,
    /// Besides the path, the links that are not in the layer although they are in its manifest.
    listing: Option<(PathBuf, Vec<ExcludedLink>)>,
}

/// Writes `plan` to `files`: all of them or none.
fn write(
    plan: LayerPlan,
    codec: Codec,
    files: &LayerFiles,
    cancel: &Cancel,
    pool: &Pool,
) -> Result<Written, Error> {
    let plan = Arc::new(plan);
    let (layer, written) = write_temporary(&plan, codec, &files.layer, cancel, pool, &|_| ())?;
    let mut outputs = vec![layer];
    if let Some(path) = &files.descriptor {
        outputs.push(Output::with_content(path, Descriptor::new(codec, &written).to_json().as_bytes())?);
    }
    if let Some((path, excluded_links)) = &files.listing {
        let mut output = Output::create(path)?;
        listing::write(&plan, &written.machines, excluded_links, output.file())
            .map_err(|error| output::Error { path: path.clone(), error })?;
        outputs.push(output);
    }
    Output::keep(outputs)?;
    Ok(written)
}

/// Writes the layer of `plan` to a temporary file beside `path`, which [`Output::keep`] renames.
pub fn write_temporary(
    plan: &Arc<LayerPlan>,
    codec: Codec,
    path: &Path,
    cancel: &Cancel,
    pool: &Pool,
    progress: &dyn Fn(u64),
) -> Result<(Output, Written), Error> {
    output::remove_abandoned(path);
    let mut layer = Output::create(path)?;
    match pool.write(plan.clone(), codec, cancel, layer.file(), progress) {
        Ok(written) => Ok((layer, written)),
        Err(pipeline::Error::Write(error)) => Err(output::Error { path: path.to_path_buf(), error }.into()),
        Err(other) => Err(other.into()),
    }
}

/// What people should know about a layer that is valid.
pub fn warnings(plan: &LayerPlan, layer: &str) -> Vec<String> {
    let entry = plan::shadows_base_image(plan);
    let warning = entry.map(|entry| format!(
        "layer {layer:?} holds {}; in most base images that top-level directory is a symlink, which some tools replace by a directory. Set root = \"/app\" or the like",
        show(&entry.name)
    ));
    warning.into_iter().collect()
}

/// Says that `layer`, of one of these groups, turned out empty.
fn empty_layer(layer: &str, groups: &[(String, String)]) -> Option<String> {
    let patterns: Vec<&str> = groups
        .iter()
        .map(|(name, pattern)| (name.as_str(), pattern.as_str()))
        // A default group is empty wherever a tree might have had files for it: nobody's mistake.
        .filter(|group| group.0 == layer && !groups::is_default(group.0, group.1))
        .map(|(_, pattern)| pattern)
        .collect();
    (!patterns.is_empty()).then(|| unused_group(layer, &patterns.join("|"), &[]))
}

/// Says that the patterns `unused`, which are to accept problems of layers, accept none.
pub fn unused_exceptions(unused: &[&str]) -> Option<String> {
    let shown: Vec<String> =
        unused.iter().take(MAX_UNUSED).map(|pattern| format!("\"{}\"", show(pattern.as_bytes()))).collect();
    let more = if unused.len() > MAX_UNUSED { " and more" } else { "" };
    (!unused.is_empty()).then(|| {
        format!(
            "no problem is found at a path that matches {}{more}: remove what is not needed from validation_exceptions",
            shown.join(" or ")
        )
    })
}

/// Writes a line for each group without files.
fn report_unused_groups(
    request: UnusedGroupsRequest,
    flagfiles: &[PathBuf],
    base: &Path,
) -> Result<Outcome, Error> {
    let UnusedGroupsRequest { report, groups, packages } = request;
    check_outputs(&[&report], flagfiles.iter().map(PathBuf::as_path))?;
    let warnings: Vec<String> =
        groups.iter().map(|(name, pattern)| unused_group(name, pattern, &packages)).collect();
    let lines: String = warnings.iter().map(|line| format!("{line}\n")).collect();
    Output::keep([Output::with_content(&base.join(report), lines.as_bytes())?])?;
    Ok(Outcome { summary: format!("{} layer groups without files", groups.len()), warnings })
}

/// Says that no file belongs to the layer group `name`, and what the reason may be. `packages` are the
/// normalized names of those in the runfiles.
pub fn unused_group(name: &str, pattern: &str, packages: &[String]) -> String {
    let mut warning = format!(
        "layer {name:?} is empty: no file left by earlier groups matches its pattern {}",
        shown_pattern(pattern)
    );
    if pattern.contains(r"\\") || pattern.contains("$$") {
        warning += r". It looks escaped for awk: a dot is \. in a regular expression, and an end is $";
    }
    // Bazel 7 has `~` in the names of other modules' repositories, later versions have `+`. That is
    // also an operator, unless it is escaped or in a class.
    let of_bazel_7 = pattern.contains('~') && !pattern.contains('+');
    let of_bazel_8 = !pattern.contains('~') && (pattern.contains(r"\+") || pattern.contains("[+]"));
    if of_bazel_7 || of_bazel_8 {
        warning += ". Bazel 7 spells repositories with ~, later versions with +; [~+] matches both";
    }
    // pip_deps_torch of a WORKSPACE is pip_deps_311_torch_cp311_… of a module.
    let by_package = pattern.contains("{pip_package:");
    match mentioned_package(pattern, packages) {
        Some(package) if !by_package => {
            warning += &format!(
                ". The binary has a package {package:?}: pip_package({package:?}) finds it whatever its repository is called"
            );
        }
        None if by_package => {
            warning += ". A package goes by its name in a requirements file (pyyaml, not yaml)";
        }
        _ => {}
    }
    warning
}

/// A pattern as a BUILD file has it: `pip_package("torch")`, or quoted.
fn shown_pattern(pattern: &str) -> String {
    let package = |part: &str| Some(format!("{:?}", part.strip_prefix("{pip_package:")?.strip_suffix('}')?));
    match pattern.split('|').map(package).collect::<Option<Vec<String>>>() {
        Some(names) => show(format!("pip_package({})", names.join(", ")).as_bytes()),
        None => format!("\"{}\"", show(pattern.as_bytes())),
    }
}

/// The package whose name is a word of `pattern`, the longest of several.
fn mentioned_package<'a>(pattern: &str, packages: &'a [String]) -> Option<&'a String> {
    let pattern = pattern.to_ascii_lowercase().replace(['_', '.'], "-");
    let is_mentioned = |package: &&String| {
        pattern.match_indices(package.as_str()).any(|(start, _)| {
            let before = pattern[..start].chars().next_back();
            let after = pattern[start + package.len()..].chars().next();
            !before.into_iter().chain(after).any(char::is_alphanumeric)
        })
    };
    packages.iter().filter(is_mentioned).max_by_key(|package| package.len())
}

/// Refuses outputs that are the same path, that an input has, or that are inside an input.
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

/// Replaces `@file` and `--flagfile=file` by the lines of the file; returns also the files' paths.
/// Bazel does so for workers, but not for one-shot runs, and remote executors may forward the flagfile
/// to their workers.
fn expand_flagfiles(arguments: &[Bytes], inputs: Inputs) -> Result<(Vec<Bytes>, Vec<PathBuf>), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_of_an_unused_group_knows_frequent_reasons() {
        let packages = ["audio", "torch", "torch-audio"].map(String::from);
        for (pattern, reasons) in [
            (r"\.so$", &[][..]),
            ("[a-z]+/x", &[]),
            (r"[^/]*[~+]x", &[]),
            ("torchvision", &[]),
            (r"\\.runfiles/x", &["for awk"]),
            ("x$$", &["for awk"]),
            ("rules_python~~python~x", &["later versions with +"]),
            (r"rules_python\+\+x\+y", &["later versions with +"]),
            ("[+]x", &["later versions with +"]),
            ("pip_deps_torch", &["pip_package(\"torch\")"]),
            ("/site-packages/Torch_Audio/", &["pip_package(\"torch-audio\")"]),
            ("[~]pypi_311_torch/", &["later versions with +", "pip_package(\"torch\")"]),
            ("{pip_package:yaml}", &["pyyaml, not yaml"]),
            // An earlier group has it.
            ("{pip_package:torch}", &[]),
        ] {
            let warning = unused_group("x", pattern, &packages);
            let plain = format!(
                "layer \"x\" is empty: no file left by earlier groups matches its pattern {}",
                shown_pattern(pattern)
            );
            let rest = warning.strip_prefix(&plain).unwrap();
            assert!(reasons.iter().all(|reason| rest.contains(reason)), "{warning}");
            assert_eq!(rest.is_empty(), reasons.is_empty(), "{warning}");
        }
        let groups =
            [("a", "x"), ("b", "z"), ("a", "y")].map(|(name, pattern)| (name.into(), pattern.into()));
        assert!(empty_layer("a", &groups).unwrap().ends_with(" its pattern \"x|y\""));
        assert_eq!(shown_pattern("{pip_package:torch}|{pip_package:six}"), r#"pip_package("torch", "six")"#);
        assert_eq!(shown_pattern("{pip_package:torch}|/x/"), r#""{pip_package:torch}|/x/""#);
        assert_eq!(empty_layer("c", &groups), None);
    }
}
