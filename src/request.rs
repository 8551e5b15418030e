//! Parses the argument lines of an action into a checked [`ActionRequest`].
//!
//! Every argument has the form `--name=value`, so that no line of a flagfile can begin with `@`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;

use crate::exec_path;
use crate::show::show;

/// Invalid arguments.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("unknown argument \"{0}\"; every argument has the form --name=value")]
    Unknown(String),
    #[error("argument \"{0}\" is given twice")]
    Twice(String),
    #[error("argument --{0}=… is missing")]
    Missing(&'static str),
    #[error("--{name}={value}: {problem}")]
    Value { name: String, value: String, problem: String },
}

/// An action that writes one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRequest {
    /// The group whose files the layer contains.
    pub layer: String,
    /// Exec path of the image's [`Settings`](crate::settings::Settings).
    pub settings: PathBuf,
    /// Exec path of the image's [`Groups`](crate::groups::Groups). Without it, everything in the manifest
    /// that is not excluded belongs to the layer.
    pub groups: Option<PathBuf>,
    /// Exec path of the manifest.
    pub manifest: PathBuf,
    /// Exec paths of wheels from which files may be lifted, in order of preference.
    pub wheels: Vec<PathBuf>,
    /// Exec path of the list of files that come first.
    pub prefetch: Option<PathBuf>,
    /// Exec path of the layer.
    pub output: PathBuf,
    /// Exec path of the OCI descriptor.
    pub descriptor: Option<PathBuf>,
    /// Exec path of the mtree listing.
    pub listing: Option<PathBuf>,
    pub metadata: Option<MetadataRequest>,
}

/// An output of an action that writes a layer: its OCI descriptor with its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataRequest {
    /// Exec path of the file.
    pub path: PathBuf,
    /// The command that the history names.
    pub created_by: String,
}

/// An action that validates the layers of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationRequest {
    /// Exec path of the report, one line per problem. Written even if validation fails.
    pub report: PathBuf,
    /// Exec path of the image's [`Settings`](crate::settings::Settings).
    pub settings: PathBuf,
    /// Exec path of the image's [`Groups`](crate::groups::Groups).
    pub groups: PathBuf,
    /// Exec path of the [`ValidationSettings`](crate::settings::ValidationSettings).
    pub validation_settings: PathBuf,
    /// Exec paths of the manifests: one per layer, and one of the entries in no layer.
    pub manifests: Vec<PathBuf>,
    /// Each layer's name and the exec path of its listing.
    pub listings: Vec<(String, PathBuf)>,
    /// As in the [`LayerRequest`]s.
    pub prefetch: Option<PathBuf>,
}

/// An action that warns about groups without files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedGroupsRequest {
    /// Exec path of the report, one line per group.
    pub report: PathBuf,
    /// Exec path of the [`UnusedGroups`](crate::settings::UnusedGroups).
    pub settings: PathBuf,
}

/// An action that merges the repository mappings of several binaries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoMappingRequest {
    /// Exec path of the merged mapping.
    pub output: PathBuf,
    /// Exec paths of the binaries' mappings.
    pub mappings: Vec<PathBuf>,
}

/// One action: configure the launcher of a Python binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LauncherRequest {
    /// Exec path of the launcher that is not configured.
    pub launcher: PathBuf,
    /// Exec path of the [`LauncherSettings`](crate::settings::LauncherSettings).
    pub settings: PathBuf,
    /// Exec path of the interpreter's `patchlevel.h`, which contains its version.
    pub patchlevel: Option<PathBuf>,
    /// Exec path of the executable.
    pub output: PathBuf,
}

/// An action that compares the files of distributions that have the same path in site-packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageCollisionsRequest {
    /// Exec path of the report, one line per collision. Written even if the action fails.
    pub report: PathBuf,
    /// Exec path of the [`PackageCollisions`](crate::settings::PackageCollisions).
    pub settings: PathBuf,
}

