//! Tars of other tools, in every format, with every compression.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pylayer::contents::Entry;

use crate::support::readers::{is_installed, stdout};
use crate::support::sha256;
use crate::{entries, layer, layers_at};

/// Writes the entries of a tar as JSON in the form of `pylayer::contents::Entry`.
const PYTHON_READER: &str = r#"
import decimal, hashlib, json, sys, tarfile

KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.CONTTYPE: "file", tarfile.LNKTYPE: "hardlink",
         tarfile.SYMTYPE: "symlink", tarfile.DIRTYPE: "directory", tarfile.CHRTYPE: "character",
         tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}

def text(value):
    raw = value.encode("utf-8", "surrogateescape")
    return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")

def path(value):
    return "/".join(part for part in value.split("/") if part not in ("", "."))

digests = {}

def entry(tar, member):
    kind, name, link = KINDS.get(member.type, "file"), path(member.name), None
    if kind == "symlink":
        link = text(member.linkname)
    elif kind == "hardlink":
        link = text(path(member.linkname))
    directory, _, base = name.rpartition("/")
    if base == ".wh..wh..opq":
        kind, name = "opaque", directory
    elif base.startswith(".wh."):
        kind, name = "whiteout", "/".join(filter(None, [directory, base.removeprefix(".wh.")]))
    mtime = decimal.Decimal(member.pax_headers.get("mtime", member.mtime))
    seconds = int(mtime.to_integral_value(decimal.ROUND_FLOOR))
    prefix = "SCHILY.xattr."
    sha256 = None
    if kind == "file":
        sha256 = hashlib.sha256(tar.extractfile(member).read()).hexdigest()
    elif kind == "hardlink":
        sha256 = digests.get(path(member.linkname))
    digests[name] = sha256
    return {
        "path": text(name), "type": kind, "size": member.size if kind == "file" else 0, "sha256": sha256,
        "link": link, "mode": member.mode & 0o7777, "uid": member.uid, "gid": member.gid,
        "uname": text(member.uname), "gname": text(member.gname),
        "mtime": seconds, "nanoseconds": int((mtime - seconds) * 10**9),
        "device": [member.devmajor, member.devminor] if kind in ("character", "block") else None,
        "xattrs": {key.removeprefix(prefix): text(value) for key, value in member.pax_headers.items()
                   if key.startswith(prefix)},
    }

with tarfile.open(sys.argv[1], encoding="utf-8", errors="surrogateescape") as tar:
    print(json.dumps([entry(tar, member) for member in tar]))
"#;

/// Writes a tar with entries that file systems and unprivileged users do not have.
const PYTHON_WRITER: &str = r#"
import io, sys, tarfile

output, format = sys.argv[1], getattr(tarfile, sys.argv[2])
is_pax, is_ustar = format == tarfile.PAX_FORMAT, format == tarfile.USTAR_FORMAT

def add(tar, name, type=tarfile.REGTYPE, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.type, member.size, member.mtime = type, len(content), 1700000000
    for field, value in fields.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(content))

