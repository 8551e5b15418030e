//! Writes error messages: lines that begin with the program's name.
//!
//! Text is collected, so that a short message is one write, and messages of processes that share stderr
//! do not mix.

use crate::errno::Errno;

/// Where messages go.
pub trait Output {
    fn write(&mut self, bytes: &[u8]);
}

/// A message, written when it is dropped.
pub struct Message<'a, O: Output> {
    name: &'a [u8],
    output: O,
    buffer: [u8; 1024],
    len: usize,
}

impl<'a, O: Output> Message<'a, O> {
    /// A message of the program at the path `program`.
    pub fn new(program: &'a [u8], output: O) -> Self {
        let name = program.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let name = if name.is_empty() { b"launcher" } else { name };
        Message { name, output, buffer: [0; 1024], len: 0 }
    }

    /// A line of these parts, of which every second one is a path or other text from outside.
    pub fn line(&mut self, parts: &[&[u8]]) -> &mut Self {
        self.quote(self.name);
        self.text(b": ");
        for (index, part) in parts.iter().enumerate() {
            if index % 2 == 0 { self.text(part) } else { self.quote(part) }
        }
        self.text(b"\n");
        self
    }

    fn text(&mut self, text: &[u8]) {
        text.iter().for_each(|&byte| self.byte(byte));
    }

    /// Control characters are escaped, since a terminal could act on them.
    fn quote(&mut self, text: &[u8]) {
        for &byte in text {
            if byte < b' ' || byte == 0x7f {
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
                self.text(&[b'\\', b'x', digit(byte >> 4), digit(byte)]);
            } else {
                self.byte(byte);
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        if self.len == self.buffer.len() {
            self.flush();
        }
        self.buffer[self.len] = byte;
        self.len += 1;
    }

    fn flush(&mut self) {
        self.output.write(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl<O: Output> Drop for Message<'_, O> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The text of an error, or its number.
pub fn error_text(error: Errno, memory: &mut [u8; 16]) -> &[u8] {
    if let Some(text) = error.text() {
        return text.as_bytes();
    }
    let mut number = error.0.unsigned_abs();
    let mut start = memory.len();
    // An `i32` has at most 10 digits, which leaves room for the 6 bytes of the word.
    loop {
        start -= 1;
        memory[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    start -= 6;
    memory[start..start + 6].copy_from_slice(b"error ");
    &memory[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Output for &mut Vec<Vec<u8>> {
        fn write(&mut self, bytes: &[u8]) {
            self.push(bytes.to_vec());
        }
    }

    #[test]
    fn lines_begin_with_the_name() {
        let mut written = Vec::new();
        Message::new(b"/usr/bin/app\n", &mut written).line(&[b"no ", b"/a\x1b[0m\xff", b"!"]).line(&[b"x"]);
        assert_eq!(written.concat(), b"app\\x0a: no /a\\x1b[0m\xff!\napp\\x0a: x\n");
        assert_eq!(written.len(), 1);
        for nameless in [&b""[..], b"/"] {
            let mut written = Vec::new();
            Message::new(nameless, &mut written).line(&[b"x"]);
            assert_eq!(written.concat(), b"launcher: x\n");
        }
    }

    #[test]
    fn long_messages_are_complete() {
        let mut written = Vec::new();
        let long = vec![b'x'; 5000];
        Message::new(b"app", &mut written).line(&[b"", &long]);
        assert_eq!(written.concat(), [b"app: ", &long[..], b"\n"].concat());
    }

    #[test]
    fn every_error_has_a_text() {
        assert_eq!(error_text(Errno::EACCES, &mut [0; 16]), b"Permission denied");
        assert_eq!(error_text(Errno(133), &mut [0; 16]), b"error 133");
        assert_eq!(error_text(Errno(i32::MIN), &mut [0; 16]), b"error 2147483648");
    }
}