/// An action that describes the layers of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportRequest {
    /// Exec path of the page.
    pub page: PathBuf,
    /// Exec path of the [`ImageContents`](crate::contents::ImageContents).
    pub contents: PathBuf,
    pub settings: PathBuf,
    pub groups: PathBuf,
    /// Exec path of the [`ReportSettings`](crate::settings::ReportSettings).
    pub report_settings: PathBuf,
    /// Names and exec paths of the layers in the image, from bottom to top.
    pub layers: Vec<(String, PathBuf)>,
    /// Names and exec paths of their listings.
    pub listings: Vec<(String, PathBuf)>,
    /// Exec paths of the manifests that have excluded paths.
    pub manifests: Vec<PathBuf>,
}

/// The arguments of any action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionRequest {
    Layer(LayerRequest),
    Validation(ValidationRequest),
    UnusedGroups(UnusedGroupsRequest),
    RepoMapping(RepoMappingRequest),
    Launcher(LauncherRequest),
    Report(ReportRequest),
    PackageCollisions(PackageCollisionsRequest),
}

impl ActionRequest {
    /// Parses argument lines such as `--layer=default`. An action with `--validation=…` validates, one
    /// with `--unused_groups=…` warns about groups, one with `--merged_repo_mapping=…` merges mappings, one
    /// with `--launcher=…` configures a launcher, one with `--package_collisions=…` compares files, one with
    /// `--report=…` describes an image, any other writes a layer.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Result<ActionRequest, Error> {
        let mut manifests = Vec::new();
        let mut listings = Vec::new();
        let mut layers = Vec::new();
        let mut mappings = Vec::new();
        let mut wheels = Vec::new();
        let mut options = Options::default();
        for argument in arguments {
            let (name, value) = split(argument)?;
            match name {
                "manifest" => manifests.push(path(name, value, exec_path::input)?),
                "repo_mapping" => mappings.push(path(name, value, exec_path::input)?),
                "wheel" => wheels.push(path(name, value, exec_path::input)?),
                "layer_listing" => listings.push(parse_named(name, value)?),
                "layer_file" => layers.push(parse_named(name, value)?),
                _ => options.add(name, value)?,
            }
        }
        let request = if let Some(report) = options.output("validation")? {
            if manifests.is_empty() {
                return Err(Error::Missing("manifest"));
            }
            ActionRequest::Validation(ValidationRequest {
                report,
                settings: options.input("settings")?,
                groups: options.input("groups")?,
                validation_settings: options.input("validation_settings")?,
                manifests: std::mem::take(&mut manifests),
                listings: std::mem::take(&mut listings),
                prefetch: options.optional_input("prefetch")?,
            })
        } else if let Some(report) = options.output("unused_groups")? {
            ActionRequest::UnusedGroups(UnusedGroupsRequest { report, settings: options.input("settings")? })
        } else if let Some(output) = options.output("merged_repo_mapping")? {
            if mappings.is_empty() {
                return Err(Error::Missing("repo_mapping"));
            }
            ActionRequest::RepoMapping(RepoMappingRequest { output, mappings: std::mem::take(&mut mappings) })
        } else if options.0.contains_key("launcher") {
            ActionRequest::Launcher(LauncherRequest {
                launcher: options.input("launcher")?,
                settings: options.input("settings")?,
                patchlevel: options.optional_input("patchlevel")?,
                output: options.output("output")?.ok_or(Error::Missing("output"))?,
            })
        } else if let Some(report) = options.output("package_collisions")? {
            let settings = options.input("settings")?;
            ActionRequest::PackageCollisions(PackageCollisionsRequest { report, settings })
        } else if let Some(page) = options.output("report")? {
            ActionRequest::Report(ReportRequest {
                page,
                contents: options.output("contents")?.ok_or(Error::Missing("contents"))?,
                settings: options.input("settings")?,
                groups: options.input("groups")?,
                report_settings: options.input("report_settings")?,
                layers: std::mem::take(&mut layers),
                listings: std::mem::take(&mut listings),
                manifests: std::mem::take(&mut manifests),
            })
        } else {
            ActionRequest::Layer(LayerRequest {
                layer: options.layer()?,
                settings: options.input("settings")?,
                groups: options.optional_input("groups")?,
                manifest: manifests.pop().ok_or(Error::Missing("manifest"))?,
                wheels: std::mem::take(&mut wheels),
                prefetch: options.optional_input("prefetch")?,
                output: options.output("output")?.ok_or(Error::Missing("output"))?,
                descriptor: options.output("descriptor")?,
                listing: options.output("listing")?,
                metadata: options.metadata()?,
            })
        };
        let unknown = |name: &str| Err(Error::Unknown(format!("--{}", show(name.as_bytes()))));
        match options.0.into_keys().next() {
            Some(name) => unknown(&name),
            None if !manifests.is_empty() => match request {
                ActionRequest::Layer(_) => Err(Error::Twice("--manifest".to_string())),
                _ => unknown("manifest"),
            },
            None if !listings.is_empty() => unknown("layer_listing"),
            None if !layers.is_empty() => unknown("layer_file"),
            None if !mappings.is_empty() => unknown("repo_mapping"),
            None if !wheels.is_empty() => unknown("wheel"),
            None => Ok(request),
        }
    }
}

