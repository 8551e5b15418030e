//! Writes one layer, from settings, a manifest and its files. Both Bazel actions and `pylayer pack` use
//! this engine.

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
use crate::prefetch::{self, Prefetch};
use crate::settings::Settings;
use crate::warnings;
use crate::wheel::Wheels;
use bazel_worker::Cancel;

/// Settings that cannot be combined, or that do not exist.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Codec(#[from] codec::Error),
    #[error(
        "prefetch requires lazy = \"estargz\": files of other layers are not fetched at once; set it, or remove prefetch"
    )]
    Prefetch,
}

/// What all layers of an image share.
pub struct Image {
    pub settings: Settings,
    /// Compiled together with the patterns that `settings` excludes.
    pub groups: Arc<LayerGroups>,
    /// The codec of `settings`.
    pub codec: Codec,
    /// The files that come first. Empty unless layers have a landmark.
    pub prefetch: Prefetch,
}

impl Image {
    /// An image with these settings.
    pub fn new(
        settings: Settings,
        groups: Arc<LayerGroups>,
        prefetch: Option<Prefetch>,
    ) -> Result<Image, Error> {
        let codec = settings.codec()?;
        if prefetch.is_some() && !codec.has_landmark() {
            return Err(Error::Prefetch);
        }
        Ok(Image { settings, groups, codec, prefetch: prefetch.unwrap_or_default() })
    }

    /// The entries of `manifest` in the layers that `is_wanted` selects, sorted by path.
    pub fn entries(
        &self,
        manifest: &Manifest,
        inputs: Inputs,
        is_wanted: impl Fn(&str) -> bool + Sync,
    ) -> Result<Vec<ResolvedEntry>, inputs::Error> {
        let is_wanted = |path: &ImagePath| self.groups.layer_of(path.tar_name()).is_some_and(&is_wanted);
        debug_span!("inputs").in_scope(|| inputs.entries(manifest, &self.settings, is_wanted))
    }

    /// Plans the layer that contains `entries`, which are sorted by path, and may be lifted from `wheels`.
    pub fn plan(
        &self,
        mut entries: Vec<ResolvedEntry>,
        wheels: &Wheels,
        cancel: &Cancel,
    ) -> Result<PlannedLayer> {
        let excluded_links = plan::take_excluded_links(&mut entries, &self.groups, cancel)?;
        let mut plan = debug_span!("plan").in_scope(|| plan::plan(entries, &self.settings, cancel))?;
        if self.codec.has_landmark() {
            prefetch::check_names(&plan)?;
            prefetch::arrange(&mut plan, &self.prefetch);
        }
        if self.codec.lifts() {
            plan.lift_from(wheels);
        }
        Ok(PlannedLayer { plan: Arc::new(plan), excluded_links, codec: self.codec })
    }
}

/// A layer that is ready to be written.
pub struct PlannedLayer {
    pub plan: Arc<LayerPlan>,
    /// Links that are in the manifest but not in the layer.
    excluded_links: Vec<ExcludedLink>,
    codec: Codec,
}

impl PlannedLayer {
    /// Writes the layer to a temporary file next to `path`, which [`Output::keep`] renames. `progress` is
    /// called with the uncompressed size of each chunk written.
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

    /// Writes the layer's listing. `written` is the result of [`PlannedLayer::write`].
    pub fn write_listing(&self, written: &Written, out: &mut dyn io::Write) -> io::Result<()> {
        listing::write(&self.plan, &written.machines, &self.excluded_links, out)
    }

    /// Warnings about the layer, which is called `name`.
    pub fn warnings(&self, name: &str) -> Option<String> {
        warnings::shadows_base_image(name, &self.plan)
    }
}
