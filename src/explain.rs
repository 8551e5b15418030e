//! Explains why a path is in its layer: the pattern that decided, where that was written, and the patterns
//! that were tried before. Pure.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde::Serialize;

use crate::contents::{Entry, ImageContents, Kind, LeftOut, Partition, to_text};
use crate::groups::{self, DEFAULT_GROUP, Decision, LayerGroup, LayerGroups};
use crate::show::{show, size};

/// The value of [`Explanation::schema`].
pub const SCHEMA: &str = "pylayer.explanation.v1";

/// How many similar paths a message lists.
const MAX_SIMILAR: usize = 10;

/// A pattern, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The group of paths that match; `None` if they are excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// As it was matched.
    pub pattern: String,
    /// As in the BUILD file. For a default group, the same as `pattern`.
    pub written: String,
    /// `layer_groups["torch"] of //app:layers (app/BUILD.bazel)`.
    #[serde(rename = "where")]
    pub place: String,
}

/// The rules that divide an image, compiled.
#[derive(Debug)]
pub struct Rules {
    /// Of the groups, in matching order.
    pub groups: Vec<Rule>,
    /// These take precedence over the groups.
    pub exclude: Vec<Rule>,
    dropped: Vec<String>,
    compiled: LayerGroups,
}

impl Rules {
    /// Compiles the patterns of `partition`.
    pub fn new(partition: &Partition) -> Result<Rules, groups::Error> {
        let compiled = LayerGroups::compile(&partition.groups, &partition.exclude)?;
        let Partition { groups, exclude, dropped, target, .. } = partition;
        let of = |attribute: String| match target {
            Some(target) => format!("{attribute} of {} ({})", target.label, target.build_file),
            None => attribute,
        };
        let own = groups.layer_groups.iter().enumerate().map(|(index, LayerGroup { name, pattern })| {
            let written = target.as_ref().and_then(|target| target.layer_groups.get(index));
            Rule {
                group: Some(name.clone()),
                pattern: pattern.clone(),
                written: written.map_or(pattern, |written| &written.pattern).clone(),
                place: of(format!("layer_groups[{name:?}]")),
            }
        });
        let default = groups.default_groups.iter().map(|LayerGroup { name, pattern }| Rule {
            group: Some(name.clone()),
            pattern: pattern.clone(),
            written: pattern.clone(),
            place: "a default group of rules_pylayer".to_string(),
        });
        let exclude = exclude.iter().enumerate().map(|(index, pattern)| {
            let written = target.as_ref().and_then(|target| target.exclude.get(index));
            let attribute = written.map_or("exclude", |written| &written.attribute);
            Rule {
                group: None,
                pattern: pattern.clone(),
                written: written.map_or(pattern, |written| &written.pattern).clone(),
                place: of(attribute.to_string()),
            }
        });
        Ok(Rules {
            groups: own.chain(default).collect(),
            exclude: exclude.collect(),
            dropped: dropped.clone(),
            compiled,
        })
    }

    /// Which rule decides about `path`.
    pub fn decide(&self, path: &[u8]) -> Decision {
        self.compiled.decide(&tar_name(path))
    }

    /// The group that `path` belongs to; `None` if it is excluded.
    pub fn group_of(&self, path: &[u8]) -> Option<&str> {
        self.compiled.group_of(&tar_name(path))
    }

    /// All groups whose patterns match `path`, by their indices in matching order.
    pub fn matching(&self, path: &[u8]) -> Vec<usize> {
        self.compiled.matching(&tar_name(path))
    }

    /// The name by which `path` is assigned to a layer of a group that has several.
    pub fn distribution_of(&self, path: &[u8]) -> String {
        String::from_utf8_lossy(&self.compiled.distribution_of(&tar_name(path))).into_owned()
    }

