//! Turns the argument lines of an action into an [`ActionRequest`], checked once.
//!
//! Every argument has the form `--name=value`, so that no line of a flagfile can begin with `@`.

use std::collections::BTreeMap;
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;
use std::str::FromStr;

use bytes::Bytes;

use crate::codec::{self, Codec};
use crate::elf;
use crate::exec_path;
use crate::image_path::ImagePath;
use crate::show::show;

/// 2023-01-01T08:00:00Z, the time of every entry of the macro that this one replaces. Not zero:
/// zip tools refuse times before 1980.
pub const DEFAULT_MTIME: u64 = 1_672_560_000;

/// The size from which equal contents are stored once. Below it the two headers cost as much as the
/// content would.
pub const DEFAULT_DEDUPE_FROM: u64 = 4096;

/// What can be wrong with the arguments.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("argument \"{0}\" is not known; every argument has the form --name=value")]
    Unknown(String),
    #[error("argument \"{0}\" is given twice")]
    Twice(String),
    #[error("argument --{0}=… is missing")]
    Missing(&'static str),
    #[error("--{name}={value}: {problem}")]
    Value { name: String, value: String, problem: String },
    #[error(transparent)]
    Codec(#[from] codec::Error),
}

/// The last owner: the one after it, -1, means "no change" to `chown`, and so cannot be unpacked.
const MAX_ID: u32 = u32::MAX - 1;

/// The last time that a tar reader can hold: they keep it in a signed integer of 64 bits.
const MAX_MTIME: u64 = i64::MAX as u64;

const READ_BITS: u32 = 0o444;

/// The permission bits of regular files. Bazel does not model modes, so the disk is never asked.
///
/// An ELF image or a script (`#!`), which a binary's executable always is, can also be executed by
/// everyone who may read it: with `0644` for every file, no image would start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeRule(u32);

impl ModeRule {
    /// 0755 for every file.
    pub const DEFAULT: ModeRule = ModeRule(0o755);
    /// What `detect` stands for: 0755 for programs, 0644 for other files.
    pub const DETECT: ModeRule = ModeRule(0o644);

    /// The bits of a file that cannot be executed.
    pub fn of_data(self) -> u32 {
        self.0
    }

    /// The bits of an ELF image or a script.
    pub fn of_program(self) -> u32 {
        self.0 | (self.0 & READ_BITS) >> 2
    }

    /// Whether the mode of a file depends on its content.
    pub fn depends_on_content(self) -> bool {
        self.of_program() != self.of_data()
    }
}

/// What every tar entry of a layer says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    pub owner: u64,
    pub group: u64,
    pub owner_name: String,
    pub group_name: String,
    /// Seconds since 1970.
    pub mtime: u64,
    pub mode: ModeRule,
}

impl Default for Metadata {
    fn default() -> Metadata {
        Metadata {
            owner: 0,
            group: 0,
            owner_name: String::new(),
            group_name: String::new(),
            mtime: DEFAULT_MTIME,
            mode: ModeRule::DEFAULT,
        }
    }
}

/// What decides a layer's bytes, besides its manifest and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Ordered names and patterns.
    pub groups: Vec<(String, String)>,
    pub exclude: Vec<String>,
    /// Image directory below which directory entries are written, without slashes at its ends.
    pub root: String,
    pub codec: Codec,
    pub metadata: Metadata,
    /// Equal contents of at least this size become hard links; `None` stores copies.
    pub dedupe_from: Option<u64>,
}

/// One action: write one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRequest {
    /// The group whose files the layer holds.
    pub layer: String,
    /// Exec path of the manifest.
    pub manifest: PathBuf,
    /// Exec path of the layer.
    pub output: PathBuf,
    /// Exec path of the OCI descriptor.
    pub descriptor: Option<PathBuf>,
    /// Exec path of the mtree listing.
    pub listing: Option<PathBuf>,
    pub settings: Settings,
}

/// One action: prove that the layers of an image are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationRequest {
    /// Exec path of the report, one line for each violation. Written whatever the result.
    pub report: PathBuf,
    /// Exec paths of the manifests of all layers, and of what is in no layer.
    pub manifests: Vec<PathBuf>,
    /// How many image paths the manifests have together, if that is known.
    pub paths: Option<usize>,
    /// Each layer's name and the exec path of its listing.
    pub listings: Vec<(String, PathBuf)>,
    pub groups: Vec<(String, String)>,
    pub exclude: Vec<String>,
    /// Groups that are left out of the image.
    pub dropped: Vec<String>,
    /// `e_machine` of the image's platform.
    pub machine: Option<u16>,
    /// Patterns of paths whose violations are accepted.
    pub exceptions: Vec<String>,
    /// Whether a violation only warns.
    pub lenient: bool,
}

