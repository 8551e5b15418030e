//! Moves the files that a program reads when it starts to the beginning of a layer. Pure.
//!
//! Readers that mount an eStargz layer fetch everything up to its landmark with one request, before the program starts
//! (`estargz.md`, "Prioritized Files and Landmark Files").

use std::collections::HashMap;

use bytes::Bytes;

use crate::archive::{ESTARGZ_TABLE, NO_PREFETCH_LANDMARK, PREFETCH_LANDMARK};
use crate::chunk::ESTARGZ_CHUNKS;
use crate::image_path::ImagePath;
use crate::plan::{Body, LayerPlan, TarEntry};
use crate::show::show;

/// Larger files are not moved: readers fetch only the parts of them that they need.
const MAX_SIZE: u64 = ESTARGZ_CHUNKS.part_max;

/// A line that names no file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: \"{text}\" is not the path of a file, nor the end of one, such as numpy/__init__.py")]
pub struct Error {
    pub line: usize,
    /// The line, perhaps abridged.
    pub text: String,
}

/// The name of a file that eStargz layers have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "image path \"{0}\": eStargz layers have a file of that name, which tells readers what to fetch; rename or exclude it"
)]
pub struct Reserved(&'static str);

/// Checks that no entry of `plan` has the name of a file that eStargz layers have.
pub fn check_names(plan: &LayerPlan) -> Result<(), Reserved> {
    let taken = [PREFETCH_LANDMARK, NO_PREFETCH_LANDMARK, ESTARGZ_TABLE].into_iter().find(|reserved| {
        let is_reserved = |name: &[u8]| name.strip_prefix(b"./") == Some(reserved.as_bytes());
        plan.entries.iter().any(|entry| is_reserved(entry.name.strip_suffix(b"/").unwrap_or(&entry.name)))
    });
    taken.map_or(Ok(()), |name| Err(Reserved(name)))
}

/// The files that a program reads when it starts, in order.
///
/// They are named by the ends of their image paths: `numpy/__init__.py` is every file of that name in a directory of
/// that name. So a list does not depend on the image, nor on the names of repositories, which contain versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefetch {
    /// The position in the list by path.
    ranks: HashMap<Vec<u8>, usize>,
}

impl Prefetch {
    /// Parses a list: a path per line. Empty lines and those that begin with `#` mean nothing.
    pub fn parse(text: &[u8]) -> Result<Prefetch, Error> {
        let mut ranks = HashMap::new();
        // Some editors put a byte order mark before the first line.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let path = line.strip_prefix(b".").filter(|rest| rest.starts_with(b"/")).unwrap_or(line);
            let path = path.strip_prefix(b"/").unwrap_or(path);
            let path = ImagePath::new(path).map_err(|_| Error { line: number + 1, text: show(line) })?;
            ranks.entry(path.as_bytes().to_vec()).or_insert(number);
        }
        Ok(Prefetch { ranks })
    }

    /// The position of an entry in the list, if it is to be fetched at once.
    fn rank(&self, entry: &TarEntry) -> Option<usize> {
        match &entry.body {
            Body::Directory | Body::Landmark => return None,
            Body::File(content) | Body::HardLink { content, .. } if content.size > MAX_SIZE => return None,
            Body::File(_) | Body::HardLink { .. } | Body::EmptyFile | Body::Symlink(_) => {}
        }
        self.position(&entry.name)
    }

    /// The position of `path` in the list: that of the first line that is its end.
    pub fn position(&self, path: &[u8]) -> Option<usize> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let starts = std::iter::once(0).chain(slashes.map(|(slash, _)| slash + 1));
        starts.filter_map(|start| self.ranks.get(&path[start..])).min().copied()
    }

    /// The first path, if there is any.
    pub fn first(&self) -> Option<&[u8]> {
        self.ranks.iter().min_by_key(|(_, rank)| **rank).map(|(path, _)| path.as_slice())
    }
}

