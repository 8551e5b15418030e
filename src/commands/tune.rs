//! `pylayer tune`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser};
use similar::TextDiff;

use super::Printed;
use super::out::replacement;
use crate::advice::{self, DividedImage, Proposal, starlark};
use crate::archive::{Image, Source, Watch};
use crate::build_file;
use crate::contents::Target;
use crate::output::Output;
use crate::show::{show_path, size};
use bazel_worker::Cancel;

/// The names of BUILD files, in the order in which Bazel looks for them.
const BUILD_FILES: [&str; 2] = ["BUILD.bazel", "BUILD"];

/// Proposes how to divide the packages of an image among layers.
#[derive(Debug, Args)]
pub struct Options {
    /// The contents of an image, written with its report: bazel-bin/app/layers.contents.json
    #[arg(value_name = "CONTENTS")]
    contents: PathBuf,
    /// Directory of the workspace with the BUILD file
    #[arg(long, value_name = "DIR", default_value = ".")]
    workspace: PathBuf,
    #[command(flatten)]
    edit: Edit,
}

#[derive(Debug, Args)]
struct Edit {
    /// Edit the BUILD file
    #[arg(long)]
    write: bool,
    /// Print the proposal as JSON; `null` if there is none
    #[arg(long, conflicts_with = "write")]
    json: bool,
}

/// The command line of `bazel run //app:layers.tune -- …`.
#[derive(Debug, Parser)]
#[command(name = "tune", about = "Proposes how to divide the packages of an image among layers.")]
struct OfTarget {
    #[command(flatten)]
    edit: Edit,
}

pub fn run(options: &Options) -> Result<Printed> {
    tune(&options.contents, &options.workspace, &options.edit)
}

/// `bazel run //app:layers.tune`.
pub fn run_target(arguments: &[OsString]) -> Result<Printed> {
    let name = OsString::from("tune");
    let OfTarget { edit } = match OfTarget::try_parse_from([name].iter().chain(arguments)) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    let contents = super::target_file("PYLAYER_CONTENTS")?;
    let workspace = std::env::var_os("BUILD_WORKSPACE_DIRECTORY")
        .context("BUILD_WORKSPACE_DIRECTORY is not set; start this program with `bazel run`")?;
    tune(&contents, Path::new(&workspace), &edit)
}

fn tune(contents: &Path, workspace: &Path, edit: &Edit) -> Result<Printed> {
    let cancel = Cancel::new();
    let image =
        Source::open(&[contents.to_path_buf()], None)?.read(Watch { progress: &|_| (), cancel: &cancel })?;
    let Image::Contents(image) = image else {
        bail!("{}: this is not the contents of an image that its report was built with", show_path(contents));
    };
    let Some(image) = DividedImage::new(&image)? else {
        let unknown = match image.partition {
            None => "how this image was divided",
            Some(_) => "which target this image is of",
        };
        bail!("{}: it is unknown {unknown}", show_path(contents));
    };
    let target = image.target;
    let proposal = advice::propose(&image);
    if edit.json {
        return Ok(Printed::new(serde_json::to_string(&proposal)? + "\n"));
    }
    let Some(proposal) = proposal else {
        let reason = if advice::has_packages(&image) {
            "no other division of the packages would make updates much smaller"
        } else {
            "there are no packages in this image"
        };
        return Ok(Printed::new(format!("{}: {reason}\n", target.label)));
    };
    let name = target.label.rsplit(':').next().unwrap_or_default();
    let file = find_build_file(workspace, target)?;
    let old = std::fs::read_to_string(&file).with_context(|| show_path(&file))?;
    let new = match edited(&old, name, &image, &proposal) {
        Ok(new) => new,
        Err(error) => bail!(
            "{}: cannot edit {}: {error}\n  Write these lines yourself:\n{}",
            show_path(&file),
            target.label,
            advice::layers_advice(&proposal, &image).paste
        ),
    };
    if new == old {
        return Ok(Printed::new(format!(
            "{}: the BUILD file already has the proposal; build the report again\n",
            target.label
        )));
    }
    let mut text = format!(
        "After an update of one package, a node would pull {} of packages on average\ninstead of {}.\n\n",
        size(proposal.after),
        size(proposal.before)
    );
    let shown = file.strip_prefix(workspace).unwrap_or(&file);
    let shown = show_path(shown);
    text += &TextDiff::from_lines(&old, &new)
        .unified_diff()
        .header(&format!("a/{shown}"), &format!("b/{shown}"))
        .to_string();
    let keeps_groups = proposal.added().is_empty();
    if build_file::is_statement(&old, name)?
        && (keeps_groups || build_file::is_written_out(&old, name, "layer_groups")?)
    {
        text += "\nThe same with buildozer:\n";
        for command in buildozer(&image, &proposal) {
            text += &format!("  {command}\n");
        }
    }
    if edit.write {
        write(&file, &new)?;
        text += &format!("\n{} has been edited.\n", show_path(&file));
    } else {
        text += &format!("\nTo edit the file: bazel run {}.tune -- --write\n", target.label);
    }
    Ok(Printed::new(text))
}

