//! Uncompressed tar → entries.
//!
//! Version 7 Unix, ustar and PAX (POSIX pax), and GNU tar ("Extensions to the ustar Format" in its manual).
//! Headers are read here and not by the tar crate, because layers come from anywhere: what they make the
//! program keep in memory has limits, and what readers disagree on is an error. The end is two empty
//! blocks, or the end of the file, as in GNU tar; what follows the two blocks is ignored.

use std::borrow::Cow;
use std::io::{self, Read, Seek};

use tar::Header;

use super::block::{self, BLOCK_BYTES, Block};
use super::name::{Invalid, Whiteout, normalize};
use super::pax::{Attributes, Malformed, Records};
use super::problem::Problem;
use crate::contents::{Entry, Kind, to_text};
use crate::show::show;

/// The largest number of entries of a layer. Each takes about 400 bytes of memory. Large images have less
/// than a million.
pub const MAX_ENTRIES: u64 = 10_000_000;
/// The maximum size of the extension headers of one entry, and of all global records. The largest extended
/// attributes of Linux have 64 KiB each.
pub const MAX_EXTENSION_BYTES: u64 = 1 << 20;
/// The maximum size of all paths, names and attributes of a layer, which stay in memory. A million paths
/// have about 0.1 GiB.
pub const MAX_TEXT_BYTES: u64 = 1 << 30;
/// How much of a content that is not needed is read at a time.
const SKIP_BYTES: usize = 64 << 10;

/// An entry and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Without what follows from its content: `sha256` and `machine`; and without `compressed`.
    pub entry: Entry,
    /// The length of the content in bytes, which also hard links and whiteouts may have.
    pub content: u64,
}

/// The bytes of a tar.
struct Stream<R> {
    input: R,
    /// The offset of the next byte.
    position: u64,
    /// Bytes that were read early.
    early: Vec<u8>,
}

impl<R: Read> Stream<R> {
    /// Fills `into`, or less at the end of the file. Returns how much.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, Problem> {
        let count = self.early.len().min(into.len());
        into[..count].copy_from_slice(&self.early[..count]);
        self.early.drain(..count);
        let count = count + read_full(&mut self.input, &mut into[count..])?;
        self.position += count as u64;
        Ok(count)
    }

    /// The next block, if there is another whole one, without consuming it.
    fn peek(&mut self) -> Result<Option<&Block>, Problem> {
        let start = self.early.len();
        if start < BLOCK_BYTES {
            self.early.resize(BLOCK_BYTES, 0);
            let count = read_full(&mut self.input, &mut self.early[start..])?;
            self.early.truncate(start + count);
        }
        Ok(self.early.first_chunk())
    }
}