options = {"pax_headers": {"comment": "global", "gname": "everyone"}} if is_pax else {}
with tarfile.open(output, "w", format=format, **options) as tar:
    add(tar, "./", tarfile.DIRTYPE, mode=0o755)
    add(tar, "/etc//passwd", content=b"root", mode=0o104755)
    add(tar, "dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    add(tar, "dev/sda", tarfile.BLKTYPE, devmajor=8, devminor=0, uname="root", gname="disk")
    add(tar, "run/fifo", tarfile.FIFOTYPE)
    add(tar, "usr/bin/python3.11", content=b"\x7fELF" * 1000, uname="J\u00fcrgen", mode=0o4711)
    add(tar, "usr/bin/python3", tarfile.LNKTYPE, linkname="./usr/bin/python3.11")
    add(tar, "usr/bin/python", tarfile.LNKTYPE, linkname="/usr/bin/python3")
    add(tar, "lib", tarfile.SYMTYPE, linkname="usr/../usr/lib/./")
    add(tar, "tmp/.wh.gone")
    add(tar, "tmp/.wh..hidden")
    add(tar, "var/cache/.wh..wh..opq")
    add(tar, ".wh..wh..opq")
    add(tar, "back\\slash")
    add(tar, "d/" * 60 + "file", content=b"in the prefix")
    add(tar, "old", tarfile.AREGTYPE, content=b"old")
    add(tar, "contiguous", tarfile.CONTTYPE, content=b"tiguous")
    add(tar, "unknown", b"Z", content=b"like a file")
    if not is_ustar:
        add(tar, "n" * 300 + "/" + "m" * 200, content=b"long")
        add(tar, "long link", tarfile.SYMTYPE, linkname="l/" * 200)
        add(tar, "long hard link", tarfile.LNKTYPE, linkname="n" * 300 + "/" + "m" * 200)
        add(tar, "caf\udce9", content=b"not UTF-8")
        add(tar, "big ids", uid=4_000_000_000, gid=2**40)
        add(tar, "far future", mtime=2**40)
        add(tar, "long ago", mtime=-3)
    if is_pax:
        add(tar, "fraction", mtime=1700000000.25)
        add(tar, "negative fraction", pax_headers={"mtime": "-1.5"})
        add(tar, "nanoseconds", pax_headers={"mtime": "1700000000.123456789"})
        add(tar, "attributes", content=b"x", pax_headers={
            "SCHILY.xattr.user.comment": "two\nlines=2", "SCHILY.xattr.security.selinux": "a\\b", "other": "no"})
        add(tar, "own gname", pax_headers={"gname": "me"})
"#;

/// What Python reads.
fn python(tar: &Path) -> Vec<Entry> {
    let json = stdout(Command::new("python3").args(["-c", PYTHON_READER]).arg(tar));
    serde_json::from_str(&json).unwrap()
}

/// Checks a plain tar, and the same tar compressed by each tool.
fn check(tar: &Path) -> Vec<Entry> {
    let expected = python(tar);
    let [plain] = layers_at(tar, None).try_into().unwrap();
    let found: Vec<Entry> =
        entries(&plain).into_iter().map(|entry| Entry { machine: None, ..entry }).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected, "{}", tar.display());
    }
    assert_eq!(found.len(), expected.len());
    let bytes = fs::read(tar).unwrap();
    assert_eq!(plain.contents.diff_id, format!("sha256:{}", sha256(&bytes)));
    for (command, is_parallel) in COMPRESSORS {
        if !is_installed(command[0]) {
            continue;
        }
        let compressed = compress(command, &bytes);
        let layer = layer(&compressed[..]).unwrap();
        assert_eq!(entries(&layer), entries(&plain), "{command:?}");
        let contents = &layer.contents;
        assert_eq!((&contents.diff_id, contents.tar_size), (&plain.contents.diff_id, plain.contents.size));
        assert_eq!(contents.digest, format!("sha256:{}", sha256(&compressed)));
        assert!(is_parallel || contents.chunks == 1, "{command:?}");
        let sum: u64 = contents.entries.iter().map(|entry| entry.compressed).sum();
        assert!(sum <= contents.size, "{command:?}");
    }
    expected
}

/// Compressors of standard input, and whether they may write several chunks.
const COMPRESSORS: [(&[&str], bool); 6] = [
    (&["gzip", "-nc"], false),
    (&["gzip", "-1c"], false),
    (&["pigz", "-c", "-p2", "-b128"], false),
    (&["zstd", "-qc", "-T2"], false),
    (&["zstd", "-qc", "--long=27"], false),
    (&["zstd", "-qc", "--format=gzip"], false),
];

fn compress(command: &[&str], bytes: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("input");
    fs::write(&input, bytes).unwrap();
    let mut process = Command::new(command[0]);
    process.args(&command[1..]).stdin(fs::File::open(input).unwrap()).stderr(Stdio::inherit());
    process.output().unwrap().stdout
}

/// A directory with what unprivileged users can create.
fn source() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join("root").join(name);
    fs::create_dir_all(path("app/empty")).unwrap();
    fs::create_dir_all(path(&format!("app/{}", "long/".repeat(30)))).unwrap();
    fs::write(path("app/main.py"), "print()").unwrap();
    fs::write(path("app/\u{65e5}\u{672c}"), "").unwrap();
    fs::write(path("app/a b\\c"), "x".repeat(5000)).unwrap();
    fs::write(path(&format!("app/{}{}", "long/".repeat(30), "f".repeat(200))), "long").unwrap();
    fs::hard_link(path("app/main.py"), path("app/zz_link.py")).unwrap();
    std::os::unix::fs::symlink("../x/./y", path("app/symlink")).unwrap();
    std::os::unix::fs::symlink("s".repeat(150), path("app/long symlink")).unwrap();
    stdout(Command::new("mkfifo").arg(path("app/fifo")));
    stdout(Command::new("touch").args(["-d", "2023-11-14T22:13:20.123456789Z"]).arg(path("app/main.py")));
    stdout(Command::new("touch").args(["-d", "1969-12-31T23:59:58.5Z"]).arg(path("app/empty")));
    directory
}

/// What the older formats cannot represent.
const EXCLUDED: [&str; 3] = ["--exclude=long*", "--exclude=empty", "--exclude=fifo"];

/// The kinds of entries and the names must be there, or the comparison proves nothing.
fn has(entries: &[Entry], path: &str) -> bool {
    entries.iter().any(|entry| entry.path == path.as_bytes())
}