/// The BUILD file of a target. That of the report may be outdated.
fn find_build_file(workspace: &Path, target: &Target) -> Result<PathBuf> {
    let path = Path::new(&target.build_file);
    let is_name = |component: Component| matches!(component, Component::Normal(_));
    if target.build_file.is_empty() || !path.components().all(is_name) {
        bail!(
            "the BUILD file of {} is \"{}\": expected a path in the workspace, such as app/BUILD.bazel",
            target.label,
            show_path(path)
        );
    }
    let file = workspace.join(path);
    let mut files = BUILD_FILES.iter().map(|name| file.with_file_name(name)).filter(|file| file.exists());
    Ok(if file.exists() { file } else { files.next().unwrap_or(file) })
}

/// The text of the BUILD file with the proposal.
fn edited(
    text: &str,
    name: &str,
    image: &DividedImage,
    proposal: &Proposal,
) -> Result<String, build_file::Error> {
    let mut text = text.to_string();
    let items: Vec<String> = proposal
        .added()
        .iter()
        .map(|group| format!("{}: {}", starlark::string(&group.name), starlark::pattern(&group.pattern).text))
        .collect();
    if !items.is_empty() {
        text = build_file::prepend_items(&text, name, "layer_groups", &items)?;
        text = build_file::load(&text, starlark::DEFS, &["pip_package"])?;
    }
    if let Some(split) = proposal.split_value(image) {
        text = build_file::set_number(&text, name, "split", &split)?;
    }
    Ok(text)
}

/// Replaces the content of `file`.
fn write(file: &Path, content: &str) -> Result<()> {
    let context = || show_path(file);
    let alternative = "apply the changes that are shown without --write";
    let mut output = replacement(file, alternative).with_context(context)?;
    output.file().write_all(content.as_bytes()).with_context(context)?;
    Output::keep([output])?;
    Ok(())
}

/// The commands that make the same changes. `dict_set` would put new groups after the others, and quote calls,
/// so the whole value is set.
fn buildozer(image: &DividedImage, proposal: &Proposal) -> Vec<String> {
    let label = &image.target.label;
    let package = label.rsplit_once(':').map_or("", |(package, _)| package);
    let on = |target: &str, edit: &str| format!("buildozer {} {}", quoted(edit), quoted(target));
    let mut commands = Vec::new();
    if !proposal.added().is_empty() {
        let groups = starlark::layer_groups(&proposal.layer_groups, &image.partition.dropped);
        let load = format!("new_load {} pip_package", starlark::DEFS);
        commands.push(on(&format!("{package}:__pkg__"), &load));
        commands.push(on(label, &format!("set layer_groups {}", on_one_line(&groups.text))));
    }
    if let Some(split) = proposal.split_value(image) {
        commands.push(on(label, &format!("set split {}", on_one_line(&split))));
    }
    commands
}

/// An expression as one word of a command of buildozer, which splits commands at spaces.
fn on_one_line(expression: &str) -> String {
    let lines: Vec<&str> = expression.lines().map(str::trim).collect();
    lines.join(" ").replace(' ', "\\ ")
}

/// An argument of a shell's command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
