//! Requests and responses.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf, str::FromStr};

use bytes::Bytes;

/// The encoding of messages. It must match the action's `requires-worker-protocol`.
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

    /// Parses the values of `requires-worker-protocol`: `proto` or `json`.
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
    /// A request to do work.
    Work(Request),
    /// A cancellation of the request with this ID.
    Cancel {
        /// The request's ID.
        request_id: i32,
    },
}

/// A request to execute one action.
///
/// The fields are slices of the received message, so a request with 150,000 inputs costs no copy per path.
/// A `Bytes` kept beyond the response keeps the whole message in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The lines of the action's parameter file. Bazel expands `@file` itself; a remote executor may leave
    /// that to the worker.
    pub arguments: Vec<Bytes>,
    /// Every file that the action may read.
    pub inputs: Vec<Input>,
    /// 0 if Bazel sends one request at a time (singleplex). Can be any number, and is not unique over the
    /// worker's lifetime.
    pub request_id: i32,
    /// If positive, the handler may log details to stderr (the worker's log). Must not affect outputs.
    pub verbosity: i32,
    /// The directory of inputs and outputs, relative to the working directory. Empty if it is the working
    /// directory itself.
    pub sandbox_dir: PathBuf,
}

impl Request {
    /// The path of an input or output from the arguments or [`Request::inputs`]: relative to
    /// [`Request::sandbox_dir`].
    pub fn path(&self, exec_path: &[u8]) -> PathBuf {
        self.sandbox_dir.join(path(exec_path))
    }
}

/// A file that an action may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Relative to the working directory or [`Request::sandbox_dir`]. Not necessarily UTF-8.
    pub path: Bytes,
    /// Identifies the content; opaque and possibly empty. Bazel sends the digest in hexadecimal.
    pub digest: Bytes,
}

/// The response to a [`Request`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// 0 means success; anything else fails the action.
    pub exit_code: i32,
    /// Shown to the user, even on success.
    pub output: String,
}

/// Converts bytes to a path. On Unix, any bytes are a path.
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