/// One action: warn of groups that no file of the binary belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedGroupsRequest {
    /// Exec path of the report, one line for each group.
    pub report: PathBuf,
    /// These groups, with the patterns of the BUILD file.
    pub groups: Vec<(String, String)>,
    /// The packages in the runfiles, by their normalized names.
    pub packages: Vec<String>,
}

/// What an action may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionRequest {
    Layer(LayerRequest),
    Validation(ValidationRequest),
    UnusedGroups(UnusedGroupsRequest),
}

impl ActionRequest {
    /// Parses argument lines such as `--compress=gzip`. An action with `--validation=…` validates, one
    /// with `--unused_groups=…` warns of groups, any other writes a layer.
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> Result<ActionRequest, Error> {
        let mut lists = Lists::default();
        let mut options = Options::default();
        for argument in arguments {
            let (name, value) = split(argument)?;
            match name {
                "group" => lists.groups.push(parse_group(&text(name, value)?)?),
                "exclude" => lists.exclude.push(text(name, value)?),
                "dropped" => lists.dropped.push(text(name, value)?),
                "package" => lists.packages.push(text(name, value)?),
                "exception" => lists.exceptions.push(text(name, value)?),
                "layer_listing" => lists.listings.push(parse_listing(value)?),
                "manifest" => lists.manifests.push(path(name, value, exec_path::input)?),
                _ => options.add(name, value)?,
            }
        }
        let request = if let Some(report) = options.path("validation", exec_path::output)? {
            ActionRequest::Validation(ValidationRequest::of(report, lists, &mut options)?)
        } else if let Some(report) = options.path("unused_groups", exec_path::output)? {
            ActionRequest::UnusedGroups(UnusedGroupsRequest {
                report,
                groups: lists.groups,
                packages: lists.packages,
            })
        } else {
            ActionRequest::Layer(LayerRequest::of(lists, &mut options)?)
        };
        match options.0.into_keys().next() {
            Some(name) => Err(Error::Unknown(format!("--{}", show(name.as_bytes())))),
            None => Ok(request),
        }
    }
}

/// The exec path of a flagfile, if `argument` names one: `@PATH` or `--flagfile=PATH`.
pub fn flagfile(argument: &[u8]) -> Result<Option<PathBuf>, Error> {
    let flagfile = argument.strip_prefix(b"@").or_else(|| argument.strip_prefix(b"--flagfile="));
    flagfile.map(|value| path("flagfile", value, exec_path::input)).transpose()
}

/// The arguments that a flagfile with this content stands for, one on each line.
pub fn flagfile_arguments(content: &Bytes) -> impl Iterator<Item = Bytes> {
    let lines = content.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| content.slice_ref(line))
}

/// The arguments that may be given any number of times.
#[derive(Default)]
struct Lists {
    groups: Vec<(String, String)>,
    exclude: Vec<String>,
    dropped: Vec<String>,
    packages: Vec<String>,
    exceptions: Vec<String>,
    listings: Vec<(String, PathBuf)>,
    manifests: Vec<PathBuf>,
}

impl ValidationRequest {
    fn of(report: PathBuf, lists: Lists, options: &mut Options) -> Result<ValidationRequest, Error> {
        let Lists { groups, exclude, dropped, exceptions, listings, manifests, .. } = lists;
        if manifests.is_empty() {
            return Err(Error::Missing("manifest"));
        }
        let paths = options.number("paths")?;
        let lenient = match options.text("severity")?.as_deref() {
            None | Some("error") => false,
            Some("warn") => true,
            Some(other) => return Err(invalid("severity", other, "expected error or warn")),
        };
        let machine = options.text("cpu")?.map(|cpu| match elf::machine_of(&cpu) {
            Some(machine) => Ok(machine),
            None => Err(invalid("cpu", cpu, "this processor is not known")),
        });
        let machine = machine.transpose()?;
        Ok(ValidationRequest {
            report,
            manifests,
            paths,
            listings,
            groups,
            exclude,
            dropped,
            machine,
            exceptions,
            lenient,
        })
    }
}

