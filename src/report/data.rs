//! The data of the page: the contents of an image in columns, since a page can have 150,000 files. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::advice::Advice;
use crate::contents::{Component, ImageContents, Kind, LayerContents, Partition, to_text};
use crate::explain::{Rule, Rules};
use crate::groups::{self, DEFAULT_GROUP, Decision};
use crate::version;

/// Changes with each incompatible change of the data.
const VERSION: u32 = 1;

/// How many contents that are stored more than once the page lists.
const MAX_DUPLICATES: usize = 200;

/// What the page's script reads.
#[derive(Debug, Serialize)]
pub struct PageData<'a> {
    version: u32,
    name: &'a str,
    generated_by: String,
    layers: Vec<Layer<'a>>,
    components: &'a [Component],
    /// In matching order; absent if it is unknown how the image was divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    patterns: Option<Vec<Rule>>,
    default_group: &'static str,
    exclude: Vec<Rule>,
    directories: Directories,
    files: Files,
    left_out: LeftOut,
    duplicates: Vec<Duplicate>,
    advice: &'a [Advice],
    diff: Option<serde_json::Value>,
}

#[derive(Debug, Serialize)]
struct Layer<'a> {
    name: &'a str,
    media_type: &'a str,
    size: u64,
    tar_size: u64,
    digest: &'a str,
    diff_id: &'a str,
    chunks: u64,
}

/// All directories: the first is the image's root, and a parent precedes what it contains.
#[derive(Debug, Serialize)]
struct Directories {
    /// -1 for the root.
    parent: Vec<isize>,
    name: Vec<String>,
    #[serde(skip)]
    numbers: HashMap<Vec<u8>, usize>,
}

/// One item per entry that is not a directory, in the order of the layers.
#[derive(Debug, Default, Serialize)]
struct Files {
    directory: Vec<usize>,
    name: Vec<String>,
    layer: Vec<usize>,
    component: Vec<usize>,
    size: Vec<u64>,
    compressed: Vec<u64>,
    /// Indices of patterns; -1 if none matched. Absent if it is unknown how the image was divided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pattern: Vec<isize>,
    /// A character per file: `f` file, `l` symlink, `h` hard link, `w` whiteout, `o` anything else.
    kind: String,
    /// The targets of links, by the number of the file.
    link: BTreeMap<usize, String>,
}

/// What is in no layer.
#[derive(Debug, Default, Serialize)]
struct LeftOut {
    directory: Vec<usize>,
    name: Vec<String>,
    size: Vec<u64>,
    /// The index of the exclude pattern, or -1.
    exclude: Vec<isize>,
    /// The index of the pattern of a dropped group, or -1.
    pattern: Vec<isize>,
}

/// A content that is stored several times.
#[derive(Debug, Serialize)]
struct Duplicate {
    /// In bytes.
    size: u64,
    /// The size of all but one of them.
    wasted: u64,
    /// Numbers of files.
    files: Vec<usize>,
}

impl<'a> PageData<'a> {
    /// The data for a page about `image`.
    pub fn new(
        image: &'a ImageContents,
        advice: &'a [Advice],
        diff: Option<serde_json::Value>,
    ) -> Result<PageData<'a>, groups::Error> {
        let rules = image.partition.as_ref().map(Rules::new).transpose()?;
        let mut directories = Directories::new();
        let files = Files::new(&image.layers, rules.as_ref(), &mut directories);
        let left_out = match (&image.partition, &rules) {
            (Some(partition), Some(rules)) => LeftOut::new(partition, rules, &mut directories),
            _ => LeftOut::default(),
        };
        let (patterns, exclude) = rules.map(|rules| (rules.groups, rules.exclude)).unzip();
        Ok(PageData {
            version: VERSION,
            name: &image.name,
            generated_by: format!("pylayer {}", version::VERSION),
            layers: image.layers.iter().map(Layer::new).collect(),
            components: &image.components,
            patterns,
            default_group: DEFAULT_GROUP,
            exclude: exclude.unwrap_or_default(),
            directories,
            files,
            left_out,
            duplicates: duplicates(&image.layers),
            advice,
            diff,
        })
    }
}

impl<'a> Layer<'a> {
    fn new(layer: &'a LayerContents) -> Layer<'a> {
        let LayerContents { name, media_type, digest, size, diff_id, tar_size, chunks, entries: _ } = layer;
        Layer { name, media_type, size: *size, tar_size: *tar_size, digest, diff_id, chunks: *chunks }
    }
}

impl Directories {
    fn new() -> Directories {
        let numbers = [(Vec::new(), 0)].into();
        Directories { parent: vec![-1], name: vec![String::new()], numbers }
    }

