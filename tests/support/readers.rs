//! Reads layers with Python's tarfile, GNU tar and bsdtar.
//!
//! Python and GNU tar are required. bsdtar is skipped, with a note, if it is not installed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use super::sha256;

/// The table of contents of eStargz, whose name the format prescribes.
pub const TABLE: &str = "stargz.index.json";

/// The default time of entries.
pub const MTIME: i64 = 1_672_560_000;

/// An entry of a tar.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// As in the tar, without the trailing slash of a directory.
    pub name: Vec<u8>,
    /// `f`ile, `d`irectory, symbolic `l`ink, `h`ard link.
    pub kind: char,
    pub mode: u32,
    pub owner: u64,
    pub group: u64,
    pub owner_name: String,
    pub group_name: String,
    pub mtime: i64,
    pub size: u64,
    pub target: Vec<u8>,
    /// SHA-256 of a file's content; empty for other kinds.
    pub content: String,
}

impl Member {
    fn of(kind: char, mode: u32, name: impl AsRef<[u8]>) -> Member {
        Member {
            name: name.as_ref().to_vec(),
            kind,
            mode,
            owner: 0,
            group: 0,
            owner_name: String::new(),
            group_name: String::new(),
            mtime: MTIME,
            size: 0,
            target: Vec::new(),
            content: String::new(),
        }
    }
}

/// A directory with the default metadata.
pub fn directory(name: impl AsRef<[u8]>) -> Member {
    Member::of('d', 0o755, name)
}

pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Member {
    let (size, content) = (content.as_ref().len() as u64, sha256(content.as_ref()));
    Member { size, content, ..Member::of('f', 0o755, name) }
}

pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Member {
    Member { target: target.as_ref().to_vec(), ..Member::of('l', 0o777, name) }
}

pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Member {
    Member { target: target.as_ref().to_vec(), ..Member::of('h', 0o755, name) }
}

/// Shows names as text, which most are, for readable failures.
impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Member { name, kind, mode, owner, group, owner_name, group_name, mtime, size, target, content } =
            self;
        let (name, target) = (name.escape_ascii(), target.escape_ascii());
        let content = content.get(..8).unwrap_or("");
        write!(
            f,
            "{kind} {mode:04o} {owner}:{group} {owner_name:?}:{group_name:?} {mtime} {size} {name} -> {target} {content}"
        )
    }
}

/// The entries of a layer. Checks that all readers agree, and the invariants of layers.
pub fn members(layer: &Path) -> Vec<Member> {
    let members = python(layer);
    check_form(&fs::read(layer).unwrap(), &members);
    let listed: Vec<Member> = members
        .iter()
        .map(|member| Member {
            owner_name: String::new(),
            group_name: String::new(),
            mtime: 0,
            content: String::new(),
            ..member.clone()
        })
        .collect();
    assert_agree("GNU tar", &gnu_tar(layer), &listed);
    if let Some(found) = bsdtar(layer) {
        let mut listed: Vec<Member> = members
            .iter()
            .map(|member| Member {
                // Without contents, bsdtar does not distinguish a hard link from an empty file.
                kind: if member.kind == 'h' { 'f' } else { member.kind },
                target: if member.kind == 'h' { Vec::new() } else { member.target.clone() },
                content: String::new(),
                ..member.clone()
            })
            .collect();
        listed.sort();
        assert_agree("bsdtar", &found, &listed);
    }
    members
}

/// Shows only the differences, since there may be thousands of entries.
fn assert_agree(reader: &str, found: &[Member], python: &[Member]) {
    let differences = found.iter().zip(python).find(|(found, python)| found != python);
    assert_eq!(differences, None, "{reader} and Python disagree");
    assert_eq!(found.len(), python.len(), "{reader} and Python disagree");
}

pub fn names(members: &[Member]) -> Vec<String> {
    members.iter().map(|member| String::from_utf8_lossy(&member.name).into_owned()).collect()
}

/// Checks the invariants of layers: sorted, parents first, each path once, hard links to earlier files, and
/// nothing after the two blocks at the end.
pub fn check_form(tar: &[u8], members: &[Member]) {
    let mut previous: Vec<u8> = Vec::new();
    let mut files = HashSet::new();
    for member in members {
        let slash: &[u8] = if member.kind == 'd' { b"/" } else { b"" };
        let name = [&member.name, slash].concat();
        let is_table = member.name == TABLE.as_bytes();
        assert!(is_table || name.starts_with(b"./") && name.len() > 2, "{member:?}");
        assert!(previous < name, "{member:?} comes too late, or again");
        previous = name;
        match member.kind {
            'f' => assert!(files.insert(&member.name), "{member:?} is there twice"),
            'h' => assert!(files.contains(&member.target), "{member:?} is before its target"),
            _ => {}
        }
    }
    let mut archive = tar::Archive::new(tar);
    let ends = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        entry.raw_file_position() + entry.size().next_multiple_of(512)
    });
    let end = ends.max().unwrap_or(0) as usize;
    assert_eq!(&tar[end..], [0; 1024], "the archive ends with two empty blocks");
}

