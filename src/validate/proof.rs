//! Proves that the layers of an image match the binary's runfiles. Pure.
//!
//! The proof relies only on the layers' listings, not on the code that planned the layers. It finds
//! runfiles that are in no layer or in the wrong one, entries that are not runfiles, duplicate paths,
//! dangling symlinks, files where another layer has a directory, and ELF images for another processor.
//!
//! All layers are merged into one tree. Each symlink is resolved in it once, as Linux would resolve it,
//! and the result is cached, so resolving a link through other links takes time proportional to its own
//! target. The total work is proportional to the size of the listings, whatever they contain.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use foldhash::HashMap as FoldHashMap;

use crate::elf;
use crate::groups::{Exceptions, LayerGroups};
use crate::image_path::ImagePath;
use crate::listing::{Kind, ListedEntry, Listing};
use crate::show::{escape, show, show_path};
use bazel_worker::{Cancel, Cancelled};

/// How many links Linux follows in one path before it fails with `ELOOP`, including the first.
const MAX_LINKS: u32 = 40;
/// How many paths a message lists for each problem. The report lists all.
const SHOWN: usize = 5;

/// What the layers should contain.
pub struct Expected<'a> {
    /// The paths of all runfiles and of the executable. A path may occur more than once.
    pub paths: &'a [ImagePath],
    /// Those of `paths` that are symlinks.
    pub links: HashSet<&'a [u8]>,
    pub groups: &'a LayerGroups,
    /// Groups that are not part of the image.
    pub dropped: &'a [String],
    /// `e_machine` of the image's platform, if known.
    pub machine: Option<u16>,
    /// The paths of the binaries, which may be ELF images, and of their copies among the runfiles.
    pub executables: HashSet<&'a [u8]>,
    pub exceptions: &'a Exceptions,
}

impl Expected<'_> {
    /// Whether the file or directory at `place` should not be in the image: it is excluded, or belongs
    /// to a dropped group.
    pub fn leaves_out(&self, place: &ImagePath) -> bool {
        let left_out = |name: &[u8]| match self.groups.group_of(name) {
            None => true,
            Some(group) => self.dropped.iter().any(|dropped| dropped == group),
        };
        left_out(place.tar_name()) || left_out(&[place.tar_name(), b"/"].concat())
    }
}

/// The problems of an image.
#[derive(Debug, Default)]
pub struct Findings<'a> {
    found: BTreeMap<Problem, Vec<Finding<'a>>>,
    /// `e_machine` of the image's platform.
    machine: Option<u16>,
    /// Exceptions that match no problem.
    pub unused_exceptions: Vec<&'a str>,
    /// The numbers of runfiles that the binary and the manifests have, if these differ.
    pub lost: Option<(usize, usize)>,
}

impl Findings<'_> {
    /// Whether the image has no problems.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.lost.is_none()
    }

    fn lost(&self) -> Option<String> {
        self.lost.map(|(runfiles, found)| {
            format!("the binary has {runfiles} runfiles, but the manifests of its layers have {found}")
        })
    }

    /// All findings, one per line.
    pub fn report(&self) -> String {
        let mut text: String = self.lost().into_iter().map(|line| line + "\n").collect();
        for (problem, findings) in &self.found {
            let title = problem.title(self.machine);
            for finding in findings {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{title}: {}", finding.text(escape));
            }
        }
        text
    }

    /// A summary of the findings: for each problem the count, what to do, and a few paths. `report` is
    /// the file with all findings, if there is one.
    pub fn message(&self, report: Option<&Path>) -> String {
        let count = self.found.values().map(Vec::len).sum::<usize>() + self.lost.iter().len();
        let problems = if count == 1 { "problem" } else { "problems" };
        let mut text = format!("validation found {count} {problems} in the image's layers");
        if let Some(report) = report {
            let _ = write!(text, ", listed in {}", show_path(report));
        }
        if let Some(lost) = self.lost() {
            let _ = write!(text, "\n  {lost}: {}", Problem::Contents.advice());
        }
        for (problem, findings) in &self.found {
            let (title, count) = (problem.title(self.machine), findings.len());
            let _ = write!(text, "\n  {title} ({count}): {}", problem.advice());
            for finding in findings.iter().take(SHOWN) {
                let _ = write!(text, "\n    {}", finding.text(show));
            }
            if count > SHOWN {
                let _ = write!(text, "\n    … and {} more", count - SHOWN);
            }
        }
        text
    }
}

/// The kinds of problems, in the order of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Problem {
    Contents,
    Clash,
    Missing,
    Outside,
    Endless,
    ThroughFile,
    Processor,
}

impl Problem {
    fn title(self, machine: Option<u16>) -> Cow<'static, str> {
        match self {
            Problem::Contents => "file missing, repeated or in the wrong layer".into(),
            Problem::Clash => "file or symlink in one layer, directory in another".into(),
            Problem::Missing => "symlink to a path that is not in the image".into(),
            Problem::Outside => "symlink that points outside the image".into(),
            Problem::Endless => format!("symlink loop, or a chain of more than {MAX_LINKS} symlinks").into(),
            Problem::ThroughFile => "symlink that uses a file as a directory".into(),
            Problem::Processor => {
                let processor = machine.map_or("unknown".into(), elf::name);
                format!("file for another processor than {processor}, the image's").into()
            }
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Problem::Contents => "this is a bug in pylayer; please report it",
            Problem::Clash => "exclude one of them",
            Problem::Missing => "add the target to the binary's data, or exclude the symlink",
            Problem::Outside | Problem::Endless | Problem::ThroughFile => {
                "correct the rule that creates the symlink, or exclude it"
            }
            Problem::Processor => {
                "build the binary for the image's platform (attribute platform), and check that its wheels are selected by platform"
            }
        }
    }
}

