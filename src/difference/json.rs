//! Formats a difference as JSON, for programs and for the page that shows it.

use serde::Serialize;
use serde_json::{Value, json};

use super::entries::kind_name;
use super::{
    ComponentChange, ComponentDifference, ComponentTotals, Difference, FieldChange, LayerChange, LayerCounts,
    LayerDifference, PathChange, PathCounts, PathDifference, PlacedLayer, compressed_size, tar_size,
};
use crate::contents::{ComponentKind, ImageContents, to_text};

/// The value of `schema`. Changes with each incompatible change of the format.
pub const SCHEMA: &str = "pylayer.diff.v1";

/// `docs/formats.md`, "Difference of two images".
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    old: Image<'a>,
    new: Image<'a>,
    pull: u64,
    unpack: u64,
    paths: PathCounts,
    layers: Vec<Layer<'a>>,
    components: Vec<Component<'a>>,
    files: Vec<File<'a>>,
    more_files: usize,
}

#[derive(Serialize)]
struct Image<'a> {
    name: &'a str,
    layers: usize,
    entries: usize,
    size: u64,
    tar_size: u64,
}

#[derive(Serialize)]
struct Layer<'a> {
    name: &'a str,
    change: LayerChange,
    pull: u64,
    unpack: u64,
    #[serde(flatten)]
    counts: LayerCounts,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<LayerOfImage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<LayerOfImage<'a>>,
}

#[derive(Serialize)]
struct LayerOfImage<'a> {
    position: usize,
    name: &'a str,
    media_type: &'a str,
    digest: &'a str,
    size: u64,
    diff_id: &'a str,
    tar_size: u64,
    entries: usize,
}

#[derive(Serialize)]
struct Component<'a> {
    kind: ComponentKind,
    name: &'a str,
    change: ComponentChange,
    files: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<&'a ComponentTotals<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<&'a ComponentTotals<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    path: String,
    #[serde(rename = "type")]
    kind: &'static str,
    layer: &'a str,
    change: PathChange,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_layer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_size: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldChange>,
}

/// A report with all layers and components, and the `max_files` largest changes of paths.
pub fn json(difference: &Difference, max_files: usize) -> String {
    let shown = max_files.min(difference.paths.len());
    let report = Report {
        schema: SCHEMA,
        old: image(difference.old),
        new: image(difference.new),
        pull: difference.pull(),
        unpack: difference.unpack(),
        paths: difference.path_counts(),
        layers: difference.layers.iter().map(layer).collect(),
        components: difference.components.iter().map(component).collect(),
        files: difference.paths[..shown].iter().map(file).collect(),
        more_files: difference.paths.len() - shown,
    };
    let mut text = serde_json::to_string_pretty(&report).expect("strings and numbers are JSON");
    text.push('\n');
    text
}

/// What the page shows: all layers, and the `max_files` largest changes of paths.
pub fn page_json(difference: &Difference, max_files: usize) -> Value {
    let layers: Vec<Value> = difference.layers.iter().map(page_layer).collect();
    let shown = max_files.min(difference.paths.len());
    let files: Vec<Value> = difference.paths[..shown].iter().map(page_file).collect();
    json!({
        "old": difference.old.name,
        "new": difference.new.name,
        "pull_bytes": difference.pull(),
        "unpack_bytes": difference.unpack(),
        "layers": layers,
        "files": files,
        "more_files": difference.paths.len() - shown,
    })
}

fn page_layer(layer: &LayerDifference) -> Value {
    json!({
        "name": layer.name(),
        "change": layer.change,
        "pull": layer.pull,
        "unpack": layer.unpack,
        "added": layer.counts.added,
        "removed": layer.counts.removed,
        "changed": layer.counts.content,
        "metadata": layer.counts.metadata,
        "moved_in": layer.counts.moved_in,
        "moved_out": layer.counts.moved_out,
    })
}

fn page_file(path: &PathDifference) -> Value {
    json!({
        "path": to_text(path.path()),
        "type": kind_name(path.kind()),
        "layer": path.layer(),
        "change": path.change,
        "old_layer": path.moved_from(),
        "old_size": path.old_size(),
        "new_size": path.new_size(),
    })
}

fn image(image: &ImageContents) -> Image<'_> {
    Image {
        name: &image.name,
        layers: image.layers.len(),
        entries: image.layers.iter().map(|layer| layer.entries.len()).sum(),
        size: compressed_size(image),
        tar_size: tar_size(image),
    }
}

fn layer<'a>(difference: &LayerDifference<'a>) -> Layer<'a> {
    Layer {
        name: difference.name(),
        change: difference.change,
        pull: difference.pull,
        unpack: difference.unpack,
        counts: difference.counts,
        old: difference.old.map(layer_of_image),
        new: difference.new.map(layer_of_image),
    }
}

fn layer_of_image(PlacedLayer { position, layer }: PlacedLayer<'_>) -> LayerOfImage<'_> {
    LayerOfImage {
        position: position + 1,
        name: &layer.name,
        media_type: &layer.media_type,
        digest: &layer.digest,
        size: layer.size,
        diff_id: &layer.diff_id,
        tar_size: layer.tar_size,
        entries: layer.entries.len(),
    }
}

fn component<'a>(difference: &'a ComponentDifference) -> Component<'a> {
    let ComponentDifference { kind, name, change, files, .. } = *difference;
    Component { kind, name, change, files, old: difference.old.as_ref(), new: difference.new.as_ref() }
}

fn file<'a>(path: &PathDifference<'a>) -> File<'a> {
    File {
        path: to_text(path.path()),
        kind: kind_name(path.kind()),
        layer: path.layer(),
        change: path.change,
        old_layer: path.moved_from(),
        old_size: path.old_size(),
        new_size: path.new_size(),
        fields: path.fields(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference;
    use super::super::samples::update;
    use super::*;

    #[test]
    fn the_report_and_the_page() {
        let (old, new) = update();
        let difference = difference(&old, &new);
        let report: Value = serde_json::from_str(&json(&difference, usize::MAX)).unwrap();
        assert_eq!(report["schema"], SCHEMA);
        assert_eq!(
            report["paths"],
            json!({"added": 1, "removed": 1, "content": 1, "metadata": 1, "moved": 0})
        );
        assert_eq!(report["components"][0]["new"]["versions"], json!(["1.26.4"]));
        let mode = json!([{"field": "mode", "old": "0644", "new": "0755"}]);
        assert_eq!(report["files"][3]["fields"], mode);
        assert_eq!(report["more_files"], 0);

        let page = page_json(&difference, 2);
        let layer = json!({
            "name": "default",
            "change": "metadata",
            "pull": new.layers[3].size,
            "unpack": new.layers[3].tar_size,
            "added": 0,
            "removed": 0,
            "changed": 0,
            "metadata": 1,
            "moved_in": 0,
            "moved_out": 0,
        });
        assert_eq!(page["layers"][3], layer);
        assert_eq!(page["files"][0]["old_size"], 7_300_000);
        assert_eq!(page["files"][1]["old_size"], Value::Null);
        assert_eq!(page["more_files"], 2);
    }

    #[test]
    fn changes_have_the_same_names_in_json_and_text() {
        let (old, new) = update();
        let difference = difference(&old, &new);
        for layer in &difference.layers {
            assert_eq!(serde_json::to_value(layer.change).unwrap(), layer.change.name());
        }
    }
}