const PYTHON: &str = r#"
import hashlib, sys, tarfile
kinds = {tarfile.REGTYPE: "f", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.LNKTYPE: "h"}
raw = lambda text: text.encode("utf-8", "surrogateescape").hex()
with tarfile.open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as layer:
    for member in layer:
        content = ""
        if member.isreg() and not member.islnk():
            content = hashlib.sha256(layer.extractfile(member).read()).hexdigest()
        print(raw(member.name), kinds[member.type], member.mode, member.uid, member.gid,
              raw(member.uname), raw(member.gname), int(member.mtime), member.size,
              raw(member.linkname), content, sep="|")
"#;

/// The entries that Python's tarfile reads.
pub fn python(layer: &Path) -> Vec<Member> {
    let text = stdout(Command::new("python3").args(["-c", PYTHON]).arg(layer));
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let member = |line: &str| {
        let fields: Vec<&str> = line.split('|').collect();
        Member {
            name: hex(fields[0]),
            kind: fields[1].parse().unwrap(),
            mode: fields[2].parse().unwrap(),
            owner: fields[3].parse().unwrap(),
            group: fields[4].parse().unwrap(),
            owner_name: String::from_utf8(hex(fields[5])).unwrap(),
            group_name: String::from_utf8(hex(fields[6])).unwrap(),
            mtime: fields[7].parse().unwrap(),
            size: fields[8].parse().unwrap(),
            target: hex(fields[9]),
            content: fields[10].to_string(),
        }
    };
    text.lines().map(member).collect()
}

/// The entries that the tar crate reads, in this process.
pub fn tar_crate(layer: &Path) -> Vec<Member> {
    let bytes = fs::read(layer).unwrap();
    let members = tar_crate_members(&bytes);
    check_form(&bytes, &members);
    members
}

pub fn tar_crate_members(tar: &[u8]) -> Vec<Member> {
    let mut archive = tar::Archive::new(tar);
    let members = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"")).into_owned();
        let kind = match header.entry_type() {
            tar::EntryType::Regular => 'f',
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Link => 'h',
            other => panic!("an entry of type {other:?}"),
        };
        let name = entry.path_bytes();
        Member {
            name: name.strip_suffix(b"/").unwrap_or(&name).to_vec(),
            kind,
            mode: header.mode().unwrap(),
            owner: header.uid().unwrap(),
            group: header.gid().unwrap(),
            owner_name: text(header.username_bytes()),
            group_name: text(header.groupname_bytes()),
            mtime: header.mtime().unwrap() as i64,
            size: entry.size(),
            target: entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default(),
            content: if kind == 'f' { sha256(&content) } else { String::new() },
        }
    });
    members.collect()
}

/// The entries that GNU tar lists, without contents and owner names. [`unpacked`] checks times.
fn gnu_tar(layer: &Path) -> Vec<Member> {
    let mut command = Command::new("tar");
    command.args(["--numeric-owner", "--full-time", "--quoting-style=escape", "-tvf"]).arg(layer);
    let text = stdout(command.env("LC_ALL", "C").env("TZ", "UTC"));
    let member = |line: &str| {
        // -rwxr-xr-x 0/0        5000 2023-01-01 08:00:00 ./app/main.py
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.trim_start().split_once(' ').unwrap();
            rest = after;
            word
        };
        let (permissions, owners, size, _date, _time) = (word(), word(), word(), word(), word());
        let (owner, group) = owners.split_once('/').unwrap();
        let kind = match &permissions[..1] {
            "-" => 'f',
            other => other.parse().unwrap(),
        };
        let (name, target) = match kind {
            'l' => rest.split_once(" -> ").unwrap(),
            'h' => rest.split_once(" link to ").unwrap(),
            'd' => (rest.strip_suffix('/').unwrap(), ""),
            _ => (rest, ""),
        };
        Member {
            owner: owner.parse().unwrap(),
            group: group.parse().unwrap(),
            size: size.parse().unwrap(),
            target: unescape(target),
            mtime: 0,
            ..Member::of(kind, mode(permissions.as_bytes()), unescape(name))
        }
    };
    text.lines().map(member).collect()
}

/// Parses a mode such as `-rwsr-xr-x`.
fn mode(permissions: &[u8]) -> u32 {
    let mut mode = 0;
    for (index, &letter) in permissions[1..10].iter().enumerate() {
        if !b"-ST".contains(&letter) {
            mode |= 0o400 >> index;
        }
        if b"sStT".contains(&letter) {
            mode |= 0o4000 >> (index / 3);
        }
    }
    mode
}

