//! Small images for tests, and what comes of pasting advice into a BUILD file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;
use starlark::environment::{Globals, Module};
use starlark::eval::Evaluator;
use starlark::syntax::{AstModule, Dialect};

use crate::contents::{
    Component, ComponentKind, Entry, ExcludePattern, ImageContents, Kind, LayerContents, LeftOut, Partition,
    SCHEMA, Target,
};
use crate::groups::{Groups, LayerGroup, LayerGroups, Split};
use crate::image_path::ImagePath;
use crate::survey::Survey;
use crate::tables::BALLAST;

pub const RUNFILES: &str = "app/.runfiles";

/// The files of a binary, and the attributes of a target that makes layers of them.
#[derive(Clone, Default)]
pub struct Sample {
    pub layer_groups: Vec<LayerGroup>,
    pub dropped: Vec<String>,
    pub exclude: Vec<String>,
    pub split: Vec<Split>,
    pub cpu: Option<String>,
    pub max_layers: Option<u32>,
    pub components: Vec<Component>,
    pub files: Vec<Entry>,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Sample { layer_groups, dropped, exclude, split, cpu, max_layers, components, files } = self;
        let attributes = (layer_groups, dropped, exclude, split, cpu, max_layers);
        writeln!(formatter, "{attributes:?}\n{components:?}")?;
        let fields = |entry: &Entry| {
            (String::from_utf8_lossy(&entry.path).into_owned(), entry.component, entry.compressed)
        };
        files.iter().try_for_each(|entry| writeln!(formatter, "{:?}", fields(entry)))
    }
}

impl Sample {
    pub fn new(layer_groups: &[(&str, &str)]) -> Sample {
        let layer_groups = layer_groups.iter().map(|(name, pattern)| LayerGroup::new(*name, *pattern));
        Sample { layer_groups: layer_groups.collect(), ..Sample::default() }
    }

    /// Adds a file below the runfiles directory.
    pub fn file(
        mut self,
        component: (ComponentKind, &str, Option<&str>),
        path: &str,
        compressed: u64,
    ) -> Sample {
        let (kind, name, version) = component;
        let component = Component { kind, name: name.into(), version: version.map(str::to_string) };
        let number = self.components.iter().position(|other| *other == component).unwrap_or_else(|| {
            self.components.push(component);
            self.components.len() - 1
        });
        let mut entry = Entry::new(format!("{RUNFILES}/{path}").as_bytes(), Kind::File);
        (entry.component, entry.compressed, entry.size) = (number, compressed, compressed.saturating_mul(3));
        self.files.push(entry);
        self
    }

    /// Adds a file of the application.
    pub fn own(self, path: &str, compressed: u64) -> Sample {
        self.file((ComponentKind::Repository, "_main", None), &format!("_main/{path}"), compressed)
    }

    /// Adds a file of a distribution to its repository.
    pub fn of(self, name: &str, path: &str, compressed: u64) -> Sample {
        let path = format!("pip_{}/site-packages/{path}", name.replace('-', "_"));
        self.file((ComponentKind::Distribution, name, Some("1")), &path, compressed)
    }

    /// Adds a distribution with two files.
    pub fn package(self, name: &str, compressed: u64) -> Sample {
        let metadata = format!("{}-1.dist-info/METADATA", name.replace('-', "_"));
        self.of(name, &metadata, 0).of(name, &format!("{name}/code.py"), compressed)
    }

    /// Adds a file of the interpreter.
    pub fn interpreter(self, path: &str, compressed: u64) -> Sample {
        self.file((ComponentKind::Interpreter, "python", Some("3.11")), &format!("py/{path}"), compressed)
    }

    /// The image that the rule makes.
    pub fn image(&self) -> ImageContents {
        let below =
            |entry: &Entry| entry.path.strip_prefix(format!("{RUNFILES}/").as_bytes()).map(<[u8]>::to_vec);
        let paths: Vec<Vec<u8>> = self.files.iter().filter_map(below).collect();
        let survey = Survey::of(paths.iter().map(Vec::as_slice), &[]);
        let runfiles = ImagePath::new(RUNFILES).unwrap();
        let own = Groups {
            layer_groups: self.layer_groups.clone(),
            split: self.split.clone(),
            ..Groups::default()
        };
        let groups = own.for_binary(&runfiles, &survey);
        let expand = |pattern: &String| crate::groups::for_binary(pattern, &runfiles, &survey);
        let exclude: Vec<String> = self.exclude.iter().map(expand).collect();
        let compiled = LayerGroups::compile(&groups, &exclude).unwrap();
        let mut layers: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        let mut left_out = Vec::new();
        for entry in &self.files {
            let name = [b"./", entry.path.as_slice()].concat();
            let is_kept = compiled
                .group_of(&name)
                .is_some_and(|group| !self.dropped.iter().any(|other| other == group));
            match compiled.layer_of(&name).filter(|_| is_kept) {
                Some(layer) => layers.entry(layer.to_string()).or_default().push(entry.clone()),
                None => left_out.push(LeftOut { path: entry.path.clone(), size: entry.size, link: None }),
            }
        }
        let order = compiled.layers();
        let layers = order.iter().filter_map(|name| {
            let mut entries = layers.remove(*name)?;
            entries.insert(0, Entry::new(b"app", Kind::Directory));
            let size = super::sum(entries.iter().map(|entry| entry.compressed));
            Some(LayerContents { name: name.to_string(), size, entries, ..LayerContents::default() })
        });
        ImageContents {
            schema: SCHEMA.into(),
            name: "//app:layers".into(),
            components: self.components.clone(),
            layers: layers.collect(),
            partition: Some(Partition {
                groups,
                exclude,
                dropped: self.dropped.clone(),
                left_out,
                target: Some(Target {
                    label: "//app:layers".into(),
                    build_file: "app/BUILD.bazel".into(),
                    layer_groups: self.layer_groups.clone(),
                    exclude: self.exclude.iter().map(|pattern| exclude_pattern(pattern)).collect(),
                    cpu: self.cpu.clone(),
                    max_layers: self.max_layers,
                }),
            }),
        }
    }

