//! Small images for tests.

use std::hash::{DefaultHasher, Hash, Hasher};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::contents::{Component, ComponentKind, Entry, ImageContents, Kind, LayerContents, SCHEMA};

/// Stands for a digest.
fn digest(of: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:064x}", hasher.finish())
}

pub fn entry(kind: Kind, path: &str) -> Entry {
    Entry { mode: 0o755, mtime: 1_672_560_000, ..Entry::new(path.as_bytes(), kind) }
}

/// A file whose content depends on `content` and its size.
pub fn file(path: &str, content: &str, size: u64) -> Entry {
    let sha256 = Some(digest((content, size)));
    Entry { size, compressed: size / 4, sha256, ..entry(Kind::File, path) }
}

pub fn hard_link(path: &str, target: &Entry) -> Entry {
    let link = Some(target.path.clone());
    Entry { link, sha256: target.sha256.clone(), ..entry(Kind::Hardlink, path) }
}

pub fn symlink(path: &str, target: &str) -> Entry {
    Entry { link: Some(target.into()), ..entry(Kind::Symlink, path) }
}

/// A layer whose digests follow from its entries.
pub fn layer(name: &str, entries: Vec<Entry>) -> LayerContents {
    let fields: Vec<_> = entries.iter().map(|entry| format!("{entry:?}")).collect();
    let diff_id = format!("sha256:{}", digest(&fields));
    LayerContents {
        name: name.to_owned(),
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        digest: format!("sha256:{}", digest(&diff_id)),
        size: super::sum(entries.iter().map(|entry| 128 + entry.compressed)),
        diff_id,
        tar_size: super::sum(entries.iter().map(|entry| 512 + entry.size)),
        chunks: 1,
        entries,
    }
}

pub fn image(name: &str, components: Vec<Component>, layers: Vec<LayerContents>) -> ImageContents {
    ImageContents { schema: SCHEMA.to_owned(), name: name.to_owned(), components, layers, partition: None }
}

/// An image without components.
pub fn plain(layers: Vec<LayerContents>) -> ImageContents {
    image("//app:layers", Vec::new(), layers)
}

const SITE_PACKAGES: &str = "app/.runfiles/pip_numpy/site-packages";

/// Two versions of an application: numpy is updated, and a file of the application becomes executable.
pub fn update() -> (ImageContents, ImageContents) {
    let version = |numpy: &str, size: u64, mode: u32| {
        let components = vec![
            component(ComponentKind::Repository, "_main", None),
            component(ComponentKind::Interpreter, "python", Some("3.11")),
            component(ComponentKind::Distribution, "numpy", Some(numpy)),
        ];
        let of = |component: usize, entry: Entry| Entry { component, ..entry };
        let core = format!("{SITE_PACKAGES}/numpy/core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so");
        let record = format!("{SITE_PACKAGES}/numpy-{numpy}.dist-info/RECORD");
        let layers = vec![
            layer("interpreter", vec![of(1, file("app/.runfiles/python/bin/python3", "", 20 << 20))]),
            layer("packages", vec![of(2, file(&record, "", 90_000)), of(2, file(&core, numpy, size))]),
            layer("data", vec![of(0, file("app/.runfiles/_main/model.bin", "", 3 << 20))]),
            layer("default", vec![Entry { mode, ..of(0, file("app/server", "", 700)) }]),
        ];
        image("//app:layers", components, layers)
    };
    (version("1.26.3", 7_300_000, 0o644), version("1.26.4", 7_400_000, 0o755))
}

fn component(kind: ComponentKind, name: &str, version: Option<&str>) -> Component {
    Component { kind, name: name.to_owned(), version: version.map(str::to_owned) }
}

/// Few names and values, so that images have much in common.
pub fn any_image() -> impl Strategy<Value = ImageContents> {
    let kind = select(vec![ComponentKind::Distribution, ComponentKind::Repository]);
    let fields = (kind, any_name(), select(vec![None, Some("1"), Some("2")]));
    let any_component = fields.prop_map(|(kind, name, version)| component(kind, &name, version));
    let layer = (any_name(), vec(any_entry(), 0..6)).prop_map(|(name, entries)| layer(&name, entries));
    (any_name(), vec(any_component, 0..12), vec(layer, 0..18))
        .prop_map(|(name, components, layers)| image(&name, components, layers))
}

/// Ordinary names, and some that need to be escaped or shortened.
fn any_name() -> impl Strategy<Value = String> {
    let ordinary = ["a", "b", "c", "layer 1", "layer 2", "layer 3", "", "<b>", "\n|\\`"].map(str::to_owned);
    let long = ["|", "`", "\\", "é", "\u{202e}"].map(|text| text.repeat(200));
    select(ordinary.into_iter().chain(long).collect::<Vec<_>>())
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kinds = vec![
        Kind::Directory,
        Kind::File,
        Kind::File,
        Kind::Symlink,
        Kind::Hardlink,
        Kind::Whiteout,
        Kind::Opaque,
        Kind::Character,
    ];
    let path = (any_name(), select(vec!["", "\u{7f}"]));
    let content = (select(kinds), select(vec![None, Some("x"), Some("y")]), select(vec![0, 9, u64::MAX / 4]));
    let metadata = (0..3_u32, 0..2_u64, 0..2_i64, 0..14_usize, any::<bool>());
    (path, content, metadata).prop_map(|((path, suffix), (kind, sha256, size), metadata)| {
        let (mode, nanoseconds, mtime, component, has_details) = metadata;
        let mut path = path.into_bytes();
        path.extend(suffix.bytes().map(|byte| byte | 0x80));
        let link = has_details.then(|| b"|`\n".to_vec());
        let xattrs = has_details.then(|| ("user.x".to_owned(), "`|".to_owned())).into_iter().collect();
        let metadata = Entry { mode, mtime, nanoseconds, component, xattrs, ..entry(kind, "") };
        Entry { path, sha256: sha256.map(str::to_owned), size, compressed: size / 4, link, ..metadata }
    })
}