    /// The layer that `path` belongs to, and why.
    pub fn explain(&self, path: &[u8]) -> Why {
        let (decision, name) = (self.decide(path), tar_name(path));
        let group = match decision {
            Decision::Excluded(_) => None,
            Decision::Matched(rule) => self.groups[rule].group.clone(),
            Decision::Unmatched => Some(DEFAULT_GROUP.to_string()),
        };
        let is_dropped = group.as_ref().is_some_and(|group| self.dropped.contains(group));
        let layer = self.compiled.layer_of(&name).filter(|_| !is_dropped).map(str::to_string);
        let is_split = layer.is_some() && layer != group;
        let distribution = is_split.then(|| self.compiled.distribution_of(&name));
        let (rule, tried) = match decision {
            Decision::Excluded(rule) => (Some(&self.exclude[rule]), &[][..]),
            Decision::Matched(rule) => (Some(&self.groups[rule]), &self.groups[..rule]),
            Decision::Unmatched => (None, &self.groups[..]),
        };
        Why {
            layer,
            group,
            is_dropped,
            distribution: distribution.map(|name| String::from_utf8_lossy(&name).into_owned()),
            rule: rule.cloned(),
            tried: tried.to_vec(),
        }
    }
}

/// The name of the tar entry for a path, as patterns see it.
fn tar_name(path: &[u8]) -> Vec<u8> {
    [b"./", path].concat()
}

/// Why a path belongs to a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// `None` if the path is excluded, or its group is dropped.
    pub layer: Option<String>,
    /// `None` if the path is excluded.
    pub group: Option<String>,
    /// Whether the files of the group are not in the image.
    #[serde(rename = "dropped", skip_serializing_if = "is_false")]
    pub is_dropped: bool,
    /// The distribution whose name determines the layer, if the group has several layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// The rule that matched. `None` if no rule matched, so the path is in the group `default`.
    pub rule: Option<Rule>,
    /// The rules tried before, none of which matched, in order.
    pub tried: Vec<Rule>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub layer: String,
    /// The position of the layer in the image, from 1 at the bottom.
    pub position: usize,
    pub component: Option<String>,
    #[serde(flatten)]
    pub entry: Entry,
}

/// What is known about a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub schema: &'static str,
    pub path: String,
    /// The layers that have an entry for it, from bottom to top.
    pub places: Vec<Place>,
    /// The target of a symlink that is left out because it leads to an excluded path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded_link: Option<String>,
    /// `None` if it is not known how the image was divided.
    pub why: Option<Why>,
}

/// A path that cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{image} has no path {path}{hint}")]
    NotFound { image: String, path: String, hint: String },
    #[error("{path} is ambiguous in {image}; name one of\n  {paths}")]
    Ambiguous { image: String, path: String, paths: String },
}

/// Explains the paths of an image.
pub struct Explainer<'a> {
    image: &'a ImageContents,
    rules: Option<Rules>,
    /// The layers and entries of each path. Paths that are in no layer have none.
    entries: BTreeMap<&'a [u8], Vec<(usize, &'a Entry)>>,
    /// The targets of symlinks that lead to excluded paths.
    links: HashMap<&'a [u8], &'a [u8]>,
}

impl<'a> Explainer<'a> {
    /// Compiles the patterns of `image`.
    pub fn new(image: &'a ImageContents) -> Result<Explainer<'a>, groups::Error> {
        let mut entries: BTreeMap<&[u8], Vec<(usize, &Entry)>> = BTreeMap::new();
        for (position, layer) in image.layers.iter().enumerate() {
            for entry in &layer.entries {
                entries.entry(&entry.path).or_default().push((position, entry));
            }
        }
        let mut links = HashMap::new();
        for LeftOut { path, link, .. } in image.partition.iter().flat_map(|partition| &partition.left_out) {
            entries.entry(path).or_default();
            if let Some(link) = link {
                links.insert(path.as_slice(), link.as_slice());
            }
        }
        let rules = image.partition.as_ref().map(Rules::new).transpose()?;
        Ok(Explainer { image, rules, entries, links })
    }

    /// All paths in the image and left out of it, except directories, in order.
    pub fn paths(&self) -> impl Iterator<Item = &'a [u8]> {
        let files = self
            .entries
            .iter()
            .filter(|(_, entries)| entries.last().is_none_or(|(_, entry)| entry.kind != Kind::Directory));
        files.map(|(path, _)| *path)
    }

