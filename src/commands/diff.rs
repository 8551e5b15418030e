//! `pylayer diff`.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::{Printed, Select, Terminal};
use crate::difference;
use bazel_worker::Cancel;

/// How many files the text names.
const TEXT_FILES: usize = 20;

/// Shows what changed between two images.
#[derive(Debug, Args)]
pub struct Options {
    /// The old image: a layer, or an image as for `inspect`
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The new image
    #[arg(value_name = "NEW")]
    new: PathBuf,
    #[command(flatten)]
    select: Select,
    #[arg(long, value_name = "HOW", default_value = "text")]
    format: Format,
    /// Exit with 1 if the images differ
    #[arg(long)]
    exit_code: bool,
    /// Maximum number of files in text and JSON, and of components in text [default: 20 in text, all in JSON]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal
    Text,
    /// For scripts
    Json,
    /// For a comment on a pull request, at most 40 lines
    Markdown,
}

pub fn run(options: &Options, terminal: Terminal, cancel: &Cancel) -> Result<Printed> {
    let read = |image: &PathBuf| super::read(std::slice::from_ref(image), &options.select, terminal, cancel);
    let (old, new) = (read(&options.old)?, read(&options.new)?);
    let difference = difference::difference(&old, &new);
    let text = match options.format {
        Format::Text => difference::text(
            &difference,
            &difference::TextOptions {
                files: options.top.unwrap_or(TEXT_FILES),
                colours: terminal.colours,
                width: 80,
            },
        ),
        Format::Json => difference::json(&difference, options.top.unwrap_or(usize::MAX)),
        Format::Markdown => difference::markdown(&difference),
    };
    Ok(Printed { text, differs: options.exit_code && !difference.is_empty() })
}