/// A problem with the entry at `path`.
#[derive(Debug)]
struct Finding<'a> {
    path: &'a [u8],
    /// The layer that contains it, or should.
    layer: &'a str,
    detail: Detail<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Detail<'a> {
    InNoLayer,
    Twice,
    AlsoIn(&'a str),
    NotExpected,
    BelongsTo(&'a str),
    /// A link with this target was left out.
    NotExcluded(&'a [u8]),
    Clash,
    Link(&'a [u8]),
    Machine(u16),
}

impl Finding<'_> {
    /// Describes the finding, with paths formatted by `show`.
    fn text(&self, show: fn(&[u8]) -> String) -> String {
        let (path, layer) = (show(self.path), show(self.layer.as_bytes()));
        match self.detail {
            Detail::InNoLayer => format!("{path} belongs to layer {layer} but is in none"),
            Detail::Twice => format!("{path} occurs twice in layer {layer}"),
            Detail::AlsoIn(other) => {
                format!("{path} is in layers {} and {layer}", show(other.as_bytes()))
            }
            Detail::NotExpected => {
                format!("{path} is in layer {layer} but is not a runfile, or is excluded")
            }
            Detail::BelongsTo(right) => {
                format!("{path} belongs to layer {} but is in {layer}", show(right.as_bytes()))
            }
            Detail::NotExcluded(text) => {
                format!("{path} -> {} is not in layer {layer} although it is not excluded", show(text))
            }
            Detail::Clash => format!("{path} (layer {layer})"),
            Detail::Link(text) => format!("{path} -> {} (layer {layer})", show(text)),
            Detail::Machine(machine) => {
                format!("{path} is for {} (layer {layer})", elf::name(machine))
            }
        }
    }
}

/// Compares `layers`, each a name and a listing, with `expected`.
pub fn check<'a>(
    layers: &'a [(String, Listing)],
    expected: &'a Expected<'a>,
    cancel: &'a Cancel,
) -> Result<Findings<'a>, Cancelled> {
    let mut check = Check {
        expected,
        cancel,
        findings: Findings { machine: expected.machine, ..Findings::default() },
        used_exceptions: HashSet::new(),
    };
    let mut runfiles = check.runfiles()?;
    check.excluded_links(layers, &mut runfiles)?;
    let image = Image::of(layers, &runfiles.left_out, cancel)?;
    check.contents(layers, &runfiles.layers)?;
    check.clashes(&image)?;
    check.links(&image)?;
    check.machines(&image)?;
    let Check { mut findings, used_exceptions, .. } = check;
    for found in findings.found.values_mut() {
        found.sort_by_key(|finding| finding.path);
    }
    let exceptions = expected.exceptions.patterns().iter().enumerate();
    findings.unused_exceptions = exceptions
        .filter(|(number, _)| !used_exceptions.contains(number))
        .map(|(_, pattern)| pattern.as_str())
        .collect();
    Ok(findings)
}

/// Where each runfile should be.
struct Runfiles<'a> {
    /// The layer that it belongs to.
    layers: HashMap<&'a [u8], &'a str>,
    /// Those that are excluded or belong to a dropped group.
    left_out: Vec<&'a [u8]>,
}

/// A file or symlink of a layer.
struct Entry<'a> {
    path: &'a [u8],
    kind: &'a Kind,
    layer: &'a str,
    node: usize,
}

/// The union of all layers and of the paths that are left out of them.
struct Image<'a> {
    /// The first entry at each path, sorted by path because reports are.
    entries: Vec<Entry<'a>>,
    tree: Tree<'a>,
}

impl<'a> Image<'a> {
    fn of(
        layers: &'a [(String, Listing)],
        left_out: &[&'a [u8]],
        cancel: &Cancel,
    ) -> Result<Image<'a>, Cancelled> {
        let mut tree = Tree::new();
        let mut entries = Vec::new();
        for (layer, listing) in layers {
            for ListedEntry { path, kind } in &listing.entries {
                cancel.check()?;
                let node = tree.node(path);
                tree.add_directories_above(node);
                let content = match kind {
                    Kind::Directory => {
                        tree.nodes[node].directory = true;
                        continue;
                    }
                    Kind::File { .. } => Content::File,
                    Kind::Symlink(text) => Content::Link(text),
                };
                if tree.nodes[node].content.is_none() {
                    tree.nodes[node].content = Some(content);
                    entries.push(Entry { path, kind, layer, node });
                }
            }
        }
        for path in left_out {
            cancel.check()?;
            let node = tree.node(path);
            tree.nodes[node].content.get_or_insert(Content::LeftOut);
        }
        entries.sort_unstable_by_key(|entry| entry.path);
        Ok(Image { entries, tree })
    }
}

/// The directory tree of an image. Nodes are identified by index.
struct Tree<'a> {
    nodes: Vec<Node<'a>>,
    children: FoldHashMap<(usize, &'a [u8]), usize>,
}

struct Node<'a> {
    parent: usize,
    name: &'a [u8],
    /// Whether a layer contains this directory, or an entry below it.
    directory: bool,
    /// What is there other than a directory.
    content: Option<Content<'a>>,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    File,
    Link(&'a [u8]),
    /// A runfile that belongs in no layer, of any kind.
    LeftOut,
}

/// The node of the image's root directory.
const ROOT: usize = 0;