    /// The path that `text` means: a path of the image, which may begin with `/` or `./`, or the last
    /// components of one if these are unique.
    pub fn find(&self, text: &[u8]) -> Result<&'a [u8], Error> {
        let parts = text.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && part != b".");
        let wanted = parts.collect::<Vec<_>>().join(&b'/');
        if let Some((path, _)) = self.entries.get_key_value(wanted.as_slice()) {
            return Ok(path);
        }
        let is_end = |path: &&&[u8]| {
            let start = path.strip_suffix(wanted.as_slice());
            !wanted.is_empty() && start.is_some_and(|start| start.ends_with(b"/"))
        };
        let found: Vec<&[u8]> = self.entries.keys().filter(is_end).copied().collect();
        let (image, path) = (show(self.image.name.as_bytes()), show(text));
        match found[..] {
            [path] => Ok(path),
            [] => {
                let name = |path: &[u8]| path.rsplit(|&byte| byte == b'/').next().map(<[u8]>::to_vec);
                let wanted = name(&wanted);
                let similar: Vec<&[u8]> =
                    self.entries.keys().filter(|path| name(path) == wanted).copied().collect();
                let hint = match list(&similar) {
                    names if names.is_empty() => String::new(),
                    names => format!("; files of this name are\n  {names}"),
                };
                Err(Error::NotFound { image, path, hint })
            }
            _ => Err(Error::Ambiguous { image, path, paths: list(&found) }),
        }
    }

    /// What is known about `path`.
    pub fn explain(&self, path: &[u8]) -> Explanation {
        let entries = self.entries.get(path).map_or(&[][..], Vec::as_slice);
        let places = entries.iter().map(|(position, entry)| Place {
            layer: self.image.layers[*position].name.clone(),
            position: *position + 1,
            component: self.image.components.get(entry.component).map(ToString::to_string),
            entry: (*entry).clone(),
        });
        Explanation {
            schema: SCHEMA,
            path: to_text(path),
            places: places.collect(),
            excluded_link: self.links.get(path).map(|link| to_text(link)),
            why: self.rules.as_ref().map(|rules| rules.explain(path)),
        }
    }
}

/// The first of some paths, one per line.
fn list(paths: &[&[u8]]) -> String {
    let mut lines: Vec<String> = paths.iter().take(MAX_SIMILAR).map(|path| show(path)).collect();
    if paths.len() > MAX_SIMILAR {
        lines.push(format!("… and {} more", paths.len() - MAX_SIMILAR));
    }
    lines.join("\n  ")
}

impl Explanation {
    /// Several lines for people.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", show(self.path.as_bytes()));
        for place in &self.places {
            // Layers of images without names are called `layer 3`.
            let layer = place.layer.strip_prefix("layer ").unwrap_or(&place.layer);
            let _ = writeln!(text, "  in layer {}: {}", show(layer.as_bytes()), describe(place));
        }
        if let Some(target) = &self.excluded_link {
            let _ =
                writeln!(text, "  in no layer: a symlink to {}, which is excluded", show(target.as_bytes()));
        }
        if let Some(why) = &self.why {
            why.describe(self, &mut text);
        }
        text
    }
}

