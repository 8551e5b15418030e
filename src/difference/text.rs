//! Formats a difference for terminals.

use super::entries::describe;
use super::{
    ComponentChange, ComponentDifference, Difference, LayerChange, LayerDifference, Move, PathChange,
    PathDifference,
};
use crate::contents::Kind;
use crate::show::{count, elide, fit_path, show, size};

/// How much [`text`] shows, and how.
#[derive(Debug, Clone, Copy)]
pub struct TextOptions {
    /// The number of components, of moves and of changed paths to show, the largest first.
    pub files: usize,
    /// Whether to use ANSI escape sequences.
    pub colours: bool,
    /// The number of columns. Tables need at least 70.
    pub width: usize,
}

impl Default for TextOptions {
    fn default() -> TextOptions {
        TextOptions { files: 20, colours: false, width: 80 }
    }
}

/// A name is never made shorter than this.
const MIN_NAME_CHARS: usize = 8;

/// The longest name of a layer in the table of files.
const MAX_LAYER_CHARS: usize = 16;

#[derive(Clone, Copy)]
enum Colour {
    Green,
    Red,
    Yellow,
    None,
}

/// A verdict in the first line, then the layers, the components and the paths that differ.
pub fn text(difference: &Difference, options: &TextOptions) -> String {
    let mut lines = verdict(difference, options);
    if !difference.is_empty() {
        lines.extend(unpacked_again(difference));
        lines.extend(layer_table(&difference.layers, options));
        lines.extend(component_table(&difference.components, options));
        let (paths, moves) = difference.paths_and_moves();
        if options.files == 0 {
            lines.extend([String::new(), differ(difference.paths.len(), "path")]);
        } else {
            lines.extend(move_list(&moves, options));
            lines.extend(path_table(&paths, options));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// One line, or two if it does not fit.
fn verdict(difference: &Difference, options: &TextOptions) -> Vec<String> {
    let verdict = difference.verdict();
    match verdict.split_once(": ") {
        Some((before, after)) if verdict.chars().count() > options.width => {
            vec![format!("{before}:"), format!("  {after}")]
        }
        _ => vec![verdict],
    }
}

fn unpacked_again(difference: &Difference) -> Option<String> {
    let (first, count) = difference.unpacked_again()?;
    let name = shorten(first.name(), 24);
    let layers =
        if count == 1 { "1 unchanged layer".to_owned() } else { format!("{count} unchanged layers") };
    Some(format!("{layers} above {name} must be unpacked again"))
}

fn layer_table(layers: &[LayerDifference], options: &TextOptions) -> Vec<String> {
    let titles: Vec<String> = layers.iter().map(layer_title).collect();
    let width = column(titles.iter(), "layer", options.width.saturating_sub(60));
    let header = format!(
        "{:width$}  {:11} {:>6} {:>7} {:>7} {:>10} {:>10}",
        "layer", "change", "added", "removed", "changed", "pull", "unpack"
    );
    let rows = layers.iter().zip(titles).map(|(layer, title)| {
        let counts = layer.counts;
        let change = paint(&format!("{:11}", layer.change.name()), layer_colour(layer.change), options);
        format!(
            "{:width$}  {change} {:>6} {:>7} {:>7} {:>10} {:>10}",
            elide(title, width),
            count_or_dash(counts.only_added()),
            count_or_dash(counts.only_removed()),
            count_or_dash(counts.content + counts.metadata),
            size_or_dash(layer.pull),
            size_or_dash(layer.unpack),
        )
    });
    [String::new(), header].into_iter().chain(rows).collect()
}

fn layer_title(layer: &LayerDifference) -> String {
    let name = show(layer.name().as_bytes());
    match layer.old_name() {
        Some(old) => format!("{name} (was {})", show(old.as_bytes())),
        None => name,
    }
}

fn component_table(components: &[ComponentDifference], options: &TextOptions) -> Vec<String> {
    if components.is_empty() {
        return Vec::new();
    }
    if options.files == 0 {
        return vec![String::new(), differ(components.len(), "component")];
    }
    let (components, others) = components.split_at(options.files.min(components.len()));
    let titles: Vec<String> = components.iter().map(ComponentDifference::title).collect();
    let width = column(titles.iter(), "component", options.width.saturating_sub(43));
    let header =
        format!("{:width$}  {:8} {:>9} {:>10} {:>10}", "component", "change", "files", "size", "compressed");
    let rows = components.iter().zip(titles).map(|(component, title)| {
        let totals = component.totals();
        let change = component.change;
        format!(
            "{:width$}  {} {:>9} {:>10} {:>10}",
            elide(title, width),
            paint(&format!("{:8}", change.name()), component_colour(change), options),
            component.files,
            size(totals.size),
            size(totals.compressed),
        )
    });
    let more = (!others.is_empty()).then(|| format!("and {} more", count(others.len())));
    [String::new(), header].into_iter().chain(rows).chain(more).collect()
}

/// How many files moved between which layers.
fn move_list(moves: &[Move], options: &TextOptions) -> Vec<String> {
    if moves.is_empty() {
        return Vec::new();
    }
    let (shown, others) = moves.split_at(options.files.min(moves.len()));
    let lines = shown.iter().map(|one| {
        let [from, to] = [one.from, one.to].map(|layer| shorten(layer, MAX_LAYER_CHARS));
        format!("{} moved from {from} to {to}, same content", one.files())
    });
    let others: usize = others.iter().map(|one| one.files).sum();
    let more = (others > 0).then(|| format!("and {} between other layers", count(others)));
    [String::new()].into_iter().chain(lines).chain(more).map(|line| elide(line, options.width)).collect()
}

fn path_table(paths: &[&PathDifference], options: &TextOptions) -> Vec<String> {
    if paths.is_empty() {
        return Vec::new();
    }
    let (shown, others) = paths.split_at(options.files.min(paths.len()));
    let layers: Vec<String> = shown.iter().map(|path| show(path.layer().as_bytes())).collect();
    let layer_width = column(layers.iter(), "layer", MAX_LAYER_CHARS);
    let path_width = options.width.saturating_sub(8 + 1 + 10 + 2 + layer_width + 2).max(MIN_NAME_CHARS);
    let mut lines =
        vec![String::new(), format!("{:8} {:>10}  {:layer_width$}  path", "change", "size", "layer")];
    for (path, layer) in shown.iter().zip(layers) {
        let change = paint(&format!("{:8}", path.label()), path_colour(path), options);
        let bytes = path.new_size().or(path.old_size()).map_or_else(String::new, size);
        let name = fit_path(&path.shown_path(), path_width);
        let layer = elide(layer, layer_width);
        lines.push(format!("{change} {bytes:>10}  {layer:layer_width$}  {name}"));
        let details = path_details(path);
        if !details.is_empty() {
            lines.push(format!("{:21}{}", "", elide(details, options.width.saturating_sub(21).max(1))));
        }
    }
    if !others.is_empty() {
        lines.push(format!("and {} more", count(others.len())));
    }
    lines
}

/// What the columns of a path do not say: `was 11.2 MiB`, `from default, other content`, `mode 0755 → 0644`.
fn path_details(path: &PathDifference) -> String {
    let mut parts = Vec::new();
    if let Some(layer) = path.moved_from() {
        let content = if path.content_differs() { "other" } else { "same" };
        parts.push(format!("from {}, {content} content", shorten(layer, 24)));
    }
    if let (Some(old), Some(new)) = (path.old_size(), path.new_size())
        && path.content_differs()
        && old != new
    {
        parts.push(format!("was {}", size(old)));
    }
    parts.extend(Some(describe(path)).filter(|text| !text.is_empty()));
    parts.join(", ")
}

/// `text` as printable text of at most `max` characters.
fn shorten(text: &str, max: usize) -> String {
    elide(show(text.as_bytes()), max)
}

/// The width of a column whose cells are elided if they have more than `max` characters.
fn column<'a>(cells: impl Iterator<Item = &'a String>, header: &str, max: usize) -> usize {
    let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
    longest.min(max.max(MIN_NAME_CHARS)).max(header.len())
}

/// `1 path differs`, `12 paths differ`.
fn differ(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun} differs") } else { format!("{} {noun}s differ", count(number)) }
}

fn count_or_dash(count: usize) -> String {
    if count == 0 { "-".to_owned() } else { count.to_string() }
}

fn size_or_dash(bytes: u64) -> String {
    if bytes == 0 { "-".to_owned() } else { size(bytes) }
}

fn paint(text: &str, colour: Colour, options: &TextOptions) -> String {
    let code = match colour {
        Colour::Green => "32",
        Colour::Red => "31",
        Colour::Yellow => "33",
        Colour::None => return text.to_owned(),
    };
    if options.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

fn layer_colour(change: LayerChange) -> Colour {
    match change {
        LayerChange::Added => Colour::Green,
        LayerChange::Removed => Colour::Red,
        LayerChange::Same => Colour::None,
        _ => Colour::Yellow,
    }
}

fn component_colour(change: ComponentChange) -> Colour {
    match change {
        ComponentChange::Added => Colour::Green,
        ComponentChange::Removed => Colour::Red,
        ComponentChange::Updated | ComponentChange::Changed => Colour::Yellow,
    }
}

fn path_colour(path: &PathDifference) -> Colour {
    match path.change {
        PathChange::Added if matches!(path.kind(), Kind::Whiteout | Kind::Opaque) => Colour::Red,
        PathChange::Added => Colour::Green,
        PathChange::Removed => Colour::Red,
        PathChange::Content | PathChange::Moved | PathChange::Metadata => Colour::Yellow,
    }
}

#[cfg(test)]
mod tests {
    use super::super::difference;
    use super::super::samples::{file, hard_link, image, layer, plain, update};
    use super::*;
    use crate::contents::{Component, ComponentKind, Entry};

    #[test]
    fn an_update() {
        let (old, new) = update();
        let shown = text(&difference(&old, &new), &TextOptions::default());
        let expected = [
            "2 of 4 layers changed: pull 1.8 MiB of 7.5 MiB, unpack 10.1 MiB of 30.1 MiB",
            "1 unchanged layer above packages must be unpacked again",
            "",
            "layer        change       added removed changed       pull     unpack",
            "interpreter  same             -       -       -          -          -",
            "packages     content          1       1       1    1.8 MiB    7.1 MiB",
            "data         same             -       -       -          -    3.0 MiB",
            "default      metadata         -       -       1      303 B    1.2 KiB",
            "",
            "component              change       files       size compressed",
            "numpy 1.26.3 → 1.26.4  updated          3    7.1 MiB    1.8 MiB",
            "",
            "change         size  layer     path",
            "content     7.1 MiB  packages  …multiarray_umath.cpython-311-x86_64-linux-gnu.so",
            "                     was 7.0 MiB",
            "added      87.9 KiB  packages  …umpy/site-packages/numpy-1.26.4.dist-info/RECORD",
            "removed    87.9 KiB  packages  …umpy/site-packages/numpy-1.26.3.dist-info/RECORD",
            "metadata      700 B  default   app/server",
            "                     mode 0644 → 0755",
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn moved_and_linked_files() {
        let (a, b) = (file("a", "", 5000), file("b", "", 5000));
        let old = plain(vec![layer("one", vec![a.clone(), b, file("c", "", 9)]), layer("two", vec![])]);
        let link = hard_link("b", &a);
        let new = plain(vec![layer("one", vec![a, link]), layer("two", vec![file("c", "new", 1 << 20)])]);
        let options = TextOptions { files: 2, ..TextOptions::default() };
        let shown = text(&difference(&old, &new), &options);
        let (_, files) = shown.rsplit_once("\n\n").unwrap();
        let expected = [
            "change         size  layer  path",
            "moved       1.0 MiB  two    c",
            "                     from one, other content, was 9 B",
            "metadata        0 B  one    b",
            "                     stored as a hard link",
        ];
        assert_eq!(files.lines().collect::<Vec<_>>(), expected);
        let no_files = TextOptions { files: 0, ..options };
        assert!(text(&difference(&old, &new), &no_files).ends_with("\n\n2 paths differ\n"));
    }

    #[test]
    fn files_that_only_moved_are_counted() {
        let files = |names: std::ops::Range<usize>, size: u64| -> Vec<Entry> {
            names.map(|name| file(&format!("app/{name}"), "", size)).collect()
        };
        let kept = files(2000..2001, 1);
        let all = [files(0..1200, 10), files(1200..1210, 500), kept.clone()].concat();
        let old = plain(vec![layer("packages", all)]);
        let mut other_mode = files(1209..1210, 500);
        other_mode[0].mode = 0o600;
        let two = [files(1200..1209, 500), other_mode].concat();
        let new = plain(vec![
            layer("packages", kept),
            layer("packages_1", files(0..1200, 10)),
            layer("packages_2", two),
        ]);
        let shown = text(&difference(&old, &new), &TextOptions::default());
        let (_, files) = shown.split_once("unpack\n").unwrap();
        let expected = [
            "1,200 files moved from packages to packages_1, same content",
            "9 files moved from packages to packages_2, same content",
            "",
            "change         size  layer       path",
            "moved         500 B  packages_2  app/1209",
            "                     from packages, same content, mode 0755 → 0600",
        ];
        assert_eq!(files.lines().skip_while(|line| !line.is_empty()).skip(1).collect::<Vec<_>>(), expected);
        let one = TextOptions { files: 1, ..TextOptions::default() };
        let shown = text(&difference(&old, &new), &one);
        assert!(shown.contains("same content\nand 9 between other layers\n\nchange"), "{shown}");
    }

    #[test]
    fn the_largest_components_are_shown() {
        let version = |version: &str| {
            let components = (0..5).map(|number| Component {
                kind: ComponentKind::Distribution,
                name: format!("d{number}"),
                version: Some(version.to_owned()),
            });
            let entries = (0..5).map(|number| Entry {
                component: number,
                ..file(&format!("{number}"), version, number as u64)
            });
            let layers = vec![layer("packages", entries.collect())];
            image("", components.collect(), layers)
        };
        let (old, new) = (version("1"), version("2"));
        let shown =
            |files: usize| text(&difference(&old, &new), &TextOptions { files, ..TextOptions::default() });
        let two = shown(2);
        let (_, components) = two.split_once("component").unwrap();
        let names: Vec<&str> =
            components.lines().skip(1).take(3).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["d4", "d3", "and"]);
        assert!(components.contains("\nand 3 more\n\nchange"), "{components}");
        assert!(shown(0).ends_with("\n\n5 components differ\n\n5 paths differ\n"), "{}", shown(0));
    }

    #[test]
    fn identical_images_take_one_line() {
        let (old, _) = update();
        let shown = text(&difference(&old, &old), &TextOptions::default());
        assert_eq!(shown, "The images are identical: 4 layers, 7.5 MiB\n");
    }

    #[test]
    fn colours_do_not_change_the_text() {
        let (old, new) = update();
        let difference = difference(&old, &new);
        let coloured = text(&difference, &TextOptions { colours: true, ..TextOptions::default() });
        assert!(coloured.contains("\x1b[33mcontent    \x1b[0m"), "{coloured}");
        let mut plain = coloured;
        for code in ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, text(&difference, &TextOptions::default()));
    }
}
