//! Summarizes what an image contains as text of 80 columns. Pure.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use crate::contents::{Entry, ImageContents, Kind, LayerContents, to_text};
use crate::show::{elide, fit_path, show, size};

/// The narrowest terminal that the tables fit into.
pub const MIN_WIDTH: usize = 80;

/// The width of the numbers in a table of components or files, and of a layer's name there.
const NUMBERS: usize = 26;
const LAYER: usize = 16;

/// Summarizes `image`, with at most `top` lines of each kind, none of which has more than `width` columns. That
/// is at least 80.
pub fn summary(image: &ImageContents, top: usize, width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    let compressed: u64 = image.layers.iter().map(|layer| layer.size).sum();
    let unpacked: u64 = image.layers.iter().map(|layer| layer.tar_size).sum();
    let count = image.layers.iter().map(files).sum::<usize>();
    let mut text = format!(
        "{}\n{}, {}: {} compressed, {} unpacked\n\n",
        show(image.name.as_bytes()),
        counted(image.layers.len(), "layer"),
        counted(count, "file"),
        size(compressed),
        size(unpacked)
    );
    layers(image, width, &mut text);
    components(image, top, width, &mut text);
    largest_files(image, top, width, &mut text);
    duplicates(image, top, width, &mut text);
    text
}

/// `1 layer`, `5 layers`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn files(layer: &LayerContents) -> usize {
    layer.entries.iter().filter(|entry| entry.kind != Kind::Directory).count()
}

fn layers(image: &ImageContents, width: usize, text: &mut String) {
    let name_width = width - 60;
    let _ = writeln!(
        text,
        "{:name_width$} {:>7} {:>11} {:>11} {:>5} {:>7}  digest",
        "layer", "files", "unpacked", "compressed", "ratio", "chunks"
    );
    for layer in &image.layers {
        let digest = layer.digest.strip_prefix("sha256:").unwrap_or(&layer.digest);
        let _ = writeln!(
            text,
            "{:name_width$} {:>7} {:>11} {:>11} {:>5.1} {:>7}  {:.10}…",
            elide(show(layer.name.as_bytes()), name_width),
            files(layer),
            size(layer.tar_size),
            size(layer.size),
            layer.tar_size as f64 / layer.size.max(1) as f64,
            layer.chunks,
            show(digest.as_bytes())
        );
    }
}

/// A table with the columns `title`, unpacked, compressed and layer; `more` rows are not shown.
fn table(title: &str, rows: &[(String, u64, u64, String)], more: usize, width: usize, text: &mut String) {
    let name_width = width - NUMBERS - LAYER;
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title:name_width$} {:>11} {:>11}  layer", "unpacked", "compressed");
    for (name, unpacked, compressed, layers) in rows {
        let _ = writeln!(
            text,
            "{:name_width$} {:>11} {:>11}  {}",
            fit_path(&show(name.as_bytes()), name_width),
            size(*unpacked),
            size(*compressed),
            elide(show(layers.as_bytes()), LAYER)
        );
    }
    if more > 0 {
        let _ = writeln!(text, "… and {more} more");
    }
}

fn components(image: &ImageContents, top: usize, width: usize, text: &mut String) {
    let mut sizes: BTreeMap<usize, (u64, u64, Vec<&str>)> = BTreeMap::new();
    for layer in &image.layers {
        for entry in layer.entries.iter().filter(|entry| entry.kind != Kind::Directory) {
            let (unpacked, compressed, layers) = sizes.entry(entry.component).or_default();
            *unpacked += entry.size;
            *compressed += entry.compressed;
            if layers.last() != Some(&layer.name.as_str()) {
                layers.push(&layer.name);
            }
        }
    }
    let mut rows: Vec<(String, u64, u64, String)> = sizes
        .into_iter()
        .filter_map(|(component, (unpacked, compressed, layers))| {
            let name = image.components.get(component)?.to_string();
            Some((name, unpacked, compressed, layers.join(", ")))
        })
        .collect();
    rows.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0)));
    let more = rows.len().saturating_sub(top);
    rows.truncate(top);
    table("largest components", &rows, more, width, text);
}

