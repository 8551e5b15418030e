//! Writes one layer: settings, a manifest and its files become a file. A Bazel action and `pylayer pack`
//! are two ways to ask for it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use tracing::debug_span;

use crate::codec::{self, Codec};
use crate::groups::LayerGroups;
use crate::image_path::ImagePath;
use crate::inputs::{self, Inputs, ResolvedEntry};
use crate::listing;
use crate::manifest::Manifest;
use crate::output::{self, Output};
use crate::pipeline::{self, Pool, Written};
use crate::plan::{self, ExcludedLink, LayerPlan};
use crate::settings::Settings;
use crate::warnings;
use bazel_worker::Cancel;

/// What the layers of an image have in common.
pub struct Image {
    pub settings: Settings,
    /// The patterns of `settings`.
    pub groups: Arc<LayerGroups>,
    /// That of `settings`.
    pub codec: Codec,
}

impl Image {
    /// An image with these settings and their compiled patterns.
    pub fn new(settings: Settings, groups: Arc<LayerGroups>) -> Result<Image, codec::Error> {
        let codec = settings.codec()?;
        Ok(Image { settings, groups, codec })
    }

    /// The entries of `manifest` that belong to a layer for which `is_wanted`, sorted by path.
    pub fn entries(
        &self,
        manifest: &Manifest,
        inputs: Inputs,
        is_wanted: impl Fn(&str) -> bool + Sync,
    ) -> Result<Vec<ResolvedEntry>, inputs::Error> {
        let is_wanted = |path: &ImagePath| self.groups.group_of(path.tar_name()).is_some_and(&is_wanted);
        debug_span!("inputs").in_scope(|| inputs.entries(manifest, &self.settings, is_wanted))
    }

    /// Plans the layer that contains `entries`, which are sorted by path.
    pub fn plan(
        &self,
        mut entries: Vec<ResolvedEntry>,
        cancel: &Cancel,
    ) -> Result<PlannedLayer, plan::Error> {
        let excluded_links = plan::take_excluded_links(&mut entries, &self.groups, cancel)?;
        let plan = debug_span!("plan").in_scope(|| plan::plan(entries, &self.settings, cancel))?;
        Ok(PlannedLayer { plan: Arc::new(plan), excluded_links, codec: self.codec })
    }
}

/// A layer of which everything but its content is known.
pub struct PlannedLayer {
    pub plan: Arc<LayerPlan>,
    /// Links that are not in the layer although they are in its manifest.
    excluded_links: Vec<ExcludedLink>,
    codec: Codec,
}

impl PlannedLayer {
    /// Writes the layer to a temporary file beside `path`, which [`Output::keep`] renames. `progress` is
    /// called with the uncompressed bytes of each chunk that has been written.
    pub fn write(
        &self,
        path: &Path,
        pool: &Pool,
        cancel: &Cancel,
        progress: &dyn Fn(u64),
    ) -> Result<(Output, Written)> {
        output::remove_abandoned(path);
        let mut layer = Output::create(path)?;
        match pool.write(self.plan.clone(), self.codec, cancel, layer.file(), progress) {
            Ok(written) => Ok((layer, written)),
            Err(pipeline::Error::Write(error)) => {
                Err(output::Error { path: path.to_path_buf(), error }.into())
            }
            Err(pipeline::Error::Input(error)) => Err(error.into()),
            Err(other) => Err(other.into()),
        }
    }

    /// Writes the listing of the layer, which is `written`.
    pub fn write_listing(&self, written: &Written, out: &mut dyn io::Write) -> io::Result<()> {
        listing::write(&self.plan, &written.machines, &self.excluded_links, out)
    }

    /// What people should know about the layer, which is called `name`.
    pub fn warnings(&self, name: &str) -> Option<String> {
        warnings::shadows_base_image(name, &self.plan)
    }
}
