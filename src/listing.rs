//! Writes and parses listings, which describe the entries of a layer as mtree(5) text. Pure.
//!
//! A listing has one line per tar entry, in the layer's order, with those keywords of FreeBSD's mtree(5)
//! that a tar header has values for. A hard link is listed as a file. Bytes of a name that are not
//! printable ASCII are written as a backslash and three octal digits.
//!
//! Facts without an mtree keyword are in comments, which other readers skip: the target processor of an
//! ELF image (`#elf machine=62 ./app/server.runfiles/…`), and symlinks that are not in the layer because
//! they lead to excluded paths (`#excluded link=../numpy/tests ./app/server.runfiles/…`).

use std::fmt::Write;
use std::io;

use crate::plan::{Body, ExcludedLink, LayerPlan, TarEntry};
use crate::show::show;
use bazel_worker::{Cancel, Cancelled};

/// The size of writes. A listing can be large, so it is not built in memory; larger writes are no faster.
const WRITE_BYTES: usize = 256 << 10;

/// Why a listing cannot be parsed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("line {line} of the listing is malformed: {text}")]
    Malformed { line: usize, text: String },
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A parsed listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<ListedEntry>,
    /// Paths and targets of symlinks that are left out of the layer because they lead to excluded paths.
    /// A link through another one comes after it.
    pub excluded_links: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The type of a listed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File {
        /// In bytes.
        size: u64,
        /// `e_machine` of an ELF image.
        machine: Option<u16>,
    },
    Symlink(Vec<u8>),
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEntry {
    /// Relative to the image's root, without a leading `./` or trailing `/`.
    pub path: Vec<u8>,
    pub kind: Kind,
}

/// The listing of `plan`, as written by [`write()`].
pub fn listing(plan: &LayerPlan, machines: &[(usize, u16)], excluded_links: &[ExcludedLink]) -> String {
    let mut bytes = Vec::new();
    write(plan, machines, excluded_links, &mut bytes).expect("a vector takes any bytes");
    String::from_utf8(bytes).expect("escaped names are ASCII")
}

/// Writes the listing of `plan`. `machines` are the ELF images among its entries, by entry number.
/// `excluded_links` are not entries of the plan.
pub fn write(
    plan: &LayerPlan,
    machines: &[(usize, u16)],
    excluded_links: &[ExcludedLink],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let metadata = &plan.metadata;
    // The end of every line, after the mode. Writing to a String cannot fail.
    let mut common = format!(" uid={} gid={}", metadata.uid, metadata.gid);
    for (keyword, name) in [(" uname=", &metadata.uname), (" gname=", &metadata.gname)] {
        if !name.is_empty() {
            common.push_str(keyword);
            escape(name.as_bytes(), &mut common);
        }
    }
    let _ = writeln!(common, " time={}.0", metadata.mtime);
    let mut text = String::from("#mtree\n");
    for entry in plan.entries.iter().filter(|entry| entry.body != Body::Landmark) {
        escape(&entry.name, &mut text);
        push_kind(entry, &mut text);
        let _ = write!(text, " mode={:04o}", entry.mode);
        text.push_str(&common);
        flush(&mut text, WRITE_BYTES, out)?;
    }
    for (entry, machine) in machines {
        let _ = write!(text, "#elf machine={machine} ");
        escape(&plan.entries[*entry].name, &mut text);
        text.push('\n');
        flush(&mut text, WRITE_BYTES, out)?;
    }
    for ExcludedLink { path, text: target } in excluded_links {
        text.push_str("#excluded link=");
        escape(target, &mut text);
        text.push(' ');
        escape(path.tar_name(), &mut text);
        text.push('\n');
        flush(&mut text, WRITE_BYTES, out)?;
    }
    flush(&mut text, 0, out)
}

/// Writes and clears `text` if it is at least `bytes` long.
fn flush(text: &mut String, bytes: usize, out: &mut dyn io::Write) -> io::Result<()> {
    if text.len() >= bytes {
        out.write_all(text.as_bytes())?;
        text.clear();
    }
    Ok(())
}

