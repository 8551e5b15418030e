//! Escapes and shortens arbitrary bytes for use in messages.

use std::ffi::OsStr;
use std::fmt::Write;

/// Maximum length of the text that [`show`] returns, in characters. Paths in real images are shorter.
const MAX_CHARS: usize = 200;

/// `bytes` as printable text of at most 200 characters. The middle of a longer text is elided, because
/// the ends of a path are more informative. Backslashes are not escaped, so that patterns stay readable.
pub fn show(bytes: &[u8]) -> String {
    let parts = bytes.split_inclusive(|&byte| byte == b'\\').map(|part| match part.strip_suffix(b"\\") {
        Some(before) => escape(before) + "\\",
        None => escape(part),
    });
    elide(parts.collect(), MAX_CHARS)
}

/// `text` without its middle if it has more than `max` characters. `max` is at least 1.
pub fn elide(text: String, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text;
    }
    let kept_at_end = max.saturating_sub(1) / 2;
    let start = text.chars().take(max.saturating_sub(1) - kept_at_end);
    let end = text.chars().skip(count - kept_at_end);
    start.chain(['…']).chain(end).collect()
}

/// `path` in at most `width` columns: the start of a longer one is elided, because ends differ more.
pub fn fit_path(path: &str, width: usize) -> String {
    let count = path.chars().count();
    if count <= width {
        path.to_string()
    } else {
        ['…'].into_iter().chain(path.chars().skip(count + 1 - width)).collect()
    }
}

/// [`show`] of a path on this machine.
pub fn show_path(path: impl AsRef<OsStr>) -> String {
    show(path.as_ref().as_encoded_bytes())
}

/// `bytes` in lower-case hexadecimal digits, as digests are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A SHA-256 digest as in OCI descriptors: `sha256:` and its hexadecimal digits.
pub fn sha256(digest: &[u8; 32]) -> String {
    format!("sha256:{}", hex(digest))
}

/// A number of bytes in binary units: `512 B`, `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // The unit in which the number, rounded to tenths, is less than 1024.
    let tenths = |power: usize| (u128::from(bytes) * 10 + (1 << (10 * power - 1))) >> (10 * power);
    let power = (1..UNITS.len()).find(|power| tenths(*power) < 10240).unwrap_or(UNITS.len());
    format!("{}.{} {}", tenths(power) / 10, tenths(power) % 10, UNITS[power - 1])
}

/// A number with separators: `1,138`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `bytes` as printable text. Control characters and backslashes are escaped as in a Rust string,
/// invalid UTF-8 as `\xNN`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        // `escape_debug` would also escape quotes.
        for part in chunk.valid().split_inclusive(['\'', '"']) {
            let plain = part.trim_end_matches(['\'', '"']);
            text.extend(plain.escape_debug());
            text.push_str(&part[plain.len()..]);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_decimal() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_900_000, "12.3 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            ((1 << 30) - (1 << 20), "1023.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn numbers_have_separators() {
        let texts = [0, 12, 999, 1000, 12_345, 1_234_567].map(count);
        assert_eq!(texts, ["0", "12", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn printable_text_is_unchanged() {
        for text in ["", "app/server.runfiles/_main/a b's \"c\".py", "café/日本/हिन्दी"] {
            assert_eq!(show(text.as_bytes()), text);
        }
    }

    #[test]
    fn unprintable_text_is_escaped() {
        assert_eq!(escape(b"a\nb\tc\\\x1b[31m\0\x7f"), r"a\nb\tc\\\u{1b}[31m\0\u{7f}");
        assert_eq!(show(b"a\nb\tc\\\x1b[31m\0\x7f"), r"a\nb\tc\\u{1b}[31m\0\u{7f}");
        assert_eq!(show(br"\.so$\"), r"\.so$\");
        assert_eq!(show("\u{202e}\u{200b}\u{85}".as_bytes()), r"\u{202e}\u{200b}\u{85}");
        assert_eq!(show(b"caf\xe9/\xff\xc3"), r"caf\xe9/\xff\xc3");
    }

    #[test]
    fn a_long_text_loses_its_middle() {
        let whole = "é".repeat(MAX_CHARS);
        assert_eq!(show(whole.as_bytes()), whole);
        let long = format!("start{}end", "é".repeat(MAX_CHARS));
        let shown = show(long.as_bytes());
        assert_eq!(shown.chars().count(), MAX_CHARS);
        assert!(shown.starts_with("start") && shown.contains('…') && shown.ends_with("end"));
        assert_eq!(escape(long.as_bytes()), long);
        assert_eq!(show(&[0xff; 1 << 20]).chars().count(), MAX_CHARS);
        let elided = [1, 2, 5, 6].map(|max| elide("abcdef".to_owned(), max));
        assert_eq!(elided, ["…", "a…", "ab…ef", "abcdef"]);
    }
}
