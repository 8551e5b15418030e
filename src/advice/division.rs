//! An image of which it is known how it was divided among its layers. Pure.

use crate::contents::{
    Component, ComponentKind, Entry, ImageContents, Kind, LayerContents, Partition, Target,
};
use crate::explain::Rules;
use crate::groups::{self, DEFAULT_GROUPS, Groups, LayerGroup, LayerGroups};
use crate::image_path::ImagePath;
use crate::survey::Survey;

/// Names that a layer group cannot have: those of other targets and of the groups that always exist.
const RESERVED: [&str; 4] = ["default", "descriptors", "listings", "report"];

/// An image, and what divided it.
#[derive(Debug)]
pub struct DividedImage<'a> {
    pub image: &'a ImageContents,
    pub partition: &'a Partition,
    pub target: &'a Target,
    pub rules: Rules,
    /// The runfiles directory, and what is in it; `None` if it is unknown.
    runfiles: Option<(ImagePath, Survey)>,
}

impl<'a> DividedImage<'a> {
    /// `None` if it is unknown how `image` was divided, or for which target.
    pub fn new(image: &'a ImageContents) -> Result<Option<DividedImage<'a>>, groups::Error> {
        let Some(partition) = &image.partition else { return Ok(None) };
        let Some(target) = &partition.target else { return Ok(None) };
        let rules = Rules::new(partition)?;
        Ok(Some(DividedImage { image, partition, target, rules, runfiles: runfiles(image, partition) }))
    }

    /// All entries except directories.
    pub fn files(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.image.layers.iter().flat_map(files_of)
    }

    /// The distribution that `entry` belongs to.
    pub fn distribution(&self, entry: &Entry) -> Option<&'a Component> {
        let component = self.image.components.get(entry.component)?;
        (component.kind == ComponentKind::Distribution).then_some(component)
    }

    /// `pattern` with the placeholders filled in; `None` if the runfiles directory is unknown.
    pub fn expand(&self, pattern: &str) -> Option<String> {
        let (directory, found) = self.runfiles.as_ref()?;
        Some(groups::for_binary(pattern, directory, found))
    }

    /// Compiles patterns of a BUILD file. [`LayerGroups::matching`] returns their indices. `None` if the
    /// runfiles directory is unknown or a pattern is invalid.
    pub fn compile<'p>(&self, patterns: impl Iterator<Item = &'p str>) -> Option<LayerGroups> {
        let groups = patterns.map(|pattern| Some(LayerGroup::new("any", self.expand(pattern)?)));
        let layer_groups = groups.collect::<Option<Vec<_>>>()?;
        LayerGroups::compile(&Groups { layer_groups, ..Groups::default() }, &[]).ok()
    }

    /// A name for a new layer group for a distribution.
    pub fn new_group_name(&self, distribution: &str) -> String {
        let is_free = |name: &String| {
            !RESERVED.contains(&name.as_str())
                && !self.partition.dropped.contains(name)
                && !self.target.layer_groups.iter().any(|group| group.name == *name)
                && !DEFAULT_GROUPS.iter().any(|group| group.name == *name)
        };
        let others = (2..).map(|number| format!("{distribution}_package_{number}"));
        let mut names =
            [distribution.to_string(), format!("{distribution}_package")].into_iter().chain(others);
        names.find(is_free).unwrap_or_default()
    }
}

/// The entries of a layer except directories.
pub fn files_of(layer: &LayerContents) -> impl Iterator<Item = &Entry> {
    layer.entries.iter().filter(|entry| entry.kind != Kind::Directory)
}

/// The pattern that `pip_package` returns for a distribution; `None` if it does not accept the name.
pub fn pip_package(distribution: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = distribution.starts_with(|char: char| char.is_ascii_alphanumeric())
        && distribution.bytes().all(is_allowed);
    is_name.then(|| format!("{{pip_package:{distribution}}}"))
}

/// The runfiles directory and what is in it, including what is in no layer.
fn runfiles(image: &ImageContents, partition: &Partition) -> Option<(ImagePath, Survey)> {
    let directory = ImagePath::new(&partition.groups.runfiles).ok()?;
    let entries = image.layers.iter().flat_map(|layer| &layer.entries).map(|entry| entry.path.as_slice());
    let left_out = partition.left_out.iter().map(|left_out| left_out.path.as_slice());
    let paths: Vec<&[u8]> = entries
        .chain(left_out)
        .filter_map(|path| path.strip_prefix(directory.as_bytes())?.strip_prefix(b"/"))
        .collect();
    let survey = Survey::of(paths.iter().copied(), &[]);
    Some((directory, survey))
}