impl Why {
    fn describe(&self, of: &Explanation, text: &mut String) {
        let rule = |rule: &Rule| {
            let group = rule.group.as_ref().map_or(String::new(), |group| format!("{group}: "));
            format!("    {group}{}\n      {}\n", show(rule.written.as_bytes()), show(rule.place.as_bytes()))
        };
        if let (Some(layer), true) = (&self.layer, of.places.is_empty() && of.excluded_link.is_none()) {
            let _ = writeln!(text, "  not in the image, but would be in layer {layer}");
        }
        match (&self.rule, &self.group) {
            (Some(matched), None) => {
                let _ = write!(text, "  excluded by\n{}", rule(matched));
            }
            (Some(matched), Some(group)) => {
                let _ = write!(text, "  group {group}, which this pattern matches:\n{}", rule(matched));
            }
            (None, _) => text.push_str("  group default, because no pattern matches\n"),
        }
        if let Some(matched) = self.rule.as_ref().filter(|matched| matched.pattern != matched.written) {
            let _ = writeln!(text, "    matched as {}", show(matched.pattern.as_bytes()));
        }
        if self.is_dropped {
            text.push_str("  in no layer: layer_groups leaves this group out of the image\n");
        }
        if let (Some(distribution), Some(layer)) = (&self.distribution, &self.layer) {
            let _ = writeln!(
                text,
                "  the group has several layers; {layer} follows from the name {}",
                show(distribution.as_bytes())
            );
        }
        if !self.tried.is_empty() {
            text.push_str("  tried before, without a match:\n");
            for tried in &self.tried {
                text.push_str(&rule(tried));
            }
        }
    }
}

