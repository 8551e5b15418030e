//! Matches the layers of two images.
//!
//! Each rule applies to the layers that no earlier rule has matched:
//!
//! 1. the same digest and name, then the same digest, then the same diff ID
//! 2. the same name, unless it is only a number
//! 3. the most paths in common, if these are at least half of the paths of the smaller layer
//!
//! Layers with the same key are matched in their order. All rules are symmetric.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use foldhash::HashMap as FoldHashMap;

use super::entries::{Key, effective, key};
use super::{LayerChange, LayerCounts, LayerDifference, PlacedLayer};
use crate::contents::{ImageContents, Kind, LayerContents};

/// The layers of both images. Only layers with the same tar have their final [`LayerChange`]; others are
/// [`LayerChange::Encoding`] until their entries are compared.
pub(super) fn compare<'a>(old: &'a ImageContents, new: &'a ImageContents) -> Vec<LayerDifference<'a>> {
    let matches = match_layers(&old.layers, &new.layers);
    let moved = moved(&matches);
    let place = |image: &'a ImageContents, position: usize| {
        image.layers.get(position).map(|layer| PlacedLayer { position, layer })
    };
    let new_layers = matches.iter().enumerate().map(|(position, old_position)| {
        let old = old_position.and_then(|old_position| place(old, old_position));
        layer_difference(old, place(new, position), moved.contains(&position))
    });
    let mut layers: Vec<_> = new_layers.collect();

    let mut is_removed = vec![true; old.layers.len()];
    for &position in matches.iter().flatten() {
        is_removed[position] = false;
    }
    let removed = (0..old.layers.len()).filter(|&position| is_removed[position]);
    layers.extend(removed.map(|position| layer_difference(place(old, position), None, false)));
    layers
}

fn layer_difference<'a>(
    old: Option<PlacedLayer<'a>>,
    new: Option<PlacedLayer<'a>>,
    moved: bool,
) -> LayerDifference<'a> {
    let change = match (old, new) {
        (None, _) => LayerChange::Added,
        (_, None) => LayerChange::Removed,
        (Some(old), Some(new)) if old.layer.digest == new.layer.digest => {
            if moved {
                LayerChange::Moved
            } else {
                LayerChange::Same
            }
        }
        (Some(old), Some(new)) if old.layer.diff_id == new.layer.diff_id => LayerChange::Compression,
        _ => LayerChange::Encoding,
    };
    LayerDifference { old, new, change, pull: 0, unpack: 0, counts: LayerCounts::default() }
}

/// For each new layer, the index of the old layer that it is matched with.
fn match_layers(old: &[LayerContents], new: &[LayerContents]) -> Vec<Option<usize>> {
    let mut matching =
        Matching { old, new, old_of_new: vec![None; new.len()], is_matched: vec![false; old.len()] };
    matching.by_key(|layer| Some((&layer.digest, &layer.name)));
    matching.by_key(|layer| Some(&layer.digest));
    matching.by_key(|layer| Some(&layer.diff_id));
    matching.by_key(|layer| (!is_number(&layer.name)).then_some(&layer.name));
    matching.by_paths();
    matching.old_of_new
}

/// Whether a layer's name only says where it is: `layer 3`.
fn is_number(name: &str) -> bool {
    let digits = name.strip_prefix("layer ").unwrap_or(name);
    digits.bytes().all(|byte| byte.is_ascii_digit())
}

struct Matching<'a> {
    old: &'a [LayerContents],
    new: &'a [LayerContents],
    old_of_new: Vec<Option<usize>>,
    /// For each old layer.
    is_matched: Vec<bool>,
}

impl<'a> Matching<'a> {
    fn pair(&mut self, old: usize, new: usize) {
        self.old_of_new[new] = Some(old);
        self.is_matched[old] = true;
    }

    /// The old layers that are not matched yet.
    fn unmatched_old(&self) -> impl Iterator<Item = (usize, &'a LayerContents)> {
        self.old.iter().enumerate().filter(|&(index, _)| !self.is_matched[index])
    }

    /// The new layers that are not matched yet.
    fn unmatched_new(&self) -> impl Iterator<Item = (usize, &'a LayerContents)> {
        self.new.iter().enumerate().filter(|&(index, _)| self.old_of_new[index].is_none())
    }

