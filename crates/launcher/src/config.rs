//! The configuration, in a section of the program that `pylayer` fills in.
//!
//! The section is loaded with the program's constants, so reading it takes no system call, and works
//! where the program cannot open its own file.
//!
//! | bytes | |
//! |---|---|
//! | 24 | [`MAGIC`], once in the file |
//! | 4 | capacity: how many bytes follow the length |
//! | 4 | length of the records; 0 in a program that is not configured |
//! | capacity | records, each `KEY=VALUE` and a NUL |
//!
//! Numbers are little-endian. The records `venv`, `main` and `interpreter` occur once; `option` and
//! `variable` any number of times, in order. The values end in NUL so that they can be passed to the
//! kernel in place.

use core::ffi::CStr;

pub const MAGIC: [u8; 24] = *b"\0pylayer launcher 1\x8d\x1f\xe3\xb6\0";

/// The size of the section. 16 KiB hold hundreds of variables; the whole program stays below 32 KiB.
pub const SECTION_BYTES: usize = 16 << 10;
pub const HEADER_BYTES: usize = MAGIC.len() + 8;
pub const CAPACITY: usize = SECTION_BYTES - HEADER_BYTES;

pub const VENV: &[u8] = b"venv";
pub const MAIN: &[u8] = b"main";
pub const INTERPRETER: &[u8] = b"interpreter";
pub const OPTION: &[u8] = b"option";
pub const VARIABLE: &[u8] = b"variable";

/// The section.
#[repr(C, align(16))]
pub struct Section {
    pub magic: [u8; MAGIC.len()],
    pub capacity: [u8; 4],
    pub length: [u8; 4],
    pub records: [u8; CAPACITY],
}

impl Section {
    /// The section of a program that is not configured.
    pub const fn empty() -> Section {
        Section {
            magic: MAGIC,
            capacity: (CAPACITY as u32).to_le_bytes(),
            length: [0; 4],
            records: [0; CAPACITY],
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    Unconfigured,
    Malformed,
}

/// What the program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config<'a> {
    /// The virtual environment, below the runfiles directory.
    pub venv: &'a [u8],
    /// The main file, below the runfiles directory.
    pub main: &'a [u8],
    /// The interpreter, below the virtual environment.
    pub interpreter: &'a [u8],
    records: &'a [u8],
}

impl<'a> Config<'a> {
    pub fn parse(length: [u8; 4], records: &'a [u8]) -> Result<Config<'a>, Error> {
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return Err(Error::Unconfigured);
        }
        let records = records.get(..length).filter(|records| records.ends_with(b"\0"));
        let records = records.ok_or(Error::Malformed)?;
        let only = |key| values(records, key).next().map(CStr::to_bytes).ok_or(Error::Malformed);
        Ok(Config { venv: only(VENV)?, main: only(MAIN)?, interpreter: only(INTERPRETER)?, records })
    }

    /// Arguments of the interpreter before the main file.
    pub fn options(&self) -> impl Iterator<Item = &CStr> + Clone {
        values(self.records, OPTION)
    }

    /// Environment variables, as `NAME=VALUE`.
    pub fn variables(&self) -> impl Iterator<Item = &CStr> + Clone {
        values(self.records, VARIABLE)
    }
}

/// The values of the records that have `key`.
fn values<'a>(records: &'a [u8], key: &'static [u8]) -> impl Iterator<Item = &'a CStr> + Clone + use<'a> {
    let is_nul = |byte: &u8| *byte == 0;
    records.split_inclusive(is_nul).filter_map(move |record| {
        let value = record.strip_prefix(key)?.strip_prefix(b"=")?;
        CStr::from_bytes_until_nul(value).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(records: &[u8]) -> Result<Config<'_>, Error> {
        Config::parse((records.len() as u32).to_le_bytes(), records)
    }

    #[test]
    fn records_are_read() {
        let records = b"venv=v\0main=m=\xff\0interpreter=bin/python3\0option=-X\0variable=A=\0option=\0";
        let config = parse(records).unwrap();
        assert_eq!((config.venv, config.main), (&b"v"[..], &b"m=\xff"[..]));
        assert_eq!(config.interpreter, b"bin/python3");
        assert_eq!(config.options().collect::<Vec<_>>(), [c"-X", c""]);
        assert_eq!(config.variables().collect::<Vec<_>>(), [c"A="]);
    }

    #[test]
    fn no_configuration_is_not_mistaken_for_one() {
        assert_eq!(parse(b""), Err(Error::Unconfigured));
        let section = Section::empty();
        assert_eq!(Config::parse(section.length, &section.records), Err(Error::Unconfigured));
        assert_eq!(size_of::<Section>(), SECTION_BYTES);
        for malformed in [
            &b"venv=v\0main=m\0"[..],
            b"venv=v\0main=m\0interpreter=i",
            b"\0",
            b"venv\0main=m\0interpreter=i\0",
        ] {
            assert_eq!(parse(malformed), Err(Error::Malformed));
        }
        assert_eq!(Config::parse([255; 4], &section.records), Err(Error::Malformed));
    }
}
