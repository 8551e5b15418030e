//! Describes the layers of an image that has been written: what they contain, and how the files were
//! divided among them.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::archive::{Source, Watch};
use crate::components;
use crate::contents::{ImageContents, LeftOut, Partition};
use crate::groups::LayerGroups;
use crate::image_path::ImagePath;
use crate::inputs::{Content, Inputs, ResolvedEntry};
use crate::listing::{self, Listing};
use crate::manifest::Manifest;
use crate::settings::Settings;
use crate::show::show_path;
use crate::validate::ListedLayer;

/// Reads `layers`, the names and files of the layers from bottom to top.
///
/// `partition` says how the image was divided, with `groups` as its compiled patterns. What is in no layer is
/// added to it: excluded paths and those of dropped groups in `manifests`, whose sizes are read from the
/// inputs, and symlinks that the listings name.
pub fn describe(
    name: String,
    layers: Vec<(String, PathBuf)>,
    mut partition: Partition,
    groups: &LayerGroups,
    manifests: &[&Manifest],
    listings: &[ListedLayer],
    inputs: Inputs,
) -> Result<ImageContents> {
    let is_left_out = |path: &ImagePath| {
        let group = groups.group_of(path.tar_name());
        group.is_none_or(|group| partition.dropped.iter().any(|name| name == group))
    };
    let mut left_out = Vec::new();
    for manifest in manifests {
        for ResolvedEntry { path, content } in inputs.entries(manifest, &Settings::default(), is_left_out)? {
            let size = if let Content::File(file) = content { file.size } else { 0 };
            left_out.push(LeftOut { path: path.as_bytes().to_vec(), size, link: None });
        }
    }
    for ListedLayer { file, listing, .. } in listings {
        let text = String::from_utf8_lossy(listing);
        let Listing { excluded_links, .. } =
            listing::parse(&text, inputs.cancel).with_context(|| show_path(file))?;
        let links = excluded_links.into_iter();
        left_out.extend(links.map(|(path, text)| LeftOut { path, size: 0, link: Some(text) }));
    }
    left_out.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    left_out.dedup_by(|a, b| a.path == b.path);
    partition.left_out = left_out;
    let watch = Watch { progress: &|_| (), cancel: inputs.cancel };
    let image = components::contents(Source::layers(layers)?.read(watch)?);
    Ok(ImageContents { name, partition: Some(partition), ..image })
}
