//! Compares the contents of two images.
//!
//! 1. Layers are matched by digest, then by diff ID, name and common paths (`layers`).
//! 2. The entries of matched layers whose tars differ are compared by path (`entries`). A path that one
//!    layer loses and another one gains has moved.
//! 3. Changed paths are attributed to interpreters, distributions and repositories (`components`).
//! 4. The costs of replacing the old image by the new one follow from digests alone (`costs`).
//!
//! The work is proportional to the number of entries, apart from sorting the changed paths.
//!
//! ```
//! # let json = r#"{"schema": "pylayer.image.v1", "name": "//app:layers", "layers": []}"#;
//! # let (old, new) = (serde_json::from_str(json)?, serde_json::from_str(json)?);
//! use pylayer::difference::{TextOptions, difference, text};
//!
//! let difference = difference(&old, &new);
//! assert!(difference.is_empty());
//! print!("{}", text(&difference, &TextOptions::default()));
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::collections::HashMap;

use serde::Serialize;

use crate::contents::{ComponentKind, Entry, ImageContents, Kind, LayerContents};

mod components;
mod costs;
mod entries;
mod json;
mod layers;
mod markdown;
#[cfg(test)]
mod samples;
mod text;

pub use entries::FieldChange;
pub use json::{SCHEMA, json, page_json};
pub use markdown::markdown;
pub use text::{TextOptions, text};

/// How two images differ.
#[derive(Debug)]
pub struct Difference<'a> {
    pub old: &'a ImageContents,
    pub new: &'a ImageContents,
    /// Those of the new image from bottom to top, then the removed ones.
    pub layers: Vec<LayerDifference<'a>>,
    /// Those that differ, by the size of the files that differ, the largest first.
    pub components: Vec<ComponentDifference<'a>>,
    /// By the size of the change, the largest first.
    pub paths: Vec<PathDifference<'a>>,
}

/// A layer of one or both images.
#[derive(Debug)]
pub struct LayerDifference<'a> {
    pub old: Option<PlacedLayer<'a>>,
    pub new: Option<PlacedLayer<'a>>,
    pub change: LayerChange,
    /// The compressed bytes that a machine with the old image has to pull.
    pub pull: u64,
    /// The uncompressed bytes that a machine with the old image has to unpack.
    pub unpack: u64,
    pub counts: LayerCounts,
}

/// A layer and its index among the layers of its image.
#[derive(Debug, Clone, Copy)]
pub struct PlacedLayer<'a> {
    pub position: usize,
    pub layer: &'a LayerContents,
}

/// What is different about a layer. Each change takes precedence over those after it, except that
/// [`Self::Added`] and [`Self::Removed`] apply to layers of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerChange {
    Added,
    Removed,
    /// Paths were added or removed, or have other content.
    Content,
    /// Only modes, owners, times, extended attributes, or files instead of hard links.
    Metadata,
    /// The same entries in another order.
    Order,
    /// The same entries in the same order, but another tar: other header formats or padding.
    Encoding,
    /// The same tar, but other compressed bytes.
    Compression,
    /// The same bytes, at another position relative to the other layers.
    Moved,
    Same,
}

/// The numbers of paths in a layer that differ. `added` includes `moved_in`, and `removed` includes
/// `moved_out`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LayerCounts {
    pub added: usize,
    pub removed: usize,
    pub content: usize,
    pub metadata: usize,
    /// From another layer of the old image.
    pub moved_in: usize,
    /// To another layer of the new image.
    pub moved_out: usize,
}

impl LayerCounts {
    /// Paths that no layer of the old image has.
    fn only_added(&self) -> usize {
        self.added.saturating_sub(self.moved_in)
    }

    /// Paths that no layer of the new image has.
    fn only_removed(&self) -> usize {
        self.removed.saturating_sub(self.moved_out)
    }
}

