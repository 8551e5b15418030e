//! Compares the entries of matched layers.

use std::collections::VecDeque;

use foldhash::{HashMap as FoldHashMap, HashSet as FoldHashSet};

use super::{LayerChange, LayerDifference, PathChange, PathDifference, PlacedEntry};
use crate::contents::{Entry, Kind, LayerContents};
use crate::show::show;

/// A field of an entry, with its values in both images.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldChange {
    /// As in the JSON of an entry; `xattr user.name` for an extended attribute.
    pub field: String,
    /// Empty if absent.
    pub old: String,
    /// Empty if absent.
    pub new: String,
}

/// What identifies an entry in a layer: its path, and the kind of a whiteout. A layer can delete a path of
/// the layers below and have it too.
pub(super) type Key<'a> = (&'a [u8], Option<Kind>);

pub(super) fn key(entry: &Entry) -> Key<'_> {
    (&entry.path, Some(entry.kind).filter(|kind| matches!(kind, Kind::Whiteout | Kind::Opaque)))
}

/// The entries of a layer in their order. If the layer has a path more than once, the last one counts, as
/// for programs that unpack the layer.
pub(super) fn effective(entries: &[Entry]) -> Vec<&Entry> {
    let mut seen = FoldHashSet::with_capacity_and_hasher(entries.len(), Default::default());
    let mut effective: Vec<_> = entries.iter().rev().filter(|entry| seen.insert(key(entry))).collect();
    effective.reverse();
    effective
}

/// A path that differs, and the index of its layer among those of both images.
pub(super) type Found<'a> = (usize, PathDifference<'a>);

/// The paths that differ in matched layers. Counts them and determines the change of each layer.
pub(super) fn compare<'a>(layers: &mut [LayerDifference<'a>]) -> Vec<PathDifference<'a>> {
    let mut found = Vec::new();
    for (index, layer) in layers.iter_mut().enumerate() {
        if matches!(layer.change, LayerChange::Same | LayerChange::Moved | LayerChange::Compression) {
            continue;
        }
        let start = found.len();
        let (old, new) = (layer.old.map(|old| old.layer), layer.new.map(|new| new.layer));
        let same_order = compare_layer(old, new, |path| found.push((index, path)));
        for (_, path) in &found[start..] {
            *match path.change {
                PathChange::Added => &mut layer.counts.added,
                PathChange::Removed => &mut layer.counts.removed,
                PathChange::Metadata => &mut layer.counts.metadata,
                PathChange::Content | PathChange::Moved => &mut layer.counts.content,
            } += 1;
        }
        if layer.change == LayerChange::Encoding {
            layer.change = change_of_entries(layer, same_order);
        }
    }
    join_moved(found, layers)
}

/// What is different about a layer whose tar differs.
fn change_of_entries(layer: &LayerDifference, same_order: bool) -> LayerChange {
    let counts = layer.counts;
    if counts.added + counts.removed + counts.content > 0 {
        LayerChange::Content
    } else if counts.metadata > 0 {
        LayerChange::Metadata
    } else if !same_order {
        LayerChange::Order
    } else {
        LayerChange::Encoding
    }
}

/// Calls `found` for each path that differs, and returns whether the layers have the same paths in the same
/// order.
fn compare_layer<'a>(
    old: Option<&'a LayerContents>,
    new: Option<&'a LayerContents>,
    mut found: impl FnMut(PathDifference<'a>),
) -> bool {
    let old_entries = old.map_or_else(Vec::new, |layer| effective(&layer.entries));
    let new_entries = new.map_or_else(Vec::new, |layer| effective(&layer.entries));
    let place = |layer: Option<&'a LayerContents>, entry| layer.map(|layer| PlacedEntry { layer, entry });

    let mut only_old: FoldHashMap<Key, &Entry> =
        old_entries.iter().map(|&entry| (key(entry), entry)).collect();
    for &entry in &new_entries {
        let old_entry = only_old.remove(&key(entry));
        let change = match old_entry {
            Some(old_entry) => change(old_entry, entry),
            None => Some(PathChange::Added),
        };
        if let Some(change) = change {
            let old = old_entry.and_then(|old_entry| place(old, old_entry));
            found(PathDifference { change, old, new: place(new, entry) });
        }
    }
    for &entry in &old_entries {
        if only_old.contains_key(&key(entry)) {
            found(PathDifference { change: PathChange::Removed, old: place(old, entry), new: None });
        }
    }
    let keys = |entries: &[&'a Entry]| entries.iter().map(|&entry| key(entry)).collect::<Vec<_>>();
    keys(&old_entries) == keys(&new_entries)
}

/// Joins paths that were removed from one layer and added to another one, and counts them.
fn join_moved<'a>(found: Vec<Found<'a>>, layers: &mut [LayerDifference]) -> Vec<PathDifference<'a>> {
    let mut removed: FoldHashMap<Key, VecDeque<usize>> = FoldHashMap::default();
    for (index, (_, path)) in found.iter().enumerate() {
        if let (PathChange::Removed, Some(old)) = (path.change, path.old) {
            removed.entry(key(old.entry)).or_default().push_back(index);
        }
    }
    let mut is_joined = vec![false; found.len()];
    let mut paths = Vec::with_capacity(found.len());
    for &(layer, mut path) in &found {
        if let (PathChange::Added, Some(new)) = (path.change, path.new)
            && let Some(index) = removed.get_mut(&key(new.entry)).and_then(VecDeque::pop_front)
        {
            let (old_layer, old_path) = found[index];
            is_joined[index] = true;
            path.change = PathChange::Moved;
            path.old = old_path.old;
            layers[layer].counts.moved_in += 1;
            layers[old_layer].counts.moved_out += 1;
        }
        paths.push(path);
    }
    let mut is_joined = is_joined.into_iter();
    paths.retain(|_| !is_joined.next().unwrap_or(false));
    paths
}

