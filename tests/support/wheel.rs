//! Makes wheels, correct ones and others.

use std::io::Write;

/// A member of a wheel: what its local header, its record in the directory and its data say.
#[derive(Clone)]
pub struct Member {
    pub local: Header,
    pub record: Header,
    pub data: Vec<u8>,
    /// Whether sizes and offset are in ZIP64 extra fields.
    pub zip64: bool,
}

#[derive(Clone)]
pub struct Header {
    pub name: String,
    pub flags: u16,
    pub method: u16,
    pub crc: u32,
    pub compressed: u64,
    pub size: u64,
}

/// Bit 0 of the flags.
pub const ENCRYPTED: u16 = 1;
/// Bit 3 of the flags: the sizes are after the data.
pub const DATA_DESCRIPTOR: u16 = 1 << 3;

pub const STORED: u16 = 0;
pub const DEFLATED: u16 = 8;

impl Member {
    /// A deflated file.
    pub fn new(name: &str, content: &[u8]) -> Member {
        Member::with_data(name, content, deflate(content), DEFLATED)
    }

    /// A file with this compressed form.
    pub fn with_data(name: &str, content: &[u8], data: Vec<u8>, method: u16) -> Member {
        let (size, compressed) = (content.len() as u64, data.len() as u64);
        let header = Header { name: name.to_string(), flags: 0, method, crc: crc(content), compressed, size };
        Member { local: header.clone(), record: header, data, zip64: false }
    }

    pub fn flags(mut self, flags: u16) -> Member {
        self.local.flags = flags;
        self.record.flags = flags;
        self
    }
}

pub fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn crc(content: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    crc.sum()
}

/// A zip archive (APPNOTE 4.3) with these members.
pub fn wheel(members: &[Member]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for Member { local, record, data, zip64 } in members {
        let offset = archive.len() as u64;
        let descriptor = local.flags & DATA_DESCRIPTOR != 0;
        archive.extend(b"PK\x03\x04");
        let extra = zip64.then(|| field(&[local.size, local.compressed])).unwrap_or_default();
        common(&mut archive, local, *zip64, descriptor, extra.len());
        archive.extend(local.name.bytes().chain(extra));
        archive.extend(data);
        if descriptor {
            archive.extend(b"PK\x07\x08");
            archive.extend(local.crc.to_le_bytes());
            for size in [local.compressed, local.size] {
                archive.extend(&size.to_le_bytes()[..if *zip64 { 8 } else { 4 }]);
            }
        }
        directory.extend(b"PK\x01\x02\x14\x03");
        let extra = zip64.then(|| field(&[record.size, record.compressed, offset])).unwrap_or_default();
        common(&mut directory, record, *zip64, false, extra.len());
        // No comment, disk and attributes.
        directory.extend([0; 10]);
        directory.extend(if *zip64 { u32::MAX } else { offset as u32 }.to_le_bytes());
        directory.extend(record.name.bytes().chain(extra));
    }
    let (offset, count) = (archive.len() as u32, members.len() as u16);
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    archive.extend([(directory.len() as u32).to_le_bytes(), offset.to_le_bytes()].concat());
    archive.extend([0; 2]);
    archive
}

/// The fields that local headers and records in the directory share.
fn common(bytes: &mut Vec<u8>, header: &Header, zip64: bool, is_empty: bool, extra: usize) {
    let Header { name, flags, method, crc, compressed, size } = header;
    for number in [20, *flags, *method, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    let sizes = [*compressed, *size].map(|size| if zip64 { u32::MAX } else { size as u32 });
    for number in [*crc, sizes[0], sizes[1]] {
        bytes.extend(if is_empty { 0 } else { number }.to_le_bytes());
    }
    for length in [name.len(), extra] {
        bytes.extend((length as u16).to_le_bytes());
    }
}

/// A ZIP64 extra field.
fn field(numbers: &[u64]) -> Vec<u8> {
    let length = (8 * numbers.len()) as u16;
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    [1u16, length].iter().flat_map(|number| number.to_le_bytes()).chain(numbers).collect()
}