/// A path that differs.
#[derive(Debug, Clone, Copy)]
pub struct PathDifference<'a> {
    pub change: PathChange,
    pub old: Option<PlacedEntry<'a>>,
    pub new: Option<PlacedEntry<'a>>,
}

/// An entry and its layer.
#[derive(Debug, Clone, Copy)]
pub struct PlacedEntry<'a> {
    pub layer: &'a LayerContents,
    pub entry: &'a Entry,
}

/// Files with the same content and metadata that moved from one layer to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Move<'a> {
    /// The names of the layers.
    from: &'a str,
    to: &'a str,
    files: usize,
    /// The size of the files.
    size: u64,
}

/// What is different about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PathChange {
    Added,
    Removed,
    /// Another file, type, link target or device.
    Content,
    /// In another layer. The content and metadata may differ too.
    Moved,
    /// The same content with another mode, owner, time or extended attribute, or as a hard link.
    Metadata,
}

/// An interpreter, a distribution, a repository or a directory that differs.
#[derive(Debug)]
pub struct ComponentDifference<'a> {
    pub kind: ComponentKind,
    pub name: &'a str,
    pub change: ComponentChange,
    pub old: Option<ComponentTotals<'a>>,
    pub new: Option<ComponentTotals<'a>>,
    /// The number of files that were added or removed, or have other content.
    pub files: usize,
    /// The size of these files.
    pub weight: u64,
}

/// All entries of a component in one image.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ComponentTotals<'a> {
    /// Sorted; several if the image has distributions for several interpreters. Empty if unknown.
    pub versions: Vec<&'a str>,
    pub size: u64,
    /// An estimate, as in [`Entry::compressed`].
    pub compressed: u64,
}

/// What is different about a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentChange {
    Added,
    Removed,
    /// Another version.
    Updated,
    /// Other files, although the version is the same or unknown.
    Changed,
}

/// The numbers of paths of two images that differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PathCounts {
    pub added: usize,
    pub removed: usize,
    pub content: usize,
    pub metadata: usize,
    pub moved: usize,
}

/// Compares two images.
pub fn difference<'a>(old: &'a ImageContents, new: &'a ImageContents) -> Difference<'a> {
    let mut layers = layers::compare(old, new);
    let mut paths = entries::compare(&mut layers);
    costs::charge(old, new, &mut layers);
    let components = components::compare(old, new, &paths);
    paths.sort_by_cached_key(PathDifference::sort_key);
    Difference { old, new, layers, components, paths }
}