impl LayerRequest {
    fn of(lists: Lists, options: &mut Options) -> Result<LayerRequest, Error> {
        let layer = options.text("layer")?.ok_or(Error::Missing("layer"))?;
        let manifest = match <[PathBuf; 1]>::try_from(lists.manifests) {
            Ok([manifest]) => manifest,
            Err(manifests) if manifests.is_empty() => return Err(Error::Missing("manifest")),
            Err(_) => return Err(Error::Twice("--manifest".to_string())),
        };
        let codec = options.text("compress")?.unwrap_or_else(|| "gzip".to_string());
        let codec = Codec::new(&codec, options.number("level")?)?;
        let defaults = Metadata::default();
        let metadata = Metadata {
            owner: options.id("owner")?.map_or(defaults.owner, u64::from),
            group: options.id("group_id")?.map_or(defaults.group, u64::from),
            owner_name: options.owner("owner_name")?,
            group_name: options.owner("group_name")?,
            mtime: options.text("mtime")?.map_or(Ok(defaults.mtime), |mtime| parse_mtime(&mtime))?,
            mode: options.text("mode")?.map_or(Ok(defaults.mode), |mode| parse_mode(&mode))?,
        };
        Ok(LayerRequest {
            layer,
            manifest,
            output: options.path("output", exec_path::output)?.ok_or(Error::Missing("output"))?,
            descriptor: options.path("descriptor", exec_path::output)?,
            listing: options.path("listing", exec_path::output)?,
            settings: Settings {
                groups: lists.groups,
                exclude: lists.exclude,
                root: options.text("root")?.map_or(Ok(String::new()), |root| parse_root(&root))?,
                codec,
                metadata,
                dedupe_from: match options.text("dedupe_from")?.as_deref() {
                    None => Some(DEFAULT_DEDUPE_FROM),
                    Some("off") => None,
                    Some(size) => Some(number("dedupe_from", size)?),
                },
            },
        })
    }
}

/// The arguments that may be given once, until somebody asks for them.
#[derive(Default)]
struct Options(BTreeMap<String, Vec<u8>>);

impl Options {
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Error> {
        match self.0.insert(name.to_string(), value.to_vec()) {
            None => Ok(()),
            Some(_) => Err(Error::Twice(format!("--{}", show(name.as_bytes())))),
        }
    }

    fn path(&mut self, name: &str, check: ExecPath) -> Result<Option<PathBuf>, Error> {
        self.0.remove(name).map(|value| path(name, &value, check)).transpose()
    }

    /// The name of a user or group; a tar header would end it at a NUL, silently.
    fn owner(&mut self, name: &str) -> Result<String, Error> {
        let owner = self.text(name)?.unwrap_or_default();
        if owner.contains('\0') { Err(invalid(name, owner, "it contains a NUL byte")) } else { Ok(owner) }
    }

    fn id(&mut self, name: &str) -> Result<Option<u32>, Error> {
        let parse = |value: String| parse_id(&value).map_err(|problem| invalid(name, value, problem));
        self.text(name)?.map(parse).transpose()
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.0.remove(name).map(|value| text(name, &value)).transpose()
    }

    fn number<N: FromStr<Err = ParseIntError>>(&mut self, name: &str) -> Result<Option<N>, Error> {
        self.text(name)?.map(|value| number(name, &value)).transpose()
    }
}

fn split(argument: &[u8]) -> Result<(&str, &[u8]), Error> {
    let unknown = || Error::Unknown(show(argument));
    let rest = argument.strip_prefix(b"--").ok_or_else(unknown)?;
    let equals = rest.iter().position(|&byte| byte == b'=').ok_or_else(unknown)?;
    let name = std::str::from_utf8(&rest[..equals]).map_err(|_| unknown())?;
    Ok((name, &rest[equals + 1..]))
}

fn invalid(name: &str, value: impl AsRef<str>, problem: impl Into<String>) -> Error {
    Error::Value { name: name.to_string(), value: show(value.as_ref().as_bytes()), problem: problem.into() }
}

fn text(name: &str, value: &[u8]) -> Result<String, Error> {
    String::from_utf8(value.to_vec()).map_err(|_| invalid(name, show(value), "the value is not UTF-8"))
}

