//! Validates the layers of an image: compares the expected contents, from manifests, with the actual
//! contents, from listings.
//!
//! | step | from → to |
//! |---|---|
//! | this module | manifests, listings and settings → expected and actual contents |
//! | `proof` | both → problems of the image (pure) |

mod proof;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

use self::proof::Expected;
use crate::groups::{Exceptions, LayerGroups};
use crate::inputs::Inputs;
use crate::listing::{self, Kind, Listing};
use crate::manifest::Manifest;
use crate::prefetch::Prefetch;
use crate::settings::{RUNFILES, ValidationSettings};
use crate::show::show_path;
use crate::warnings;

/// A layer to validate.
pub struct ListedLayer {
    pub name: String,
    /// The listing's file, for messages.
    pub file: PathBuf,
    pub listing: Vec<u8>,
}

/// The result of validation.
pub struct Verdict {
    /// All problems, one per line.
    pub report: String,
    /// A summary of the problems, if there are any.
    pub problems: Option<String>,
    /// About unused exceptions, an unused prefetch list, and what a container needs to start.
    pub warnings: Vec<String>,
}

/// Compares `layers` with `manifests`: those of all layers, and the one of the entries in no layer. Of
/// the inputs, only trees are read. `prefetch` is the list that the layers were written with. `report` is the file
/// that will list all problems, if there is one.
pub fn validate(
    layers: Vec<ListedLayer>,
    manifests: &[&Manifest],
    groups: &LayerGroups,
    settings: &ValidationSettings,
    prefetch: &Prefetch,
    inputs: Inputs,
    report: Option<&Path>,
) -> Result<Verdict> {
    let parse = |ListedLayer { name, file, listing }: ListedLayer| match listing::parse(
        &String::from_utf8_lossy(&listing),
        inputs.cancel,
    ) {
        Ok(listing) => Ok((name, listing)),
        Err(error) => Err(anyhow!("{}: {error}", show_path(file))),
    };
    let layers: Vec<(String, Listing)> = layers.into_iter().map(parse).collect::<Result<_>>()?;
    let exceptions = Exceptions::compile(&settings.validation_exceptions)?;
    // An entry that may be in several layers is in all their manifests.
    let mut seen = HashSet::new();
    let entries = manifests.iter().flat_map(|manifest| &manifest.entries);
    let entries: Vec<_> = entries.filter(|entry| seen.insert(*entry)).collect();
    let expected = Expected {
        paths: &inputs.paths(entries.iter().copied())?,
        links: manifests.iter().flat_map(|manifest| manifest.links()).collect(),
        groups,
        dropped: &settings.dropped,
        machine: settings.machine,
        executables: settings.executables.iter().map(String::as_bytes).collect(),
        exceptions: &exceptions,
    };
    let mut findings = proof::check(&layers, &expected, inputs.cancel)?;
    let found = entries.iter().map(|entry| &entry.path).collect::<HashSet<_>>().len();
    findings.lost = settings.paths.filter(|runfiles| *runfiles != found).map(|runfiles| (runfiles, found));
    let needed = settings.executables.iter().filter(|path| !path.contains(&format!("{RUNFILES}/")));
    let needed = needed.flat_map(|path| [path.clone(), format!("{path}{RUNFILES}")]);
    let is_left_out = |path: &String| {
        let entry = entries.iter().find(|entry| entry.path.as_bytes() == path.as_bytes());
        entry.is_some_and(|entry| expected.leaves_out(&entry.path))
    };
    let left_out: Vec<String> = needed.filter(is_left_out).collect();
    let files = layers.iter().flat_map(|(_, listing)| &listing.entries);
    let mut files = files.filter(|entry| entry.kind != Kind::Directory);
    let unused_prefetch =
        prefetch.first().filter(|_| files.all(|file| prefetch.position(&file.path).is_none()));
    let warnings = warnings::unused_exceptions(&findings.unused_exceptions);
    Ok(Verdict {
        report: findings.report(),
        problems: (!findings.is_empty()).then(|| findings.message(report)),
        warnings: warnings
            .into_iter()
            .chain(warnings::left_out(&left_out))
            .chain(unused_prefetch.map(warnings::unused_prefetch))
            .collect(),
    })
}
