//! Formats a difference as a comment on a pull request.
//!
//! Names come from images, so they are code spans, in which GitHub interprets no Markdown, HTML, mentions or
//! references (GitHub Flavored Markdown, "Code spans"). Only a pipe needs a backslash in a table.

use super::entries::describe;
use super::{
    ComponentDifference, Difference, LayerChange, LayerDifference, Move, PathChange, PathDifference, sum,
};
use crate::show::{count, elide, fit_path, show, size};

/// With [`MAX_ROWS`], at most 40 lines in all.
const MAX_LAYERS: usize = 12;

/// Rows for components and rows for paths, including the one that says how many more there are.
const MAX_ROWS: usize = 8;

/// Of these, rows for files that moved without any other change.
const MAX_MOVES: usize = 3;

/// The lengths of the longest code spans, so that rows have about 200 characters at most.
const MAX_LAYER_SPAN: usize = 24;
const MAX_COMPONENT_SPAN: usize = 80;
const MAX_DETAILS_SPAN: usize = 44;
const MAX_PATH_SPAN: usize = 86;

/// At most 40 lines, with the verdict first.
pub fn markdown(difference: &Difference) -> String {
    let verdict = difference.verdict();
    let mut lines = vec![match verdict.split_once(": ") {
        Some((before, after)) => format!("**{before}**: {after}"),
        None => verdict,
    }];
    if !difference.is_empty() {
        lines.extend(unpacked_again(difference));
        lines.extend(layer_table(&difference.layers));
        lines.extend(component_table(&difference.components));
        let (paths, moves) = difference.paths_and_moves();
        lines.extend(path_table(&paths, &moves));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn unpacked_again(difference: &Difference) -> Option<String> {
    let (first, count) = difference.unpacked_again()?;
    let layers =
        if count == 1 { "1 unchanged layer".to_owned() } else { format!("{count} unchanged layers") };
    Some(format!("{layers} above {} must be unpacked again.", code(first.name(), MAX_LAYER_SPAN)))
}

/// The layers that differ, then unchanged ones if there is space.
fn layer_table(layers: &[LayerDifference]) -> Vec<String> {
    let is_same = |layer: &LayerDifference| layer.change == LayerChange::Same;
    let changed = layers.iter().filter(|layer| !is_same(layer)).count();
    let mut unchanged_rows = MAX_LAYERS.saturating_sub(changed);
    let mut changed_rows = MAX_LAYERS;
    let mut shown: Vec<&LayerDifference> = Vec::new();
    for layer in layers {
        let rows = if is_same(layer) { &mut unchanged_rows } else { &mut changed_rows };
        if *rows > 0 {
            *rows -= 1;
            shown.push(layer);
        }
    }
    let mut lines = table(["Layer", "Change", "Files", "Pull", "Unpack"], "|:--|:--|--:|--:|--:|");
    let shown_changed = shown.iter().filter(|layer| !is_same(layer)).count();
    let more_changed = changed - shown_changed;
    let more_unchanged = layers.len() - changed - (shown.len() - shown_changed);
    lines.extend(shown.into_iter().map(layer_row));
    let more = match (more_changed, more_unchanged) {
        (0, 0) => return lines,
        (0, unchanged) => format!("{unchanged} more unchanged"),
        (changed, 0) => format!("{changed} more"),
        (changed, unchanged) => format!("{changed} more and {unchanged} unchanged"),
    };
    lines.push(format!("| {more} | | | | |"));
    lines
}

fn layer_row(layer: &LayerDifference) -> String {
    let mut name = code(layer.name(), MAX_LAYER_SPAN);
    if let Some(old) = layer.old_name() {
        name.push_str(&format!(" (was {})", code(old, MAX_LAYER_SPAN)));
    }
    let counts = layer.counts;
    let counts =
        [('+', counts.only_added()), ('-', counts.only_removed()), ('~', counts.content + counts.metadata)];
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(sign, count)| format!("{sign}{count}")).collect();
    let bytes = |bytes: u64| if bytes == 0 { String::new() } else { size(bytes) };
    row([name, layer.change.name().to_owned(), counts.join(" "), bytes(layer.pull), bytes(layer.unpack)])
}

fn component_table(components: &[ComponentDifference]) -> Vec<String> {
    if components.is_empty() {
        return Vec::new();
    }
    let mut lines = table(["Component", "Change", "Files", "Size", "Compressed"], "|:--|:--|--:|--:|--:|");
    let (shown, more) = first_rows(components, MAX_ROWS);
    lines.extend(shown.iter().map(|component| {
        let totals = component.totals();
        row([
            code(&component.title(), MAX_COMPONENT_SPAN),
            component.change.name().to_owned(),
            component.files.to_string(),
            size(totals.size),
            size(totals.compressed),
        ])
    }));
    if more > 0 {
        lines.push(format!("| {more} more | | | | |"));
    }
    lines
}

fn path_table(paths: &[&PathDifference], moves: &[Move]) -> Vec<String> {
    if paths.is_empty() && moves.is_empty() {
        return Vec::new();
    }
    let mut lines = table(["Path", "Change", "Layer", "Size"], "|:--|:--|:--|--:|");
    let (shown, more) = first_rows(paths, MAX_ROWS - moves.len().min(MAX_MOVES));
    lines.extend(shown.iter().map(|path| path_row(path)));
    if more > 0 {
        lines.push(format!("| {} more | | | |", count(more)));
    }
    let (shown, _) = first_rows(moves, MAX_MOVES);
    lines.extend(shown.iter().map(|one| {
        let [from, to] = [one.from, one.to].map(|layer| code(layer, MAX_LAYER_SPAN));
        row([one.files(), "moved".to_owned(), format!("{from} → {to}"), size(one.size)])
    }));
    let others = &moves[shown.len()..];
    if !others.is_empty() {
        let files = others.iter().map(|one| one.files).sum();
        let bytes = sum(others.iter().map(|one| one.size));
        let files = format!("{} more files", count(files));
        lines.push(row([files, "moved".to_owned(), "between other layers".to_owned(), size(bytes)]));
    }
    lines
}

fn path_row(path: &PathDifference) -> String {
    let mut change = path.label().to_owned();
    if path.change == PathChange::Metadata {
        change = code(&describe(path), MAX_DETAILS_SPAN);
    } else if path.change == PathChange::Moved && path.content_differs() {
        change.push_str(", content");
    }
    let layer = code(path.layer(), MAX_LAYER_SPAN);
    let layer = match path.moved_from() {
        Some(old) => format!("{} → {layer}", code(old, MAX_LAYER_SPAN)),
        None => layer,
    };
    let bytes = match (path.old_size(), path.new_size()) {
        (Some(old), Some(new)) if old != new => format!("{} → {}", size(old), size(new)),
        (old, new) => size(new.or(old).unwrap_or(0)),
    };
    row([code_path(path, MAX_PATH_SPAN), change, layer, bytes])
}

/// The rows that fit into `max`, and the number of others. These need a row too.
fn first_rows<T>(rows: &[T], max: usize) -> (&[T], usize) {
    let shown = if rows.len() <= max { rows.len() } else { max - 1 };
    (&rows[..shown], rows.len() - shown)
}

/// An empty line and the head of a table.
fn table<const N: usize>(titles: [&str; N], alignment: &str) -> Vec<String> {
    vec![String::new(), row(titles.map(str::to_owned)), alignment.to_owned()]
}

fn row<const N: usize>(cells: [String; N]) -> String {
    format!("| {} |", cells.join(" | "))
}

fn code(text: &str, max: usize) -> String {
    let text = show(text.as_bytes());
    code_within(max, |limit| elide(text.clone(), limit))
}

/// The end of a path, because the starts of paths differ less.
fn code_path(path: &PathDifference, max: usize) -> String {
    let path = path.shown_path();
    code_within(max, |limit| fit_path(&path, limit))
}

/// A code span of at most `max` characters, for use in a table. `shorten` makes a text of at most as many
/// characters as it is given.
fn code_within(max: usize, shorten: impl Fn(usize) -> String) -> String {
    // Escaping makes the text longer, so the limit of the text may have to be lower.
    let mut spans = (1..=max.saturating_sub(2)).rev().map(|limit| code_span(&shorten(limit)));
    spans.find(|span| span.chars().count() <= max).unwrap_or_default()
}

/// `text` between runs of backticks that are longer than those in the text.
fn code_span(text: &str) -> String {
    let longest = text.split(|char| char != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // One space at each end is not part of the code. An empty code span would not be one.
    let space = if text.is_empty() || text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{space}{}{space}{fence}", text.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::super::difference;
    use super::super::samples::{file, layer, plain, update};
    use super::*;

    #[test]
    fn an_update() {
        let (old, new) = update();
        let comment = markdown(&difference(&old, &new));
        let expected = [
            "**2 of 4 layers changed**: pull 1.8 MiB of 7.5 MiB, unpack 10.1 MiB of 30.1 MiB",
            "1 unchanged layer above `packages` must be unpacked again.",
            "",
            "| Layer | Change | Files | Pull | Unpack |",
            "|:--|:--|--:|--:|--:|",
            "| `interpreter` | same |  |  |  |",
            "| `packages` | content | +1 -1 ~1 | 1.8 MiB | 7.1 MiB |",
            "| `data` | same |  |  | 3.0 MiB |",
            "| `default` | metadata | ~1 | 303 B | 1.2 KiB |",
            "",
            "| Component | Change | Files | Size | Compressed |",
            "|:--|:--|--:|--:|--:|",
            "| `numpy 1.26.3 → 1.26.4` | updated | 3 | 7.1 MiB | 1.8 MiB |",
            "",
            "| Path | Change | Layer | Size |",
            "|:--|:--|:--|--:|",
            "| `…ip_numpy/site-packages/numpy/core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so` | content | `packages` | 7.0 MiB → 7.1 MiB |",
            "| `app/.runfiles/pip_numpy/site-packages/numpy-1.26.4.dist-info/RECORD` | added | `packages` | 87.9 KiB |",
            "| `app/.runfiles/pip_numpy/site-packages/numpy-1.26.3.dist-info/RECORD` | removed | `packages` | 87.9 KiB |",
            "| `app/server` | `mode 0644 → 0755` | `default` | 700 B |",
        ];
        assert_eq!(comment.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn large_differences_are_cut() {
        let image = |content: &str| {
            let layer = |name: String, content: &str| layer(&name, vec![file(&name, content, 1)]);
            let named = (0..20).map(|n| layer(format!("l{n}"), if n < 3 { content } else { "" }));
            let unique = (0..9).map(|n| layer(format!("{content}{n}"), content));
            plain(named.chain(unique).collect())
        };
        let (old, new) = (image("old"), image("new"));
        let comment = markdown(&difference(&old, &new));
        assert!(comment.contains("| 9 more and 17 unchanged | | | | |"), "{comment}");
        assert!(comment.ends_with("\n| 14 more | | | |\n"), "{comment}");
        assert_eq!(comment.lines().count(), 29);
    }

    #[test]
    fn files_that_only_moved_are_counted() {
        let files = |name: usize| -> Vec<_> {
            (0..=name).map(|number| file(&format!("{name}/{number}"), "", 1000)).collect()
        };
        let old = plain(vec![layer("packages", (0..6).flat_map(files).collect())]);
        let new = plain((0..6).map(|name| layer(&format!("packages_{name}"), files(name))).collect());
        let comment = markdown(&difference(&old, &new));
        let (_, rows) = comment.split_once("|:--|:--|:--|--:|\n").unwrap();
        // The layer with the most common paths is the old one with another name.
        let expected = [
            "| 5 files | moved | `packages` → `packages_4` | 4.9 KiB |",
            "| 4 files | moved | `packages` → `packages_3` | 3.9 KiB |",
            "| 6 more files | moved | between other layers | 5.9 KiB |",
        ];
        assert_eq!(rows.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn names_are_code() {
        for (name, max, span) in [
            ("app/main.py", 40, "`app/main.py`"),
            ("", 40, "`  `"),
            ("a|b\n", 40, r"`a\|b\n`"),
            ("<b>`x``", 40, "``` <b>`x`` ```"),
            ("0123456789", 8, "`012…89`"),
            ("||||||||", 8, r"`\|…\|`"),
        ] {
            assert_eq!(code(name, max), span);
        }
    }
}