/// Fills `into`, or less at the end of `input`. Returns how much.
fn read_full(input: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < into.len() {
        match input.read(&mut into[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// What the headers before an entry say about it.
#[derive(Default)]
struct Extensions {
    pax: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// The size of the contents of these headers and of those that say nothing about the entry.
    bytes: u64,
    /// Whether an entry must follow.
    is_begun: bool,
}

/// The entries of a tar.
pub struct Tar<R> {
    stream: Stream<R>,
    /// The records of global headers.
    global: Records,
    /// Whether there was an extended header: only the PAX format has them.
    is_pax: bool,
    /// What is left of the current entry's content, in bytes, and of the padding after it.
    content: u64,
    padding: u64,
    /// The path of the current entry, for messages.
    current: String,
    entries: u64,
    text: u64,
}

impl<R: Read> Tar<R> {
    pub fn new(input: R) -> Tar<R> {
        Tar {
            stream: Stream { input, position: 0, early: Vec::new() },
            global: Records::default(),
            is_pax: false,
            content: 0,
            padding: 0,
            current: String::new(),
            entries: 0,
            text: 0,
        }
    }

    /// The offset of the next byte in the tar.
    pub fn position(&self) -> u64 {
        self.stream.position
    }

    /// What comes after the last entry that was read.
    pub fn into_inner(self) -> R {
        self.stream.input
    }

    /// Reads the headers of the next entry, after the rest of the current one. `None` at the end.
    pub fn next_member(&mut self) -> Result<Option<Member>, Problem> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.next_header()? else {
                return if extensions.is_begun { Err(self.truncated_header()) } else { Ok(None) };
            };
            let header = Header::from_byte_slice(&block);
            self.current = show(&header.path_bytes());
            match header.as_old().linkflag[0] {
                // Solaris writes X.
                b'x' | b'X' => {
                    let records = self.extension(header, &mut extensions)?;
                    self.is_pax = true;
                    self.add(&records, &mut extensions.pax)?;
                }
                b'g' => {
                    let records = self.extension(header, &mut extensions)?;
                    self.is_pax = true;
                    let mut global = std::mem::take(&mut self.global);
                    self.add(&records, &mut global)?;
                    self.global = global;
                    if self.global.bytes() as u64 > MAX_EXTENSION_BYTES {
                        return Err(Problem::LongExtension { at: self.position() });
                    }
                }
                b'L' => extensions.long_name = Some(self.extension(header, &mut extensions)?),
                b'K' => extensions.long_link = Some(self.extension(header, &mut extensions)?),
                // The label of a volume.
                b'V' => drop(self.extension(header, &mut extensions)?),
                _ => return self.member(header, &extensions).map(Some),
            }
        }
    }

    /// Reads from the content of the current entry; 0 at its end.
    pub fn read_content(&mut self, into: &mut [u8]) -> Result<usize, Problem> {
        let wanted = into.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        self.read_exact(&mut into[..wanted])?;
        self.content -= wanted as u64;
        Ok(wanted)
    }

    /// Reads to the end of the current entry's padding.
    pub fn skip_content(&mut self) -> Result<(), Problem> {
        let mut rest = self.content + self.padding;
        let mut buffer = vec![0; SKIP_BYTES.min(usize::try_from(rest).unwrap_or(SKIP_BYTES))];
        while rest > 0 {
            let wanted = SKIP_BYTES.min(usize::try_from(rest).unwrap_or(SKIP_BYTES));
            self.read_exact(&mut buffer[..wanted])?;
            rest -= wanted as u64;
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads a part of the current entry.
    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), Problem> {
        if self.stream.fill(into)? < into.len() {
            return Err(self.truncated_content());
        }
        Ok(())
    }

    fn truncated_content(&self) -> Problem {
        Problem::Truncated { at: self.position(), within: format!("the content of {}", self.current) }
    }

    fn truncated_header(&self) -> Problem {
        Problem::Truncated { at: self.position(), within: "a header".to_string() }
    }

    /// The next header block, or `None` at the end of the tar.
    fn next_header(&mut self) -> Result<Option<Block>, Problem> {
        let at = self.position();
        let Some(header) = self.next_block()? else { return Ok(None) };
        if !block::is_empty(&header) {
            return if block::has_valid_checksum(&header) {
                Ok(Some(header))
            } else {
                Err(Problem::Checksum { at })
            };
        }
        match self.next_block()? {
            Some(second) if !block::is_empty(&second) => Err(Problem::LoneEmptyBlock { at }),
            _ => Ok(None),
        }
    }

    /// The next block, or `None` at the end of the file.
    fn next_block(&mut self) -> Result<Option<Block>, Problem> {
        let mut block = [0; BLOCK_BYTES];
        match self.stream.fill(&mut block)? {
            0 => Ok(None),
            BLOCK_BYTES => Ok(Some(block)),
            _ => Err(self.truncated_header()),
        }
    }

    /// The content of an extension header.
    fn extension(&mut self, header: &Header, extensions: &mut Extensions) -> Result<Vec<u8>, Problem> {
        let size = self.number("size", &header.as_old().size)?;
        extensions.is_begun |= !matches!(header.as_old().linkflag[0], b'g' | b'V');
        extensions.bytes = extensions.bytes.saturating_add(size);
        if extensions.bytes > MAX_EXTENSION_BYTES {
            return Err(Problem::LongExtension { at: self.position() });
        }
        self.set_content(size);
        let mut content = vec![0; size as usize];
        self.read_content(&mut content)?;
        self.skip_content()?;
        Ok(content)
    }

    fn add(&self, header: &[u8], records: &mut Records) -> Result<(), Problem> {
        records.add(header).map_err(|Malformed| self.invalid("PAX header"))
    }

    fn set_content(&mut self, bytes: u64) {
        self.content = bytes;
        // A size is at most 2^63 - 1.
        self.padding = bytes.next_multiple_of(BLOCK_BYTES as u64) - bytes;
    }

    fn invalid(&self, field: &'static str) -> Problem {
        Problem::Field { entry: self.current.clone(), field }
    }

    /// A number that is not negative.
    fn number(&self, name: &'static str, field: &[u8]) -> Result<u64, Problem> {
        let number = block::number(field).and_then(|number| number.try_into().ok());
        number.ok_or_else(|| self.invalid(name))
    }

    /// The value of a PAX record, or else of the field.
    fn number_of(&self, pax: Attributes, name: &'static str, field: &[u8]) -> Result<u64, Problem> {
        match pax.number(name) {
            Some(number) => number.ok_or_else(|| self.invalid(name)),
            None => self.number(name, field),
        }
    }

    fn path(&self, path: &[u8]) -> Result<Vec<u8>, Problem> {
        normalize(path).map_err(|invalid| self.invalid_path(invalid))
    }

    fn invalid_path(&self, invalid: Invalid) -> Problem {
        Problem::Path { entry: self.current.clone(), invalid }
    }

    /// The entry that `header` begins.
    fn member(&mut self, header: &Header, extensions: &Extensions) -> Result<Member, Problem> {
        let global = std::mem::take(&mut self.global);
        let pax = Attributes { own: &extensions.pax, global: &global };
        let old = header.as_old();
        let name = name(header, extensions.long_name.as_deref(), pax.value("path"));
        let link = link(header, extensions.long_link.as_deref(), pax.value("linkpath"));
        self.current = show(&name);
        let kind = self.kind(old.linkflag[0], &name, pax)?;
        let size = self.number_of(pax, "size", &old.size)?;
        let content = self.content_bytes(header, size)?;
        let mut entry = Entry {
            path: self.path(&name)?,
            kind,
            size: if kind == Kind::File { content } else { 0 },
            compressed: 0,
            sha256: None,
            link: match kind {
                Kind::Symlink => Some(link.to_vec()),
                Kind::Hardlink => Some(self.path(link)?),
                _ => None,
            },
            machine: None,
            device: match kind {
                Kind::Character | Kind::Block => Some(self.device(header)?),
                _ => None,
            },
            // Some writers add the file type.
            mode: (self.number("mode", &old.mode)? & 0o7777) as u32,
            uid: self.number_of(pax, "uid", &old.uid)?,
            gid: self.number_of(pax, "gid", &old.gid)?,
            uname: to_text(pax.value("uname").or(header.username_bytes()).unwrap_or_default()),
            gname: to_text(pax.value("gname").or(header.groupname_bytes()).unwrap_or_default()),
            mtime: 0,
            nanoseconds: 0,
            xattrs: pax.xattrs().iter().map(|(name, value)| (to_text(name), to_text(value))).collect(),
            component: 0,
        };
        (entry.mtime, entry.nanoseconds) = match pax.mtime() {
            Some(time) => time,
            None => block::number(&old.mtime).map(|seconds| (seconds, 0)),
        }
        .ok_or_else(|| self.invalid("mtime"))?;
        self.set_whiteout(&mut entry)?;
        self.global = global;
        self.count(&entry)?;
        self.set_content(content);
        Ok(Member { entry, content })
    }

    fn kind(&self, flag: u8, name: &[u8], pax: Attributes) -> Result<Kind, Problem> {
        if flag == b'S' || pax.is_sparse() {
            return Err(Problem::Sparse(self.current.clone()));
        }
        Ok(match flag {
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::Character,
            b'4' => Kind::Block,
            // D is a directory with a list of its files.
            b'5' | b'D' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'M' => return Err(Problem::MultiVolume(self.current.clone())),
            // Version 7 Unix has no type for directories.
            b'0' | 0 if name.ends_with(b"/") => Kind::Directory,
            // POSIX: "any other values […] should be treated as regular files".
            _ => Kind::File,
        })
    }

    /// The length of the content of an entry whose size is `size`.
    ///
    /// Most types have none, and their size means something else, if anything. Hard links have content only
    /// in the PAX format, and some writers set their size in other formats. As in bsdtar, the content of a
    /// hard link is skipped if there was an extended header before. In GNU and V7 tars it has none. In a tar
    /// that is ustar or PAX, it has none if what follows is a header.
    fn content_bytes(&mut self, header: &Header, size: u64) -> Result<u64, Problem> {
        Ok(match header.as_old().linkflag[0] {
            b'2'..=b'6' => 0,
            b'1' if size == 0 || self.is_pax => size,
            b'1' if header.as_ustar().is_none() => 0,
            b'1' => {
                let is_header = |next: &Block| block::has_valid_checksum(next) && block::has_magic(next);
                if self.stream.peek()?.is_some_and(is_header) { 0 } else { size }
            }
            _ => size,
        })
    }

    /// Major and minor number.
    fn device(&self, header: &Header) -> Result<(u32, u32), Problem> {
        let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
            (Some(header), _) => (&header.dev_major, &header.dev_minor),
            (_, Some(header)) => (&header.dev_major, &header.dev_minor),
            (None, None) => return Ok((0, 0)),
        };
        let number = |field: &[u8]| block::number(field).and_then(|number| u32::try_from(number).ok());
        number(major).zip(number(minor)).ok_or_else(|| self.invalid("device number"))
    }

    /// Makes the entry a whiteout if its name is that of one.
    fn set_whiteout(&self, entry: &mut Entry) -> Result<(), Problem> {
        let whiteout = Whiteout::of(&entry.path).map_err(|invalid| self.invalid_path(invalid))?;
        let (kind, path) = match whiteout {
            // Only a directory can be the root.
            None if entry.path.is_empty() && entry.kind != Kind::Directory => {
                return Err(self.invalid_path(Invalid::Empty));
            }
            None => return Ok(()),
            Some(Whiteout::Path(path)) => (Kind::Whiteout, path),
            Some(Whiteout::Opaque(path)) => (Kind::Opaque, path),
        };
        (entry.kind, entry.path, entry.size) = (kind, path, 0);
        (entry.link, entry.device) = (None, None);
        Ok(())
    }

    /// Checks the limits of a layer.
    fn count(&mut self, entry: &Entry) -> Result<(), Problem> {
        self.entries += 1;
        let link = entry.link.as_ref().map_or(0, Vec::len);
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.text += (entry.path.len() + link + entry.uname.len() + entry.gname.len() + xattrs) as u64;
        if self.entries > MAX_ENTRIES {
            return Err(Problem::Entries);
        }
        if self.text > MAX_TEXT_BYTES {
            return Err(Problem::Text);
        }
        Ok(())
    }
}

impl<R: Read + Seek> Tar<R> {
    /// Skips what is left of the current entry without reading it. `length` is that of the file in bytes.
    pub fn seek_content(&mut self, length: u64) -> Result<(), Problem> {
        let rest = self.content + self.padding;
        let early = (self.stream.early.len() as u64).min(rest);
        self.stream.early.drain(..early as usize);
        if rest > length.saturating_sub(self.position()) {
            return Err(self.truncated_content());
        }
        // Less than the length of a file.
        self.stream.input.seek_relative((rest - early).cast_signed())?;
        self.stream.position += rest;
        (self.content, self.padding) = (0, 0);
        Ok(())
    }
}

/// The path of an entry. GNU's takes precedence, as in container runtimes.
fn name<'a>(header: &'a Header, gnu: Option<&'a [u8]>, pax: Option<&'a [u8]>) -> Cow<'a, [u8]> {
    gnu.map(block::text).or(pax).map_or_else(|| header.path_bytes(), Cow::Borrowed)
}

