//! `pylayer explain`.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::de::DeserializeOwned;

use super::{Printed, Select, Terminal};
use crate::contents::{Entry, ImageContents, Kind, LayerContents, LeftOut, Partition, SCHEMA};
use crate::explain::Explainer;
use crate::groups::{Groups, LayerGroups};
use crate::listing::{self, Listing};
use crate::settings::{self, ReportSettings, Settings};
use crate::show::show_path;
use bazel_worker::Cancel;

/// The file extension of a listing.
const LISTING: &str = ".mtree";

/// Explains why a path is in its layer.
#[derive(Debug, Args)]
pub struct Options {
    /// The contents of an image (bazel-bin/app/layers.contents.json), the listing of a layer
    /// (bazel-bin/app/layers_packages.mtree), or any image
    #[arg(value_name = "LISTING")]
    image: PathBuf,
    /// Path in the image; the last components suffice if they are unique [default: all paths]
    #[arg(value_name = "PATH")]
    path: Option<OsString>,
    #[command(flatten)]
    select: Select,
    /// Print a line of JSON for each path
    #[arg(long)]
    json: bool,
}

pub fn run(options: &Options, terminal: Terminal, cancel: &Cancel) -> Result<Printed> {
    let image = if options.image.as_os_str().as_bytes().ends_with(LISTING.as_bytes()) {
        from_listing(&options.image, cancel)?
    } else {
        super::read(std::slice::from_ref(&options.image), &options.select, terminal, cancel)?
    };
    let explainer = Explainer::new(&image)?;
    let paths = match &options.path {
        Some(path) => vec![explainer.find(path.as_bytes())?],
        None => explainer.paths().collect(),
    };
    let mut text = String::new();
    for path in paths {
        cancel.check()?;
        let explanation = explainer.explain(path);
        if options.json {
            text += &serde_json::to_string(&explanation)?;
            text.push('\n');
        } else {
            text += &explanation.text();
        }
    }
    if image.partition.is_none() && !options.json {
        text += UNKNOWN;
    }
    Ok(Printed::new(text))
}

/// Said once, after all paths.
const UNKNOWN: &str = "\
How the image was divided is unknown. The contents.json of a report says so, and so
do the files that the rule writes next to the listings, unless validation is off.
";

/// The image with the one layer that a listing describes. The rule writes the settings of the image next to
/// it.
fn from_listing(file: &Path, cancel: &Cancel) -> Result<ImageContents> {
    let text = std::fs::read(file).with_context(|| show_path(file))?;
    let text = String::from_utf8_lossy(&text);
    let Listing { entries, excluded_links } =
        listing::parse(&text, cancel).with_context(|| show_path(file))?;
    let entries = entries.into_iter().map(|entry| {
        let mut found = Entry::new(&entry.path, Kind::File);
        match entry.kind {
            listing::Kind::Directory => found.kind = Kind::Directory,
            listing::Kind::File { machine, size } => (found.machine, found.size) = (machine, size),
            listing::Kind::Symlink(text) => (found.kind, found.link) = (Kind::Symlink, Some(text)),
        }
        found
    });
    let name = file.file_name().unwrap_or_default().as_bytes();
    let name = name.strip_suffix(LISTING.as_bytes()).unwrap_or(name);
    let (target, mut partition) = match find_partition(file, name)? {
        Some((target, partition)) => (target.len() + 1, Some(partition)),
        None => (0, None),
    };
    if let Some(partition) = &mut partition {
        let links = excluded_links.into_iter();
        partition.left_out.extend(links.map(|(path, text)| LeftOut { path, size: 0, link: Some(text) }));
    }
    let layer = String::from_utf8_lossy(&name[target..]).into_owned();
    Ok(ImageContents {
        schema: SCHEMA.to_string(),
        name: show_path(file),
        components: Vec::new(),
        layers: vec![LayerContents { name: layer, entries: entries.collect(), ..LayerContents::default() }],
        partition,
    })
}

/// The settings next to the listing `name` of `file`, and the name of the target that wrote them. The listing's name
/// consists of that and of the layer's, both of which may contain underscores.
fn find_partition(file: &Path, name: &[u8]) -> Result<Option<(Vec<u8>, Partition)>> {
    let ends = name.iter().enumerate().filter(|(_, byte)| **byte == b'_').map(|(index, _)| index);
    for end in ends {
        let target = &name[..end];
        let sibling = |kind: &str| {
            let name = [target, kind.as_bytes()].concat();
            file.with_file_name(OsString::from_vec(name))
        };
        let (groups, settings) = (sibling(".groups.json"), sibling(".settings.json"));
        if !groups.exists() || !settings.exists() {
            continue;
        }
        let groups: Groups = read(&groups)?;
        let Settings { exclude, .. } = read(&settings)?;
        let layers = LayerGroups::compile(&groups, &exclude)?;
        if !layers.layers().iter().any(|layer| layer.as_bytes() == &name[end + 1..]) {
            continue;
        }
        let report = sibling(".target.json");
        let ReportSettings { target: rule, dropped, .. } =
            if report.exists() { read(&report)? } else { ReportSettings::default() };
        let rule = (!rule.label.is_empty()).then_some(rule);
        let partition = Partition { groups, exclude, dropped, left_out: Vec::new(), target: rule };
        return Ok(Some((target.to_vec(), partition)));
    }
    Ok(None)
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let content = std::fs::read(file).with_context(|| show_path(file))?;
    Ok(settings::parse(file, &content)?)
}
