//! Layers and images made by any tool → what they contain.
//!
//! | file | from → to |
//! |---|---|
//! | `block`, `pax`, `name` | headers of a tar → their fields (pure) |
//! | `problem` | errors |
//! | `compressed` | a file → uncompressed tar, digests, and how well each part is compressed |
//! | `tar` | uncompressed tar → entries |
//! | `layer` | a file → a layer |
//! | `oci` | JSON of images → values (pure) |
//! | `store` | the files of an image, in a directory or in a tar |
//! | `image` | paths on disk → layers |
//!
//! Everything is streamed: memory depends on the number of entries and the length of their names, which have
//! limits, and not on sizes that a file claims.
//!
//! ```
//! use bazel_worker::Cancel;
//! use pylayer::archive::{Layer, Watch};
//!
//! let watch = Watch { progress: &|_bytes| (), cancel: &Cancel::new() };
//! let empty_tar = [0; 1024];
//! let layer = Layer::read("empty", &empty_tar[..], watch)?;
//! assert_eq!((layer.contents.entries.len(), layer.contents.size), (0, 1024));
//! # Ok::<(), pylayer::archive::Problem>(())
//! ```

mod block;
mod compressed;
mod image;
mod layer;
mod name;
mod oci;
mod pax;
mod problem;
mod store;
mod tar;

pub use compressed::Watch;
pub use image::{Image, SELECT, Source};
pub use layer::{ESTARGZ_TABLE, Layer, NO_PREFETCH_LANDMARK, PREFETCH_LANDMARK, Record};
pub use problem::{Error, Problem};
