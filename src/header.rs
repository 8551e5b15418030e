//! Encodes the header blocks of a tar entry: ustar, preceded by a PAX header if ustar cannot represent
//! the entry.
//!
//! A PAX header (POSIX.1-2001, "pax Interchange Format") is written only for a name or link target that
//! does not fit or is not ASCII, a size of 8 GiB or more, an owner or group above 2 097 151, or a time
//! above 8 589 934 591. All readers support both forms. Nothing in them depends on the clock, the host
//! or the process.
//!
//! Numbers that do not fit in ustar's octal digits are also stored in binary in the ustar field (GNU
//! tar's manual, "Basic Tar Format"), as bsdtar does. Otherwise readers that skip PAX headers, such as
//! busybox, would read a size of 0, and parse the file's content as the next header.

use tar::{EntryType, Header};

use crate::metadata::Metadata;
use crate::plan::{Body, TarEntry};

/// The length of everything in a tar is a multiple of this.
pub const BLOCK_BYTES: u64 = 512;
/// A tar ends with two zero blocks (POSIX.1-1988), without further padding.
pub const END_OF_ARCHIVE_BYTES: u64 = 2 * BLOCK_BYTES;

/// The first value that does not fit in 11 octal digits, the width of sizes (8 GiB) and times.
const TWELVE_BYTE_FIELD_LIMIT: u64 = 1 << 33;
/// The first value that does not fit in 7 octal digits, the width of owners and groups.
const EIGHT_BYTE_FIELD_LIMIT: u64 = 1 << 21;
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;
const OWNER_NAME_BYTES: usize = 32;

/// The number of zero bytes after `size` bytes of content.
pub fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK_BYTES) - size
}

/// Appends the header blocks of `entry` to `out`.
pub fn encode(entry: &TarEntry, metadata: &Metadata, out: &mut Vec<u8>) {
    let records = pax_records(entry, metadata);
    if !records.is_empty() {
        out.extend_from_slice(pax_header(&entry.name, records.len() as u64).as_bytes());
        out.extend_from_slice(&records);
        out.resize(out.len() + padding(records.len() as u64) as usize, 0);
    }
    out.extend_from_slice(ustar_header(entry, metadata).as_bytes());
}

/// The number of bytes that [`encode`] appends.
pub fn encoded_length(entry: &TarEntry, metadata: &Metadata) -> u64 {
    match pax_records(entry, metadata).len() as u64 {
        0 => BLOCK_BYTES,
        records => 2 * BLOCK_BYTES + records + padding(records),
    }
}

fn link_target(entry: &TarEntry) -> &[u8] {
    match &entry.body {
        Body::Symlink(target) => target,
        Body::HardLink { target, .. } => target,
        Body::Directory | Body::File(_) | Body::EmptyFile | Body::Landmark => b"",
    }
}

fn ustar_header(entry: &TarEntry, metadata: &Metadata) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(match entry.body {
        Body::Directory => EntryType::Directory,
        Body::File(_) | Body::EmptyFile | Body::Landmark => EntryType::Regular,
        Body::Symlink(_) => EntryType::Symlink,
        Body::HardLink { .. } => EntryType::Link,
    });
    header.set_mode(entry.mode);
    header.set_uid(metadata.uid.into());
    header.set_gid(metadata.gid.into());
    header.set_size(entry.size());
    header.set_mtime(metadata.mtime);
    let fields = header.as_ustar_mut().expect("the header was made as ustar");
    match split(&entry.name) {
        Some((prefix, name)) => {
            fill(&mut fields.prefix, prefix);
            fill(&mut fields.name, name);
        }
        None => fill(&mut fields.name, &entry.name),
    }
    fill(&mut fields.linkname, link_target(entry));
    fill(&mut fields.uname, metadata.uname.as_bytes());
    fill(&mut fields.gname, metadata.gname.as_bytes());
    header.set_cksum();
    header
}

/// The header of the PAX header itself. Only readers without PAX support show its name.
fn pax_header(name: &[u8], length: u64) -> Header {
    let base = name.strip_suffix(b"/").unwrap_or(name);
    let base = base.rsplit(|&byte| byte == b'/').next().unwrap_or(base);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(length);
    header.set_mtime(0);
    let fields = header.as_ustar_mut().expect("the header was made as ustar");
    fill(&mut fields.name, &[b"PaxHeaders.0/", base].concat());
    header.set_cksum();
    header
}

