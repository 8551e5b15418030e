//! The files of an image, in a directory or in a tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::block::{BLOCK_BYTES, Block, has_valid_checksum};
use super::name::normalize;
use super::problem::{Error, Problem};
use super::tar::Tar;
use crate::contents::Kind;
use crate::show::{show, show_path};

/// The maximum size of a manifest, an index or a configuration. Registries accept at most 4 MiB.
pub const MAX_JSON_BYTES: u64 = 8 << 20;
/// The maximum number of links from an entry to the next, as in Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// A file, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    file: PathBuf,
    /// Where it is in the file, if it is only a part.
    offset: u64,
    /// In bytes.
    pub size: u64,
    /// Its path in a tar.
    within: Option<String>,
}

impl Blob {
    /// A whole file.
    pub fn whole(file: &Path) -> Result<Blob, Error> {
        let size =
            std::fs::metadata(file).map_err(|error| Error::new(show_path(file), Problem::Read(error)))?;
        Ok(Blob { file: file.to_path_buf(), offset: 0, size: size.len(), within: None })
    }

    pub fn open(&self) -> io::Result<Take<File>> {
        let mut file = File::open(&self.file)?;
        if self.offset > 0 {
            file.seek(SeekFrom::Start(self.offset))?;
        }
        // A whole file may have grown, and is read to its end.
        Ok(file.take(if self.within.is_some() { self.size } else { u64::MAX }))
    }

    /// Its name in messages.
    pub fn show(&self) -> String {
        match &self.within {
            Some(path) => format!("{} ({path})", show_path(&self.file)),
            None => show_path(&self.file),
        }
    }
}

/// Where the files of an image are.
#[derive(Debug)]
pub enum Store {
    Directory(PathBuf),
    Archive { file: PathBuf, members: HashMap<Vec<u8>, Place> },
}

/// An entry of a tar.
#[derive(Debug)]
pub enum Place {
    Content {
        offset: u64,
        size: u64,
    },
    /// A link to this path.
    Link(Vec<u8>),
}

impl Store {
    /// Finds the files in a tar. `None` if it is not a plain tar.
    pub fn archive(file: &Path) -> Result<Option<Store>, Problem> {
        let mut input = BufReader::new(File::open(file)?);
        let length = input.get_ref().metadata()?.len();
        let mut start: Block = [0; BLOCK_BYTES];
        if length < start.len() as u64 {
            return Ok(None);
        }
        input.read_exact(&mut start)?;
        if !has_valid_checksum(&start) {
            return Ok(None);
        }
        input.rewind()?;
        let mut tar = Tar::new(input);
        let mut members = HashMap::new();
        while let Some(member) = tar.next_member()? {
            let entry = member.entry;
            let place = match (entry.kind, entry.link) {
                (Kind::File, _) => Some(Place::Content { offset: tar.position(), size: member.content }),
                (Kind::Hardlink, Some(target)) => Some(Place::Link(target)),
                (Kind::Symlink, Some(text)) => Some(Place::Link(resolve(&entry.path, &text))),
                _ => None,
            };
            if let Some(place) = place {
                members.insert(entry.path, place);
            }
            tar.seek_content(length)?;
        }
        Ok(Some(Store::Archive { file: file.to_path_buf(), members }))
    }

    /// Its name in messages.
    pub fn show(&self) -> String {
        match self {
            Store::Directory(path) | Store::Archive { file: path, .. } => show_path(path),
        }
    }

    /// The file at a path, if there is one.
    pub fn find(&self, path: &str) -> Result<Option<Blob>, Error> {
        let Ok(path) = normalize(path.as_bytes()) else { return Ok(None) };
        match self {
            Store::Directory(directory) => {
                let file = directory.join(String::from_utf8_lossy(&path).as_ref());
                if file.is_file() { Blob::whole(&file).map(Some) } else { Ok(None) }
            }
            Store::Archive { file, members } => {
                let mut at = &path;
                for _ in 0..MAX_LINKS {
                    match members.get(at) {
                        Some(Place::Link(target)) => at = target,
                        Some(Place::Content { offset, size }) => {
                            let (file, within) = (file.clone(), Some(show(&path)));
                            return Ok(Some(Blob { file, offset: *offset, size: *size, within }));
                        }
                        None => break,
                    }
                }
                Ok(None)
            }
        }
    }

    /// The file at a path that the image refers to.
    pub fn get(&self, path: &str) -> Result<Blob, Error> {
        let missing = || Error::new(self.show(), Problem::Missing(show(path.as_bytes())));
        self.find(path)?.ok_or_else(missing)
    }

    /// The bytes of a file with JSON.
    pub fn json_bytes(&self, path: &str) -> Result<Vec<u8>, Error> {
        let blob = self.get(path)?;
        let mut bytes = Vec::new();
        let read = blob.open().and_then(|file| file.take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes));
        read.map_err(|error| Error::new(blob.show(), Problem::Read(error)))?;
        if bytes.len() as u64 > MAX_JSON_BYTES {
            return Err(Error::new(self.show(), Problem::LongJson(show(path.as_bytes()))));
        }
        Ok(bytes)
    }

    /// Parses JSON that was read from `path`.
    pub fn parse<T: DeserializeOwned>(&self, path: &str, json: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(json)
            .map_err(|error| Error::new(self.show(), Problem::Json(show(path.as_bytes()), error.to_string())))
    }
}

/// The path that a symlink at `path` leads to. It is not in the tar if it leads out of it.
fn resolve(path: &[u8], text: &[u8]) -> Vec<u8> {
    let mut components: Vec<&[u8]> = Vec::new();
    if !text.starts_with(b"/") {
        components.extend(path.split(|byte| *byte == b'/'));
        components.pop();
    }
    for component in text.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(components.pop()),
            _ => components.push(component),
        }
    }
    components.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symlinks_are_relative_to_their_directory() {
        let cases: [(&[u8], &[u8], &[u8]); 5] = [
            (b"1234/layer.tar", b"../5678/layer.tar", b"5678/layer.tar"),
            (b"a/b/c", b"./d//e/", b"a/b/d/e"),
            (b"a/b", b"/c", b"c"),
            (b"a", b"b", b"b"),
            (b"a", b"../../b", b"b"),
        ];
        for (path, text, expected) in cases {
            assert_eq!(resolve(path, text), expected);
        }
    }
}
