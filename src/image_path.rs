//! The place of an entry in a container image.

/// The longest path of a Linux system call, less its closing NUL.
const PATH_MAX: usize = 4095;

/// Why a path cannot be one in an image.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("image path {path:?}: {problem}")]
pub struct Error {
    pub path: String,
    pub problem: &'static str,
}

/// The place of an entry in the image, relative to its root directory: no leading `/` or `./`, no
/// `.`, `..` or empty component, at most 4095 bytes, no NUL. Bytes, not necessarily UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Vec<u8>);

impl ImagePath {
    /// Checks `path`.
    pub fn new(path: impl Into<Vec<u8>>) -> Result<ImagePath, Error> {
        let path = path.into();
        let problem = if path.len() > PATH_MAX {
            Some("it is longer than 4095 bytes, the longest path that Linux can open")
        } else if path.contains(&0) {
            Some("it contains a NUL byte")
        } else {
            path.split(|&byte| byte == b'/').find_map(|component| match component {
                b"" => Some("it is empty, absolute, or has an empty component; write it relative to the image's root"),
                b"." | b".." => Some("`.` and `..` have no place in an image path"),
                _ if component.starts_with(b".wh.") => Some(
                    "names that begin with `.wh.` delete files in a container image (OCI image-spec, layer.md) and cannot be shipped; rename or exclude it",
                ),
                _ => None,
            })
        };
        match problem {
            Some(problem) => Err(Error { path: lossy(&path), problem }),
            None => Ok(ImagePath(path)),
        }
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path `below` this one.
    pub fn join(&self, below: &[u8]) -> Result<ImagePath, Error> {
        ImagePath::new([&self.0, below].join(&b'/'))
    }
}

impl std::fmt::Display for ImagePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&lossy(&self.0))
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_image_are_refused() {
        for path in ["", "/a", "a//b", "a/", "./a", "a/../b", "..", "a/.wh.b", ".wh..wh..opq", "a\0b"] {
            assert!(ImagePath::new(path).is_err(), "{path:?}");
        }
        assert!(ImagePath::new(vec![b'a'; 4096]).is_err());
        assert!(ImagePath::new(vec![b'a'; 4095]).is_ok());
        assert!(ImagePath::new("a/..b/.c/.wh").is_ok());
    }
}
