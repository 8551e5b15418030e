//! The records of PAX extended headers (pure).
//!
//! POSIX pax, "pax Extended Header". Names are kept as the bytes that they are, with any `hdrcharset`.

use std::collections::BTreeMap;

/// Start of the keyword of an extended attribute (star; GNU tar and bsdtar write it too).
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Start of the keywords of a sparse file (GNU tar manual, "Storing Sparse Files").
const SPARSE: &[u8] = b"GNU.sparse.";
/// The other keywords that matter here.
const KEYWORDS: [&[u8]; 8] = [b"path", b"linkpath", b"size", b"mtime", b"uid", b"gid", b"uname", b"gname"];

/// A record that is not `LENGTH KEYWORD=VALUE` and a newline.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Records by keyword.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Adds the records of an extended header. A record replaces an earlier one with the same keyword.
    pub fn add(&mut self, mut header: &[u8]) -> Result<(), Malformed> {
        while !header.is_empty() {
            let (record, rest) = split_record(header).ok_or(Malformed)?;
            header = rest;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(Malformed)?;
            let (keyword, value) = (&record[..equals], &record[equals + 1..]);
            if KEYWORDS.contains(&keyword) || keyword.starts_with(XATTR) || keyword.starts_with(SPARSE) {
                self.0.insert(keyword.to_vec(), value.to_vec());
            }
        }
        Ok(())
    }

    /// The memory that the records take, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|(keyword, value)| keyword.len() + value.len()).sum()
    }
}

/// Splits off the first record, without its length and its newline.
fn split_record(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = header.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&header[..space]).ok()?.parse().ok()?;
    let (record, rest) = header.split_at_checked(length)?;
    Some((record.get(space + 1..)?.strip_suffix(b"\n")?, rest))
}

/// What applies to an entry: the records of its own header, and those of the global headers before it.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    pub own: &'a Records,
    pub global: &'a Records,
}

impl<'a> Attributes<'a> {
    /// The value of a keyword. An empty value of the entry's own hides the global one, and means that the
    /// ustar header has the value.
    pub fn value(&self, keyword: &str) -> Option<&'a [u8]> {
        let value = self.own.0.get(keyword.as_bytes()).or_else(|| self.global.0.get(keyword.as_bytes()))?;
        (!value.is_empty()).then_some(value)
    }

    /// A number that is not negative. `Some(None)` if the value is not one, or does not fit an `i64`.
    pub fn number(&self, keyword: &str) -> Option<Option<u64>> {
        self.value(keyword).map(|value| {
            let number: i64 = digits(value)?.parse().ok()?;
            number.try_into().ok()
        })
    }

    /// The modification time in seconds and nanoseconds. `Some(None)` if the value is not a time.
    pub fn mtime(&self) -> Option<Option<(i64, u64)>> {
        self.value("mtime").map(time)
    }

    /// Names and values of extended attributes.
    pub fn xattrs(&self) -> BTreeMap<&'a [u8], &'a [u8]> {
        let records = self.global.0.iter().chain(&self.own.0);
        records.filter_map(|(keyword, value)| Some((keyword.strip_prefix(XATTR)?, &value[..]))).collect()
    }

    /// Whether the entry is a sparse file.
    pub fn is_sparse(&self) -> bool {
        let mut keywords = self.own.0.keys().chain(self.global.0.keys());
        keywords.any(|keyword| keyword.starts_with(SPARSE))
    }
}

/// `value` as text, if it has only decimal digits. The standard library also accepts a plus sign.
fn digits(value: &[u8]) -> Option<&str> {
    value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok())?
}

/// A decimal number of seconds since 1970, such as `-1.5`, as whole seconds and the nanoseconds after
/// them. Further digits are ignored.
fn time(value: &[u8]) -> Option<(i64, u64)> {
    let (is_negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let point = value.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&value[..point], &value[point + 1..]),
        None => (value, &[][..]),
    };
    let seconds: i64 = digits(whole)?.parse().ok()?;
    let nanoseconds = digits(fraction)?.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = nanoseconds.fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some(match (is_negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

/// A record as a writer would write it.
#[cfg(test)]
pub fn record(keyword: &str, value: &str) -> String {
    let rest = format!(" {keyword}={value}\n");
    let length = (rest.len()..).find(|length| length.to_string().len() + rest.len() == *length);
    format!("{}{rest}", length.unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(header: &[(&str, &str)]) -> Records {
        let header: String = header.iter().map(|(keyword, value)| record(keyword, value)).collect();
        let mut records = Records::default();
        records.add(header.as_bytes()).unwrap();
        records
    }

    #[test]
    fn the_last_record_wins() {
        let own = records(&[
            ("path", "a"),
            ("path", "b"),
            ("mtime", "1.5"),
            ("uname", ""),
            ("hdrcharset", "BINARY"),
        ]);
        let global = records(&[("uname", "me"), ("gname", "us")]);
        let attributes = Attributes { own: &own, global: &global };
        assert_eq!(attributes.value("path"), Some(&b"b"[..]));
        assert_eq!(attributes.value("uname"), None);
        assert_eq!(attributes.value("gname"), Some(&b"us"[..]));
        assert_eq!(attributes.mtime(), Some(Some((1, 500_000_000))));
        assert_eq!((attributes.number("size"), attributes.number("path")), (None, Some(None)));
        assert!(!attributes.is_sparse());
        assert_eq!(own.bytes(), 5 + 8 + 5);
    }

    #[test]
    fn values_may_contain_newlines_and_equals_signs() {
        let own = records(&[("SCHILY.xattr.user.x", "a\nb=c"), ("GNU.sparse.major", "1")]);
        let none = Records::default();
        let attributes = Attributes { own: &own, global: &none };
        assert_eq!(attributes.xattrs().into_iter().collect::<Vec<_>>(), [(&b"user.x"[..], &b"a\nb=c"[..])]);
        assert!(attributes.is_sparse());
    }

    #[test]
    fn malformed_records_are_errors() {
        let headers: [&[u8]; 9] = [
            b"path=a\n",
            b"8 path=a\n",
            b"11 path=a\n",
            b"7 path\n",
            b"2 ",
            b"1 x=\n",
            b"-9 path=a\n",
            b"9 path=a\n\0",
            b"99999999999999999999 path=a\n",
        ];
        for header in headers {
            assert_eq!(Records::default().add(header), Err(Malformed), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn times_are_rounded_down() {
        let cases: [(&[u8], _); 10] = [
            (b"0", Some((0, 0))),
            (b"1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            (b"1.0000000019", Some((1, 1))),
            (b"1.", Some((1, 0))),
            (b"-1", Some((-1, 0))),
            (b"-1.5", Some((-2, 500_000_000))),
            (b"-0.25", Some((-1, 750_000_000))),
            (b".5", None),
            (b"1e3", None),
            (b"99999999999999999999", None),
        ];
        for (value, expected) in cases {
            assert_eq!(time(value), expected, "{}", value.escape_ascii());
        }
    }
}