/// The exec path of a flagfile, if `argument` names one: `@PATH` or `--flagfile=PATH`.
pub fn flagfile(argument: &[u8]) -> Result<Option<PathBuf>, Error> {
    let flagfile = argument.strip_prefix(b"@").or_else(|| argument.strip_prefix(b"--flagfile="));
    flagfile.map(|value| path("flagfile", value, exec_path::input)).transpose()
}

/// The arguments in a flagfile with this content, one per line.
pub fn flagfile_arguments(content: &Bytes) -> impl Iterator<Item = Bytes> {
    let lines = content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| content.slice_ref(line))
}

/// The arguments that may occur only once. Parsing a request removes those it uses.
#[derive(Default)]
struct Options(BTreeMap<String, Vec<u8>>);

impl Options {
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        match self.0.insert(name.to_string(), value.to_vec()) {
            None => Ok(()),
            Some(_) => Err(Error::Twice(format!("--{}", show(name.as_bytes())))),
        }
    }

    fn layer(&mut self) -> Result<String, Error> {
        self.text("layer")
    }

    fn metadata(&mut self) -> Result<Option<MetadataRequest>, Error> {
        let Some(path) = self.output("layer_metadata")? else { return Ok(None) };
        Ok(Some(MetadataRequest { path, created_by: self.text("created_by")? }))
    }

    fn text(&mut self, name: &'static str) -> Result<String, Error> {
        let value = self.0.remove(name).ok_or(Error::Missing(name))?;
        text(name, &value)
    }

    fn input(&mut self, name: &'static str) -> Result<PathBuf, Error> {
        self.optional_input(name)?.ok_or(Error::Missing(name))
    }

    fn optional_input(&mut self, name: &str) -> Result<Option<PathBuf>, Error> {
        self.0.remove(name).map(|value| path(name, &value, exec_path::input)).transpose()
    }

    fn output(&mut self, name: &str) -> Result<Option<PathBuf>, Error> {
        self.0.remove(name).map(|value| path(name, &value, exec_path::output)).transpose()
    }
}

fn split(argument: &[u8]) -> Result<(&str, &[u8]), Error> {
    let unknown = || Error::Unknown(show(argument));
    let rest = argument.strip_prefix(b"--").ok_or_else(unknown)?;
    let equals = rest.iter().position(|&byte| byte == b'=').ok_or_else(unknown)?;
    let name = std::str::from_utf8(&rest[..equals]).map_err(|_| unknown())?;
    Ok((name, &rest[equals + 1..]))
}