    /// The sample after the lines `paste` have been put into the BUILD file.
    pub fn with(&self, paste: &str) -> Sample {
        let mut sample = self.clone();
        for (attribute, value) in pasted(paste) {
            let text = |value: &Value| value.as_str().unwrap().to_string();
            match attribute.as_str() {
                "layer_groups" => {
                    let pairs = value.as_array().unwrap().iter();
                    let (own, dropped): (Vec<_>, Vec<_>) = pairs.partition(|pair| pair[1].is_string());
                    sample.layer_groups =
                        own.iter().map(|pair| LayerGroup::new(text(&pair[0]), text(&pair[1]))).collect();
                    sample.dropped = dropped.iter().map(|pair| text(&pair[0])).collect();
                }
                "exclude" => sample.exclude = value.as_array().unwrap().iter().map(text).collect(),
                "split" => {
                    let split = |group: String, layers: &Value| Split {
                        group,
                        layers: layers.as_u64().unwrap() as u32,
                    };
                    sample.split = match &value {
                        Value::Array(pairs) => {
                            pairs.iter().map(|pair| split(text(&pair[0]), &pair[1])).collect()
                        }
                        layers => vec![split("packages".into(), layers)],
                    };
                    sample.split.retain(|split| split.layers > 1);
                }
                other => panic!("{other} is not an attribute"),
            }
        }
        sample
    }
}

fn exclude_pattern(pattern: &str) -> ExcludePattern {
    ExcludePattern { attribute: "exclude".into(), pattern: pattern.into() }
}

/// The layers of an image with the files in each, without directories.
pub fn layers(image: &ImageContents) -> BTreeMap<&str, Vec<&str>> {
    let files = |layer| {
        super::division::files_of(layer)
            .map(|entry| std::str::from_utf8(&entry.path).unwrap().strip_prefix("app/.runfiles/").unwrap())
            .collect()
    };
    image.layers.iter().map(|layer| (layer.name.as_str(), files(layer))).collect()
}

static GLOBALS: LazyLock<Globals> = LazyLock::new(Globals::standard);

/// The attributes in `paste`, evaluated with only those names that it loads. A dict becomes a list of pairs,
/// because its order matters.
pub fn pasted(paste: &str) -> Vec<(String, Value)> {
    let (loads, attributes): (Vec<&str>, Vec<&str>) =
        paste.lines().partition(|line| line.starts_with("load("));
    let mut program = String::new();
    for name in loads.iter().flat_map(|load| load.trim_end_matches(')').split(", ").skip(1)) {
        let name = name.trim_matches('"');
        match BALLAST.iter().find(|row| row.constant.as_deref() == Some(name)) {
            Some(row) => program += &format!("{name} = {}\n", super::starlark::string(&row.pattern)),
            None => {
                assert_eq!(name, "pip_package");
                program += "def pip_package(*names):\n    return \"|\".join([\"{pip_package:\" + name + \"}\" for name in names])\n";
            }
        }
    }
    program += "def value(of):\n    return [[key, of[key]] for key in of] if type(of) == \"dict\" else of\n";
    program += "def attributes(**of):\n    return [[key, value(of[key])] for key in of]\n";
    program += &format!("attributes(\n{}\n)\n", attributes.join("\n"));
    AstModule::parse("load", loads.join("\n"), &Dialect::Standard).unwrap();
    let syntax = AstModule::parse("paste", program, &Dialect::Standard)
        .unwrap_or_else(|error| panic!("{paste}\n{error}"));
    let value = Module::with_temp_heap(|module| {
        let mut evaluator = Evaluator::new(&module);
        evaluator.eval_module(syntax, &GLOBALS).unwrap().to_json_value().unwrap()
    });
    serde_json::from_value(value).unwrap()
}
