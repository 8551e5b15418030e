//! Which version of the program this is, and of the libraries that decide the bytes of layers.

use std::env::consts::{ARCH, OS};
use std::sync::LazyLock;

use crate::licenses::version_of;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// `git archive` puts the commit here (gitattributes(5), `export-subst`), so a program that is built from an archive
/// of the source knows it. A build script would make every build depend on git.
const COMMIT: &str = "$Format:%H$";

/// The commit that the program is built from. `None` if it is built from a checkout, which may contain changes.
pub fn commit() -> Option<&'static str> {
    (!COMMIT.starts_with('$')).then_some(COMMIT)
}

/// For `-V`: the version and the commit.
pub static SHORT: LazyLock<String> = LazyLock::new(|| match commit() {
    Some(commit) => format!("{VERSION} (commit {commit})"),
    None => format!("{VERSION} ({CHECKOUT})"),
});

const CHECKOUT: &str = "built from a checkout";

/// For `--version`: also what writes tar, gzip and zstd, with the versions of C libraries and crates.
pub static LONG: LazyLock<String> = LazyLock::new(|| {
    let named = |name| format!("{name} {}", version_of(name).unwrap_or("(unknown version)"));
    let commit = commit().unwrap_or(CHECKOUT);
    // libdeflate does not tell its version.
    let gzip = ["libdeflate", "libdeflate-sys", "libdeflater"].map(named).join(", ");
    let libzstd = format!("libzstd {}", zstd::zstd_safe::version_string());
    let zstd = ["zstd-sys", "zstd-safe", "zstd"].map(named).join(", ");
    let c_library = c_library().map_or(String::new(), |name| format!(", {name}"));
    format!(
        "{VERSION}\n\
         commit: {commit}\n\
         tar: pylayer {VERSION}\n\
         gzip: {gzip}\n\
         zstd: {libzstd}, {zstd}\n\
         platform: {OS}-{ARCH}{c_library}"
    )
});

/// The C library that is linked into the program, or that it runs with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn c_library() -> Option<String> {
    // SAFETY: The function has no preconditions, and returns a string that is never freed or changed (gnu/libc-version.h).
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    let linked = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    Some(format!("{linked} glibc {}", version.to_string_lossy()))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn c_library() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::CODECS;

    #[test]
    fn every_codec_has_a_line() {
        for codec in CODECS.iter() {
            let name = if codec.levels.is_some() { &codec.name } else { "tar" };
            assert!(LONG.lines().any(|line| line.starts_with(&format!("{name}: "))), "{name}\n{}", *LONG);
        }
    }

    #[test]
    fn all_versions_are_known() {
        assert!(!LONG.contains("unknown"), "{}", *LONG);
    }

    #[test]
    fn the_commit_is_a_digest_or_unknown() {
        if let Some(commit) = commit() {
            assert!(commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
        }
    }
}