/// The target of a link, likewise.
fn link<'a>(header: &'a Header, gnu: Option<&'a [u8]>, pax: Option<&'a [u8]>) -> &'a [u8] {
    gnu.map(block::text).or(pax).unwrap_or_else(|| block::text(&header.as_old().linkname))
}

#[cfg(test)]
mod tests {
    use super::super::pax::record;
    use super::*;

    /// A block with a ustar header.
    fn header(flag: u8, name: &str, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkflag[0] = flag;
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(1);
        header.set_gid(2);
        header.set_mtime(3);
        header.set_cksum();
        header
    }

    fn entry(flag: u8, name: &str, content: &[u8]) -> Vec<u8> {
        with_content(&header(flag, name, content.len() as u64), content)
    }

    fn with_content(header: &Header, content: &[u8]) -> Vec<u8> {
        let mut bytes = [header.as_bytes(), content].concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0);
        bytes
    }

    fn pax(flag: u8, records: &[(&str, &str)]) -> Vec<u8> {
        let records: String = records.iter().map(|(keyword, value)| record(keyword, value)).collect();
        entry(flag, "PaxHeaders/x", records.as_bytes())
    }

    fn read(tar: &[u8]) -> Result<Vec<Member>, Problem> {
        let mut tar = Tar::new(tar);
        let mut members = Vec::new();
        while let Some(member) = tar.next_member()? {
            members.push(member);
        }
        Ok(members)
    }

    fn one(parts: &[Vec<u8>]) -> Entry {
        let [member] = read(&parts.concat()).unwrap().try_into().unwrap();
        member.entry
    }

    fn problem(parts: &[Vec<u8>]) -> String {
        read(&parts.concat()).unwrap_err().to_string()
    }

    fn paths(tar: &[u8]) -> Vec<String> {
        let members = read(tar).unwrap();
        members.iter().map(|member| String::from_utf8(member.entry.path.clone()).unwrap()).collect()
    }

    const END: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

    #[test]
    fn types_become_kinds() {
        let cases = [
            (b'0', Kind::File),
            (0, Kind::File),
            (b'7', Kind::File),
            (b'Z', Kind::File),
            (b'1', Kind::Hardlink),
            (b'2', Kind::Symlink),
            (b'3', Kind::Character),
            (b'4', Kind::Block),
            (b'5', Kind::Directory),
            (b'D', Kind::Directory),
            (b'6', Kind::Fifo),
        ];
        for (flag, kind) in cases {
            let mut header = header(flag, "a", 0);
            header.set_link_name("b").unwrap();
            header.set_cksum();
            assert_eq!(one(&[header.as_bytes().to_vec()]).kind, kind, "{}", char::from(flag));
        }
        assert_eq!(one(&[entry(b'0', "a/", b"")]).kind, Kind::Directory);
        assert_eq!(one(&[entry(b'0', "a/.wh.b", b"x")]).kind, Kind::Whiteout);
        let opaque = one(&[entry(b'0', "a/.wh..wh..opq", b"")]);
        assert_eq!((opaque.kind, &opaque.path[..]), (Kind::Opaque, &b"a"[..]));
    }

    #[test]
    fn the_end_is_two_empty_blocks_or_that_of_the_file() {
        let (a, b) = (entry(b'0', "a", b"content"), entry(b'0', "b", b""));
        assert_eq!(paths(&[&a[..], &b].concat()), ["a", "b"]);
        assert_eq!(paths(&[&a[..], &b, &END[..512]].concat()), ["a", "b"]);
        assert_eq!(paths(&[&a[..], &END, &b].concat()), ["a"]);
        assert_eq!(paths(&END), [""; 0]);
        assert!(problem(&[a.clone(), END[..512].to_vec(), b]).contains("at byte 1024: one empty block"));
        assert!(problem(&[a, END[..600].to_vec()]).contains("the tar ends at byte 1624, in a header"));
    }

    #[test]
    fn every_truncation_is_an_error_or_at_the_end_of_an_entry() {
        let tar = [
            pax(b'g', &[("uname", "me")]),
            entry(b'0', "a", &[1; 1000]),
            pax(b'x', &[("path", "b")]),
            entry(b'0', "x", b"1"),
            entry(b'L', "././@LongLink", b"c\0"),
            entry(b'5', "x", b""),
        ];
        let ends = [0, 1024, 2560, 4608, 6144];
        let tar = tar.concat();
        assert_eq!(tar.len(), 6144);
        for length in 0..=tar.len() {
            let result = read(&tar[..length]);
            let expected = ends.iter().position(|end| *end == length);
            let found = result.as_ref().map(Vec::len).ok();
            assert_eq!(found, expected.map(|index| index.saturating_sub(1)), "{length}: {result:?}");
        }
    }

    #[test]
    fn extension_headers_replace_fields() {
        let long = "d/".repeat(100) + "f";
        let gnu = one(&[
            entry(b'L', "././@LongLink", format!("{long}\0").as_bytes()),
            entry(b'K', "././@LongLink", b"target\0"),
            entry(b'2', "x", b""),
        ]);
        assert_eq!((gnu.path, gnu.link), (long.clone().into_bytes(), Some(b"target".to_vec())));
        let records = [
            ("path", &long[..]),
            ("mtime", "-1.5"),
            ("uid", "4000000000"),
            ("gid", "5"),
            ("uname", "J\u{fc}rgen"),
            ("SCHILY.xattr.user.a", "b\\c"),
            ("hdrcharset", "BINARY"),
            ("comment", "no"),
        ];
        let entry =
            one(&[pax(b'g', &[("gname", "all"), ("uid", "7")]), pax(b'x', &records), entry(b'0', "x", b"y")]);
        assert_eq!(entry.path, long.as_bytes());
        assert_eq!(
            (entry.mtime, entry.nanoseconds, entry.uid, entry.gid),
            (-2, 500_000_000, 4_000_000_000, 5)
        );
        assert_eq!((&entry.uname[..], &entry.gname[..]), ("J\u{fc}rgen", "all"));
        assert_eq!(entry.xattrs, [("user.a".to_string(), "b\\\\c".to_string())].into());
    }

    #[test]
    fn global_headers_apply_to_the_entries_after_them() {
        let tar = [
            pax(b'g', &[("uid", "7")]),
            pax(b'x', &[("uid", "8")]),
            entry(b'0', "a", b""),
            entry(b'0', "b", b""),
            pax(b'g', &[("uid", "")]),
            entry(b'0', "c", b""),
        ];
        let uids: Vec<u64> = read(&tar.concat()).unwrap().iter().map(|member| member.entry.uid).collect();
        assert_eq!(uids, [8, 7, 1]);
    }

    #[test]
    fn a_pax_header_has_sizes_beyond_ustar() {
        let tar = [pax(b'x', &[("size", "3")]), entry(b'0', "a", b""), vec![0; 512], entry(b'0', "b", b"")];
        assert_eq!(paths(&tar.concat()), ["a", "b"]);
        let size = |size| problem(&[pax(b'x', &[("size", size)]), entry(b'0', "a", b"")]);
        assert!(size("9223372036854775807").contains("in the content of a"));
        assert!(size("9223372036854775808").contains("the entry a has an invalid size"));
        assert!(size("-1").contains("the entry a has an invalid size"));
    }

    #[test]
    fn hard_links_have_content_in_the_pax_format_only() {
        let link = |mut header: Header| {
            header.set_entry_type(tar::EntryType::Link);
            header.set_path("link").unwrap();
            header.set_link_name("./a").unwrap();
            header.set_size(3);
            header.set_mode(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_cksum();
            header
        };
        let after = entry(b'0', "after", b"");
        for header in [Header::new_old(), Header::new_gnu(), Header::new_ustar()] {
            let tar = [&link(header).as_bytes()[..], &after].concat();
            let members = read(&tar).unwrap();
            assert_eq!((members.len(), members[0].content), (2, 0));
            assert_eq!(members[0].entry.link.as_deref(), Some(&b"a"[..]));
        }
        let with_content = [with_content(&link(Header::new_ustar()), b"abc"), after].concat();
        for before in [Vec::new(), pax(b'x', &[("comment", "")])] {
            let members = read(&[before, with_content.clone()].concat()).unwrap();
            assert_eq!((members.len(), members[0].content, members[0].entry.size), (2, 3, 0));
        }
    }

    #[test]
    fn sizes_of_other_types_mean_nothing() {
        for flag in [b'2', b'3', b'4', b'5', b'6'] {
            let tar = [header(flag, "a", 1 << 30).as_bytes().to_vec(), entry(b'0', "b", b"")];
            assert_eq!(paths(&tar.concat()), ["a", "b"]);
        }
    }

    #[test]
    fn invalid_entries_are_errors_that_name_them() {
        let sparse = [pax(b'x', &[("GNU.sparse.major", "1")]), entry(b'0', "hole", b"")];
        let mut bad_mode = header(b'0', "a", 0);
        bad_mode.as_old_mut().mode = *b"rw-r--r-";
        bad_mode.set_cksum();
        let mut damaged = entry(b'0', "a", b"");
        damaged[0] ^= 1;
        let cases: [(&[Vec<u8>], &str); 14] = [
            (&[entry(b'S', "hole", b"")], "the entry hole is a sparse file"),
            (&sparse, "the entry hole is a sparse file"),
            (&[entry(b'M', "part", b"")], "the entry part continues a file"),
            (&[entry(b'0', "a/../b", b"")], "the entry a/../b has a path with \"..\""),
            (&[entry(b'0', "", b"")], "has an empty path"),
            (
                &[entry(b'0', "./", b""), entry(b'0', "/", b""), entry(b'0', ".", b"")],
                "the entry . has an empty path",
            ),
            (&[pax(b'x', &[("path", "a\0b")]), entry(b'0', "x", b"")], "has a path with a NUL byte"),
            (&[entry(b'1', "a", b"")], "the entry a has an empty path"),
            (&[entry(b'0', "a/.wh...", b"")], "has a path with \"..\""),
            (&[bad_mode.as_bytes().to_vec()], "the entry a has an invalid mode"),
            (&[damaged], "at byte 0: the checksum of a header is wrong"),
            (
                &[entry(b'x', "p", b"7 path=a\n"), entry(b'0', "a", b"")],
                "the entry p has an invalid PAX header",
            ),
            (&[pax(b'x', &[("mtime", "now")]), entry(b'0', "a", b"")], "the entry a has an invalid mtime"),
            (&[entry(b'0', "\n", b""), entry(b'0', "b/\u{1b}/..", b"")], r"the entry b/\u{1b}/.. has"),
        ];
        for (tar, expected) in cases {
            let message = problem(tar);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn what_headers_claim_is_limited() {
        let claim = [header(b'x', "p", 8_589_934_591).as_bytes().to_vec()];
        assert!(problem(&claim).contains("more than 1048576 bytes"));
        let value = "x".repeat(600_000);
        let global = |name: &str| pax(b'g', &[(&format!("SCHILY.xattr.{name}"), &value)]);
        let tar = [global("a"), entry(b'0', "a", b""), global("b"), entry(b'0', "b", b"")];
        assert!(problem(&tar).contains("more than 1048576 bytes"));
        let tar = [global("a"), entry(b'0', "a", b""), global("a"), entry(b'0', "b", b"")];
        assert_eq!(paths(&tar.concat()), ["a", "b"]);
    }

    #[test]
    fn contents_can_be_skipped_by_seeking() {
        let link = with_content(&header(b'0', "l", 3), b"abc");
        let mut bytes = [entry(b'0', "a", &[1; 1000]), link, entry(b'0', "b", b"x")].concat();
        let read = |bytes: &[u8]| {
            let mut tar = Tar::new(io::Cursor::new(bytes));
            let mut positions = Vec::new();
            while let Some(member) = tar.next_member()? {
                positions.push((tar.position(), member.content));
                tar.seek_content(bytes.len() as u64)?;
            }
            Ok::<_, Problem>(positions)
        };
        assert_eq!(read(&bytes).unwrap(), [(512, 1000), (2048, 3), (3072, 1)]);
        bytes.pop();
        assert!(matches!(read(&bytes), Err(Problem::Truncated { .. })));
    }
}
