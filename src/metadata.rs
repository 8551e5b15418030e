//! Owner, time and mode of tar entries. They are configured, never read from disk.

use clap::Args;
use serde::{Deserialize, Deserializer, de};
use serde_json::Number;

/// 2023-01-01T08:00:00Z, the time of every entry in the layers of aspect_rules_py. Not zero, because zip
/// tools reject times before 1980.
const DEFAULT_MTIME: u64 = 1_672_560_000;

/// The largest user or group ID. The next one, (uid_t) -1, means "unchanged" to `chown`, so it cannot be
/// unpacked.
const MAX_ID: u32 = u32::MAX - 1;

/// The latest time that tar readers support: they store it in a signed 64-bit integer.
const MAX_MTIME: u64 = i64::MAX as u64;

const READ_BITS: u32 = 0o444;

/// Owner, time and mode of the entries of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Args)]
#[serde(default, deny_unknown_fields)]
pub struct Metadata {
    /// User ID of every entry
    #[arg(long, default_value_t = Metadata::default().uid, value_name = "N", value_parser = parse_id, allow_negative_numbers = true)]
    #[serde(deserialize_with = "id")]
    pub uid: u32,
    /// Group ID of every entry
    #[arg(long, default_value_t = Metadata::default().gid, value_name = "N", value_parser = parse_id, allow_negative_numbers = true)]
    #[serde(deserialize_with = "id")]
    pub gid: u32,
    /// User name of every entry [default: none]
    #[arg(long, default_value_t, hide_default_value = true, value_name = "NAME", value_parser = parse_owner_name)]
    #[serde(deserialize_with = "owner_name")]
    pub uname: String,
    /// Group name of every entry [default: none]
    #[arg(long, default_value_t, hide_default_value = true, value_name = "NAME", value_parser = parse_owner_name)]
    #[serde(deserialize_with = "owner_name")]
    pub gname: String,
    /// Time of every entry, in seconds since 1970
    #[arg(long, default_value_t = Metadata::default().mtime, value_name = "SECONDS", value_parser = parse_mtime, allow_negative_numbers = true)]
    #[serde(deserialize_with = "mtime")]
    pub mtime: u64,
    /// Permissions of files, in octal; ELF images and scripts (`#!`) get an execute bit for each read bit
    #[arg(long, default_value_t = Metadata::default().mode, value_name = "MODE", value_parser = parse_mode)]
    #[serde(deserialize_with = "mode")]
    pub mode: ModeRule,
}

impl Default for Metadata {
    fn default() -> Metadata {
        Metadata {
            uid: 0,
            gid: 0,
            uname: String::new(),
            gname: String::new(),
            mtime: DEFAULT_MTIME,
            mode: ModeRule::DEFAULT,
        }
    }
}

/// The permission bits of regular files. They are not read from disk, because Bazel does not model modes.
///
/// ELF images and scripts (`#!`) get an execute bit for each read bit. A binary's executable is always
/// one of these, so an image with `0644` for every file would not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeRule(u32);

impl ModeRule {
    /// 0755 for every file.
    pub const DEFAULT: ModeRule = ModeRule(0o755);
    /// The meaning of `detect`: 0755 for programs, 0644 for other files.
    pub const DETECT: ModeRule = ModeRule(0o644);

    /// The bits of a file that is not a program.
    pub fn of_data(self) -> u32 {
        self.0
    }

    /// The bits of an ELF image or a script.
    pub fn of_program(self) -> u32 {
        self.0 | (self.0 & READ_BITS) >> 2
    }

    /// Whether the mode of a file depends on its content.
    pub fn depends_on_content(self) -> bool {
        self.of_program() != self.of_data()
    }
}

impl std::fmt::Display for ModeRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// `value`, if there is nothing but digits in it: Rust also parses a sign.
fn digits(value: &str) -> Option<&str> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then_some(value)
}

/// A user or group ID.
fn parse_id(value: &str) -> Result<u32, String> {
    let id = digits(value).and_then(|value| value.parse().ok()).filter(|id| *id <= MAX_ID);
    id.ok_or_else(|| format!("expected a whole number from 0 to {MAX_ID}"))
}

/// The name of a user or group.
fn parse_owner_name(value: &str) -> Result<String, String> {
    // A NUL would end the name in a tar header.
    if value.contains('\0') { Err("it contains a NUL byte".to_string()) } else { Ok(value.to_string()) }
}

/// Seconds since 1970.
fn parse_mtime(value: &str) -> Result<u64, String> {
    let seconds = digits(value).and_then(|value| value.parse().ok()).filter(|seconds| *seconds <= MAX_MTIME);
    seconds.ok_or_else(|| {
        format!(
            "expected whole seconds since 1970, at most {MAX_MTIME}, the latest time that tar readers support"
        )
    })
}

/// `0755` or `detect`.
fn parse_mode(value: &str) -> Result<ModeRule, String> {
    if value == "detect" {
        return Ok(ModeRule::DETECT);
    }
    match u32::from_str_radix(digits(value).unwrap_or_default(), 8) {
        Ok(bits) if bits <= 0o7777 => Ok(ModeRule(bits)),
        _ => Err("expected octal permission bits such as 0755, or detect".to_string()),
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    parse_id(&Number::deserialize(deserializer)?.to_string()).map_err(de::Error::custom)
}

fn mtime<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = Number::deserialize(deserializer)?;
    parse_mtime(&number.to_string()).map_err(de::Error::custom)
}

fn owner_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    parse_owner_name(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ModeRule, D::Error> {
    parse_mode(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_can_be_executed_by_everyone_who_can_read_them() {
        for (mode, of_data, of_program) in [
            ("0755", 0o755, 0o755),
            ("0644", 0o644, 0o755),
            ("detect", 0o644, 0o755),
            ("0444", 0o444, 0o555),
            ("0640", 0o640, 0o750),
            ("0600", 0o600, 0o700),
            ("4750", 0o4750, 0o4750),
            ("0111", 0o111, 0o111),
            ("0222", 0o222, 0o222),
            ("0", 0, 0),
        ] {
            let rule = parse_mode(mode).unwrap();
            assert_eq!((rule.of_data(), rule.of_program()), (of_data, of_program), "{mode}");
            assert_eq!(rule.depends_on_content(), of_data != of_program, "{mode}");
        }
    }

    #[test]
    fn values_that_a_tar_reader_would_misread_are_refused() {
        assert_eq!(parse_mtime("9223372036854775807"), Ok((1 << 63) - 1));
        for mtime in ["9223372036854775808", "18446744073709551616", "-1", "1.5", ""] {
            assert!(parse_mtime(mtime).unwrap_err().starts_with("expected whole seconds"), "{mtime}");
        }
        assert_eq!(parse_id("4294967294"), Ok(u32::MAX - 1));
        for id in ["4294967295", "-1", "+1", "1x", ""] {
            assert_eq!(parse_id(id).unwrap_err(), "expected a whole number from 0 to 4294967294", "{id}");
        }
        for mode in ["0888", "10000", "-1", "+755", ""] {
            assert!(parse_mode(mode).unwrap_err().contains("octal"), "{mode}");
        }
        assert!(parse_owner_name("a\0b").unwrap_err().contains("NUL"));
    }

    /// clap formats the default mode, and parses it again.
    #[test]
    fn a_mode_is_shown_as_it_is_written() {
        for mode in ["0755", "0644", "4750", "0000"] {
            assert_eq!(parse_mode(mode).unwrap().to_string(), mode);
        }
    }
}
