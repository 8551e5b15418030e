//! What Bazel asks and what a worker answers, as values.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf, str::FromStr};

use bytes::Bytes;

/// How messages are encoded; the action's `requires-worker-protocol` says which, and has to agree
/// with the flag that the worker is started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Protobuf messages, each preceded by its length. Bazel's default.
    #[default]
    Proto,
    /// JSON objects.
    #[cfg(feature = "json")]
    Json,
}

impl Protocol {
    const NAMES: &str = if cfg!(feature = "json") { "`proto` or `json`" } else { "`proto`" };
}

impl FromStr for Protocol {
    type Err = String;

    /// Reads the words that `requires-worker-protocol` uses: `proto` or `json`.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "proto" => Ok(Self::Proto),
            #[cfg(feature = "json")]
            "json" => Ok(Self::Json),
            _ => Err(format!("`{word}` is not a worker protocol: use {}.", Self::NAMES)),
        }
    }
}

/// A message from Bazel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Do this, and answer.
    Work(Request),
    /// The answer to the request with this id is no longer wanted.
    Cancel {
        /// The request's id.
        request_id: i32,
    },
}

/// One action to do.
///
/// The bytes are slices of the message as it was received, so that a request with 150,000 inputs
/// costs no copy per path; a `Bytes` kept after the answer keeps the whole message in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The lines of the action's parameter file. Bazel has expanded `@file` itself; a remote worker
    /// may leave that to the program.
    pub arguments: Vec<Bytes>,
    /// Every file that the action may read.
    pub inputs: Vec<Input>,
    /// 0 if Bazel sends one request at a time (singleplex). Not unique over the worker's life, and
    /// any number is possible.
    pub request_id: i32,
    /// Above 0, stderr (the worker's log) may be used to explain. Must not change an output.
    pub verbosity: i32,
    /// Where the inputs are and the outputs belong, relative to the working directory; empty if
    /// that is the working directory itself.
    pub sandbox_dir: PathBuf,
}

impl Request {
    /// Where an input is, or an output belongs, that the arguments or [`Request::inputs`] name so:
    /// below [`Request::sandbox_dir`].
    pub fn path(&self, exec_path: &[u8]) -> PathBuf {
        self.sandbox_dir.join(path(exec_path))
    }
}

/// A file that an action may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Relative to the working directory or [`Request::sandbox_dir`]. Unix paths are bytes.
    pub path: Bytes,
    /// Identifies the content; opaque and possibly empty. Bazel sends the digest's hex text.
    pub digest: Bytes,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// 0 is success; anything else fails the action.
    pub exit_code: i32,
    /// Shown to the user, of a success too.
    pub output: String,
}

/// A path from bytes. Every byte sequence is a path on Unix.
pub(crate) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Protocol, Request, path};

    #[test]
    fn protocols_by_name() {
        assert_eq!("proto".parse(), Ok(Protocol::Proto));
        #[cfg(feature = "json")]
        assert_eq!("json".parse(), Ok(Protocol::Json));
        let error = "PROTO".parse::<Protocol>().unwrap_err();
        assert!(error.contains("`PROTO`") && error.contains("`proto`"), "{error}");
    }

    #[test]
    fn paths_are_below_the_sandbox() {
        let sandbox_dir = "__sandbox/9/_main".into();
        assert_eq!(Request::default().path(b"a/b"), Path::new("a/b"));
        let request = Request { sandbox_dir, ..Request::default() };
        assert_eq!(request.path(b"a/b"), Path::new("__sandbox/9/_main/a/b"));
    }

    #[test]
    fn any_bytes_are_a_path() {
        assert_eq!(path(b"a/\xff").as_os_str().as_encoded_bytes(), b"a/\xff");
        assert_eq!(path(b"").as_os_str().len(), 0);
    }
}