/// Moves the files of `list` to the beginning of `plan`, each after its directories, and a hard link after its target.
/// A landmark follows them.
pub fn arrange(plan: &mut LayerPlan, list: &Prefetch) {
    let entries = std::mem::take(&mut plan.entries);
    let ranks = entries.iter().enumerate().filter_map(|(number, entry)| Some((list.rank(entry)?, number)));
    let mut listed: Vec<(usize, usize)> = ranks.collect();
    listed.sort_unstable();
    let order = with_requirements(&entries, listed.into_iter().map(|(_, number)| number));
    let mut entries: Vec<Option<TarEntry>> = entries.into_iter().map(Some).collect();
    let first: Vec<TarEntry> = order.iter().filter_map(|number| entries[*number].take()).collect();
    let name = if first.is_empty() { NO_PREFETCH_LANDMARK } else { PREFETCH_LANDMARK };
    let name = format!("./{name}").into();
    let landmark = TarEntry { name, mode: plan.metadata.mode.of_data(), body: Body::Landmark };
    plan.entries.reserve(entries.len() + 1);
    plan.entries.extend(first);
    plan.entries.push(landmark);
    plan.entries.extend(entries.into_iter().flatten());
}

/// The numbers of the entries in `listed`, each once, after those which must precede it.
fn with_requirements(entries: &[TarEntry], listed: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut listed = listed.peekable();
    let mut order = Vec::new();
    if listed.peek().is_none() {
        return order;
    }
    let numbers: HashMap<&Bytes, usize> =
        entries.iter().enumerate().map(|(number, entry)| (&entry.name, number)).collect();
    let mut is_placed = vec![false; entries.len()];
    let mut place = |number: usize| {
        if !std::mem::replace(&mut is_placed[number], true) {
            order.push(number);
        }
    };
    for number in listed {
        let TarEntry { name, body, .. } = &entries[number];
        let target = match body {
            Body::HardLink { target, .. } => Some(target),
            _ => None,
        };
        for name in target.into_iter().chain([name]) {
            for slash in (0..name.len()).filter(|index| name[*index] == b'/') {
                numbers.get(&name.slice(..=slash)).copied().into_iter().for_each(&mut place);
            }
            numbers.get(name).copied().into_iter().for_each(&mut place);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bazel_worker::Cancel;
    use proptest::prelude::*;

    use super::*;
    use crate::inputs::{Content, FileContent, ResolvedEntry};
    use crate::settings::Settings;

    fn file(size: u64) -> Arc<FileContent> {
        Arc::new(FileContent { size, ..FileContent::default() })
    }

    fn plan(entries: Vec<(&'static str, Body)>) -> LayerPlan {
        let entry = |(name, body): (&'static str, Body)| TarEntry { name: name.into(), mode: 0o644, body };
        LayerPlan { entries: entries.into_iter().map(entry).collect(), ..LayerPlan::default() }
    }

    /// The names of a plan's entries after it has been arranged.
    fn arranged(list: &str, entries: Vec<(&'static str, Body)>) -> Vec<String> {
        let mut plan = plan(entries);
        arrange(&mut plan, &Prefetch::parse(list.as_bytes()).unwrap());
        plan.entries.iter().map(|entry| String::from_utf8(entry.name.to_vec()).unwrap()).collect()
    }

    #[test]
    fn listed_files_come_first_in_the_order_of_the_list() {
        let entries = || {
            vec![
                ("./app/", Body::Directory),
                ("./app/a/", Body::Directory),
                ("./app/a/one.py", Body::File(file(1))),
                ("./app/a/two.py", Body::File(file(2))),
                ("./app/b/", Body::Directory),
                ("./app/b/two.py", Body::EmptyFile),
                ("./app/link", Body::Symlink(b"a".to_vec())),
            ]
        };
        assert_eq!(
            arranged("b/two.py\n# a comment\n\n  one.py\r\nmissing\n", entries()),
            [
                "./app/",
                "./app/b/",
                "./app/b/two.py",
                "./app/a/",
                "./app/a/one.py",
                "./.prefetch.landmark",
                "./app/a/two.py",
                "./app/link"
            ]
        );
        // Only whole names match, and only those of files.
        let names = arranged("\u{feff}two.py\r\n", entries());
        assert_eq!(names[..3], ["./app/", "./app/a/", "./app/a/two.py"]);
        for list in ["wo.py", "app/two.py", "a", "app/a", "x/app/a/one.py", ""] {
            let names = arranged(list, entries());
            assert_eq!(names[0], "./.no.prefetch.landmark", "{list}");
            assert!(names[1..].iter().map(String::as_str).eq(entries().iter().map(|(name, _)| *name)));
        }
        // The first of the lines that name a file decides.
        let names = arranged("./app/link\n/app/a/two.py\nlink\ntwo.py\n", entries());
        assert_eq!(names[..5], ["./app/", "./app/link", "./app/a/", "./app/a/two.py", "./app/b/"]);
    }

    #[test]
    fn a_hard_link_follows_its_target_and_large_files_stay() {
        let link = |target: &'static str, size| Body::HardLink { target: target.into(), content: file(size) };
        let entries = vec![
            ("./a/", Body::Directory),
            ("./a/huge", Body::File(file(MAX_SIZE + 1))),
            ("./a/large", Body::File(file(MAX_SIZE))),
            ("./b/", Body::Directory),
            ("./b/huge", link("./a/huge", MAX_SIZE + 1)),
            ("./b/large", link("./a/large", MAX_SIZE)),
        ];
        assert_eq!(
            arranged("b/huge\nb/large\na/huge\n", entries),
            ["./a/", "./a/large", "./b/", "./b/large", "./.prefetch.landmark", "./a/huge", "./b/huge"]
        );
    }

    /// Sorted entries of a layer without duplicates: files of which some are equal, at paths with few names.
    fn entries() -> impl Strategy<Value = Vec<ResolvedEntry>> {
        let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "a-b"]), 1..4);
        prop::collection::btree_map(path.prop_map(|parts| parts.join("/")), 0..4_u64, 0..20).prop_map(
            |files| {
                // Nothing is below a file.
                let is_file = |path: &str| !files.keys().any(|other| other.starts_with(&format!("{path}/")));
                let files = files.iter().filter(|(path, _)| is_file(path));
                let mut entries: Vec<ResolvedEntry> = files
                    .map(|(path, content)| {
                        let digest = Some(Bytes::from(content.to_string()));
                        let content =
                            FileContent { size: MAX_SIZE - 2 + content, digest, ..FileContent::default() };
                        let content = Content::File(Arc::new(content));
                        ResolvedEntry { path: ImagePath::new(path).unwrap(), content }
                    })
                    .collect();
                entries.sort_by(|one, other| one.path.cmp(&other.path));
                entries
            },
        )
    }

    proptest! {
        #[test]
        fn any_list_gives_a_valid_layer(
            entries in entries(),
            lines in prop::collection::vec("(a|b|a-b)(/(a|b|a-b)){0,2}", 0..8),
        ) {
            let ordinary = crate::plan::plan(entries, &Settings::default(), &Cancel::new()).unwrap();
            let mut plan = ordinary.clone();
            let list = Prefetch::parse(lines.join("\n").as_bytes()).unwrap();
            arrange(&mut plan, &list);
            let landmark = plan.entries.iter().position(|entry| entry.body == Body::Landmark).unwrap();
            // Parents precede what is in them, and targets their links.
            for (number, TarEntry { name, body, .. }) in plan.entries.iter().enumerate() {
                let before: Vec<&Bytes> = plan.entries[..number].iter().map(|entry| &entry.name).collect();
                for slash in (2..name.len() - 1).filter(|index| name[*index] == b'/') {
                    prop_assert!(before.contains(&&name.slice(..=slash)));
                }
                if let Body::HardLink { target, .. } = body {
                    prop_assert!(before.contains(&target));
                }
            }
            // All that are listed come first, and nothing else that is not needed for them.
            let (first, rest) = plan.entries.split_at(landmark);
            prop_assert!(rest.iter().all(|entry| list.rank(entry).is_none()));
            let is_needed = |entry: &TarEntry| {
                list.rank(entry).is_some()
                    || first.iter().any(|other| match &other.body {
                        Body::HardLink { target, .. } => target.starts_with(&entry.name),
                        _ => other.name.starts_with(&entry.name),
                    })
            };
            prop_assert!(first.iter().all(is_needed));
            // The same entries, and in the same order after the landmark.
            plan.entries.remove(landmark);
            prop_assert!(plan.entries[landmark..].is_sorted_by(|one, other| one.name < other.name));
            plan.entries.sort_by(|one, other| one.name.cmp(&other.name));
            prop_assert_eq!(plan, ordinary);
        }
    }

    #[test]
    fn lines_that_name_no_file_are_errors() {
        for text in ["numpy/", "a/../b", "/", "a//b", "."] {
            let error = Prefetch::parse(format!("a\n{text}\n").as_bytes()).unwrap_err();
            assert_eq!(error, Error { line: 2, text: text.to_string() });
        }
        let error = Prefetch::parse(&[b'x'; 100_000]).unwrap_err();
        assert!(error.to_string().len() < 1000, "{error}");
    }
}