/// [`exec_path::input`] or [`exec_path::output`].
type ExecPath = fn(&[u8]) -> Result<PathBuf, exec_path::Error>;

fn path(name: &str, value: &[u8], check: ExecPath) -> Result<PathBuf, Error> {
    check(value).map_err(|error| invalid(name, show(value), error.problem))
}

fn number<N: FromStr<Err = ParseIntError>>(name: &str, value: &str) -> Result<N, Error> {
    value.parse().map_err(|error: ParseIntError| {
        let problem = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "the number is out of range",
            _ => "expected a whole number",
        };
        invalid(name, value, problem)
    })
}

/// The id of a user or a group, or what is wrong with it.
pub fn parse_id(value: &str) -> Result<u32, String> {
    let id = value.parse().ok().filter(|id| *id <= MAX_ID);
    id.ok_or_else(|| format!("expected a whole number from 0 to {MAX_ID}"))
}

/// `name=path`.
fn parse_listing(value: &[u8]) -> Result<(String, PathBuf), Error> {
    let equals = value.iter().position(|&byte| byte == b'=');
    let equals = equals.ok_or_else(|| invalid("layer_listing", show(value), "expected LAYER=PATH"))?;
    let path = path("layer_listing", &value[equals + 1..], exec_path::input)?;
    Ok((text("layer_listing", &value[..equals])?, path))
}

/// `name=pattern`; the pattern may hold further equals signs. The name becomes part of a file's.
pub fn parse_group(value: &str) -> Result<(String, String), Error> {
    match value.split_once('=') {
        Some((name, _)) if name.contains(['/', '\0']) => {
            Err(invalid("group", value, "a layer's file has the name of its group, without `/`"))
        }
        Some((name, pattern)) if !name.is_empty() => Ok((name.to_string(), pattern.to_string())),
        _ => Err(invalid("group", value, "expected NAME=PATTERN")),
    }
}

/// `0755` or `detect`.
pub fn parse_mode(value: &str) -> Result<ModeRule, Error> {
    if value == "detect" {
        return Ok(ModeRule::DETECT);
    }
    match u32::from_str_radix(value, 8) {
        Ok(bits) if bits <= 0o7777 => Ok(ModeRule(bits)),
        _ => Err(invalid("mode", value, "expected octal permission bits such as 0755, or detect")),
    }
}

/// Seconds since 1970.
pub fn parse_mtime(value: &str) -> Result<u64, Error> {
    match value.parse() {
        Ok(seconds) if seconds <= MAX_MTIME => Ok(seconds),
        _ => Err(invalid(
            "mtime",
            value,
            format!(
                "expected whole seconds since 1970, {MAX_MTIME} at most, which is the last time that tar readers know"
            ),
        )),
    }
}

