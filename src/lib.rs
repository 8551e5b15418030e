//! Turns a Python binary built by Bazel into container image layers.
//!
//! The modules stand in the order in which data flows; each imports only from those above it.
//!
//! | module | from → to |
//! |---|---|
//! | [`show`] | bytes of any origin → text for a message (pure) |
//! | [`tables`] | the facts that the rules and the program share |
//! | [`image_path`], [`exec_path`], [`codec`], [`elf`], [`cache`] | the vocabulary: a place in the image, one on the machine, a compression, a bounded memory |
//! | [`stamp`] | what a file looks like → whether its content is still the same |
//! | [`request`] | argument lines → [`request::LayerRequest`] |
//! | [`manifest`] | manifest file → [`manifest::Manifest`]: image paths and where their contents come from |
//! | [`survey`] | paths of the runfiles → [`survey::Survey`]: what their repositories are (pure) |
//! | [`groups`] | ordered patterns → [`groups::LayerGroups`] → the layer of an image path |
//! | [`inputs`] | manifest + disk → [`inputs::ResolvedEntry`]s: sizes, digests, link texts, expanded trees |
//! | [`plan`] | items → [`plan::LayerPlan`]: the ordered tar entries of one layer (pure) |
//! | [`listing`] | plan → mtree(5) text, and back (pure) |
//! | [`validate`] | listings of all layers → what is wrong with the image (pure) |
//! | [`header`] | planned entry → ustar and PAX header blocks (pure) |
//! | [`chunk`] | plan → [`chunk::Chunk`]s with stable boundaries (pure) |
//! | [`pipeline`] | chunks → parallel read and compression → ordered write and digests |
//! | [`output`] | layer and descriptor: temporary files, renamed when all are complete |
//! | [`action`] | one `PyImageLayer` action, from its arguments to its outputs |
//! | [`pack`] | the same without Bazel: a built binary and its runfiles on disk → all layers, validated |

pub mod action;
pub mod cache;
pub mod chunk;
pub mod codec;
pub mod elf;
pub mod exec_path;
pub mod groups;
pub mod header;
pub mod image_path;
pub mod inputs;
pub mod listing;
pub mod manifest;
pub mod output;
pub mod pack;
pub mod pipeline;
pub mod plan;
pub mod request;
pub mod show;
pub mod stamp;
pub mod survey;
pub mod tables;
pub mod validate;