impl Difference<'_> {
    /// Whether both images have the same layers in the same order. Names do not matter.
    pub fn is_empty(&self) -> bool {
        self.layers.iter().all(|layer| layer.change == LayerChange::Same)
    }

    /// The compressed bytes to pull, of all layers.
    pub fn pull(&self) -> u64 {
        sum(self.layers.iter().map(|layer| layer.pull))
    }

    /// The uncompressed bytes to unpack, of all layers.
    pub fn unpack(&self) -> u64 {
        sum(self.layers.iter().map(|layer| layer.unpack))
    }

    pub fn path_counts(&self) -> PathCounts {
        let mut counts = PathCounts::default();
        for path in &self.paths {
            *match path.change {
                PathChange::Added => &mut counts.added,
                PathChange::Removed => &mut counts.removed,
                PathChange::Content => &mut counts.content,
                PathChange::Metadata => &mut counts.metadata,
                PathChange::Moved => &mut counts.moved,
            } += 1;
        }
        counts
    }

    /// The paths to list one by one, and the others, of which it is enough to say how many there are: those
    /// that moved without any other change. After a change of layer groups, these can be most files of an
    /// image. Moves are sorted by size, the largest first.
    fn paths_and_moves(&self) -> (Vec<&PathDifference<'_>>, Vec<Move<'_>>) {
        let mut moves: Vec<Move> = Vec::new();
        let mut indices: HashMap<(&str, &str), usize> = HashMap::new();
        let mut listed = Vec::new();
        for path in &self.paths {
            let (Some(old), Some(new), true) = (path.old, path.new, path.only_moved()) else {
                listed.push(path);
                continue;
            };
            let (from, to) = (old.layer.name.as_str(), new.layer.name.as_str());
            let index = *indices.entry((from, to)).or_insert_with(|| {
                moves.push(Move { from, to, files: 0, size: 0 });
                moves.len() - 1
            });
            moves[index].files += 1;
            moves[index].size = moves[index].size.saturating_add(new.entry.size);
        }
        moves
            .sort_by_key(|one| (std::cmp::Reverse(one.size), std::cmp::Reverse(one.files), one.from, one.to));
        (listed, moves)
    }

    /// `2 of 5 layers changed: pull 5.5 MiB of 331.0 MiB, unpack 21.1 MiB of 1.2 GiB`.
    fn verdict(&self) -> String {
        use crate::show::size;

        let total = self.new.layers.len();
        let (compressed, tar) = (compressed_size(self.new), tar_size(self.new));
        let layers = |count: usize| format!("{count} {}", if count == 1 { "layer" } else { "layers" });
        if self.is_empty() {
            return format!("The images are identical: {}, {}", layers(total), size(compressed));
        }
        let count = |change| self.layers.iter().filter(|layer| layer.change == change).count();
        let (added, removed) = (count(LayerChange::Added), count(LayerChange::Removed));
        let changed = self.layers.len() - added - removed - count(LayerChange::Same);
        let counts = [
            (changed, total, "changed"),
            (added, total, "added"),
            (removed, self.old.layers.len(), "removed"),
        ];
        let mut text = String::new();
        for (count, total, what) in counts.into_iter().filter(|(count, _, _)| *count > 0) {
            text.push_str(&match text.as_str() {
                "" => format!("{count} of {} {what}", layers(total)),
                _ => format!(", {count} {what}"),
            });
        }
        let (pull, unpack) = (size(self.pull()), size(self.unpack()));
        text + &format!(": pull {pull} of {}, unpack {unpack} of {}", size(compressed), size(tar))
    }

    /// The lowest layer to unpack, and how many unchanged layers above it have to be unpacked again.
    fn unpacked_again(&self) -> Option<(&LayerDifference<'_>, usize)> {
        let first = self.layers.iter().find(|layer| layer.unpack > 0)?;
        let again = |layer: &&LayerDifference| layer.unpack > 0 && layer.change == LayerChange::Same;
        let count = self.layers.iter().filter(again).count();
        (count > 0).then_some((first, count))
    }
}

impl<'a> LayerDifference<'a> {
    /// The name in the new image, if the layer is in it.
    pub fn name(&self) -> &'a str {
        self.new.or(self.old).map_or("", |placed| placed.layer.name.as_str())
    }

    /// The name in the old image, if it is a different one.
    pub fn old_name(&self) -> Option<&'a str> {
        let (old, new) = (self.old?.layer, self.new?.layer);
        (old.name != new.name).then_some(old.name.as_str())
    }
}