/// `/app`, `/app/` and `app` are the same directory; `/` and the empty string are the image's root.
pub fn parse_root(value: &str) -> Result<String, Error> {
    let root = value.trim_matches('/');
    if root.is_empty() {
        return Ok(String::new());
    }
    match ImagePath::new(root) {
        Ok(_) => Ok(root.to_string()),
        Err(error) => Err(invalid("root", value, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUIRED: [&str; 3] = ["--layer=default", "--manifest=m", "--output=o"];

    fn parse(more: &[&str]) -> Result<LayerRequest, Error> {
        match ActionRequest::parse(REQUIRED.iter().chain(more).map(|argument| argument.as_bytes()))? {
            ActionRequest::Layer(request) => Ok(request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_validation_is_told_by_its_output() {
        let arguments = [
            "--validation=report",
            "--manifest=m",
            "--manifest=n",
            "--paths=30000",
            "--group=a=b",
            "--dropped=interpreter",
            "--layer_listing=a=x/a=b.mtree",
            "--cpu=x86_64",
            "--exception=\\.so$",
            "--severity=warn",
        ];
        let request = ActionRequest::parse(arguments.map(str::as_bytes)).unwrap();
        let expected = ValidationRequest {
            report: "report".into(),
            manifests: vec!["m".into(), "n".into()],
            paths: Some(30000),
            listings: vec![("a".into(), "x/a=b.mtree".into())],
            groups: vec![("a".into(), "b".into())],
            exclude: vec![],
            dropped: vec!["interpreter".into()],
            machine: Some(62),
            exceptions: vec![r"\.so$".into()],
            lenient: true,
        };
        assert_eq!(request, ActionRequest::Validation(expected));
        assert!(ActionRequest::parse([b"--validation=r".as_slice()]).is_err());
    }

    #[test]
    fn defaults() {
        let request = parse(&[]).unwrap();
        assert_eq!(request.layer, "default");
        assert_eq!(request.descriptor, None);
        assert_eq!(request.settings.codec, Codec::Gzip { level: 6 });
        assert_eq!(request.settings.metadata, Metadata::default());
        assert_eq!(request.settings.dedupe_from, Some(4096));
        assert_eq!(request.settings.root, "");
    }

    #[test]
    fn everything_can_be_set() {
        let request = parse(&[
            "--group=numpy=a=b.*",
            "--group=x=",
            "--exclude=\\.whl$",
            "--root=/srv/app/",
            "--compress=zstd",
            "--level=19",
            "--owner=1000",
            "--group_id=2000",
            "--owner_name=app",
            "--group_name=staff",
            "--mtime=0",
            "--mode=detect",
            "--dedupe_from=off",
            "--descriptor=d.json",
        ])
        .unwrap();
        let settings = request.settings;
        assert_eq!(settings.groups, [("numpy".into(), "a=b.*".into()), ("x".into(), String::new())]);
        assert_eq!(settings.exclude, ["\\.whl$"]);
        assert_eq!(settings.root, "srv/app");
        assert_eq!(settings.codec, Codec::Zstd { level: 19 });
        assert_eq!(settings.metadata.group, 2000);
        assert_eq!(settings.metadata.mode, ModeRule::DETECT);
        assert_eq!(settings.dedupe_from, None);
        assert_eq!(request.descriptor, Some("d.json".into()));
    }

    #[test]
    fn whoever_may_read_a_program_may_execute_it() {
        for (mode, of_data, of_program) in [
            ("0755", 0o755, 0o755),
            ("0644", 0o644, 0o755),
            ("detect", 0o644, 0o755),
            ("0444", 0o444, 0o555),
            ("0640", 0o640, 0o750),
            ("0600", 0o600, 0o700),
            ("4750", 0o4750, 0o4750),
            ("0111", 0o111, 0o111),
            ("0222", 0o222, 0o222),
            ("0", 0, 0),
        ] {
            let rule = parse_mode(mode).unwrap();
            assert_eq!((rule.of_data(), rule.of_program()), (of_data, of_program), "{mode}");
            assert_eq!(rule.depends_on_content(), of_data != of_program, "{mode}");
        }
    }

    #[test]
    fn times_are_those_that_readers_can_hold() {
        assert_eq!(parse_mtime("9223372036854775807").unwrap(), (1 << 63) - 1);
        for mtime in ["9223372036854775808", "18446744073709551616", "-1", "1.5", ""] {
            let message = parse(&[&format!("--mtime={mtime}")]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("--mtime={mtime}: expected whole seconds")), "{message}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let message = |more: &[&str]| parse(more).unwrap_err().to_string();
        assert_eq!(
            message(&["--colour=red"]),
            "argument \"--colour\" is not known; every argument has the form --name=value"
        );
        assert!(message(&["positional"]).contains("\"positional\" is not known"));
        assert_eq!(message(&["--layer=x"]), "argument \"--layer\" is given twice");
        assert_eq!(message(&["--manifest=n"]), "argument \"--manifest\" is given twice");
        assert!(
            message(&["--owner=-1"]).contains("--owner=-1: expected a whole number from 0 to 4294967294")
        );
        assert!(message(&["--group_id=4294967295"]).contains("from 0 to 4294967294"));
        assert_eq!(message(&["--level=1x"]), "--level=1x: expected a whole number");
        assert_eq!(message(&["--level=256"]), "--level=256: the number is out of range");
        assert!(message(&["--mode=0999"]).contains("octal"));
        assert!(message(&["--root=/a/../b"]).contains("`..`"));
        assert!(message(&["--group=x"]).contains("NAME=PATTERN"));
        assert!(message(&["--group=../x=a"]).contains("without `/`"));
        assert!(message(&["--group_name=a\0b"]).contains("NUL"));
        let missing = ActionRequest::parse([b"--layer=x".as_slice(), b"--output=o"]).unwrap_err();
        assert_eq!(missing.to_string(), "argument --manifest=… is missing");
    }
}