/// What is different about an entry.
pub(super) fn change(old: &Entry, new: &Entry) -> Option<PathChange> {
    if !same_content(old, new) {
        Some(PathChange::Content)
    } else if metadata(old) != metadata(new) {
        Some(PathChange::Metadata)
    } else {
        None
    }
}

/// Whether two entries have the same content once they are unpacked.
///
/// A hard link has the content of its target. Without a digest, it is compared by its target's path, and a
/// file by its size.
pub(super) fn same_content(old: &Entry, new: &Entry) -> bool {
    let is_file = |entry: &Entry| matches!(entry.kind, Kind::File | Kind::Hardlink);
    if is_file(old)
        && is_file(new)
        && let (Some(old), Some(new)) = (&old.sha256, &new.sha256)
    {
        return old == new;
    }
    old.kind == new.kind && old.size == new.size && old.link == new.link && old.device == new.device
}

/// The fields in which entries with the same content can differ.
fn metadata(entry: &Entry) -> impl PartialEq {
    let how_stored = (entry.kind, &entry.link, entry.size, entry.device);
    let owner = (entry.uid, entry.gid, &entry.uname, &entry.gname);
    (how_stored, owner, entry.mode, entry.mtime, entry.nanoseconds, &entry.xattrs)
}

/// Everything in which two entries differ, in the order of the fields of [`Entry`].
pub(super) fn fields(old: &Entry, new: &Entry) -> Vec<FieldChange> {
    let mut fields = Vec::new();
    let mut add = |field: &str, old: String, new: String| {
        if old != new {
            fields.push(FieldChange { field: field.to_owned(), old, new });
        }
    };
    let number = |number: u64| number.to_string();
    let link = |entry: &Entry| entry.link.as_deref().map_or_else(String::new, crate::contents::to_text);
    let device =
        |entry: &Entry| entry.device.map_or_else(String::new, |(major, minor)| format!("{major}:{minor}"));
    let mode = |entry: &Entry| format!("{:04o}", entry.mode);
    add("type", kind_name(old.kind).to_owned(), kind_name(new.kind).to_owned());
    add("size", number(old.size), number(new.size));
    if !same_content(old, new) {
        add("sha256", old.sha256.clone().unwrap_or_default(), new.sha256.clone().unwrap_or_default());
    }
    add("link", link(old), link(new));
    add("device", device(old), device(new));
    add("mode", mode(old), mode(new));
    add("uid", number(old.uid), number(new.uid));
    add("gid", number(old.gid), number(new.gid));
    add("uname", old.uname.clone(), new.uname.clone());
    add("gname", old.gname.clone(), new.gname.clone());
    add("mtime", time(old), time(new));
    for name in old.xattrs.keys().chain(new.xattrs.keys().filter(|name| !old.xattrs.contains_key(*name))) {
        let value = |entry: &Entry| entry.xattrs.get(name).cloned().unwrap_or_default();
        add(&format!("xattr {name}"), value(old), value(new));
    }
    fields
}

/// Seconds since 1970: `1672560000`, `1672560000.5`.
fn time(entry: &Entry) -> String {
    if entry.nanoseconds == 0 {
        return entry.mtime.to_string();
    }
    let text = format!("{}.{:09}", entry.mtime, entry.nanoseconds);
    text.trim_end_matches('0').to_owned()
}

/// As in the JSON of an entry.
pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Symlink => "symlink",
        Kind::Hardlink => "hardlink",
        Kind::Whiteout => "whiteout",
        Kind::Opaque => "opaque",
        Kind::Character => "character",
        Kind::Block => "block",
        Kind::Fifo => "fifo",
    }
}

/// How the metadata of an entry differs, for people: `mode 0755 → 0644, stored as a hard link`. Sizes and
/// digests are not part of it.
pub(super) fn describe(path: &PathDifference) -> String {
    let fields = path.fields();
    let mut parts = Vec::new();
    if let (Some(old), Some(new)) = (path.old, path.new) {
        let (old, new) = (old.entry.kind, new.entry.kind);
        match (old, new) {
            _ if old == new => {}
            (Kind::File, Kind::Hardlink) => parts.push("stored as a hard link".to_owned()),
            (Kind::Hardlink, Kind::File) => parts.push("stored as a file".to_owned()),
            _ => parts.push(format!("{} → {}", kind_name(old), kind_name(new))),
        }
        let is_link = old == new;
        for FieldChange { field, old, new } in &fields {
            match field.as_str() {
                "type" | "size" | "sha256" => {}
                "link" if !is_link => {}
                _ => parts.push(format!("{field} {} → {}", or_none(old), or_none(new))),
            }
        }
    }
    show(parts.join(", ").as_bytes())
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "(none)" } else { value }
}