/// `file, 1.2 MiB (about 400.0 KiB compressed), numpy 1.26.4`.
fn describe(Place { entry, component, .. }: &Place) -> String {
    let link = entry.link.as_deref().map(show).unwrap_or_default();
    let mut text = match entry.kind {
        Kind::File => {
            let compressed =
                (entry.compressed > 0).then(|| format!(" (about {} compressed)", size(entry.compressed)));
            format!("file, {}{}", size(entry.size), compressed.unwrap_or_default())
        }
        Kind::Directory => "directory".to_string(),
        Kind::Symlink => format!("symlink to {link}"),
        Kind::Hardlink => format!("hard link to {link}"),
        Kind::Whiteout => "whiteout, which deletes it in the layers below".to_string(),
        Kind::Opaque => "opaque whiteout, which deletes its contents in the layers below".to_string(),
        Kind::Character => "character device".to_string(),
        Kind::Block => "block device".to_string(),
        Kind::Fifo => "FIFO".to_string(),
    };
    if let (Some(component), false) = (component, entry.kind == Kind::Directory) {
        let _ = write!(text, ", {}", show(component.as_bytes()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::{ExcludePattern, LayerContents, Target};
    use crate::groups::{Groups, Split};

    fn group(name: &str, pattern: &str) -> LayerGroup {
        LayerGroup::new(name, pattern)
    }

    /// An image with two groups of its own, the second of which is split, one dropped, and one exclude
    /// pattern.
    fn image() -> ImageContents {
        let layer = |name: &str, paths: &[&str]| LayerContents {
            name: name.into(),
            entries: paths.iter().map(|path| Entry::new(path.as_bytes(), Kind::File)).collect(),
            ..LayerContents::default()
        };
        let left_out = |path: &str, link: Option<&str>| LeftOut {
            path: path.into(),
            size: 0,
            link: link.map(|link| link.into()),
        };
        ImageContents {
            schema: crate::contents::SCHEMA.into(),
            name: "//app:layers".into(),
            components: vec![],
            layers: vec![
                layer("torch", &["app/b.runfiles/torch/a.py"]),
                layer("packages_1", &["app/b.runfiles/numpy/a.py"]),
                layer("default", &["app/b", "app/README"]),
            ],
            partition: Some(Partition {
                groups: Groups {
                    layer_groups: vec![group("torch", "/torch/")],
                    default_groups: vec![group("interpreter", "/python/"), group("packages", "/numpy/")],
                    split: vec![Split { group: "packages".into(), layers: 2 }],
                    runfiles: "app/b.runfiles".into(),
                    distributions: [].into(),
                },
                exclude: vec!["\\.whl$".into()],
                dropped: vec!["interpreter".into()],
                left_out: vec![
                    left_out("app/b.runfiles/x.whl", None),
                    left_out("app/b.runfiles/python/os.py", None),
                    left_out("app/link", Some("b.runfiles/x.whl")),
                ],
                target: Some(Target {
                    label: "//app:layers".into(),
                    build_file: "app/BUILD.bazel".into(),
                    layer_groups: vec![group("torch", "/tor[c]h/")],
                    exclude: vec![ExcludePattern { attribute: "tar_args".into(), pattern: "*.whl".into() }],
                    ..Target::default()
                }),
            }),
        }
    }

    fn text(path: &str) -> String {
        let image = image();
        let explainer = Explainer::new(&image).unwrap();
        explainer.explain(explainer.find(path.as_bytes()).unwrap()).text()
    }

    #[test]
    fn the_pattern_that_matched_is_named() {
        assert_eq!(
            text("/app/b.runfiles/torch/a.py"),
            "app/b.runfiles/torch/a.py\n  \
               in layer torch: file, 0 B\n  \
               group torch, which this pattern matches:\n    \
                 torch: /tor[c]h/\n      \
                   layer_groups[\"torch\"] of //app:layers (app/BUILD.bazel)\n    \
                 matched as /torch/\n"
        );
    }

    #[test]
    fn so_are_those_tried_before() {
        let text = text("numpy/a.py");
        assert!(text.contains("group packages, which this pattern matches:"), "{text}");
        assert!(text.contains("several layers; packages_1 follows from the name numpy"), "{text}");
        let (_, tried) = text.split_once("tried before, without a match:\n").unwrap();
        assert!(tried.starts_with("    torch: /tor[c]h/\n"), "{tried}");
        assert!(
            tried.contains("    interpreter: /python/\n      a default group of rules_pylayer\n"),
            "{tried}"
        );
        assert!(!tried.contains("packages:"), "{tried}");
    }

    #[test]
    fn paths_in_no_layer_are_explained() {
        let excluded = text("app/b.runfiles/x.whl");
        assert!(
            excluded.contains("excluded by\n    *.whl\n      tar_args of //app:layers (app/BUILD.bazel)\n"),
            "{excluded}"
        );
        assert!(excluded.contains("matched as \\.whl$"), "{excluded}");
        let dropped = text("python/os.py");
        assert!(dropped.contains("in no layer: layer_groups leaves this group out"), "{dropped}");
        let link = text("app/link");
        assert!(link.contains("in no layer: a symlink to b.runfiles/x.whl, which is excluded"), "{link}");
    }

    #[test]
    fn what_no_pattern_matches_is_in_the_default_group() {
        let text = text("./app/README");
        assert!(text.contains("group default, because no pattern matches"), "{text}");
        assert_eq!(text.matches("\n      ").count(), 3, "{text}");
    }

    #[test]
    fn all_paths_are_known() {
        let image = image();
        let paths: Vec<String> = Explainer::new(&image)
            .unwrap()
            .paths()
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect();
        assert_eq!(paths.len(), 7, "{paths:?}");
        assert!(paths.is_sorted() && paths.contains(&"app/link".to_string()), "{paths:?}");
    }

    #[test]
    fn unknown_and_ambiguous_paths_are_errors() {
        let image = image();
        let explainer = Explainer::new(&image).unwrap();
        let error = |path: &str| explainer.find(path.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            error("a.py"),
            "a.py is ambiguous in //app:layers; name one of\n  app/b.runfiles/numpy/a.py\n  app/b.runfiles/torch/a.py"
        );
        assert_eq!(
            error("elsewhere/a.py"),
            "//app:layers has no path elsewhere/a.py; files of this name are\n  app/b.runfiles/numpy/a.py\n  app/b.runfiles/torch/a.py"
        );
        assert_eq!(error("nothing"), "//app:layers has no path nothing");
        assert!(error("").starts_with("//app:layers has no path"));
    }
}
