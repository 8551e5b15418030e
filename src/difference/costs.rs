//! What it costs a machine that has the old image to get the new one.
//!
//! A machine pulls the layers whose *digest* it does not have, wherever they are in the image. It unpacks a
//! layer if it does not have its *chain ID*, the digest of its diff ID and all diff IDs below it (OCI
//! image-spec, `config.md`, "Layer ChainID"): containerd's snapshots contain the layers below. So a
//! different layer causes all layers above it to be unpacked again.

use std::collections::HashSet;

use super::LayerDifference;
use crate::contents::ImageContents;

/// Sets the costs of layers.
pub(super) fn charge(old: &ImageContents, new: &ImageContents, layers: &mut [LayerDifference]) {
    let mut present: HashSet<&str> = old.layers.iter().map(|layer| layer.digest.as_str()).collect();
    let common = common_chain(old, new);
    for difference in layers {
        let Some(new) = difference.new else { continue };
        // A layer that the new image has twice is pulled once.
        let pull = present.insert(&new.layer.digest);
        difference.pull = if pull { new.layer.size } else { 0 };
        difference.unpack = if new.position >= common { new.layer.tar_size } else { 0 };
    }
}

/// How many layers, from the bottom, have the same chain ID in both images.
fn common_chain(old: &ImageContents, new: &ImageContents) -> usize {
    let pairs = old.layers.iter().zip(&new.layers);
    pairs.take_while(|(old, new)| old.diff_id == new.diff_id).count()
}
