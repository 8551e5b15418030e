//! `pylayer inspect`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Printed, Select, Terminal};
use crate::summary::summary;
use bazel_worker::Cancel;

/// Summarizes layers or an image made by any tool.
#[derive(Debug, Args)]
pub struct Options {
    /// Layers from bottom to top, or one image: an OCI layout, an archive of one, an archive of `docker
    /// save`, a directory with layers, or a JSON file of this program
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    select: Select,
    /// Print everything that the layers contain as JSON
    #[arg(long)]
    json: bool,
    /// Maximum number of components, files and duplicates in the summary
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
}

pub fn run(options: &Options, terminal: Terminal, cancel: &Cancel) -> Result<Printed> {
    let image = super::read(&options.images, &options.select, terminal, cancel)?;
    Ok(Printed::new(if options.json {
        image.to_json()
    } else {
        summary(&image, options.top, terminal.width)
    }))
}
