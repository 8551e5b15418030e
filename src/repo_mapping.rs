//! Merges the repository mappings of several binaries that have one runfiles directory. Pure.
//!
//! A line `<repository>,<apparent name>,<directory>` says in which runfiles directory the first repository
//! finds the one that it calls by the apparent name. Bazel writes the lines for the repositories in the
//! runfiles of one binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::show::{show, show_path};

/// Two mappings that cannot be merged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{} and {} contradict each other: \"{first}\" and \"{second}\"; the binaries need separate images",
    show_path(first_file),
    show_path(second_file)
)]
pub struct Error {
    first_file: PathBuf,
    second_file: PathBuf,
    first: String,
    second: String,
}

/// The union of mappings, sorted. Each comes with its file, for messages.
pub fn merge(mappings: &[(&Path, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let mut lines: BTreeMap<&[u8], (&[u8], &Path)> = BTreeMap::new();
    for (file, text) in mappings {
        for line in text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            // The runfiles directory is after the last comma.
            let end = line.iter().rposition(|&byte| byte == b',').unwrap_or(line.len());
            let (first, first_file) = *lines.entry(&line[..end]).or_insert((line, file));
            if first != line {
                return Err(Error {
                    first_file: first_file.into(),
                    second_file: file.into(),
                    first: show(first),
                    second: show(line),
                });
            }
        }
    }
    Ok(lines.into_values().flat_map(|(line, _)| [line, b"\n"].concat()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(mappings: &[&str]) -> Result<String, String> {
        let names = ["a", "b", "c"].map(Path::new);
        let mappings: Vec<_> =
            names.into_iter().zip(mappings.iter().map(|text| text.as_bytes().to_vec())).collect();
        let merged = merge(&mappings).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(merged).unwrap())
    }

    #[test]
    fn mappings_become_their_union() {
        let (server, worker) = (",a,a~1\n,main,_main\na~1,b,b~\n", ",c,c~\n,main,_main\n");
        assert_eq!(merged(&[server]).unwrap(), server);
        assert_eq!(merged(&[server, server]).unwrap(), server);
        let both = ",a,a~1\n,c,c~\n,main,_main\na~1,b,b~\n";
        assert_eq!(merged(&[server, worker]).unwrap(), both);
        assert_eq!(merged(&[worker, server, ""]).unwrap(), both);
        assert_eq!(merged(&["no comma", "last line"]).unwrap(), "last line\nno comma\n");
    }

    /// The compact form, the default since Bazel 9: a line may stand for all repositories whose names have a prefix.
    #[test]
    fn lines_for_prefixes_become_their_union() {
        let (server, worker) = (",a,a+\n+pip+*,a,a+\n", "+pip+*,a,a+\n+pip+*,b,b+\n");
        assert_eq!(merged(&[server, worker]).unwrap(), "+pip+*,a,a+\n+pip+*,b,b+\n,a,a+\n");
        assert!(merged(&["+pip+*,a,a+\n", "+pip+*,a,a++1\n"]).is_err());
    }

    #[test]
    fn mappings_that_contradict_each_other_are_named() {
        assert_eq!(
            merged(&[",a,a~1\n", "", ",a,a~2\n"]).unwrap_err(),
            "a and c contradict each other: \",a,a~1\" and \",a,a~2\"; the binaries need separate images"
        );
    }
}
