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
    let text: String = parts.collect();
    let count = text.chars().count();
    if count <= MAX_CHARS {
        return text;
    }
    let start = text.chars().take(MAX_CHARS / 2);
    let end = text.chars().skip(count - (MAX_CHARS / 2 - 1));
    start.chain(['…']).chain(end).collect()
}

/// [`show`] of a path on this machine.
pub fn show_path(path: impl AsRef<OsStr>) -> String {
    show(path.as_ref().as_encoded_bytes())
}

/// `bytes` in lower-case hexadecimal digits, as digests are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    }
}
