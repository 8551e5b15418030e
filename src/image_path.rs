//! The path of an entry in a container image.

use crate::show::show;

/// The longest path that a Linux system call accepts, without the terminating NUL.
const PATH_MAX: usize = 4095;
/// The longest file name that common file systems support.
const NAME_MAX: usize = 255;
/// The prefix of every path in a tar.
const CURRENT_DIRECTORY: &[u8] = b"./";

/// Why a path is not a valid image path.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("image path \"{path}\": {problem}")]
pub struct Error {
    pub path: String,
    pub problem: &'static str,
}

/// The path of an entry, relative to the image's root directory: no leading `/` or `./`; no empty,
/// `.` or `..` component; at most 255 bytes per component and 4095 bytes in total; no NUL. Not
/// necessarily UTF-8. Stored with the `./` prefix that it has in a tar.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Vec<u8>);

impl ImagePath {
    /// Checks `path`.
    pub fn new(path: impl AsRef<[u8]>) -> Result<ImagePath, Error> {
        let path = path.as_ref();
        let problem = if path.len() > PATH_MAX {
            Some("it is longer than 4095 bytes, the longest path that Linux can open")
        } else if path.contains(&0) {
            Some("it contains a NUL byte")
        } else {
            path.split(|&byte| byte == b'/').find_map(|component| match component {
                b"" => Some(
                    "it is empty, absolute, or has an empty component; make it relative to the image's root",
                ),
                b"." | b".." => Some("`.` and `..` are not allowed in an image path"),
                _ if component.len() > NAME_MAX => {
                    Some("a name in it is longer than 255 bytes, which no file system supports")
                }
                _ => None,
            })
        };
        match problem {
            Some(problem) => Err(Error { path: show(path), problem }),
            None => Ok(ImagePath([CURRENT_DIRECTORY, path].concat())),
        }
    }

    /// Whether a component begins with `.wh.`. Container runtimes interpret such a file as the deletion
    /// of another, so an image cannot contain it (OCI image-spec, `layer.md`, "Whiteouts").
    pub fn is_whiteout(&self) -> bool {
        self.0.windows(5).any(|bytes| bytes == b"/.wh.")
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0[CURRENT_DIRECTORY.len()..]
    }

    /// The name of a tar entry at this path: `./app/main.py`.
    pub fn tar_name(&self) -> &[u8] {
        &self.0
    }

    /// [`ImagePath::tar_name`] without a copy.
    pub fn into_tar_name(self) -> Vec<u8> {
        self.0
    }

    /// The path that a symlink at this path with the target `text` points to. `..` is resolved lexically,
    /// as if no directory on the way were a symlink. `None` if the result is outside the image, is the
    /// image's root, or is not a valid image path.
    pub fn named_by_link(&self, text: &[u8]) -> Option<ImagePath> {
        let mut place: Vec<&[u8]> = if text.starts_with(b"/") {
            Vec::new()
        } else {
            self.as_bytes().split(|&byte| byte == b'/').collect()
        };
        place.pop();
        for component in text.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    place.pop()?;
                }
                name => place.push(name),
            }
        }
        ImagePath::new(place.join(&b'/')).ok()
    }

    /// The paths of the parent directories, outermost first, and then this path.
    pub fn with_parents(&self) -> impl Iterator<Item = &[u8]> {
        let path = self.as_bytes();
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        slashes.chain([path.len()]).map(|end| &path[..end])
    }

    /// The path `below` this one.
    pub fn join(&self, below: &[u8]) -> Result<ImagePath, Error> {
        ImagePath::new([self.as_bytes(), below].join(&b'/'))
    }
}

impl std::fmt::Display for ImagePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&show(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_image_are_refused() {
        for path in ["", "/a", "a//b", "a/", "./a", "a/../b", "..", "a\0b"] {
            assert!(ImagePath::new(path).is_err(), "{path:?}");
        }
        assert!(ImagePath::new(vec![b'a'; 256]).is_err());
        assert!(ImagePath::new(vec![b'a'; 255]).is_ok());
        assert!(ImagePath::new(&"a/".repeat(2048)[..4095]).is_ok());
        assert!(ImagePath::new("a/".repeat(2048) + "a").is_err());
        assert!(ImagePath::new("a/..b/.c/.wh").is_ok());
    }

    #[test]
    fn the_text_of_a_link_names_a_path() {
        let link = ImagePath::new("a/b/link").unwrap();
        let named = |text: &str| link.named_by_link(text.as_bytes()).map(|path| path.to_string());
        for (text, path) in [
            ("x", "a/b/x"),
            ("./x//y/.", "a/b/x/y"),
            ("../x", "a/x"),
            ("../../x/../y", "y"),
            ("/srv/x", "srv/x"),
            ("..", "a"),
        ] {
            assert_eq!(named(text).as_deref(), Some(path), "{text}");
        }
        for text in ["../..", "../../../x", "/", "/..", "a\0b", &"a".repeat(256)] {
            assert_eq!(named(text), None, "{text}");
        }
    }

    #[test]
    fn whiteouts_are_recognized() {
        let is_whiteout = |path| ImagePath::new(path).unwrap().is_whiteout();
        assert!(is_whiteout("a/.wh.b") && is_whiteout(".wh..wh..opq") && is_whiteout(".wh.d/x"));
        assert!(!is_whiteout("a.wh.b/.wh"));
    }
}
