//! A NUL-terminated string in a fixed amount of memory.
//!
//! The kernel takes paths of at most `PATH_MAX` bytes, so a path needs no allocation, and one that does
//! not fit could not be used anyway.

use core::ffi::CStr;

use crate::errno::Errno;

/// `PATH_MAX`, which includes the terminating NUL.
pub const PATH_MAX: usize = 4096;

/// A path that the kernel accepts.
pub type Path = Buffer<PATH_MAX>;

/// A string of at most `SIZE - 1` bytes.
///
/// `bytes[len]` is always NUL.
pub struct Buffer<const SIZE: usize> {
    bytes: [u8; SIZE],
    len: usize,
}

impl<const SIZE: usize> Buffer<SIZE> {
    pub const fn new() -> Self {
        Buffer { bytes: [0; SIZE], len: 0 }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The string up to its first NUL, which is the end, since no part of a path contains one.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            self.bytes[len] = 0;
        }
    }

    /// Appends `bytes`. If they do not fit, the string is unchanged.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let end = self.len + bytes.len();
        if end >= SIZE {
            return Err(Errno::ENAMETOOLONG);
        }
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.bytes[end] = 0;
        self.len = end;
        Ok(())
    }

    /// Replaces the string.
    pub fn set(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.truncate(0);
        self.push(bytes)
    }

    /// Appends a component, or several, after a slash.
    pub fn join(&mut self, name: &[u8]) -> Result<(), Errno> {
        let len = self.len;
        if self.as_bytes().last() != Some(&b'/') {
            self.push(b"/")?;
        }
        self.push(name).inspect_err(|_| self.truncate(len))
    }

    /// Replaces the string by what `fill` writes; `fill` returns the length. A string that fills the
    /// memory may have been cut off, and is refused.
    pub fn fill(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
        let filled = fill(&mut self.bytes);
        let filled = filled.and_then(|len| if len < SIZE { Ok(len) } else { Err(Errno::ENAMETOOLONG) });
        self.len = filled.unwrap_or(0);
        self.bytes[self.len] = 0;
        filled.map(|_| ())
    }
}

impl<const SIZE: usize> Default for Buffer<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut buffer = Buffer::<6>::new();
        buffer.set(b"/a").unwrap();
        assert_eq!(buffer.join(b"bcd"), Err(Errno::ENAMETOOLONG));
        assert_eq!(buffer.as_c_str(), c"/a");
        buffer.join(b"bc").unwrap();
        assert_eq!(buffer.as_c_str(), c"/a/bc");
        assert_eq!(buffer.push(b"d"), Err(Errno::ENAMETOOLONG));
        buffer.truncate(1);
        buffer.join(b"x").unwrap();
        assert_eq!((buffer.as_bytes(), buffer.as_c_str()), (&b"/x"[..], c"/x"));
    }

    #[test]
    fn a_string_that_may_be_cut_off_is_refused() {
        let mut buffer = Buffer::<4>::new();
        let mut fill = |len| {
            let filled = buffer.fill(|bytes| {
                bytes[..len].fill(b'x');
                Ok(len)
            });
            filled.map(|()| buffer.as_c_str().to_owned())
        };
        assert_eq!(fill(3), Ok(c"xxx".to_owned()));
        assert_eq!(fill(4), Err(Errno::ENAMETOOLONG));
        assert_eq!(fill(0), Ok(c"".to_owned()));
        assert_eq!(buffer.fill(|_| Err(Errno::ENOEXEC)), Err(Errno::ENOEXEC));
        assert_eq!(buffer.as_c_str(), c"");
    }
}