impl<'a> Tree<'a> {
    fn new() -> Tree<'a> {
        let root = Node { parent: ROOT, name: b"", directory: true, content: None };
        Tree { nodes: vec![root], children: FoldHashMap::default() }
    }

    fn child(&self, parent: usize, name: &[u8]) -> Option<usize> {
        self.children.get(&(parent, name)).copied()
    }

    /// The node at `path`, created if it is missing.
    fn node(&mut self, path: &'a [u8]) -> usize {
        let components = path.split(|&byte| byte == b'/');
        components.fold(ROOT, |parent, name| {
            *self.children.entry((parent, name)).or_insert_with(|| {
                self.nodes.push(Node { parent, name, directory: false, content: None });
                self.nodes.len() - 1
            })
        })
    }

    fn add_directories_above(&mut self, mut node: usize) {
        while node != ROOT {
            node = self.nodes[node].parent;
            if std::mem::replace(&mut self.nodes[node].directory, true) {
                return;
            }
        }
    }

    fn path(&self, mut node: usize) -> Vec<u8> {
        let mut names = Vec::new();
        while node != ROOT {
            names.push(self.nodes[node].name);
            node = self.nodes[node].parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// Collects findings.
struct Check<'a> {
    expected: &'a Expected<'a>,
    cancel: &'a Cancel,
    findings: Findings<'a>,
    used_exceptions: HashSet<usize>,
}

impl<'a> Check<'a> {
    fn add(&mut self, problem: Problem, path: &'a [u8], layer: &'a str, detail: Detail<'a>) {
        self.findings.found.entry(problem).or_default().push(Finding { path, layer, detail });
    }

    /// As [`Check::add`], unless an exception accepts problems at `path`.
    fn add_unless_accepted(&mut self, problem: Problem, path: &'a [u8], layer: &'a str, detail: Detail<'a>) {
        let exceptions = self.expected.exceptions.found_in(&[b"./", path].concat());
        if exceptions.is_empty() {
            self.add(problem, path, layer, detail);
        }
        self.used_exceptions.extend(exceptions);
    }

    fn runfiles(&self) -> Result<Runfiles<'a>, Cancelled> {
        let Expected { paths, groups, dropped, .. } = self.expected;
        let mut layers = HashMap::with_capacity(paths.len());
        let mut left_out = Vec::new();
        for path in *paths {
            self.cancel.check()?;
            match groups.layer_of(path.tar_name()) {
                Some(layer) if !dropped.iter().any(|dropped| dropped == layer) => {
                    layers.insert(path.as_bytes(), layer);
                }
                _ => left_out.push(path.as_bytes()),
            }
        }
        Ok(Runfiles { layers, left_out })
    }

    /// Proves that the links that were left out of layers lead to excluded paths, directly or through
    /// links already proven, and adds them to the runfiles that are left out.
    fn excluded_links(
        &mut self,
        layers: &'a [(String, Listing)],
        runfiles: &mut Runfiles<'a>,
    ) -> Result<(), Cancelled> {
        for (layer, listing) in layers {
            let mut proven: HashSet<&[u8]> = HashSet::new();
            for (path, text) in &listing.excluded_links {
                self.cancel.check()?;
                let is_link = runfiles.layers.get(path.as_slice()) == Some(&layer.as_str())
                    && self.expected.links.contains(path.as_slice());
                let place = ImagePath::new(path).ok().and_then(|path| path.named_by_link(text));
                let is_excluded = place.is_some_and(|place| {
                    self.expected.groups.excludes(&place)
                        || place.with_parents().any(|path| proven.contains(path))
                });
                if is_link && is_excluded {
                    proven.insert(path);
                    runfiles.layers.remove(path.as_slice());
                    runfiles.left_out.push(path);
                } else {
                    self.add(Problem::Contents, path, layer, Detail::NotExcluded(text));
                }
            }
        }
        Ok(())
    }

    /// Compares the paths of each layer with those that belong to it.
    fn contents(
        &mut self,
        layers: &'a [(String, Listing)],
        belongs: &HashMap<&'a [u8], &'a str>,
    ) -> Result<(), Cancelled> {
        let mut seen: HashMap<&[u8], &str> = HashMap::new();
        for (layer, listing) in layers {
            for ListedEntry { path, kind } in &listing.entries {
                self.cancel.check()?;
                if *kind == Kind::Directory {
                    continue;
                }
                match seen.insert(path, layer) {
                    Some(other) if other == layer => self.add(Problem::Contents, path, layer, Detail::Twice),
                    Some(other) => self.add(Problem::Contents, path, layer, Detail::AlsoIn(other)),
                    None => {}
                }
                match belongs.get(path.as_slice()) {
                    None => self.add(Problem::Contents, path, layer, Detail::NotExpected),
                    Some(right) if right != layer => {
                        self.add(Problem::Contents, path, layer, Detail::BelongsTo(right));
                    }
                    Some(_) => {}
                }
            }
        }
        let mut missing: Vec<_> = belongs.iter().filter(|(path, _)| !seen.contains_key(*path)).collect();
        missing.sort_unstable();
        for (path, layer) in missing {
            self.add(Problem::Contents, path, layer, Detail::InNoLayer);
        }
        Ok(())
    }

    fn clashes(&mut self, image: &Image<'a>) -> Result<(), Cancelled> {
        for entry in &image.entries {
            self.cancel.check()?;
            if image.tree.nodes[entry.node].directory {
                self.add_unless_accepted(Problem::Clash, entry.path, entry.layer, Detail::Clash);
            }
        }
        Ok(())
    }

    fn links(&mut self, image: &Image<'a>) -> Result<(), Cancelled> {
        let mut resolver = Resolver::new(&image.tree, self.expected, self.cancel);
        for entry in &image.entries {
            let Kind::Symlink(text) = entry.kind else { continue };
            if let End::Problem(problem) = resolver.resolve(entry.node)?.end {
                self.add_unless_accepted(problem, entry.path, entry.layer, Detail::Link(text));
            }
        }
        Ok(())
    }

    /// Finds ELF images for another processor. Some packages, such as debuggers, contain images for
    /// several processors side by side, so they are accepted in a directory that also has one for the
    /// right processor. A binary itself does not count: it says nothing about the files next to it.
    fn machines(&mut self, image: &Image<'a>) -> Result<(), Cancelled> {
        let Some(ours) = self.expected.machine else { return Ok(()) };
        let elf_images = || {
            image.entries.iter().filter_map(|entry| match entry.kind {
                Kind::File { machine: Some(machine), .. } => Some((entry, *machine)),
                _ => None,
            })
        };
        let mut directories_with_ours = HashSet::new();
        for (entry, machine) in elf_images() {
            self.cancel.check()?;
            if machine == ours && !self.expected.executables.contains(entry.path) {
                directories_with_ours.insert(directory(entry.path));
            }
        }
        for (entry, machine) in elf_images() {
            self.cancel.check()?;
            let is_foreign = machine != ours && elf::is_host(machine);
            if is_foreign && !directories_with_ours.contains(directory(entry.path)) {
                let detail = Detail::Machine(machine);
                self.add_unless_accepted(Problem::Processor, entry.path, entry.layer, detail);
            }
        }
        Ok(())
    }
}

