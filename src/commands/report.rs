//! `pylayer report`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;

use super::out::Out;
use super::{Printed, Select, Terminal};
use crate::advice;
use crate::difference;
use crate::report;
use crate::show::show_path;
use bazel_worker::Cancel;

/// How many files the page lists as changed.
const MAX_CHANGED: usize = 2000;

/// Writes a page about an image.
#[derive(Debug, Args)]
pub struct Options {
    /// Layers from bottom to top, or one image, as for `inspect`
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also show what changed since this image
    #[arg(long, value_name = "IMAGE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    select: Select,
}

pub fn run(options: &Options, terminal: Terminal, cancel: &Cancel) -> Result<Printed> {
    let out = super::target(&options.out);
    let mut inputs = options.images.iter().chain(&options.compare);
    if let Some(input) = inputs.find(|input| super::target(input) == out) {
        bail!("--out {}: the page would replace this image; name another file", show_path(input));
    }
    let image = super::read(&options.images, &options.select, terminal, cancel)?;
    let difference = match &options.compare {
        Some(old) => {
            let old = super::read(std::slice::from_ref(old), &options.select, terminal, cancel)?;
            Some(difference::page_json(&difference::difference(&old, &image), MAX_CHANGED))
        }
        None => None,
    };
    let page = report::page(&image, &advice::advise(&image)?, difference)?;
    Out::open(&options.out)?.write(page.as_bytes())?;
    Ok(Printed::new(if out.is_file() { url(&out) } else { String::new() }))
}

/// `bazel run //app:layers.report`: prints where the page is.
pub fn run_target(arguments: &[OsString]) -> Result<Printed> {
    if let Some(argument) = arguments.first() {
        bail!("{}: this target takes no arguments; it prints where the report is", show_path(argument));
    }
    Ok(Printed::new(url(&super::target_file("PYLAYER_PAGE")?)))
}

/// The URL of a file.
fn url(file: &Path) -> String {
    let path = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let mut url = String::from("file://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                url.push(char::from(*byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url.push('\n');
    url
}
