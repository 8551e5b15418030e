//! Turns a Python binary built by Bazel into container image layers.
//!
//! The modules are listed in data-flow order; each imports only modules above it.
//!
//! | module | from → to |
//! |---|---|
//! | [`show`] | arbitrary bytes → printable text for messages (pure) |
//! | [`tables`] | the facts that the rules and the program share |
//! | [`licenses`], [`version`] | the facts about the program itself: what it contains, and in which versions |
//! | [`image_path`], [`exec_path`], [`metadata`], [`codec`], [`elf`], [`cache`] | shared types: image paths, exec paths, owner, time and mode, codecs, processors, bounded caches |
//! | [`stamp`] | file metadata → whether the content has changed |
//! | [`manifest`] | manifest file → [`manifest::Manifest`]: image paths and the sources of their contents |
//! | [`survey`] | runfiles paths → [`survey::Survey`]: interpreters, packages and unneeded wheels (pure) |
//! | [`split`] | the name of a distribution → one of several layers (pure) |
//! | [`groups`] | ordered patterns → [`groups::LayerGroups`] → the layer of an image path |
//! | [`contents`] | what the layers of an image contain, for `inspect`, `diff`, `explain` and reports |
//! | [`archive`] | layers and images made by any tool → [`contents`] |
//! | [`components`] | the layers' entries → the interpreters, distributions and repositories they belong to (pure) |
//! | [`settings`] | settings file → [`settings::Settings`] |
//! | [`request`] | argument lines → [`request::ActionRequest`] |
//! | [`inputs`] | manifest + disk → [`inputs::ResolvedEntry`]s: sizes, digests, link targets, expanded trees |
//! | [`wheel`] | wheels → the deflate streams in them that a gzip layer can contain as they are |
//! | [`plan`] | resolved entries → [`plan::LayerPlan`]: the ordered tar entries of one layer (pure) |
//! | [`listing`] | plan → mtree(5) text, and back (pure) |
//! | [`header`] | planned entry → ustar and PAX header blocks (pure) |
//! | [`chunk`] | plan → [`chunk::Chunk`]s with stable boundaries (pure) |
//! | [`prefetch`] | plan → the plan that begins with the files that a program reads when it starts (pure) |
//! | [`toc`] | parts of files in a layer → its table of contents (pure) |
//! | [`estargz`] | table of contents → the end of an eStargz layer (pure) |
//! | [`zstd_chunked`] | table of contents → the end of a zstd:chunked layer (pure) |
//! | [`pipeline`] | chunks → read and compressed in parallel → hashed and written in order |
//! | [`output`] | temporary files, renamed when all are complete |
//! | [`descriptor`] | digests and sizes → OCI content descriptor (pure) |
//! | [`warnings`] | warnings about valid layers (pure) |
//! | [`layer`] | settings, manifest and files → a written layer |
//! | [`validate`] | manifests and listings of all layers → problems of the image |
//! | [`summary`] | the contents of an image → a summary for people (pure) |
//! | [`difference`] | two images → what changed, and what a node has to pull and unpack (pure) |
//! | [`explain`] | a path of an image → why it is in its layer (pure) |
//! | [`advice`] | the contents of an image → what to write into its BUILD file (pure) |
//! | [`build_file`] | the text of a BUILD file → the same with other attributes (pure) |
//! | [`report`] | the contents of an image → a page (pure) |
//! | [`describe`] | written layers, manifests and settings → [`contents`] of an image |
//! | [`collisions`] | files of distributions that collide → report and message (pure) |
//! | [`repo_mapping`] | the repository mappings of several binaries → their union (pure) |
//! | [`launcher`] | the launcher of a Python binary + settings → its executable (pure) |
//! | [`action`] | arguments of a Bazel action → its outputs |
//! | [`pack`] | a built binary and its runfiles on disk → all layers, validated |
//! | [`commands`] | images on disk → what people and scripts ask about them |

pub mod action;
pub mod advice;
pub mod archive;
pub mod build_file;
pub mod cache;
pub mod chunk;
pub mod codec;
pub mod collisions;
pub mod commands;
pub mod components;
pub mod contents;
pub mod describe;
pub mod descriptor;
pub mod difference;
pub mod elf;
pub mod estargz;
pub mod exec_path;
pub mod explain;
pub mod groups;
pub mod header;
pub mod image_path;
pub mod inputs;
pub mod launcher;
pub mod layer;
pub mod licenses;
pub mod listing;
pub mod manifest;
pub mod metadata;
pub mod output;
pub mod pack;
pub mod pipeline;
pub mod plan;
pub mod prefetch;
pub mod repo_mapping;
pub mod report;
pub mod request;
pub mod settings;
pub mod show;
pub mod split;
pub mod stamp;
pub mod summary;
pub mod survey;
pub mod tables;
pub mod toc;
pub mod validate;
pub mod version;
pub mod warnings;
pub mod wheel;
pub mod zstd_chunked;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    /// The modules in the order of the table at the top of this file.
    fn modules() -> Vec<&'static str> {
        let rows = include_str!("lib.rs").lines().filter_map(|line| line.strip_prefix("//! | [`"));
        let names = rows.flat_map(|row| {
            let (first_column, _) = row.split_once(" | ").unwrap_or((row, ""));
            first_column.split(", [`").map(|name| name.trim_end_matches("`]"))
        });
        names.collect()
    }

    /// The files of a module.
    fn files(module: &str) -> Vec<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let file = source.join(module).with_extension("rs");
        if file.exists() {
            return vec![file];
        }
        let directory = std::fs::read_dir(source.join(module)).unwrap();
        let paths = directory.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
    }

    #[test]
    fn every_module_is_in_the_table() {
        let mut declared: Vec<&str> = include_str!("lib.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
            .collect();
        let mut listed = modules();
        listed.sort_unstable();
        declared.sort_unstable();
        assert_eq!(listed, declared);
    }

    #[test]
    fn modules_import_only_from_those_above_them() {
        let modules = modules();
        let mut wrong = Vec::new();
        for (index, module) in modules.iter().enumerate() {
            for file in files(module) {
                let text = std::fs::read_to_string(&file).unwrap();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                for path in code.flat_map(|line| line.split("crate::").skip(1)) {
                    let end = path.find(|char: char| !char.is_alphanumeric() && char != '_');
                    let imported = &path[..end.unwrap_or(path.len())];
                    let position = modules.iter().position(|other| *other == imported);
                    if position.is_none_or(|position| position > index) {
                        wrong.push(format!("{module} imports {imported}"));
                    }
                }
            }
        }
        assert_eq!(wrong, [] as [String; 0], "the order is that of the table in lib.rs");
    }
}