fn largest_files(image: &ImageContents, top: usize, width: usize, text: &mut String) {
    let mut found: Vec<(&LayerContents, &Entry)> = image
        .layers
        .iter()
        .flat_map(|layer| layer.entries.iter().map(move |entry| (layer, entry)))
        .filter(|(_, entry)| entry.size > 0)
        .collect();
    found.sort_by(|(_, a), (_, b)| b.compressed.cmp(&a.compressed).then_with(|| a.path.cmp(&b.path)));
    let more = found.len().saturating_sub(top);
    found.truncate(top);
    let row = |(layer, entry): &(&LayerContents, &Entry)| {
        (to_text(&entry.path), entry.size, entry.compressed, layer.name.clone())
    };
    table("largest files", &found.iter().map(row).collect::<Vec<_>>(), more, width, text);
}

/// Contents that are stored several times.
fn duplicates(image: &ImageContents, top: usize, width: usize, text: &mut String) {
    let mut stored: HashMap<&str, Vec<(&str, &Entry)>> = HashMap::new();
    for layer in &image.layers {
        for entry in layer.entries.iter().filter(|entry| entry.kind == Kind::File && entry.size > 0) {
            if let Some(digest) = &entry.sha256 {
                stored.entry(digest).or_default().push((&layer.name, entry));
            }
        }
    }
    let mut rows: Vec<(String, u64, u64, String)> = stored
        .into_values()
        .filter(|copies| copies.len() > 1)
        .map(|copies| {
            let (_, first) = copies[0];
            let mut layers: Vec<&str> = copies.iter().map(|(layer, _)| *layer).collect();
            layers.dedup();
            let name = format!("{} × {}", copies.len(), to_text(&first.path));
            let others = || copies[1..].iter().map(|(_, entry)| entry);
            let (unpacked, compressed) =
                (others().map(|entry| entry.size).sum(), others().map(|entry| entry.compressed).sum());
            (name, unpacked, compressed, layers.join(", "))
        })
        .collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let more = rows.len().saturating_sub(top);
    rows.truncate(top);
    table("stored more than once (wasted)", &rows, more, width, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::{Component, ComponentKind};

    fn file(path: &str, size: u64, component: usize) -> Entry {
        let digest = Some(format!("{size:064x}"));
        Entry {
            size,
            compressed: size / 2,
            sha256: digest,
            component,
            ..Entry::new(path.as_bytes(), Kind::File)
        }
    }

    #[test]
    fn a_summary_fits_into_80_columns() {
        let long = format!("app/{}/end.py", "very/".repeat(40));
        let layer = |name: &str, entries: Vec<Entry>| LayerContents {
            name: name.into(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 3 << 20,
            tar_size: 9 << 20,
            chunks: 12,
            entries,
            ..LayerContents::default()
        };
        let component = |name: &str, version: Option<&str>| Component {
            kind: ComponentKind::Distribution,
            name: name.into(),
            version: version.map(Into::into),
        };
        let mut image = ImageContents {
            schema: String::new(),
            name: "//app:layers".into(),
            components: vec![component("numpy", Some("1.26.4")), component("_main", None)],
            layers: vec![
                layer(
                    "packages",
                    vec![file("n/core.so", 2 << 20, 0), file("n/a.py", 700, 0), file(&long, 500, 1)],
                ),
                layer("a_layer_with_quite_a_long_name", vec![file("app/core.so", 2 << 20, 1)]),
            ],
            partition: None,
        };
        let text = summary(&image, 2, 80);
        assert_eq!(
            text,
            "\
//app:layers
2 layers, 4 files: 6.0 MiB compressed, 18.0 MiB unpacked

layer                  files    unpacked  compressed ratio  chunks  digest
packages                   3     9.0 MiB     3.0 MiB   3.0      12  ababababab…
a_layer_wi…long_name       1     9.0 MiB     3.0 MiB   3.0      12  ababababab…

largest components                        unpacked  compressed  layer
numpy 1.26.4                               2.0 MiB     1.0 MiB  packages
_main                                      2.0 MiB     1.0 MiB  packages…ng_name

largest files                             unpacked  compressed  layer
app/core.so                                2.0 MiB     1.0 MiB  a_layer_…ng_name
n/core.so                                  2.0 MiB     1.0 MiB  packages
… and 2 more

stored more than once (wasted)            unpacked  compressed  layer
2 × n/core.so                              2.0 MiB     1.0 MiB  packages…ng_name
"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(summary(&image, 2, 200).lines().any(|line| line.chars().count() > 150));
        image.components[0].name = "a\u{1b}[31m\n".into();
        image.layers[0].name = "\u{7}".into();
        assert!(summary(&image, 9, 80).chars().all(|char| char == '\n' || !char.is_control()));
    }
}