fn invalid(name: &str, value: &[u8], problem: impl Into<String>) -> Error {
    Error::Value { name: name.to_string(), value: show(value), problem: problem.into() }
}

fn text(name: &str, value: &[u8]) -> Result<String, Error> {
    String::from_utf8(value.to_vec()).map_err(|_| invalid(name, value, "the value is not UTF-8"))
}

/// [`exec_path::input`] or [`exec_path::output`].
type ExecPath = fn(&[u8]) -> Result<PathBuf, exec_path::Error>;

fn path(name: &str, value: &[u8], check: ExecPath) -> Result<PathBuf, Error> {
    check(value).map_err(|error| invalid(name, value, error.problem))
}

/// The value `LAYER=PATH` of the argument `name`.
fn parse_named(name: &str, value: &[u8]) -> Result<(String, PathBuf), Error> {
    let equals = value.iter().position(|&byte| byte == b'=');
    let equals = equals.ok_or_else(|| invalid(name, value, "expected LAYER=PATH"))?;
    let path = path(name, &value[equals + 1..], exec_path::input)?;
    Ok((text(name, &value[..equals])?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: [&str; 4] = ["--layer=default", "--settings=s", "--manifest=m", "--output=o"];
    const VALIDATION: [&str; 5] =
        ["--validation=report", "--settings=s", "--groups=g", "--validation_settings=v", "--manifest=m"];
    const REPO_MAPPING: [&str; 2] = ["--merged_repo_mapping=r", "--repo_mapping=a"];
    const REPORT: [&str; 5] =
        ["--report=page", "--contents=json", "--settings=s", "--groups=g", "--report_settings=r"];
    const LAUNCHER: [&str; 3] = ["--launcher=l", "--settings=s", "--output=o"];

    fn parse(arguments: &[&str], more: &[&str]) -> Result<ActionRequest, String> {
        let arguments = arguments.iter().chain(more).map(|argument| argument.as_bytes());
        ActionRequest::parse(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn an_action_is_told_by_its_output() {
        let layer = LayerRequest {
            layer: "default".into(),
            settings: "s".into(),
            groups: None,
            manifest: "m".into(),
            wheels: vec!["w.whl".into(), "v.whl".into()],
            prefetch: Some("p.txt".into()),
            output: "o".into(),
            descriptor: Some("d.json".into()),
            listing: None,
            metadata: Some(MetadataRequest { path: "m.json".into(), created_by: "bazel build //app".into() }),
        };
        let more = [
            "--descriptor=d.json",
            "--layer_metadata=m.json",
            "--created_by=bazel build //app",
            "--wheel=w.whl",
            "--wheel=v.whl",
            "--prefetch=p.txt",
        ];
        assert_eq!(parse(&LAYER, &more), Ok(ActionRequest::Layer(layer.clone())));
        let layer = LayerRequest {
            groups: Some("g".into()),
            wheels: Vec::new(),
            prefetch: None,
            descriptor: None,
            metadata: None,
            ..layer
        };
        assert_eq!(parse(&LAYER, &["--groups=g"]), Ok(ActionRequest::Layer(layer)));
        let validation = ValidationRequest {
            report: "report".into(),
            settings: "s".into(),
            groups: "g".into(),
            validation_settings: "v".into(),
            manifests: vec!["m".into(), "n".into()],
            listings: vec![("a".into(), "x/a=b.mtree".into())],
            prefetch: None,
        };
        let more = ["--manifest=n", "--layer_listing=a=x/a=b.mtree"];
        assert_eq!(parse(&VALIDATION, &more), Ok(ActionRequest::Validation(validation.clone())));
        let validation = ValidationRequest { prefetch: Some("p.txt".into()), ..validation };
        let more = [&more[..], &["--prefetch=p.txt"]].concat();
        assert_eq!(parse(&VALIDATION, &more), Ok(ActionRequest::Validation(validation)));
        let unused = UnusedGroupsRequest { report: "r".into(), settings: "s".into() };
        let arguments = ["--unused_groups=r", "--settings=s"];
        assert_eq!(parse(&arguments, &[]), Ok(ActionRequest::UnusedGroups(unused)));
        let mapping = RepoMappingRequest { output: "r".into(), mappings: vec!["a".into(), "b".into()] };
        assert_eq!(parse(&REPO_MAPPING, &["--repo_mapping=b"]), Ok(ActionRequest::RepoMapping(mapping)));
        let mut launcher = LauncherRequest {
            launcher: "l".into(),
            settings: "s".into(),
            patchlevel: None,
            output: "o".into(),
        };
        assert_eq!(parse(&LAUNCHER, &[]), Ok(ActionRequest::Launcher(launcher.clone())));
        launcher.patchlevel = Some("p.h".into());
        assert_eq!(parse(&LAUNCHER, &["--patchlevel=p.h"]), Ok(ActionRequest::Launcher(launcher)));
        let report = ReportRequest {
            page: "page".into(),
            contents: "json".into(),
            settings: "s".into(),
            groups: "g".into(),
            report_settings: "r".into(),
            layers: vec![("a".into(), "a.tar".into())],
            listings: vec![("a".into(), "a.mtree".into())],
            manifests: vec!["m".into()],
        };
        let more = ["--layer_file=a=a.tar", "--layer_listing=a=a.mtree", "--manifest=m"];
        assert_eq!(parse(&REPORT, &more), Ok(ActionRequest::Report(report)));
        let collisions = PackageCollisionsRequest { report: "r".into(), settings: "s".into() };
        let arguments = ["--package_collisions=r", "--settings=s"];
        assert_eq!(parse(&arguments, &[]), Ok(ActionRequest::PackageCollisions(collisions)));
    }

    #[test]
    fn mistakes_are_named() {
        for (argument, message) in [
            ("--colour=red", "unknown argument \"--colour\"; every argument has the form --name=value"),
            ("positional", "unknown argument \"positional\"; every argument has the form --name=value"),
            ("--layer=x", "argument \"--layer\" is given twice"),
            ("--manifest=n", "argument \"--manifest\" is given twice"),
            (
                "--layer_listing=a=b",
                "unknown argument \"--layer_listing\"; every argument has the form --name=value",
            ),
            ("--layer_metadata=m.json", "argument --created_by=… is missing"),
            ("--created_by=x", "unknown argument \"--created_by\"; every argument has the form --name=value"),
        ] {
            assert_eq!(parse(&LAYER, &[argument]), Err(message.to_string()));
        }
        for (all, required) in [
            (&LAYER[..], &LAYER[..]),
            (&VALIDATION, &VALIDATION[1..]),
            (&REPO_MAPPING, &REPO_MAPPING[1..]),
            (&LAUNCHER, &LAUNCHER[1..]),
            (&REPORT, &REPORT[1..]),
        ] {
            for missing in required {
                let others: Vec<&str> = all.iter().copied().filter(|argument| argument != missing).collect();
                let name = missing.split_once('=').unwrap().0;
                assert_eq!(parse(&others, &[]), Err(format!("argument {name}=… is missing")));
            }
        }
        for (all, unknown) in [(&LAUNCHER[..], "manifest"), (&LAYER, "repo_mapping"), (&LAYER, "layer_file")]
        {
            let message = parse(all, &[&format!("--{unknown}=x=y")]).unwrap_err();
            assert!(message.starts_with(&format!("unknown argument \"--{unknown}\"")), "{message}");
        }
        let message = parse(&["--package_collisions=r"], &[]).unwrap_err();
        assert_eq!(message, "argument --settings=… is missing");
        assert!(parse(&LAUNCHER, &["--layer=x"]).unwrap_err().contains("unknown argument \"--layer\""));
        assert!(parse(&VALIDATION, &["--layer_listing=a"]).unwrap_err().contains("expected LAYER=PATH"));
    }
}