fn push_kind(entry: &TarEntry, text: &mut String) {
    match &entry.body {
        Body::Directory => text.push_str(" type=dir"),
        Body::EmptyFile | Body::Landmark => text.push_str(" type=file size=0"),
        Body::File(content) | Body::HardLink { content, .. } => {
            let _ = write!(text, " type=file size={}", content.size);
        }
        Body::Symlink(target) => {
            text.push_str(" type=link link=");
            escape(target, text);
        }
    }
}

/// Parses a listing.
pub fn parse(text: &str, cancel: &Cancel) -> Result<Listing, Error> {
    let Listing { mut entries, mut excluded_links } = Listing::default();
    let mut index = std::collections::HashMap::new();
    for (number, line) in text.lines().enumerate() {
        cancel.check()?;
        let malformed = || Error::Malformed { line: number + 1, text: show(line.as_bytes()) };
        if let Some(comment) = line.strip_prefix("#elf machine=") {
            let (machine, name) = comment.split_once(' ').ok_or_else(malformed)?;
            let machine = machine.parse().map_err(|_| malformed())?;
            let path = path(name).ok_or_else(malformed)?;
            let entry: &mut ListedEntry =
                index.get(&path).and_then(|at: &usize| entries.get_mut(*at)).ok_or_else(malformed)?;
            match &mut entry.kind {
                Kind::File { machine: of_file, .. } => *of_file = Some(machine),
                Kind::Directory | Kind::Symlink(_) => return Err(malformed()),
            }
        } else if let Some(comment) = line.strip_prefix("#excluded link=") {
            let (target, name) = comment.split_once(' ').ok_or_else(malformed)?;
            let target = unescape(target).ok_or_else(malformed)?;
            excluded_links.push((path(name).ok_or_else(malformed)?, target));
        } else if !line.starts_with('#') {
            let mut words = line.split(' ');
            let path = words.next().and_then(path).ok_or_else(malformed)?;
            let (kind, value) = (words.next(), words.next().and_then(|word| word.split_once('=')));
            let kind = match (kind, value) {
                (Some("type=dir"), _) => Kind::Directory,
                (Some("type=file"), Some(("size", size))) => {
                    Kind::File { size: size.parse().map_err(|_| malformed())?, machine: None }
                }
                (Some("type=link"), Some(("link", target))) => {
                    Kind::Symlink(unescape(target).ok_or_else(malformed)?)
                }
                _ => return Err(malformed()),
            };
            index.insert(path.clone(), entries.len());
            entries.push(ListedEntry { path, kind });
        }
    }
    return Ok(Listing { entries, excluded_links });

    fn path(name: &str) -> Option<Vec<u8>> {
        let name = unescape(name)?;
        let path = name.strip_prefix(b"./")?;
        Some(path.strip_suffix(b"/").unwrap_or(path).to_vec())
    }
}