#[test]
fn tars_of_gnu_tar() {
    let source = source();
    for format in ["gnu", "oldgnu", "posix"] {
        let tar = source.path().join(format!("{format}.tar"));
        let mut command = Command::new("tar");
        command.arg(format!("--format={format}")).args(["--owner=J\u{fc}rgen:4000000000", "--group=g:5"]);
        command.args(["--sort=name", "-C"]).arg(source.path().join("root")).arg("-cf").arg(&tar).arg(".");
        stdout(command.env("LC_ALL", "C.UTF-8"));
        let entries = check(&tar);
        assert!(has(&entries, "app/\u{65e5}\u{672c}") && has(&entries, "app/zz_link.py"));
        let main = entries.iter().find(|entry| entry.path == b"app/main.py").unwrap();
        assert_eq!((main.nanoseconds > 0, main.uid), (format == "posix", 4_000_000_000));
    }
    for format in ["v7", "ustar"] {
        let tar = source.path().join(format!("{format}.tar"));
        let mut command = Command::new("tar");
        command.arg(format!("--format={format}")).args(EXCLUDED).arg("-C");
        command.arg(source.path().join("root")).arg("-cf").arg(&tar).arg("app");
        stdout(&mut command);
        assert!(has(&check(&tar), "app/main.py"));
    }
}

#[test]
fn tars_of_bsdtar() {
    if !is_installed("bsdtar") {
        return;
    }
    let source = source();
    for format in ["pax", "gnutar"] {
        let tar = source.path().join(format!("{format}.tar"));
        let mut command = Command::new("bsdtar");
        command.arg(format!("--format={format}")).args(["--uid=3000000", "--uname=u", "-C"]);
        command.arg(source.path().join("root")).arg("-cf").arg(&tar).args(["app"]);
        stdout(command.env("LC_ALL", "C.UTF-8"));
        assert!(has(&check(&tar), "app/\u{65e5}\u{672c}"));
    }
    for format in ["ustar", "v7"] {
        let tar = source.path().join(format!("{format}.tar"));
        let mut command = Command::new("bsdtar");
        command.arg(format!("--format={format}")).args(EXCLUDED).arg("-C");
        command.arg(source.path().join("root")).arg("-cf").arg(&tar).arg("app/");
        stdout(command.env("LC_ALL", "C.UTF-8"));
        assert!(has(&check(&tar), "app/main.py"));
    }
}

#[test]
fn tars_of_python() {
    let directory = tempfile::tempdir().unwrap();
    for format in ["USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"] {
        let tar = directory.path().join("layer.tar");
        stdout(Command::new("python3").args(["-c", PYTHON_WRITER]).arg(&tar).arg(format));
        let entries = check(&tar);
        assert_eq!(has(&entries, "attributes"), format == "PAX_FORMAT");
        assert!(has(&entries, "tmp/gone") && has(&entries, "dev/null"));
    }
}

#[test]
fn gzip_files_in_a_row() {
    let directory = tempfile::tempdir().unwrap();
    let tar = directory.path().join("layer.tar");
    stdout(Command::new("python3").args(["-c", PYTHON_WRITER]).arg(&tar).arg("PAX_FORMAT"));
    let bytes = fs::read(tar).unwrap();
    for command in [&["gzip", "-c"][..], &["zstd", "-qc"]] {
        if !is_installed(command[0]) {
            continue;
        }
        let parts: Vec<Vec<u8>> = bytes.chunks(3000).map(|part| compress(command, part)).collect();
        let contents = layer(&parts.concat()[..]).unwrap().contents;
        assert_eq!(contents.chunks, parts.len() as u64);
        assert_eq!(contents.diff_id, format!("sha256:{}", sha256(&bytes)));
    }
}

#[test]
fn sparse_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::File::create(directory.path().join("hole")).unwrap().set_len(10 << 20).unwrap();
    let versions = ["--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"];
    let formats = [("gnu", ""), ("posix", versions[0]), ("posix", versions[1]), ("posix", versions[2])];
    for (format, version) in formats {
        let tar: PathBuf = directory.path().join("layer.tar");
        let mut command = Command::new("tar");
        command
            .arg("--sparse")
            .arg(format!("--format={format}"))
            .args(Some(version).filter(|v| !v.is_empty()));
        command.arg("-C").arg(directory.path()).arg("-cf").arg(&tar).arg("hole");
        stdout(&mut command);
        let message = layer(fs::File::open(&tar).unwrap()).unwrap_err().to_string();
        assert!(message.contains("is a sparse file") && message.contains("hole"), "{message}");
    }
}

#[test]
fn xz_files_are_named() {
    if is_installed("xz") {
        let message = layer(&compress(&["xz", "-c"], b"content")[..]).unwrap_err().to_string();
        assert!(message.contains("an xz file") && message.contains("xz -d"), "{message}");
    }
}
