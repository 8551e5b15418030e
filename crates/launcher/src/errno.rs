//! Error numbers of Linux (`asm-generic/errno.h`; the same on all supported processors).

/// The error number of a failed system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub const ENOENT: Errno = Errno(2);
    pub const E2BIG: Errno = Errno(7);
    pub const ENOEXEC: Errno = Errno(8);
    pub const EACCES: Errno = Errno(13);
    pub const ENOTDIR: Errno = Errno(20);
    pub const ENAMETOOLONG: Errno = Errno(36);

    /// Whether nothing is at the path.
    pub fn is_missing(self) -> bool {
        matches!(self, Errno::ENOENT | Errno::ENOTDIR)
    }

    /// The text for a message, for the errors that opening or executing a file can have.
    pub fn text(self) -> Option<&'static str> {
        Some(match self.0 {
            1 => "Operation not permitted",
            2 => "No such file or directory",
            5 => "Input/output error",
            7 => "Argument list too long",
            8 => "Exec format error",
            11 => "Resource temporarily unavailable",
            12 => "Cannot allocate memory",
            13 => "Permission denied",
            20 => "Not a directory",
            21 => "Is a directory",
            22 => "Invalid argument",
            23 => "Too many open files in system",
            24 => "Too many open files",
            26 => "Text file busy",
            36 => "File name too long",
            40 => "Too many levels of symbolic links",
            80 => "Accessing a corrupted shared library",
            _ => return None,
        })
    }
}