/// Appends `bytes`, escaped as in mtree(5): bytes that could end a word or begin a comment are octal.
fn escape(bytes: &[u8], text: &mut String) {
    let plain = |byte: &u8| matches!(byte, 0x21..=0x7e) && !b"\\#=".contains(byte);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (run, after) = rest.split_at(rest.iter().position(|byte| !plain(byte)).unwrap_or(rest.len()));
        text.push_str(std::str::from_utf8(run).expect("printable ASCII is UTF-8"));
        rest = after;
        if let Some((byte, after)) = rest.split_first() {
            let _ = write!(text, "\\{byte:03o}");
            rest = after;
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 8).ok()?);
        rest = &rest[3..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_path::ImagePath;
    use crate::inputs::FileContent;
    use crate::metadata::Metadata;
    use std::sync::Arc;

    #[test]
    fn a_listing_can_be_read_back() {
        let content = Arc::new(FileContent { file: "f".into(), size: 7, ..FileContent::default() });
        let name = |text: &[u8]| [b"./", text].concat();
        let odd = b"a b\tc\n\xc3\xa9\\#=";
        let bodies = [
            (name(b"d/"), Body::Directory),
            (name(b"d/f"), Body::File(content.clone())),
            (name(b"d/g"), Body::HardLink { target: name(b"d/f").into(), content }),
            (name(b"d/l"), Body::Symlink(odd.to_vec())),
            (name(odd), Body::EmptyFile),
        ];
        let entries = bodies
            .into_iter()
            .map(|(name, body)| TarEntry { name: name.into(), mode: 0o755, body })
            .collect();
        let metadata = Metadata { uname: "app user".into(), ..Metadata::default() };
        let excluded_links = [("d/gone", &b"/a b"[..]), ("e", b"d/gone")]
            .map(|(path, text)| ExcludedLink { path: ImagePath::new(path).unwrap(), text: text.to_vec() });
        let text =
            listing(&LayerPlan { entries, metadata, ..LayerPlan::default() }, &[(1, 62)], &excluded_links);
        assert_eq!(
            text,
            "#mtree\n\
             ./d/ type=dir mode=0755 uid=0 gid=0 uname=app\\040user time=1672560000.0\n\
             ./d/f type=file size=7 mode=0755 uid=0 gid=0 uname=app\\040user time=1672560000.0\n\
             ./d/g type=file size=7 mode=0755 uid=0 gid=0 uname=app\\040user time=1672560000.0\n\
             ./d/l type=link link=a\\040b\\011c\\012\\303\\251\\134\\043\\075 mode=0755 uid=0 gid=0 uname=app\\040user time=1672560000.0\n\
             ./a\\040b\\011c\\012\\303\\251\\134\\043\\075 type=file size=0 mode=0755 uid=0 gid=0 uname=app\\040user time=1672560000.0\n\
             #elf machine=62 ./d/f\n\
             #excluded link=/a\\040b ./d/gone\n\
             #excluded link=d/gone ./e\n"
        );
        let listed = |path: &[u8], kind| ListedEntry { path: path.to_vec(), kind };
        let Listing { entries, excluded_links } = parse(&text, &Cancel::new()).unwrap();
        assert_eq!(
            entries,
            [
                listed(b"d", Kind::Directory),
                listed(b"d/f", Kind::File { size: 7, machine: Some(62) }),
                listed(b"d/g", Kind::File { size: 7, machine: None }),
                listed(b"d/l", Kind::Symlink(odd.to_vec())),
                listed(odd, Kind::File { size: 0, machine: None }),
            ]
        );
        assert_eq!(
            excluded_links,
            [(b"d/gone".to_vec(), b"/a b".to_vec()), (b"e".to_vec(), b"d/gone".to_vec())]
        );
    }

    #[test]
    fn malformed_lines_are_named() {
        for line in [
            "./a",
            "./a type=fifo",
            "a type=dir",
            "./a type=link mode=1",
            "./a type=file mode=1",
            "./a type=file size=-1",
            "./a\\9 type=dir",
            "#elf machine=x ./a",
            "#excluded link=./a",
            "#excluded link=\\9 ./a",
            "#excluded link=x a",
        ] {
            let error = parse(&format!("#mtree\n{line}\n"), &Cancel::new()).unwrap_err();
            assert_eq!(error, Error::Malformed { line: 2, text: show(line.as_bytes()) });
        }
    }

    #[test]
    fn a_long_or_unprintable_line_is_shortened() {
        let line = format!("./a\u{1b}{}", "b".repeat(1 << 20));
        let message = parse(&line, &Cancel::new()).unwrap_err().to_string();
        assert!(message.starts_with("line 1 of the listing is malformed: ./a\\u{1b}b"), "{message}");
        assert!(message.len() < 300, "{} bytes", message.len());
    }

    #[test]
    fn a_cancelled_listing_is_not_read() {
        let cancel = Cancel::new();
        cancel.cancel();
        assert_eq!(parse("#mtree\n", &cancel), Err(Error::Cancelled(Cancelled)));
    }
}