/// Resolves each link once.
struct Resolver<'a> {
    tree: &'a Tree<'a>,
    expected: &'a Expected<'a>,
    cancel: &'a Cancel,
    /// The links resolved so far or in progress, by node.
    known: FoldHashMap<usize, Progress>,
    #[cfg(test)]
    steps: usize,
}

#[derive(Clone, Copy)]
enum Progress {
    Begun,
    Done(Resolution),
}

/// Where a link leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resolution {
    end: End,
    /// The number of links followed, including this one, capped at [`MAX_LINKS`] + 1.
    links: u32,
    /// Whether any of them is absolute.
    absolute: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// At a node.
    At(usize),
    /// At an absolute path that is not in the layers, but may be in the base image.
    InBaseImage,
    /// At a path that the user left out, which the base image may have.
    LeftOut,
    Problem(Problem),
}

/// A link that is being resolved.
struct Frame<'a> {
    link: usize,
    /// The rest of its target.
    rest: &'a [u8],
    /// The node that the part before `rest` leads to.
    here: usize,
    links: u32,
    absolute: bool,
}

impl Frame<'_> {
    /// Continues from where `link`, the next component, leads. Returns an end if resolution stops there.
    fn follow(&mut self, link: Resolution, tree: &Tree) -> Option<End> {
        self.links = (self.links + link.links).min(MAX_LINKS + 1);
        if self.links > MAX_LINKS {
            return Some(End::Problem(Problem::Endless));
        }
        let was_absolute = self.absolute;
        self.absolute |= link.absolute;
        match link.end {
            End::At(node) => self.enter(node, tree),
            End::Problem(Problem::Missing) if was_absolute => Some(End::InBaseImage),
            end => Some(end),
        }
    }

    /// Continues at a node that is not a link. Returns an end if resolution stops there.
    fn enter(&mut self, node: usize, tree: &Tree) -> Option<End> {
        self.here = node;
        let is_file = matches!(tree.nodes[node].content, Some(Content::File));
        let goes_on = split_component(self.rest).is_some();
        (is_file && goes_on).then_some(End::Problem(Problem::ThroughFile))
    }
}

impl<'a> Resolver<'a> {
    fn new(tree: &'a Tree<'a>, expected: &'a Expected<'a>, cancel: &'a Cancel) -> Resolver<'a> {
        Resolver {
            tree,
            expected,
            cancel,
            known: FoldHashMap::default(),
            #[cfg(test)]
            steps: 0,
        }
    }

    /// Resolves the link at `node`, as Linux would. Iterative, because a chain of links can be as long as
    /// a listing.
    fn resolve(&mut self, node: usize) -> Result<Resolution, Cancelled> {
        if let Some(Progress::Done(resolution)) = self.known.get(&node) {
            return Ok(*resolution);
        }
        let mut above = Vec::new();
        let mut frame = self.begin(node);
        loop {
            self.cancel.check()?;
            let end = match self.step(&mut frame) {
                Step::Advanced => continue,
                Step::Needs(link) => {
                    above.push(std::mem::replace(&mut frame, self.begin(link)));
                    continue;
                }
                Step::Ended(end) => end,
            };
            let resolution = Resolution { end, links: frame.links, absolute: frame.absolute };
            self.known.insert(frame.link, Progress::Done(resolution));
            match above.pop() {
                Some(outer) => frame = outer,
                None => return Ok(resolution),
            }
        }
    }

    fn begin(&mut self, link: usize) -> Frame<'a> {
        self.known.insert(link, Progress::Begun);
        let node = &self.tree.nodes[link];
        let text = match node.content {
            Some(Content::Link(text)) => text,
            _ => b"",
        };
        let absolute = text.starts_with(b"/");
        Frame { link, rest: text, here: if absolute { ROOT } else { node.parent }, links: 1, absolute }
    }

    /// Consumes the next component of the target of `frame`.
    fn step(&mut self, frame: &mut Frame<'a>) -> Step {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        let Some((name, rest)) = split_component(frame.rest) else {
            return Step::Ended(End::At(frame.here));
        };
        if name == b".." {
            if frame.here == ROOT {
                return Step::Ended(End::Problem(Problem::Outside));
            }
            (frame.here, frame.rest) = (self.tree.nodes[frame.here].parent, rest);
            return Step::Advanced;
        }
        let Some(node) = self.tree.child(frame.here, name) else {
            return Step::Ended(if frame.absolute {
                End::InBaseImage
            } else if self.is_left_out(frame) {
                End::LeftOut
            } else {
                End::Problem(Problem::Missing)
            });
        };
        let end = match (self.tree.nodes[node].content, self.known.get(&node)) {
            (Some(Content::LeftOut), _) if !self.tree.nodes[node].directory => Some(End::LeftOut),
            (Some(Content::Link(_)), None) => return Step::Needs(node),
            (Some(Content::Link(_)), Some(Progress::Begun)) => Some(End::Problem(Problem::Endless)),
            (Some(Content::Link(_)), Some(Progress::Done(link))) => {
                frame.rest = rest;
                frame.follow(*link, self.tree)
            }
            _ => {
                frame.rest = rest;
                frame.enter(node, self.tree)
            }
        };
        end.map_or(Step::Advanced, Step::Ended)
    }

    /// Whether the rest of the target leads to a path that should not be in the image.
    fn is_left_out(&self, frame: &Frame) -> bool {
        let mut link = self.tree.path(frame.here);
        link.extend_from_slice(if link.is_empty() { b"link" } else { b"/link" });
        let place = ImagePath::new(link).ok().and_then(|link| link.named_by_link(frame.rest));
        place.is_some_and(|place| self.expected.leaves_out(&place))
    }
}

/// The result of [`Resolver::step`].
enum Step {
    Advanced,
    /// This link has to be resolved first, and the step repeated.
    Needs(usize),
    Ended(End),
}