/// Undoes C escapes.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let length = if rest[0].is_ascii_digit() { 3 } else { 1 };
        bytes.push(match &rest[..length] {
            b"?" => 0x7f,
            b"a" => 0x07,
            b"b" => 0x08,
            b"f" => 0x0c,
            b"n" => b'\n',
            b"r" => b'\r',
            b"t" => b'\t',
            b"v" => 0x0b,
            b"\\" => b'\\',
            digits => u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 8).unwrap(),
        });
        rest = &rest[length..];
    }
    bytes
}

/// The entries that bsdtar reads, sorted by name, or `None` if it is not installed.
fn bsdtar(layer: &Path) -> Option<Vec<Member>> {
    if !is_installed("bsdtar") {
        return None;
    }
    let mut command = Command::new("bsdtar");
    // UTF-8 names need a UTF-8 locale.
    let layer = [b"@", layer.as_os_str().as_bytes()].concat();
    command.args(["-cf", "-", "--format=mtree"]).arg(super::path(&layer));
    let text = stdout(command.env("LC_ALL", "C.UTF-8"));
    let mut members: Vec<Member> = text.lines().skip(1).map(mtree_line).collect();
    members.sort();
    Some(members)
}

/// One line of an mtree(5) listing.
pub fn mtree_line(line: &str) -> Member {
    let mut words = line.split(' ');
    let name = unescape(words.next().unwrap());
    let mut member = Member { name, ..Member::of('f', 0, "") };
    let text = |value| String::from_utf8(unescape(value)).unwrap();
    for word in words {
        let (keyword, value) = word.split_once('=').unwrap();
        match keyword {
            "type" if value == "dir" => member.kind = 'd',
            "type" if value == "link" => member.kind = 'l',
            "mode" => member.mode = u32::from_str_radix(value, 8).unwrap(),
            "uid" => member.owner = value.parse().unwrap(),
            "gid" => member.group = value.parse().unwrap(),
            "uname" => member.owner_name = text(value),
            "gname" => member.group_name = text(value),
            "time" => member.mtime = value.split('.').next().unwrap().parse().unwrap(),
            "size" => member.size = value.parse().unwrap(),
            "link" => member.target = unescape(value),
            _ => {}
        }
    }
    member
}

/// A file on disk after unpacking a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// As [`Member::kind`], without `h`.
    pub kind: char,
    pub mode: u32,
    pub mtime: i64,
    /// The target of a link, or the content of a file.
    pub content: Vec<u8>,
    /// The first path with the same inode.
    pub same_as: Vec<u8>,
}

/// The files that `unpacker` (`tar` or `bsdtar`) creates from a layer, by path; `None` if it is not installed.
pub fn unpacked(unpacker: &str, layer: &Path) -> Option<BTreeMap<Vec<u8>, Unpacked>> {
    if !is_installed(unpacker) {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(unpacker);
    command.args(["--no-same-owner", "-xpf"]).arg(layer).arg("-C").arg(directory.path());
    stdout(command.env("LC_ALL", "C.UTF-8"));
    let mut found = BTreeMap::new();
    walk(directory.path(), b"", &mut found);
    let mut first = BTreeMap::new();
    let unpacked = found.into_iter().map(|(path, (inode, mut unpacked))| {
        unpacked.same_as = first.entry(inode).or_insert_with(|| path.clone()).clone();
        (path, unpacked)
    });
    Some(unpacked.collect())
}

fn walk(directory: &Path, prefix: &[u8], found: &mut BTreeMap<Vec<u8>, (u64, Unpacked)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = [prefix, entry.file_name().as_bytes()].concat();
        let metadata = entry.metadata().unwrap();
        let (kind, content) = if metadata.is_dir() {
            walk(&entry.path(), &[&path, &b"/"[..]].concat(), found);
            ('d', Vec::new())
        } else if metadata.is_symlink() {
            ('l', fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes())
        } else {
            ('f', fs::read(entry.path()).unwrap())
        };
        let mode = metadata.permissions().mode() & 0o7777;
        let unpacked = Unpacked { kind, mode, mtime: metadata.mtime(), content, same_as: Vec::new() };
        found.insert(path, (metadata.ino(), unpacked));
    }
}

/// Decompresses a layer, with decoders that are independent of chunks.
pub fn decompressed(layer: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match layer {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(layer).read_to_end(&mut plain).unwrap();
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => zstd::stream::copy_decode(layer, &mut plain).unwrap(),
        _ => plain.extend_from_slice(layer),
    }
    plain
}

/// Whether `program` can be started. Prints a note if not.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("{program} is not installed: what it thinks of the layers is not tested");
    }
    found.is_ok()
}

/// The output of a program, which must succeed.
pub fn stdout(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}