/// Copies as much of `bytes` as fits.
fn fill(field: &mut [u8], bytes: &[u8]) {
    let length = field.len().min(bytes.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

/// Splits a name into ustar's prefix (≤ 155 bytes) and name (≤ 100 bytes), which readers join with a
/// `/`; `None` if that is impossible. The prefix is empty if the whole name fits.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME_BYTES {
        return Some((b"", name));
    }
    // The leftmost slash that leaves a short enough name gives the shortest prefix. A directory's
    // trailing slash is not considered, since it would leave an empty name.
    let from = name.len() - 1 - NAME_BYTES;
    let slash = from + name[from..name.len() - 1].iter().position(|&byte| byte == b'/')?;
    (slash <= PREFIX_BYTES).then(|| (&name[..slash], &name[slash + 1..]))
}

/// The records of the PAX header, sorted by key; empty if ustar suffices.
fn pax_records(entry: &TarEntry, metadata: &Metadata) -> Vec<u8> {
    let Metadata { uid, gid, uname, gname, mtime, .. } = metadata;
    let (uid, gid) = (u64::from(*uid), u64::from(*gid));
    let (name, target) = (&entry.name[..], link_target(entry));
    let long_name = split(name).is_none();
    let long_target = target.len() > NAME_BYTES;
    // ustar text is ASCII, PAX text is UTF-8. Other bytes are stored as they are in ustar if they fit,
    // which every reader accepts, and otherwise in PAX with `hdrcharset`.
    let utf8 = |text: &[u8]| std::str::from_utf8(text).is_ok();
    let foreign = |text: &[u8]| !text.is_ascii() && utf8(text);
    let binary = long_name && !utf8(name) || long_target && !utf8(target);
    let long = |text: &str| text.len() > OWNER_NAME_BYTES || foreign(text.as_bytes());
    let mut records = Vec::new();
    let mut record = |needed: bool, key: &str, value: &dyn AsRef<[u8]>| {
        if needed {
            pax_record(&mut records, key, value.as_ref());
        }
    };
    record(gid >= EIGHT_BYTE_FIELD_LIMIT, "gid", &gid.to_string());
    record(long(gname), "gname", gname);
    record(binary, "hdrcharset", b"BINARY");
    record(long_target || foreign(target), "linkpath", &target);
    record(*mtime >= TWELVE_BYTE_FIELD_LIMIT, "mtime", &mtime.to_string());
    record(long_name || foreign(name), "path", &name);
    record(entry.size() >= TWELVE_BYTE_FIELD_LIMIT, "size", &entry.size().to_string());
    record(uid >= EIGHT_BYTE_FIELD_LIMIT, "uid", &uid.to_string());
    record(long(uname), "uname", uname);
    records
}