/// The first component of a path that is neither empty nor `.`, and the rest.
fn split_component(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'/');
        let (component, after) = end.map_or((rest, &b""[..]), |end| (&rest[..end], &rest[end + 1..]));
        if !component.is_empty() && component != b"." {
            return Some((component, after));
        }
        rest = after;
    }
    None
}

fn directory(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(b"", |slash| &path[..slash])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::groups::{Groups, LayerGroup};

    const X86_64: u16 = 62;
    const AARCH64: u16 = 183;
    const CUDA: u16 = 190;

    fn file(path: &str) -> ListedEntry {
        ListedEntry { path: path.into(), kind: Kind::File { size: 0, machine: None } }
    }

    fn elf(path: &str, machine: u16) -> ListedEntry {
        ListedEntry { path: path.into(), kind: Kind::File { size: 0, machine: Some(machine) } }
    }

    fn link(path: &str, target: &str) -> ListedEntry {
        ListedEntry { path: path.into(), kind: Kind::Symlink(target.into()) }
    }

    fn directory(path: &str) -> ListedEntry {
        ListedEntry { path: path.into(), kind: Kind::Directory }
    }

    fn listing(entries: Vec<ListedEntry>) -> Listing {
        Listing { entries, excluded_links: vec![] }
    }

    /// A valid image, with links of every kind.
    fn sound() -> Vec<(String, Listing)> {
        let interpreter = vec![
            directory("app"),
            elf("app/py/bin/python3.11", X86_64),
            link("app/py/bin/python3", "python3.11"),
            file("app/py/lib/os.py"),
        ];
        let default = vec![
            directory("app"),
            file("app/main.py"),
            link("app/venv/bin/python", "../../py/bin/python3"),
            link("app/venv/lib", "../py/lib"),
            link("app/venv/os.py", "lib/os.py"),
            link("app/venv/root", "/app/main.py"),
            link("app/local", "/usr/bin/python3"),
        ];
        vec![("interpreter".to_string(), listing(interpreter)), ("default".to_string(), listing(default))]
    }

    /// What an image is compared with.
    struct Meant {
        layers: Vec<(String, Listing)>,
        /// Runfiles that are in no layer.
        more: Vec<&'static str>,
        exclude: Vec<String>,
        dropped: Vec<String>,
        exceptions: Vec<String>,
    }

    fn compiled(layer_groups: Vec<LayerGroup>, exclude: &[String]) -> LayerGroups {
        let exclude = exclude.to_vec();
        LayerGroups::compile(&Groups { layer_groups, ..Groups::default() }, &exclude).unwrap()
    }

    impl Meant {
        fn new(layers: Vec<(String, Listing)>) -> Meant {
            Meant { layers, more: vec![], exclude: vec![], dropped: vec![], exceptions: vec![] }
        }

        /// The problems of `layers`: the lines of the report, and the unused exceptions.
        fn findings(&self, layers: &[(String, Listing)]) -> (Vec<String>, Vec<String>) {
            let mut paths: Vec<ImagePath> =
                self.more.iter().map(|path| ImagePath::new(path).unwrap()).collect();
            let mut groups = vec![LayerGroup::new("py", "^\\./app/py/")];
            let mut links = HashSet::new();
            for (layer, Listing { entries, excluded_links }) in &self.layers {
                let entries = entries.iter().filter(|entry| entry.kind != Kind::Directory);
                let is_link = |entry: &ListedEntry| matches!(entry.kind, Kind::Symlink(_));
                let entries = entries.map(|entry| (&entry.path, is_link(entry)));
                for (path, is_link) in entries.chain(excluded_links.iter().map(|(path, _)| (path, true))) {
                    let path = ImagePath::new(path).unwrap();
                    let pattern = regex::escape(std::str::from_utf8(path.tar_name()).unwrap());
                    groups.insert(0, LayerGroup::new(layer, format!("^{pattern}$")));
                    if is_link {
                        links.insert(path.as_bytes().to_vec());
                    }
                    paths.push(path);
                }
            }
            let expected = Expected {
                paths: &paths,
                links: links.iter().map(Vec::as_slice).collect(),
                groups: &compiled(groups, &self.exclude),
                dropped: &self.dropped,
                machine: Some(X86_64),
                executables: HashSet::new(),
                exceptions: &Exceptions::compile(&self.exceptions).unwrap(),
            };
            let cancel = Cancel::new();
            let findings = check(layers, &expected, &cancel).unwrap();
            let report = findings.report().lines().map(String::from).collect();
            (report, findings.unused_exceptions.iter().map(|pattern| pattern.to_string()).collect())
        }
    }

    /// The findings for `layers` when [`sound`] is expected.
    fn found(layers: &[(String, Listing)]) -> Vec<String> {
        Meant::new(sound()).findings(layers).0
    }

    /// [`sound`] with more entries in the default layer.
    fn plus(entries: impl IntoIterator<Item = ListedEntry>) -> Vec<(String, Listing)> {
        let mut layers = sound();
        layers[1].1.entries.extend(entries);
        layers
    }

    /// The findings for an image in which `entries` are expected.
    fn with(entries: impl IntoIterator<Item = ListedEntry>) -> Vec<String> {
        let layers = plus(entries);
        Meant::new(layers.clone()).findings(&layers).0
    }

    fn only(findings: &[String], text: &str) {
        assert_eq!(findings, [text]);
    }

    #[test]
    fn a_sound_image_has_no_findings() {
        assert_eq!(found(&sound()), [] as [String; 0]);
    }

    #[test]
    fn wrong_contents_are_found() {
        let title = "file missing, repeated or in the wrong layer: ";
        let has = |layers: &[(String, Listing)], text: &str| {
            let found = found(layers);
            assert!(found.contains(&format!("{title}{text}")), "{found:#?}");
        };

        let mut missing = sound();
        missing[0].1.entries.pop();
        has(&missing, "app/py/lib/os.py belongs to layer interpreter but is in none");

        has(
            &plus([file("app/extra.whl")]),
            "app/extra.whl is in layer default but is not a runfile, or is excluded",
        );
        has(&plus([file("app/main.py")]), "app/main.py occurs twice in layer default");
        has(&plus([file("app/py/lib/os.py")]), "app/py/lib/os.py is in layers interpreter and default");

        let mut moved = sound();
        let entry = moved[0].1.entries.pop().unwrap();
        moved[1].1.entries.push(entry);
        has(&moved, "app/py/lib/os.py belongs to layer interpreter but is in default");
    }

    #[test]
    fn dangling_links_are_found() {
        for (target, title) in [
            ("venv/bin/python4", "symlink to a path that is not in the image"),
            ("../../etc/passwd", "symlink that points outside the image"),
            ("main.py/y", "symlink that uses a file as a directory"),
            ("main.py/..", "symlink that uses a file as a directory"),
            ("x", "symlink loop, or a chain of more than 40 symlinks"),
            ("x/../main.py", "symlink loop, or a chain of more than 40 symlinks"),
        ] {
            only(&with([link("app/x", target)]), &format!("{title}: app/x -> {target} (layer default)"));
        }
    }

    #[test]
    fn every_link_into_a_circle_is_found() {
        let found =
            with([link("app/a", "b"), link("app/b", "c/x"), link("app/c", "b"), link("app/d", "./a")]);
        assert_eq!(found.len(), 4, "{found:#?}");
    }

    #[test]
    fn links_are_followed_as_far_as_linux_does() {
        let directory = tempfile::tempdir().unwrap();
        let chain = |length: usize| {
            let target = |n: usize| if n == 1 { "../main.py".to_string() } else { format!("l{}", n - 1) };
            (1..=length).map(move |n| (format!("l{n}"), target(n)))
        };
        std::fs::write(directory.path().join("main.py"), "").unwrap();
        std::fs::create_dir(directory.path().join("chain")).unwrap();
        for (name, target) in chain(MAX_LINKS as usize + 3) {
            std::os::unix::fs::symlink(target, directory.path().join("chain").join(name)).unwrap();
        }
        let is_broken = |n: &usize| std::fs::metadata(directory.path().join(format!("chain/l{n}"))).is_err();
        let expected: Vec<usize> = (1..=MAX_LINKS as usize + 3).filter(is_broken).collect();
        assert!(!expected.is_empty());

        let found =
            with(chain(MAX_LINKS as usize + 3).map(|(name, to)| link(&format!("app/chain/{name}"), &to)));
        let title = "symlink loop, or a chain of more than 40 symlinks";
        let line = |n: &usize| format!("{title}: app/chain/l{n} -> l{} (layer default)", n - 1);
        assert_eq!(found, expected.iter().map(line).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_where_another_layer_has_a_directory_is_found() {
        let title = "file or symlink in one layer, directory in another";
        for entry in [file("app/py"), link("app/py", "venv")] {
            let line = format!("{title}: app/py (layer default)");
            assert!(with([entry]).contains(&line));
        }
    }

    #[test]
    fn files_for_another_processor_are_found() {
        let title = "file for another processor than x86_64, the image's";
        let found = with([elf("app/bin/tool", 3), elf("app/numpy/core.so", AARCH64)]);
        assert_eq!(
            found,
            [
                format!("{title}: app/bin/tool is for x86_32 (layer default)"),
                format!("{title}: app/numpy/core.so is for aarch64 (layer default)"),
            ]
        );
    }

    #[test]
    fn files_for_several_processors_side_by_side_are_left_alone() {
        let files = [elf("app/debugger/attach_amd64.so", X86_64), elf("app/debugger/attach_x86.so", 3)];
        assert_eq!(with(files), [] as [String; 0]);
    }

    #[test]
    fn code_for_non_host_processors_is_data() {
        let kernels = [CUDA, 224, 247, 0xffff].map(|machine| elf(&format!("app/gpu/{machine}"), machine));
        assert_eq!(with(kernels), [] as [String; 0]);
    }

    #[test]
    fn links_to_excluded_paths_are_accepted() {
        let layers = plus([
            link("app/to_file", "py/gone/file"),
            link("app/to_directory", "py/gone"),
            link("app/below_a_link", "to_directory/file"),
            link("app/to_link", "py/gone/link/x"),
            link("app/to_pattern", "py/not_a_runfile"),
            link("app/back", "py/gone/../../nowhere"),
        ]);
        let mut meant = Meant::new(layers.clone());
        meant.more = vec!["app/py/gone/file", "app/py/gone/link"];
        let dangling = |name: &str, target: &str| {
            format!("symlink to a path that is not in the image: app/{name} -> {target} (layer default)")
        };
        let back = dangling("back", "py/gone/../../nowhere");

        meant.dropped = vec!["py".to_string()];
        only(&meant.findings(&layers).0, &back);

        meant.dropped = vec![];
        meant.exclude = vec!["/gone/[fl]".to_string()];
        // The directory itself is not excluded, but everything in it is.
        assert_eq!(meant.findings(&layers).0, [back.clone(), dangling("to_pattern", "py/not_a_runfile")]);

        meant.exclude = vec!["/gone/".to_string(), "a_runfile$".to_string()];
        only(&meant.findings(&layers).0, &back);
    }

    #[test]
    fn links_left_out_of_a_layer_must_lead_to_excluded_paths() {
        let of = |excluded: &[(&str, &str)]| {
            let mut layers = sound();
            let bytes = |(path, text): &(&str, &str)| (path.as_bytes().to_vec(), text.as_bytes().to_vec());
            layers[1].1.excluded_links = excluded.iter().map(bytes).collect();
            let mut meant = Meant::new(layers.clone());
            meant.exclude = vec!["/tests/".to_string()];
            meant.findings(&layers).0
        };
        let direct = ("app/venv/a", "../numpy/tests");
        let by_another = ("app/venv/b", "a/x.py");
        let by_two = ("app/venv/c", "./b");
        assert_eq!(of(&[direct, by_another, by_two]), [] as [String; 0]);

        let unfounded = |(path, text): (&str, &str)| {
            [
                format!(
                    "file missing, repeated or in the wrong layer: {path} -> {text} is not in layer default although it is not excluded"
                ),
                format!(
                    "file missing, repeated or in the wrong layer: {path} belongs to layer default but is in none"
                ),
            ]
        };
        assert_eq!(of(&[by_another]), unfounded(by_another));
        assert_eq!(of(&[("app/venv/a", "../numpy/core")]), unfounded(("app/venv/a", "../numpy/core")));
        assert_eq!(of(&[("app/venv/a", "a")]), unfounded(("app/venv/a", "a")));
        assert_eq!(of(&[("app/venv/a", "../../..")]), unfounded(("app/venv/a", "../../..")));
    }

    #[test]
    fn only_expected_links_of_the_same_layer_can_be_left_out() {
        for path in ["app/main.py", "app/py/bin/python3", "app/unknown"] {
            let mut layers = sound();
            layers[1].1.excluded_links.push((path.into(), b"/x/tests".to_vec()));
            let mut meant = Meant::new(sound());
            meant.exclude = vec!["/tests/".to_string()];
            only(
                &meant.findings(&layers).0,
                &format!(
                    "file missing, repeated or in the wrong layer: {path} -> /x/tests is not in layer default although it is not excluded"
                ),
            );
        }
    }

    #[test]
    fn exceptions_accept_what_is_wrong_at_their_paths() {
        let layers = plus([
            link("app/x", "nowhere"),
            link("app/y", "nowhere"),
            elf("app/bin/tool", AARCH64),
            file("app/py"),
        ]);
        let mut meant = Meant::new(layers.clone());
        meant.exceptions = ["^\\./app/x$", "tool", "bin/", "/py$", "y/nothing"].map(String::from).to_vec();
        let (found, unused) = meant.findings(&layers);
        assert!(found.iter().any(|line| line.contains("app/y -> nowhere")), "{found:#?}");
        for accepted in ["app/x", "app/bin/tool", "app/py (layer"] {
            assert!(!found.iter().any(|line| line.contains(accepted)), "{found:#?}");
        }
        assert_eq!(unused, ["y/nothing"]);
    }

    #[test]
    fn exceptions_do_not_accept_wrong_contents() {
        let mut meant = Meant::new(sound());
        meant.exceptions = vec![String::new()];
        let (found, unused) = meant.findings(&plus([file("app/extra")]));
        assert_eq!((found.len(), unused.len()), (1, 1));
    }

    #[test]
    fn a_message_has_a_few_paths_of_each_problem() {
        let links = (0..1000).map(|n| link(&format!("app/links/{n:04}"), "nowhere"));
        let tools = (0..6).map(|n| elf(&format!("app/bin/{n}"), AARCH64));
        let layers = plus(links.chain(tools));
        let paths = |(_, listing): &(String, Listing)| {
            let entries = listing.entries.iter().filter(|entry| entry.kind != Kind::Directory);
            entries.map(|entry| ImagePath::new(&entry.path).unwrap()).collect::<Vec<_>>()
        };
        let expected = Expected {
            paths: &layers.iter().flat_map(paths).collect::<Vec<_>>(),
            links: HashSet::new(),
            groups: &compiled(vec![LayerGroup::new("interpreter", "/py/")], &[]),
            dropped: &[],
            machine: Some(X86_64),
            executables: HashSet::new(),
            exceptions: &Exceptions::compile(&[]).unwrap(),
        };
        let cancel = Cancel::new();
        let findings = check(&layers, &expected, &cancel).unwrap();
        assert_eq!(findings.report().lines().count(), 1006);
        assert_eq!(
            findings.message(Some(Path::new("out/layers.validation"))),
            "validation found 1006 problems in the image's layers, listed in out/layers.validation\n  \
               symlink to a path that is not in the image (1000): add the target to the binary's data, or exclude the symlink\n    \
                 app/links/0000 -> nowhere (layer default)\n    \
                 app/links/0001 -> nowhere (layer default)\n    \
                 app/links/0002 -> nowhere (layer default)\n    \
                 app/links/0003 -> nowhere (layer default)\n    \
                 app/links/0004 -> nowhere (layer default)\n    \
                 … and 995 more\n  \
               file for another processor than x86_64, the image's (6): build the binary for the image's platform (attribute platform), and check that its wheels are selected by platform\n    \
                 app/bin/0 is for aarch64 (layer default)\n    \
                 app/bin/1 is for aarch64 (layer default)\n    \
                 app/bin/2 is for aarch64 (layer default)\n    \
                 app/bin/3 is for aarch64 (layer default)\n    \
                 app/bin/4 is for aarch64 (layer default)\n    \
                 … and 1 more"
        );
    }

    #[test]
    fn messages_are_printable_and_short_and_reports_whole() {
        let long = format!("app/\x1b[31m\n{}", "long/".repeat(500));
        let layers = plus([link(&format!("{long}x"), &long)]);
        let meant = Meant::new(layers.clone());
        let (report, _) = meant.findings(&layers);
        let escaped = format!("app/\\u{{1b}}[31m\\n{}", "long/".repeat(500));
        only(
            &report,
            &format!("symlink to a path that is not in the image: {escaped}x -> {escaped} (layer default)"),
        );
        let finding =
            Finding { path: long.as_bytes(), layer: "default", detail: Detail::Link(long.as_bytes()) };
        assert!(finding.text(show).chars().count() < 450);
    }

    #[test]
    fn a_cancelled_check_ends() {
        let layers = sound();
        let expected = Expected {
            paths: &[],
            links: HashSet::new(),
            groups: &compiled(vec![], &[]),
            dropped: &[],
            machine: Some(X86_64),
            executables: HashSet::new(),
            exceptions: &Exceptions::compile(&[]).unwrap(),
        };
        let cancel = Cancel::new();
        cancel.cancel();
        assert_eq!(check(&layers, &expected, &cancel).unwrap_err(), Cancelled);
    }

    /// Resolves all links of `entries`, and counts the steps.
    fn resolve_all(entries: Vec<ListedEntry>, left_out: &[&[u8]]) -> (BTreeMap<Vec<u8>, End>, usize) {
        let layers = vec![("default".to_string(), listing(entries))];
        let expected = Expected {
            paths: &[],
            links: HashSet::new(),
            groups: &compiled(vec![], &[]),
            dropped: &[],
            machine: None,
            executables: HashSet::new(),
            exceptions: &Exceptions::compile(&[]).unwrap(),
        };
        let cancel = Cancel::new();
        let image = Image::of(&layers, left_out, &cancel).unwrap();
        let mut resolver = Resolver::new(&image.tree, &expected, &cancel);
        let mut ends = BTreeMap::new();
        for entry in image.entries.iter().filter(|entry| matches!(entry.kind, Kind::Symlink(_))) {
            ends.insert(entry.path.to_vec(), resolver.resolve(entry.node).unwrap().end);
        }
        (ends, resolver.steps)
    }

    #[test]
    fn steps_are_linear_in_the_number_of_components() {
        // A chain that is too long, and links that pass through it repeatedly.
        const COUNT: usize = 2000;
        let chain = (1..COUNT).map(|n| link(&format!("d/l{n}"), &format!("../d/l{}", n - 1)));
        let through = (0..COUNT).map(|n| link(&format!("d/t{n}"), &"l30/".repeat(100)));
        let entries: Vec<ListedEntry> =
            [directory("d/e"), link("d/l0", "../d")].into_iter().chain(chain).chain(through).collect();
        let names = COUNT * 3 + COUNT * 100;
        let (ends, steps) = resolve_all(entries, &[]);
        assert_eq!(ends[&b"d/l39"[..]], ends[&b"d/l0"[..]]);
        assert_eq!(ends[&b"d/l40"[..]], End::Problem(Problem::Endless));
        assert_eq!(ends[&b"d/t7"[..]], End::Problem(Problem::Endless));
        // A component takes two steps if it is a link that is not resolved yet; each target takes one more.
        assert!(steps <= 2 * names + 2 * COUNT, "{steps} steps for {names} names");
    }

    /// A [`Resolver`] on paths, without a cache. Returns the end of `link`, without the node of [`End::At`].
    fn resolve_naively(
        kinds: &BTreeMap<String, Option<Kind>>,
        link: &str,
        text: &str,
    ) -> Result<&'static str, Problem> {
        let names = |path: &str| -> Vec<String> {
            path.split('/').filter(|name| !name.is_empty() && *name != ".").map(String::from).collect()
        };
        let mut place = names(link);
        place.pop();
        let mut rest: Vec<String> = names(text);
        rest.reverse();
        let mut absolute = text.starts_with('/');
        if absolute {
            place.clear();
        }
        let mut links = 1;
        while let Some(name) = rest.pop() {
            if name == ".." {
                place.pop().ok_or(Problem::Outside)?;
                continue;
            }
            place.push(name);
            let here = place.join("/");
            let is_directory = kinds.keys().any(|path| path.starts_with(&format!("{here}/")));
            match kinds.get(&here) {
                Some(Some(Kind::Symlink(text))) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Problem::Endless);
                    }
                    let text = std::str::from_utf8(text).unwrap();
                    place.pop();
                    if text.starts_with('/') {
                        absolute = true;
                        place.clear();
                    }
                    rest.extend(names(text).into_iter().rev());
                }
                Some(Some(Kind::File { .. })) if !rest.is_empty() => return Err(Problem::ThroughFile),
                Some(Some(_)) => {}
                Some(None) => return Ok("left out"),
                None if is_directory => {}
                None if absolute => return Ok("in the base image"),
                None => return Err(Problem::Missing),
            }
        }
        Ok("at a node")
    }

    /// Small trees of few names, so that links lead to one another. `None` is a path that is left out.
    fn trees() -> impl Strategy<Value = BTreeMap<String, Option<Kind>>> {
        let name = || prop::sample::select(vec!["a", "a", "b", "b", "c", "c", "..", "..", "."]);
        let text = (prop::bool::weighted(0.1), prop::collection::vec(name(), 1..5))
            .prop_map(|(absolute, names)| format!("{}{}", if absolute { "/" } else { "" }, names.join("/")));
        let kind = prop_oneof![
            6 => text.prop_map(|text| Some(Kind::Symlink(text.into_bytes()))),
            2 => Just(Some(Kind::File { size: 0, machine: None })),
            1 => Just(None),
        ];
        let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
            .prop_map(|names| names.join("/"));
        prop::collection::btree_map(path, kind, 1..14).prop_map(|mut kinds| {
            // Nothing can be below a file or a link.
            let paths: Vec<String> = kinds.keys().cloned().collect();
            let is_below = |path: &String| paths.iter().any(|other| path.starts_with(&format!("{other}/")));
            kinds.retain(|path, _| !is_below(path));
            kinds
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn links_are_resolved_as_without_a_memory(kinds in trees()) {
            let listed = |(path, kind): (&String, &Option<Kind>)| {
                kind.clone().map(|kind| ListedEntry { path: path.clone().into_bytes(), kind })
            };
            let left_out: Vec<&[u8]> =
                kinds.iter().filter(|(_, kind)| kind.is_none()).map(|(path, _)| path.as_bytes()).collect();
            let (ends, _) = resolve_all(kinds.iter().filter_map(listed).collect(), &left_out);
            for (path, kind) in &kinds {
                let Some(Kind::Symlink(text)) = kind else { continue };
                let end = match ends[path.as_bytes()] {
                    End::At(_) => Ok("at a node"),
                    End::InBaseImage => Ok("in the base image"),
                    End::LeftOut => Ok("left out"),
                    End::Problem(problem) => Err(problem),
                };
                let text = std::str::from_utf8(text).unwrap();
                prop_assert_eq!(end, resolve_naively(&kinds, path, text), "{} in {:?}", path, kinds);
            }
        }
    }
}