impl<'a> PathDifference<'a> {
    pub fn path(&self) -> &'a [u8] {
        self.new.or(self.old).map_or(b"", |placed| &placed.entry.path)
    }

    /// The name of the layer in the new image, or else in the old image.
    pub fn layer(&self) -> &'a str {
        self.new.or(self.old).map_or("", |placed| &placed.layer.name)
    }

    /// The name of the layer in the old image, if the path has moved to another one.
    pub fn moved_from(&self) -> Option<&'a str> {
        match self.change {
            PathChange::Moved => self.old.map(|placed| placed.layer.name.as_str()),
            _ => None,
        }
    }

    pub fn kind(&self) -> Kind {
        self.new.or(self.old).map_or(Kind::File, |placed| placed.entry.kind)
    }

    pub fn old_size(&self) -> Option<u64> {
        self.old.map(|placed| placed.entry.size)
    }

    pub fn new_size(&self) -> Option<u64> {
        self.new.map(|placed| placed.entry.size)
    }

    /// Whether there is other content at the path, in whichever layer.
    pub fn content_differs(&self) -> bool {
        match (self.old, self.new) {
            (Some(old), Some(new)) => !entries::same_content(old.entry, new.entry),
            _ => true,
        }
    }

    /// The change for people. A new whiteout adds an entry, but deletes what layers below have.
    fn label(&self) -> &'static str {
        match (self.change, self.kind()) {
            (PathChange::Added, Kind::Whiteout) => "deletes",
            (PathChange::Added, Kind::Opaque) => "empties",
            (change, _) => change.name(),
        }
    }

    /// The path as text; `/` for the image's root.
    fn shown_path(&self) -> String {
        if self.path().is_empty() { "/".to_owned() } else { crate::show::show(self.path()) }
    }

    /// Whether the path moved to another layer, with the same content and metadata.
    fn only_moved(&self) -> bool {
        match (self.change, self.old, self.new) {
            (PathChange::Moved, Some(old), Some(new)) => entries::change(old.entry, new.entry).is_none(),
            _ => false,
        }
    }

    /// Everything in which the old and the new entry differ. Empty if there is only one of them.
    pub fn fields(&self) -> Vec<FieldChange> {
        match (self.old, self.new) {
            (Some(old), Some(new)) => entries::fields(old.entry, new.entry),
            _ => Vec::new(),
        }
    }

    /// The size of the change: of the larger one of the two files, or 0 if only metadata differs.
    pub fn weight(&self) -> u64 {
        match self.change {
            PathChange::Metadata => 0,
            _ => self.old_size().max(self.new_size()).unwrap_or(0),
        }
    }

    /// The largest changes come first.
    fn sort_key(&self) -> (std::cmp::Reverse<u64>, PathChange, &'a [u8], Kind) {
        (std::cmp::Reverse(self.weight()), self.change, self.path(), self.kind())
    }
}

impl Move<'_> {
    /// `1,138 files`.
    fn files(&self) -> String {
        format!("{} {}", crate::show::count(self.files), if self.files == 1 { "file" } else { "files" })
    }
}

impl LayerChange {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            LayerChange::Added => "added",
            LayerChange::Removed => "removed",
            LayerChange::Content => "content",
            LayerChange::Metadata => "metadata",
            LayerChange::Order => "order",
            LayerChange::Encoding => "encoding",
            LayerChange::Compression => "compression",
            LayerChange::Moved => "moved",
            LayerChange::Same => "same",
        }
    }
}

impl PathChange {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            PathChange::Added => "added",
            PathChange::Removed => "removed",
            PathChange::Content => "content",
            PathChange::Moved => "moved",
            PathChange::Metadata => "metadata",
        }
    }
}

impl ComponentChange {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ComponentChange::Added => "added",
            ComponentChange::Removed => "removed",
            ComponentChange::Updated => "updated",
            ComponentChange::Changed => "changed",
        }
    }
}

impl ComponentDifference<'_> {
    /// `numpy 1.26.3 → 1.26.4`.
    fn title(&self) -> String {
        let versions = |totals: &Option<ComponentTotals>| {
            totals.as_ref().map(|totals| totals.versions.join(", ")).unwrap_or_default()
        };
        let (old, new) = (versions(&self.old), versions(&self.new));
        let title = match self.change {
            ComponentChange::Updated => format!("{} {old} → {new}", self.name),
            ComponentChange::Removed => format!("{} {old}", self.name),
            _ => format!("{} {new}", self.name),
        };
        crate::show::show(title.trim_end().as_bytes())
    }

    /// The totals in the new image, or else in the old image.
    fn totals(&self) -> ComponentTotals<'_> {
        self.new.as_ref().or(self.old.as_ref()).cloned().unwrap_or_default()
    }
}

