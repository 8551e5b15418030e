//! Which interpreters, distributions, repositories and directories differ.

use std::collections::{BTreeMap, BTreeSet};

use super::{ComponentChange, ComponentDifference, ComponentTotals, PathChange, PathDifference, PlacedEntry};
use crate::contents::{ComponentKind, ImageContents, Kind};

type Name<'a> = (ComponentKind, &'a str);

/// The components that differ, by the size of the files that differ.
pub(super) fn compare<'a>(
    old: &'a ImageContents,
    new: &'a ImageContents,
    paths: &[PathDifference<'a>],
) -> Vec<ComponentDifference<'a>> {
    let (mut old_totals, mut new_totals) = (totals(old), totals(new));
    let changed_files = changed_files(old, new, paths);
    let names: BTreeSet<Name> = old_totals.keys().chain(new_totals.keys()).copied().collect();
    let components = names.into_iter().filter_map(|name| {
        let (old, new) = (old_totals.remove(&name), new_totals.remove(&name));
        let (files, weight) = changed_files.get(&name).copied().unwrap_or_default();
        let change = change(old.as_ref(), new.as_ref(), files)?;
        let (kind, name) = name;
        Some(ComponentDifference { kind, name, change, old, new, files, weight })
    });
    let mut components: Vec<_> = components.collect();
    // The sort is stable, so components with the same weight stay sorted by kind and name.
    components.sort_by_key(|component| std::cmp::Reverse(component.weight));
    components
}

fn change(
    old: Option<&ComponentTotals>,
    new: Option<&ComponentTotals>,
    files: usize,
) -> Option<ComponentChange> {
    match (old, new) {
        (None, _) => Some(ComponentChange::Added),
        (_, None) => Some(ComponentChange::Removed),
        (Some(old), Some(new)) => {
            let are_known = !old.versions.is_empty() && !new.versions.is_empty();
            if are_known && old.versions != new.versions {
                Some(ComponentChange::Updated)
            } else {
                (files > 0).then_some(ComponentChange::Changed)
            }
        }
    }
}

/// The components that have entries.
fn totals(image: &ImageContents) -> BTreeMap<Name<'_>, ComponentTotals<'_>> {
    let mut of_index: Vec<Option<ComponentTotals>> = vec![None; image.components.len()];
    for entry in image.layers.iter().flat_map(|layer| &layer.entries) {
        if let Some(totals) = of_index.get_mut(entry.component) {
            let totals = totals.get_or_insert_default();
            totals.size = totals.size.saturating_add(entry.size);
            totals.compressed = totals.compressed.saturating_add(entry.compressed);
        }
    }
    let mut of_name: BTreeMap<Name, ComponentTotals> = BTreeMap::new();
    for (component, totals) in image.components.iter().zip(of_index) {
        let Some(totals) = totals else { continue };
        let sum = of_name.entry((component.kind, &component.name)).or_default();
        sum.size = sum.size.saturating_add(totals.size);
        sum.compressed = sum.compressed.saturating_add(totals.compressed);
        sum.versions.extend(component.version.as_deref());
    }
    for totals in of_name.values_mut() {
        totals.versions.sort_unstable();
        totals.versions.dedup();
    }
    of_name
}

/// For each component, the number and the size of files whose content differs.
fn changed_files<'a>(
    old: &'a ImageContents,
    new: &'a ImageContents,
    paths: &[PathDifference<'a>],
) -> BTreeMap<Name<'a>, (usize, u64)> {
    let name_in = |image: &'a ImageContents, placed: Option<PlacedEntry<'a>>| {
        let component = image.components.get(placed?.entry.component)?;
        Some((component.kind, component.name.as_str()))
    };
    let mut changed: BTreeMap<Name, (usize, u64)> = BTreeMap::new();
    for path in paths.iter().filter(|path| is_file_change(path)) {
        let old_name = name_in(old, path.old);
        let new_name = name_in(new, path.new);
        for name in old_name.into_iter().chain(new_name.filter(|_| old_name != new_name)) {
            let (files, weight) = changed.entry(name).or_default();
            *files += 1;
            *weight = weight.saturating_add(path.weight());
        }
    }
    changed
}

/// Whether a change makes a component different: not if a file only moves to another layer, or a directory
/// gets an entry in one.
fn is_file_change(path: &PathDifference) -> bool {
    path.kind() != Kind::Directory && path.change != PathChange::Metadata && path.content_differs()
}