    /// Matches layers with the same key.
    fn by_key<K: Hash + Eq>(&mut self, key: impl Fn(&'a LayerContents) -> Option<K>) {
        let mut old_layers: HashMap<K, VecDeque<usize>> = HashMap::new();
        for (index, layer) in self.unmatched_old() {
            if let Some(key) = key(layer) {
                old_layers.entry(key).or_default().push_back(index);
            }
        }
        let pairs = self.unmatched_new().filter_map(|(new, layer)| {
            let old = old_layers.get_mut(&key(layer)?)?.pop_front()?;
            Some((old, new))
        });
        for (old, new) in pairs.collect::<Vec<_>>() {
            self.pair(old, new);
        }
    }

    /// Matches the layers that have the most paths in common.
    fn by_paths(&mut self) {
        let old_paths: Vec<_> = self.unmatched_old().map(|(index, layer)| (index, paths(layer))).collect();
        let new_paths: Vec<_> = self.unmatched_new().map(|(index, layer)| (index, paths(layer))).collect();
        if old_paths.is_empty() || new_paths.is_empty() {
            return;
        }
        let mut old_lengths = vec![0; self.old.len()];
        for (index, paths) in &old_paths {
            old_lengths[*index] = paths.len();
        }
        let mut new_lengths = vec![0; self.new.len()];
        for (index, paths) in &new_paths {
            new_lengths[*index] = paths.len();
        }

        let mut pairs: Vec<_> = common_paths(&old_paths, &new_paths).into_iter().collect();
        pairs.retain(|&((old, new), common)| 2 * common >= old_lengths[old].min(new_lengths[new]));
        pairs.sort_unstable_by_key(|&((old, new), common)| {
            (std::cmp::Reverse(common), old.abs_diff(new), old + new, old)
        });
        for ((old, new), _) in pairs {
            if !self.is_matched[old] && self.old_of_new[new].is_none() {
                self.pair(old, new);
            }
        }
    }
}

/// The paths of a layer, without directories, which many layers have in common.
fn paths(layer: &LayerContents) -> Vec<Key<'_>> {
    let entries = effective(&layer.entries).into_iter();
    entries.filter(|entry| entry.kind != Kind::Directory).map(key).collect()
}

/// The number of paths that an old and a new layer have in common.
///
/// If several layers have a path, the lowest old one is compared with the lowest new one only, and so on,
/// so that the work is proportional to the number of entries.
fn common_paths(
    old: &[(usize, Vec<Key<'_>>)],
    new: &[(usize, Vec<Key<'_>>)],
) -> HashMap<(usize, usize), usize> {
    let mut old_layers: FoldHashMap<Key, VecDeque<usize>> = FoldHashMap::default();
    for (layer, paths) in old {
        for &path in paths {
            old_layers.entry(path).or_default().push_back(*layer);
        }
    }
    let mut common = HashMap::new();
    for (new_layer, paths) in new {
        for path in paths {
            if let Some(old_layer) = old_layers.get_mut(path).and_then(VecDeque::pop_front) {
                *common.entry((old_layer, *new_layer)).or_default() += 1;
            }
        }
    }
    common
}

/// The new layers whose position relative to others has changed: those that are not in the longest
/// increasing subsequence of old positions. So a layer that is inserted does not move those above it.
fn moved(matches: &[Option<usize>]) -> std::collections::HashSet<usize> {
    // For each length, the last layer of the subsequence that ends at the lowest old position.
    let mut ends: Vec<(usize, usize)> = Vec::new();
    let mut previous = vec![None; matches.len()];
    for (new, old) in matches.iter().enumerate() {
        let Some(old) = *old else { continue };
        let length = ends.partition_point(|&(end, _)| end < old);
        previous[new] = length.checked_sub(1).map(|shorter| ends[shorter].1);
        if length == ends.len() {
            ends.push((old, new));
        } else {
            ends[length] = (old, new);
        }
    }
    let mut moved: std::collections::HashSet<usize> =
        (0..matches.len()).filter(|&new| matches[new].is_some()).collect();
    let mut last = ends.last().map(|&(_, new)| new);
    while let Some(new) = last {
        moved.remove(&new);
        last = previous[new];
    }
    moved
}
