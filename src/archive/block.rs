//! The fields of a tar header block (pure).
//!
//! POSIX pax, "ustar Interchange Format", and the GNU tar manual, "Basic Tar Format".

use tar::Header;

/// The size of a block: headers and contents fill whole blocks.
pub const BLOCK_BYTES: usize = 512;

pub type Block = [u8; BLOCK_BYTES];

/// Where the checksum is in a header.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Whether `block` has only zeros, like the blocks at the end of a tar.
pub fn is_empty(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Whether the checksum of a header block is right. Some old writers sum up signed bytes, and readers accept
/// both sums (GNU tar manual, "Basic Tar Format").
pub fn has_valid_checksum(block: &Block) -> bool {
    let Some(stored) = number(&block[CHECKSUM]) else { return false };
    // The field counts as spaces.
    let spaces = CHECKSUM.len() as i64 * i64::from(b' ');
    let others = || block[..CHECKSUM.start].iter().chain(&block[CHECKSUM.end..]);
    let unsigned: i64 = others().map(|byte| i64::from(*byte)).sum();
    let signed: i64 = others().map(|byte| i64::from(byte.cast_signed())).sum();
    !is_empty(block) && (stored == unsigned + spaces || stored == signed + spaces)
}

/// Whether the block is a header of a format later than that of Version 7 Unix, which has no magic number.
pub fn has_magic(block: &Block) -> bool {
    let header = Header::from_byte_slice(block);
    header.as_ustar().is_some() || header.as_gnu().is_some()
}

/// A number in a header: octal digits between spaces and NULs, or base-256, which is in two's complement with
/// the first bit set (GNU tar manual, "Extensions to the ustar Format"). An empty field is 0. `None` if it is
/// neither, or does not fit.
pub fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Bit 6 is the sign. Twelve bytes fit an i128.
        let first = i128::from((first << 1).cast_signed() >> 1);
        let value = rest.iter().fold(first, |value, byte| value << 8 | i128::from(*byte));
        return value.try_into().ok();
    }
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let digits = text(&field[start..]).trim_ascii_end();
    digits.iter().try_fold(0i64, |value, digit| match digit {
        // Twelve digits fit an i64.
        b'0'..=b'7' => Some(value << 3 | i64::from(digit - b'0')),
        _ => None,
    })
}

/// A text in a header: it ends at the first NUL, or fills the field.
pub fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let cases: [(&[u8], Option<i64>); 17] = [
            (b"0000755\0", Some(0o755)),
            (b"   755 \0", Some(0o755)),
            (b"755\0junk", Some(0o755)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"\x000755\0", Some(0o755)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"0000758\0", None),
            (b"-000001\0", None),
            (b"7 7", None),
            (b"", None),
        ];
        for (field, expected) in cases {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn checksums_are_of_signed_or_unsigned_bytes() {
        let mut header = Header::new_ustar();
        header.set_path("caf\u{e9}").unwrap();
        header.set_cksum();
        assert!(has_valid_checksum(header.as_bytes()));
        let signed = number(&header.as_old().cksum).unwrap() - 2 * 256;
        header.as_old_mut().cksum = format!("{signed:06o}\0 ").into_bytes().try_into().unwrap();
        assert!(has_valid_checksum(header.as_bytes()));
        header.as_old_mut().name[0] ^= 1;
        assert!(!has_valid_checksum(header.as_bytes()));
        assert!(!has_valid_checksum(&[0; BLOCK_BYTES]) && is_empty(&[0; BLOCK_BYTES]));
    }

    #[test]
    fn only_version_7_has_no_magic_number() {
        assert!(has_magic(Header::new_ustar().as_bytes()) && has_magic(Header::new_gnu().as_bytes()));
        assert!(!has_magic(Header::new_old().as_bytes()));
    }
}
