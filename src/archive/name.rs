//! Paths in tars → paths relative to the image's root, and whiteouts (pure).

/// Start of the file name of a whiteout (OCI image-spec, `layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// The file name of an opaque whiteout.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why a path cannot be one in an image.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    #[error("an empty path")]
    Empty,
    #[error("a path with a NUL byte")]
    Nul,
    #[error("a path with \"..\"")]
    Parent,
}

/// Removes leading and trailing slashes, repeated slashes, and components `.`. The root is an empty path.
pub fn normalize(path: &[u8]) -> Result<Vec<u8>, Invalid> {
    if path.is_empty() {
        return Err(Invalid::Empty);
    }
    if path.contains(&0) {
        return Err(Invalid::Nul);
    }
    let mut normal = Vec::with_capacity(path.len());
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err(Invalid::Parent),
            _ => {
                if !normal.is_empty() {
                    normal.push(b'/');
                }
                normal.extend_from_slice(component);
            }
        }
    }
    Ok(normal)
}

/// What an entry deletes from the layers below.
#[derive(Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// What is at this path.
    Path(Vec<u8>),
    /// Everything below this directory; it is empty for the root.
    Opaque(Vec<u8>),
}

impl Whiteout {
    /// The whiteout that the entry at a normalized path is, if it is one.
    pub fn of(path: &[u8]) -> Result<Option<Whiteout>, Invalid> {
        let name_at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (directory, name) = path.split_at(name_at);
        if name == OPAQUE {
            return Ok(Some(Whiteout::Opaque(directory.strip_suffix(b"/").unwrap_or(directory).to_vec())));
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(None),
            Some(b"" | b".") => Err(Invalid::Empty),
            Some(b"..") => Err(Invalid::Parent),
            Some(name) => Ok(Some(Whiteout::Path([directory, name].concat()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_the_root() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b"a/b", b"a/b"),
            (b"./a/b/", b"a/b"),
            (b"//a///b/./c/.", b"a/b/c"),
            (b"./", b""),
            (b"/", b""),
            (b".", b""),
            (b"..a/...", b"..a/..."),
            (b"caf\xe9\n", b"caf\xe9\n"),
        ];
        for (path, expected) in cases {
            assert_eq!(normalize(path).as_deref(), Ok(expected), "{}", path.escape_ascii());
        }
        assert_eq!(normalize(b""), Err(Invalid::Empty));
        assert_eq!(normalize(b"a\0b"), Err(Invalid::Nul));
        assert_eq!(normalize(b"a/../b"), Err(Invalid::Parent));
        assert_eq!(normalize(b"/.."), Err(Invalid::Parent));
    }

    #[test]
    fn whiteouts_have_the_path_that_they_delete() {
        let path = |path: &[u8]| Ok(Some(Whiteout::Path(path.to_vec())));
        let opaque = |path: &[u8]| Ok(Some(Whiteout::Opaque(path.to_vec())));
        assert_eq!(Whiteout::of(b"a/.wh.b"), path(b"a/b"));
        assert_eq!(Whiteout::of(b".wh..b"), path(b".b"));
        assert_eq!(Whiteout::of(b"a/b/.wh..wh..opq"), opaque(b"a/b"));
        assert_eq!(Whiteout::of(b".wh..wh..opq"), opaque(b""));
        assert_eq!(Whiteout::of(b"a/.wh..wh.b"), path(b"a/.wh.b"));
        assert_eq!(Whiteout::of(b".wh.a/b"), Ok(None));
        assert_eq!(Whiteout::of(b"a/.wh."), Err(Invalid::Empty));
        assert_eq!(Whiteout::of(b"a/.wh.."), Err(Invalid::Empty));
        assert_eq!(Whiteout::of(b"a/.wh..."), Err(Invalid::Parent));
    }
}