/// The size of an image's layers, compressed.
fn compressed_size(image: &ImageContents) -> u64 {
    sum(image.layers.iter().map(|layer| layer.size))
}

/// The size of an image's layers, uncompressed.
fn tar_size(image: &ImageContents) -> u64 {
    sum(image.layers.iter().map(|layer| layer.tar_size))
}

/// Sizes in a file can be anything, so their sum could overflow.
fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::samples::{any_image, entry, file, hard_link, image, layer, plain, symlink, update};
    use super::*;
    use crate::contents::Component;

    /// The name and the change of each layer.
    fn layer_changes<'a>(difference: &Difference<'a>) -> Vec<(&'a str, LayerChange)> {
        difference.layers.iter().map(|layer| (layer.name(), layer.change)).collect()
    }

    fn path_changes(difference: &Difference) -> Vec<(String, PathChange)> {
        let paths = difference.paths.iter();
        paths.map(|path| (String::from_utf8_lossy(path.path()).into_owned(), path.change)).collect()
    }

    /// The change of an image's only layer, and of its paths.
    fn change_of_layer(old: Vec<Entry>, new: Vec<Entry>) -> (LayerChange, Vec<(String, PathChange)>) {
        let (old, new) = (plain(vec![layer("a", old)]), plain(vec![layer("a", new)]));
        let difference = difference(&old, &new);
        (difference.layers[0].change, path_changes(&difference))
    }

    /// The fields in which the only changed path of two layers differs.
    fn changed_fields(old: Vec<Entry>, new: Vec<Entry>) -> (PathChange, Vec<(String, String, String)>) {
        let (old, new) = (plain(vec![layer("a", old)]), plain(vec![layer("a", new)]));
        let difference = difference(&old, &new);
        let [path] = difference.paths.as_slice() else { panic!("{difference:?}") };
        let fields = path.fields().into_iter();
        (path.change, fields.map(|FieldChange { field, old, new }| (field, old, new)).collect())
    }

    fn field(name: &str, old: &str, new: &str) -> (String, String, String) {
        (name.to_owned(), old.to_owned(), new.to_owned())
    }

    #[test]
    fn contents_of_a_layer() {
        let old = vec![file("kept", "", 1), file("gone", "", 2), file("other", "x", 3)];
        let new = vec![file("kept", "", 1), file("other", "y", 4), file("new", "", 9)];
        let paths =
            [("new", PathChange::Added), ("other", PathChange::Content), ("gone", PathChange::Removed)];
        let paths = paths.map(|(path, change)| (path.to_owned(), change)).to_vec();
        assert_eq!(change_of_layer(old, new), (LayerChange::Content, paths));
    }

    #[test]
    fn types_links_and_devices_are_content() {
        let device = |minor| Entry { device: Some((1, minor)), ..entry(Kind::Character, "x") };
        for (old, new) in [
            (symlink("x", "a"), symlink("x", "b")),
            (symlink("x", "a"), file("x", "", 1)),
            (entry(Kind::Directory, "x"), file("x", "", 0)),
            (device(1), device(2)),
        ] {
            assert_eq!(changed_fields(vec![old], vec![new]).0, PathChange::Content);
        }
    }

    #[test]
    fn metadata_of_entries() {
        let old = Entry { mode: 0o755, gid: 1, ..entry(Kind::Directory, "x") };
        let xattrs = [("user.a".to_owned(), "1".to_owned())].into();
        let new = Entry { mode: 0o4644, gid: 0, mtime: 5, nanoseconds: 500_000_000, xattrs, ..old.clone() };
        let fields = vec![
            field("mode", "0755", "4644"),
            field("gid", "1", "0"),
            field("mtime", "1672560000", "5.5"),
            field("xattr user.a", "", "1"),
        ];
        assert_eq!(changed_fields(vec![old], vec![new]), (PathChange::Metadata, fields));
    }

    #[test]
    fn a_hard_link_has_the_content_of_its_target() {
        let (target, copy) = (file("a", "", 5), file("b", "", 5));
        let (change, fields) =
            changed_fields(vec![target.clone(), copy.clone()], vec![target.clone(), hard_link("b", &target)]);
        assert_eq!(change, PathChange::Metadata);
        let expected = [field("type", "file", "hardlink"), field("size", "5", "0"), field("link", "", "a")];
        assert_eq!(fields, expected);
        let other = file("a", "other", 5);
        let (change, _) = changed_fields(vec![copy], vec![hard_link("b", &other)]);
        assert_eq!(change, PathChange::Content);
    }

    #[test]
    fn order_encoding_and_compression() {
        let (a, b) = (file("a", "", 1), file("b", "", 1));
        let change = change_of_layer(vec![a.clone(), b.clone()], vec![b.clone(), a.clone()]);
        assert_eq!(change, (LayerChange::Order, Vec::new()));

        let old = plain(vec![layer("a", vec![a, b])]);
        let mut new = old.clone();
        new.layers[0].digest = "sha256:other".to_owned();
        let other_compression = difference(&old, &new);
        assert_eq!(other_compression.layers[0].change, LayerChange::Compression);
        assert_eq!((other_compression.pull(), other_compression.unpack()), (old.layers[0].size, 0));

        new.layers[0].diff_id = "sha256:another".to_owned();
        let other_encoding = difference(&old, &new);
        assert_eq!(other_encoding.layers[0].change, LayerChange::Encoding);
        assert_eq!(other_encoding.unpack(), old.layers[0].tar_size);
        assert!(!other_encoding.is_empty());
    }

    #[test]
    fn the_last_entry_of_a_path_counts() {
        let (first, last) = (file("a", "first", 1), file("a", "last", 1));
        let change = change_of_layer(vec![first, last.clone()], vec![last]);
        assert_eq!(change, (LayerChange::Encoding, Vec::new()));
        // A whiteout deletes from the layers below, so it does not conflict with an entry.
        let (whiteout, directory) = (entry(Kind::Opaque, "a"), entry(Kind::Directory, "a"));
        let (_, paths) = change_of_layer(vec![whiteout, directory.clone()], vec![directory]);
        assert_eq!(paths, [("a".to_owned(), PathChange::Removed)]);
    }

    #[test]
    fn layers_that_are_inserted_do_not_move_others() {
        let layers = ["a", "b", "c"].map(|name| layer(name, vec![file(name, "", 1)]));
        let [a, b, c] = layers;
        let old = plain(vec![a.clone(), b.clone()]);
        let new = plain(vec![c, a.clone(), b.clone()]);
        let inserted = difference(&old, &new);
        let expected = [("c", LayerChange::Added), ("a", LayerChange::Same), ("b", LayerChange::Same)];
        assert_eq!(layer_changes(&inserted), expected);
        // Only the new layer is pulled, but all are unpacked.
        assert_eq!(inserted.pull(), new.layers[0].size);
        assert_eq!(inserted.unpack(), tar_size(&new));

        let swapped = plain(vec![b, a]);
        let moved = difference(&old, &swapped);
        assert_eq!(layer_changes(&moved), [("b", LayerChange::Moved), ("a", LayerChange::Same)]);
        assert_eq!((moved.pull(), moved.unpack()), (0, tar_size(&swapped)));
        assert!(!moved.is_empty());
    }

    #[test]
    fn layers_are_matched_by_digest_then_name_then_paths() {
        let files = |names: &str, content: &str| -> Vec<Entry> {
            names.chars().map(|name| file(&name.to_string(), content, 1)).collect()
        };
        let old = plain(vec![
            layer("layer 1", files("abc", "")),
            layer("layer 2", files("defg", "")),
            layer("tools", files("h", "")),
        ]);
        let new = plain(vec![
            layer("layer 1", files("defx", "new")),
            layer("tools", files("y", "")),
            layer("renamed", files("abc", "")),
        ]);
        let difference = difference(&old, &new);
        let old_names: Vec<_> = difference.layers.iter().map(LayerDifference::old_name).collect();
        assert_eq!(old_names, [Some("layer 2"), None, Some("layer 1")]);
        let expected = [
            ("layer 1", LayerChange::Content),
            ("tools", LayerChange::Content),
            ("renamed", LayerChange::Moved),
        ];
        assert_eq!(layer_changes(&difference), expected);
    }

    #[test]
    fn paths_move_between_layers() {
        let (a, b) = (file("a", "", 1), file("b", "", 1));
        let of_a = vec![a.clone(), file("x", "", 1), file("y", "old", 1)];
        let of_b = vec![b.clone(), file("x", "", 1), file("y", "new", 1)];
        let old = plain(vec![layer("a", of_a), layer("b", vec![b])]);
        let new = plain(vec![layer("a", vec![a]), layer("b", of_b)]);
        let difference = difference(&old, &new);
        let moved: Vec<_> = difference
            .paths
            .iter()
            .map(|path| (path.change, path.moved_from(), path.layer(), path.content_differs()))
            .collect();
        let expected = |content_differs| (PathChange::Moved, Some("a"), "b", content_differs);
        assert_eq!(moved, [expected(false), expected(true)]);
        let [a, b] = [0, 1].map(|index| difference.layers[index].counts);
        assert_eq!((a.removed, a.moved_out, b.added, b.moved_in), (2, 2, 2, 2));
        assert_eq!(difference.path_counts(), PathCounts { moved: 2, ..PathCounts::default() });
    }

    #[test]
    fn components_are_added_removed_updated_and_changed() {
        let image = |components: &[(&str, &str)], content: &str| {
            let entries = (0..components.len()).map(|component| {
                let content = if component == 0 { content } else { "" };
                Entry { component, ..file(components[component].0, content, 10) }
            });
            let layers = vec![layer("a", entries.collect())];
            let components = components.iter().map(|&(name, version)| Component {
                kind: ComponentKind::Distribution,
                name: name.to_owned(),
                version: Some(version.to_owned()),
            });
            image("", components.collect(), layers)
        };
        let old = image(&[("changed", "1"), ("old", "1"), ("same", "1"), ("updated", "1")], "x");
        let new = image(&[("changed", "1"), ("new", "1"), ("same", "1"), ("updated", "2")], "y");
        let difference = difference(&old, &new);
        let components = difference.components.iter();
        let components: Vec<_> =
            components.map(|component| (component.title(), component.change, component.files)).collect();
        let expected = [
            ("changed 1", ComponentChange::Changed, 1),
            ("new 1", ComponentChange::Added, 1),
            ("old 1", ComponentChange::Removed, 1),
            ("updated 1 → 2", ComponentChange::Updated, 0),
        ];
        assert_eq!(components, expected.map(|(title, change, files)| (title.to_owned(), change, files)));
    }

    #[test]
    fn a_layer_that_occurs_twice_is_pulled_once() {
        let layers = vec![layer("a", vec![]), layer("b", vec![])];
        let size = layers[0].size;
        let (old, new) = (plain(vec![]), plain(layers));
        assert_eq!(difference(&old, &new).pull(), size);
    }

    #[test]
    fn costs_of_an_update() {
        let (old, new) = update();
        let difference = difference(&old, &new);
        assert_eq!(
            layer_changes(&difference),
            [
                ("interpreter", LayerChange::Same),
                ("packages", LayerChange::Content),
                ("data", LayerChange::Same),
                ("default", LayerChange::Metadata),
            ]
        );
        assert_eq!(difference.pull(), new.layers[1].size + new.layers[3].size);
        assert_eq!(difference.unpack(), tar_size(&new) - new.layers[0].tar_size);
        let (first, count) = difference.unpacked_again().unwrap();
        assert_eq!((first.name(), count), ("packages", 1));
    }

    #[test]
    fn large_images_do_not_take_quadratic_time() {
        let image = |mtime: i64, change: u32| {
            let layers = (0..3_u32).map(|number| {
                let entries = (0..15_000_u32).map(|index| {
                    let path = format!("app/server.runfiles/pip_{}/site-packages/{index}.py", index % 100);
                    let content = if index % 10 == change { "new" } else { "" };
                    Entry { mtime, ..file(&path, content, 1000) }
                });
                LayerContents { entries: entries.collect(), ..layer(&format!("layer {number}"), vec![]) }
            });
            let mut layers: Vec<_> = layers.collect();
            for (layer, number) in layers.iter_mut().zip(0..) {
                layer.diff_id = format!("{number} {mtime}");
                layer.digest = layer.diff_id.clone();
            }
            plain(layers)
        };
        let (old, new) = (image(0, 1), image(1, 2));
        let start = std::time::Instant::now();
        let counts = difference(&old, &new).path_counts();
        // Quadratic time would be minutes, even on an idle machine.
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        assert_eq!((counts.content, counts.metadata), (9_000, 36_000));
    }

    /// The number of paths in each layer that an image has.
    fn path_count(image: &ImageContents) -> usize {
        image.layers.iter().map(|layer| entries::effective(&layer.entries).len()).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn an_image_does_not_differ_from_itself(image in any_image()) {
            let difference = difference(&image, &image);
            prop_assert!(difference.is_empty(), "{:?}", difference);
            prop_assert!(difference.paths.is_empty() && difference.components.is_empty());
            prop_assert_eq!((difference.pull(), difference.unpack()), (0, 0));
        }

        #[test]
        fn the_opposite_difference_mirrors(old in any_image(), new in any_image()) {
            let there = difference(&old, &new).path_counts();
            let back = difference(&new, &old).path_counts();
            let mirrored = PathCounts { added: back.removed, removed: back.added, ..back };
            prop_assert_eq!(there, mirrored);
        }

        #[test]
        fn counts_add_up(old in any_image(), new in any_image()) {
            let difference = difference(&old, &new);
            let counts = difference.path_counts();
            prop_assert_eq!(path_count(&new) + counts.removed, path_count(&old) + counts.added);
            for layer in &difference.layers {
                let count = |placed: Option<PlacedLayer>| {
                    placed.map_or(0, |placed| entries::effective(&placed.layer.entries).len())
                };
                let LayerCounts { added, removed, moved_in, moved_out, .. } = layer.counts;
                prop_assert_eq!(count(layer.new) + removed, count(layer.old) + added);
                prop_assert!(moved_in <= added && moved_out <= removed);
            }
            for path in &difference.paths {
                let has_fields = matches!(path.change, PathChange::Content | PathChange::Metadata);
                prop_assert!(!has_fields || !path.fields().is_empty());
                prop_assert_eq!(path.change == PathChange::Moved, path.moved_from().is_some());
            }
        }

        #[test]
        fn outputs_are_bounded_and_printable(old in any_image(), new in any_image(), files in 0..30_usize) {
            let difference = difference(&old, &new);
            let comment = markdown(&difference);
            prop_assert!(comment.lines().count() <= 40, "{}", comment);
            for line in comment.lines() {
                prop_assert!(line.chars().count() <= 210, "{}", line);
            }
            let options = TextOptions { files, ..TextOptions::default() };
            for line in text(&difference, &options).lines() {
                prop_assert!(line.chars().count() <= 80 && !line.contains(char::is_control), "{}", line);
            }
            let report: serde_json::Value = serde_json::from_str(&json(&difference, files)).unwrap();
            let shown = report["files"].as_array().unwrap().len();
            prop_assert!(shown <= files);
            prop_assert_eq!(shown as u64 + report["more_files"].as_u64().unwrap(), difference.paths.len() as u64);
            page_json(&difference, files);
        }
    }
}