    /// The number of the directory that contains `path`, and the path's last component.
    fn split<'p>(&mut self, path: &'p [u8]) -> (usize, &'p [u8]) {
        match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (self.number(&path[..slash]), &path[slash + 1..]),
            None => (0, path),
        }
    }

    fn number(&mut self, directory: &[u8]) -> usize {
        if let Some(number) = self.numbers.get(directory) {
            return *number;
        }
        // Deep paths are no deep recursion: each component is added once.
        let mut start = 0;
        let mut number = 0;
        loop {
            let end = directory[start..].iter().position(|&byte| byte == b'/');
            let end = end.map_or(directory.len(), |length| start + length);
            number = match self.numbers.get(&directory[..end]) {
                Some(known) => *known,
                None => {
                    self.parent.push(number as isize);
                    self.name.push(to_text(&directory[start..end]));
                    let added = self.name.len() - 1;
                    self.numbers.insert(directory[..end].to_vec(), added);
                    added
                }
            };
            if end == directory.len() {
                return number;
            }
            start = end + 1;
        }
    }
}

impl Files {
    fn new(layers: &[LayerContents], rules: Option<&Rules>, directories: &mut Directories) -> Files {
        let mut files = Files::default();
        for (number, layer) in layers.iter().enumerate() {
            for entry in layer.entries.iter().filter(|entry| entry.kind != Kind::Directory) {
                let (directory, name) = directories.split(&entry.path);
                if let Some(link) = &entry.link {
                    files.link.insert(files.name.len(), to_text(link));
                }
                files.directory.push(directory);
                files.name.push(to_text(name));
                files.layer.push(number);
                files.component.push(entry.component);
                files.size.push(entry.size);
                files.compressed.push(entry.compressed);
                files.pattern.extend(rules.map(|rules| match rules.decide(&entry.path) {
                    Decision::Matched(pattern) => pattern as isize,
                    Decision::Excluded(_) | Decision::Unmatched => -1,
                }));
                files.kind.push(match entry.kind {
                    Kind::File => 'f',
                    Kind::Symlink => 'l',
                    Kind::Hardlink => 'h',
                    Kind::Whiteout | Kind::Opaque => 'w',
                    Kind::Directory | Kind::Character | Kind::Block | Kind::Fifo => 'o',
                });
            }
        }
        files
    }
}

impl LeftOut {
    fn new(partition: &Partition, rules: &Rules, directories: &mut Directories) -> LeftOut {
        let mut left_out = LeftOut::default();
        for file in &partition.left_out {
            let (directory, name) = directories.split(&file.path);
            // A link to an excluded path is left out because of that path.
            let target = file.link.as_ref().map(|text| resolve(&file.path, text));
            let (exclude, pattern) = match rules.decide(target.as_ref().unwrap_or(&file.path)) {
                Decision::Excluded(exclude) => (exclude as isize, -1),
                Decision::Matched(pattern) => (-1, pattern as isize),
                Decision::Unmatched => (-1, -1),
            };
            left_out.directory.push(directory);
            left_out.name.push(to_text(name));
            left_out.size.push(file.size);
            left_out.exclude.push(exclude);
            left_out.pattern.push(pattern);
        }
        left_out
    }
}

/// The path that a symlink at `path` with this text names.
fn resolve(path: &[u8], text: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    if !text.starts_with(b"/") {
        parts.extend(path.split(|&byte| byte == b'/'));
        parts.pop();
    }
    for part in text.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => (),
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Contents that are stored several times, those that waste most first.
fn duplicates(layers: &[LayerContents]) -> Vec<Duplicate> {
    let entries = layers.iter().flat_map(|layer| &layer.entries);
    let files = entries.filter(|entry| entry.kind != Kind::Directory).enumerate();
    let mut stored: HashMap<&str, (u64, Vec<usize>)> = HashMap::new();
    for (number, entry) in files.filter(|(_, entry)| entry.kind == Kind::File && entry.size > 0) {
        if let Some(digest) = &entry.sha256 {
            stored.entry(digest).or_insert((entry.size, Vec::new())).1.push(number);
        }
    }
    let several = stored.into_values().filter(|(_, files)| files.len() > 1);
    let mut duplicates: Vec<Duplicate> = several
        .map(|(size, files)| Duplicate { size, wasted: size * (files.len() as u64 - 1), files })
        .collect();
    duplicates.sort_by(|a, b| b.wasted.cmp(&a.wasted).then_with(|| a.files.cmp(&b.files)));
    duplicates.truncate(MAX_DUPLICATES);
    duplicates
}
