//! Formats the summary that `pylayer pack` prints.

use std::fmt::Write as _;

use serde::Serialize;

use crate::descriptor::Descriptor;

/// One layer.
#[derive(Debug, Serialize)]
pub struct Row {
    pub layer: String,
    pub path: String,
    pub files: usize,
    pub bytes: u64,
    #[serde(flatten)]
    pub descriptor: Descriptor,
}

/// Formats the rows as JSON, for scripts.
pub fn json(rows: &[Row]) -> String {
    let mut text = serde_json::to_string_pretty(rows).expect("strings and numbers are JSON");
    text.push('\n');
    text
}

/// Formats the rows as a table, for people.
pub fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.layer.len()).max().unwrap_or(0).max("layer".len());
    let mut text = format!(
        "{:width$} {:>7} {:>12} {:>12}  {:71} diff ID\n",
        "layer", "files", "bytes", "compressed", "digest"
    );
    for Row { layer, files, bytes, descriptor, .. } in rows {
        let Descriptor { digest, size, diff_id, .. } = descriptor;
        let _ = writeln!(text, "{layer:width$} {files:>7} {bytes:>12} {size:>12}  {digest} {diff_id}");
    }
    text
}