/// Appends `"<length> <key>=<value>\n"`. The length includes its own digits.
fn pax_record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} {key}=").as_bytes());
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::FileContent;
    use std::io::Read;
    use std::sync::Arc;

    fn entry(name: &[u8], body: Body) -> TarEntry {
        TarEntry { name: name.to_vec().into(), mode: 0o755, body }
    }

    fn file(size: u64) -> Body {
        Body::File(Arc::new(FileContent { file: "f".into(), size, ..FileContent::default() }))
    }

    fn encoded(entry: &TarEntry, metadata: &Metadata) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(entry, metadata, &mut bytes);
        assert_eq!(bytes.len() as u64, encoded_length(entry, metadata));
        bytes
    }

    /// The entry as the tar crate reads it.
    fn decoded(entry: &TarEntry, metadata: &Metadata) -> (Vec<u8>, Vec<u8>, u64, u64) {
        let mut bytes = encoded(entry, metadata);
        bytes.extend([0; END_OF_ARCHIVE_BYTES as usize]);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let entry = entries.next().unwrap().unwrap();
        let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        (entry.path_bytes().into_owned(), target, entry.size(), entry.header().uid().unwrap())
    }

    #[test]
    fn plain_entries_are_one_ustar_block() {
        let bytes = encoded(&entry(b"./app/main.py", file(5)), &Metadata::default());
        assert_eq!(bytes.len(), 512);
        assert_eq!(&bytes[..14], b"./app/main.py\0");
        assert_eq!(&bytes[100..108], b"0000755\0");
        assert_eq!(&bytes[124..136], b"00000000005\0");
        assert_eq!(&bytes[136..148], format!("{:011o}\0", 1_672_560_000).as_bytes());
        assert_eq!(&bytes[257..265], b"ustar\x0000");
    }

    #[test]
    fn names_of_every_length_round_trip() {
        let component = |length: usize| vec![b'x'; length];
        for length in (1..300).chain([4000]) {
            for directory in [false, true] {
                for slash in [None, Some(2), Some(length / 2), Some(length - 1)] {
                    let mut name = component(length);
                    if let Some(slash) = slash.filter(|slash| (1..length).contains(slash)) {
                        name[slash] = b'/';
                    }
                    let body = if directory || name.ends_with(b"/") {
                        name.push(b'/');
                        Body::Directory
                    } else {
                        Body::EmptyFile
                    };
                    let (path, ..) = decoded(&entry(&name, body), &Metadata::default());
                    assert_eq!(path, name, "{length} {slash:?}");
                }
            }
        }
    }

    #[test]
    fn pax_is_used_only_where_needed() {
        let blocks = |name: &[u8], body: Body| encoded(&entry(name, body), &Metadata::default()).len() / 512;
        assert_eq!(blocks(&[b'x'; 100], Body::EmptyFile), 1);
        assert_eq!(blocks(&[b'x'; 101], Body::EmptyFile), 3);
        let prefixed =
            |prefix: usize, name: usize| [vec![b'p'; prefix], vec![b'/'], vec![b'n'; name]].concat();
        assert_eq!(blocks(&prefixed(155, 100), Body::EmptyFile), 1);
        assert_eq!(blocks(&prefixed(156, 99), Body::EmptyFile), 3);
        assert_eq!(blocks(&prefixed(1, 101), Body::EmptyFile), 3);
        assert_eq!(blocks("./café".as_bytes(), Body::EmptyFile), 3);
        assert_eq!(blocks(b"./caf\xe9", Body::EmptyFile), 1, "not UTF-8, but it fits");
        assert_eq!(blocks(b"./l", Body::Symlink(vec![b't'; 100])), 1);
        assert_eq!(blocks(b"./l", Body::Symlink(vec![b't'; 101])), 3);
        assert_eq!(blocks(b"./f", file((1 << 33) - 1)), 1);
        assert_eq!(blocks(b"./f", file(1 << 33)), 3);
    }

    #[test]
    fn large_values_round_trip() {
        let metadata = Metadata { uid: 4_000_000_000, mtime: 1 << 40, ..Metadata::default() };
        let (_, _, size, _) = decoded(&entry(b"./f", file(10 << 30)), &metadata);
        assert_eq!(size, 10 << 30);
        let bytes = encoded(&entry(b"./f", file(10 << 30)), &metadata);
        let text = String::from_utf8_lossy(&bytes[512..1024]);
        assert_eq!(
            text.trim_end_matches('\0'),
            "23 mtime=1099511627776\n20 size=10737418240\n18 uid=4000000000\n"
        );
    }

    #[test]
    fn large_values_are_in_the_ustar_fields_too() {
        let metadata = Metadata { uid: 3_000_000, gid: 4_000_000_000, mtime: 1 << 40, ..Metadata::default() };
        let bytes = encoded(&entry(b"./f", file(10 << 30)), &metadata);
        let ustar = &bytes[1024..];
        for (field, value) in [
            (&ustar[108..116], 3_000_000_u64),
            (&ustar[116..124], 4_000_000_000),
            (&ustar[124..136], 10 << 30),
            (&ustar[136..148], 1 << 40),
        ] {
            // Binary, big-endian, with the highest bit set to distinguish it from digits.
            let mut expected = vec![0; field.len() - 8];
            expected.extend(value.to_be_bytes());
            expected[0] |= 0x80;
            assert_eq!(field, expected, "{value}");
        }
        // The largest values that fit are written in octal.
        let metadata = Metadata { uid: (1 << 21) - 1, mtime: (1 << 33) - 1, ..Metadata::default() };
        let bytes = encoded(&entry(b"./f", file((1 << 33) - 1)), &metadata);
        assert_eq!(&bytes[108..116], b"7777777\0");
        assert_eq!(&bytes[124..148], b"77777777777\x0077777777777\0");
    }

    #[test]
    fn bytes_that_are_not_utf8_round_trip() {
        for length in [10, 200] {
            let name = [b"./".as_slice(), &vec![0xe9; length]].concat();
            let (path, ..) = decoded(&entry(&name, Body::EmptyFile), &Metadata::default());
            assert_eq!(path, name);
        }
    }

    #[test]
    fn record_lengths_count_themselves() {
        for length in 0..2000 {
            let mut records = Vec::new();
            pax_record(&mut records, "path", &vec![b'x'; length]);
            let mut digits = String::new();
            records.as_slice().take(4).read_to_string(&mut digits).unwrap();
            let said: usize = digits.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, records.len());
        }
    }
}
