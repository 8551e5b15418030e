//! Configures the launcher of a Python binary: the template's bytes and settings → the executable's
//! bytes (pure). `crates/launcher` is the template, and defines the section with the configuration.
//! Also checks the version of the interpreter that the launcher starts.

use launcher::config::{HEADER_BYTES, INTERPRETER, MAGIC, MAIN, OPTION, VARIABLE, VENV};
use launcher::exec::OWN_VARIABLES;

use crate::settings::{LauncherSettings, is_python_version};
use crate::show::show;

/// Why a launcher cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is not a launcher: there is no space for a configuration in it")]
    NoSection,
    #[error("it is not a launcher: there are {0} spaces for a configuration in it")]
    SeveralSections(usize),
    #[error("it is not a launcher: its space for a configuration is not complete")]
    CutOff,
    #[error("it is configured already; configure the launcher as it was built")]
    Configured,
    #[error("{setting}: \"{}\" {problem}", show(value.as_bytes()))]
    Value { setting: &'static str, value: String, problem: &'static str },
    #[error(
        "the settings take {excess} bytes more than the {capacity} that the launcher has for them; shorten `options` or `env`"
    )]
    TooLarge { capacity: usize, excess: usize },
}

/// Returns `template` with a configuration.
pub fn configure(template: &[u8], settings: &LauncherSettings) -> Result<Vec<u8>, Error> {
    let records = records(settings)?;
    let mut sections = places_of_magic(template);
    let section = match sections.as_slice() {
        [] => return Err(Error::NoSection),
        [_] => sections.remove(0),
        several => return Err(Error::SeveralSections(several.len())),
    };
    let number = |at: usize| {
        let bytes = template.get(section + at..)?.first_chunk().copied()?;
        Some(u32::from_le_bytes(bytes) as usize)
    };
    let capacity = number(MAGIC.len()).ok_or(Error::CutOff)?;
    let length = number(MAGIC.len() + 4).ok_or(Error::CutOff)?;
    let start = section + HEADER_BYTES;
    if template.len() - start < capacity {
        return Err(Error::CutOff);
    }
    if length != 0 {
        return Err(Error::Configured);
    }
    if records.len() > capacity {
        return Err(Error::TooLarge { capacity, excess: records.len() - capacity });
    }
    let mut executable = template.to_vec();
    // Fits, because the capacity does.
    executable[start - 4..start].copy_from_slice(&(records.len() as u32).to_le_bytes());
    executable[start..start + records.len()].copy_from_slice(&records);
    Ok(executable)
}

/// The version of the interpreter whose header `patchlevel.h` has this content, if it is another one than
/// `wanted`. Nothing is known about an interpreter with an unusual header.
pub fn other_version<'a>(wanted: &str, patchlevel: &'a [u8]) -> Option<&'a str> {
    let version = std::str::from_utf8(patchlevel).ok()?.lines().find_map(|line| {
        let definition = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("define")?;
        let value = definition.trim_start().strip_prefix("PY_VERSION")?.trim_start().strip_prefix('"')?;
        value.split_once('"').map(|(version, _)| version)
    })?;
    // A build from the repository after a release has a `+`.
    let version = version.strip_suffix('+').unwrap_or(version);
    (is_python_version(version) && version != wanted).then_some(version)
}

/// Where the magic occurs.
fn places_of_magic(template: &[u8]) -> Vec<usize> {
    let places = template.windows(MAGIC.len()).enumerate();
    places.filter(|(_, bytes)| *bytes == MAGIC).map(|(place, _)| place).collect()
}

/// The settings as the launcher reads them.
fn records(settings: &LauncherSettings) -> Result<Vec<u8>, Error> {
    let LauncherSettings { venv, main, interpreter, options, env, python_version: _ } = settings;
    let mut records = Vec::new();
    let mut add = |key: &[u8], value: &str| {
        records.extend_from_slice(key);
        records.push(b'=');
        records.extend_from_slice(value.as_bytes());
        records.push(0);
    };
    for (setting, key, path) in
        [("venv", VENV, venv), ("main", MAIN, main), ("interpreter", INTERPRETER, interpreter)]
    {
        check_path(setting, path)?;
        add(key, path);
    }
    for option in options {
        check("options", option, &[(option.contains('\0'), "contains a NUL byte")])?;
        add(OPTION, option);
    }
    for (name, value) in env {
        let problems = [
            (name.is_empty(), "is not the name of a variable"),
            (name.contains('='), "contains `=`, which ends the name of a variable"),
            (name.contains('\0'), "contains a NUL byte"),
            (
                OWN_VARIABLES.contains(&name.as_bytes()),
                "is a variable that the launcher itself sets or removes",
            ),
        ];
        check("env", name, &problems)?;
        check("env", value, &[(value.contains('\0'), "contains a NUL byte")])?;
        add(VARIABLE, &format!("{name}={value}"));
    }
    Ok(records)
}

/// Checks a path that is relative to the runfiles directory or to the virtual environment.
fn check_path(setting: &'static str, path: &str) -> Result<(), Error> {
    let mut components = path.split('/');
    let problems = [
        (path.is_empty(), "is not a path"),
        (path.contains('\0'), "contains a NUL byte"),
        (path.starts_with('/'), "is absolute; it must be relative"),
        (
            components.any(|component| matches!(component, "" | "." | "..")),
            "contains an empty component, `.` or `..`",
        ),
    ];
    check(setting, path, &problems)
}

fn check(setting: &'static str, value: &str, problems: &[(bool, &'static str)]) -> Result<(), Error> {
    match problems.iter().find(|(applies, _)| *applies) {
        None => Ok(()),
        Some((_, problem)) => Err(Error::Value { setting, value: value.to_string(), problem }),
    }
}

#[cfg(test)]
mod tests {
    use launcher::config::{CAPACITY, Config, Section};
    use proptest::prelude::*;

    use super::*;

    fn template() -> Vec<u8> {
        let section = Section::empty();
        let parts =
            [b"\x7fELF", &section.magic[..], &section.capacity, &section.length, &section.records, b"end"];
        parts.concat()
    }

    fn settings() -> LauncherSettings {
        LauncherSettings {
            venv: "_main/app/_server.venv".to_string(),
            main: "_main/app/server.py".to_string(),
            interpreter: "bin/python3".to_string(),
            options: Vec::new(),
            env: Default::default(),
            python_version: None,
        }
    }

    /// What the launcher reads.
    fn read(executable: &[u8]) -> Config<'_> {
        let (_, section) = executable.split_at(4 + MAGIC.len() + 4);
        let (length, records) = section.split_first_chunk().unwrap();
        Config::parse(*length, &records[..CAPACITY]).unwrap()
    }

    proptest! {
        #[test]
        fn the_launcher_reads_what_was_written(
            venv in "[^/\0]{3,9}/[^/\0]{3,9}",
            options in prop::collection::vec("[^\0]*", 0..5),
            env in prop::collection::btree_map("[^=\0]{1,9}", "[^\0]*", 0..5),
        ) {
            let settings = LauncherSettings { venv, options, env, ..settings() };
            let executable = configure(&template(), &settings).unwrap();
            let config = read(&executable);
            prop_assert_eq!(config.venv, settings.venv.as_bytes());
            prop_assert_eq!(config.main, settings.main.as_bytes());
            prop_assert_eq!(config.interpreter, b"bin/python3");
            let text = |value: &std::ffi::CStr| value.to_str().unwrap().to_string();
            prop_assert_eq!(config.options().map(text).collect::<Vec<_>>(), settings.options);
            let env: Vec<String> =
                settings.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
            prop_assert_eq!(config.variables().map(text).collect::<Vec<_>>(), env);
            prop_assert_eq!(executable.len(), template().len());
            prop_assert!(executable.ends_with(b"end"));
        }

        #[test]
        fn templates_of_any_bytes_are_refused(template in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(configure(&template, &settings()), Err(Error::NoSection));
            let template = [template, MAGIC.to_vec()].concat();
            prop_assert_eq!(configure(&template, &settings()), Err(Error::CutOff));
        }
    }

    #[test]
    fn only_an_unconfigured_launcher_is_configured() {
        let configured = configure(&template(), &settings()).unwrap();
        assert_eq!(configure(&configured, &settings()), Err(Error::Configured));
        let two = [template(), template()].concat();
        assert_eq!(configure(&two, &settings()), Err(Error::SeveralSections(2)));
        let template = template();
        assert_eq!(configure(&template[..template.len() - 4], &settings()), Err(Error::CutOff));
        assert_eq!(configure(&template[..4 + HEADER_BYTES - 1], &settings()), Err(Error::CutOff));
    }

    #[test]
    fn settings_that_do_not_fit_are_refused() {
        let with_option = |length| {
            let settings = LauncherSettings { options: vec!["x".repeat(length)], ..settings() };
            configure(&template(), &settings)
        };
        let empty = records(&LauncherSettings { options: vec![String::new()], ..settings() }).unwrap().len();
        assert!(with_option(CAPACITY - empty).is_ok());
        let error = Error::TooLarge { capacity: CAPACITY, excess: 3 };
        assert_eq!(with_option(CAPACITY - empty + 3), Err(error));
    }

    #[test]
    fn only_a_known_version_can_be_another_one() {
        let header = |version: &str| {
            format!(
                "/* Version as a string */\n#define PY_MICRO_VERSION 7\n#define PY_VERSION      \t{version}\n/*--end--*/\n"
            )
        };
        for (version, other) in [
            ("\"3.11.7\"", None),
            ("\"3.11.7+\"", None),
            ("\"3.11.9\"", Some("3.11.9")),
            ("\"3.11.7rc1\"  /* x */", Some("3.11.7rc1")),
            ("\"3.11.70+\"", Some("3.11.70")),
            ("\"3.11\"", None),
            ("\"\"", None),
            ("\"3.11.9", None),
            ("VERSION", None),
        ] {
            assert_eq!(other_version("3.11.7", header(version).as_bytes()), other, "{version}");
        }
        assert_eq!(other_version("3.11.7", b"  # define PY_VERSION \"3.11.9\"\r\n"), Some("3.11.9"));
        for unusual in [&b""[..], b"\xff", b"#define PY_VERSION_HEX 0x030b07f0", b"PY_VERSION \"3.11.9\""] {
            assert_eq!(other_version("3.11.7", unusual), None);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |change: &dyn Fn(&mut LauncherSettings)| {
            let mut settings = settings();
            change(&mut settings);
            configure(&template(), &settings).unwrap_err().to_string()
        };
        assert_eq!(error(&|settings| settings.venv.clear()), "venv: \"\" is not a path");
        for path in ["a/../b", "..", "a//b", "./a", "a/"] {
            assert_eq!(
                error(&|settings| settings.main = path.to_string()),
                format!("main: \"{path}\" contains an empty component, `.` or `..`")
            );
        }
        assert_eq!(
            error(&|settings| settings.interpreter = "/bin/python3".to_string()),
            "interpreter: \"/bin/python3\" is absolute; it must be relative"
        );
        assert_eq!(
            error(&|settings| settings.options.push("a\0".to_string())),
            "options: \"a\\0\" contains a NUL byte"
        );
        for (name, value, message) in [
            ("", "", "env: \"\" is not the name of a variable"),
            ("A=B", "", "env: \"A=B\" contains `=`, which ends the name of a variable"),
            ("A\0", "", "env: \"A\\0\" contains a NUL byte"),
            ("A", "\0", "env: \"\\0\" contains a NUL byte"),
            ("PYTHONHOME", "/", "env: \"PYTHONHOME\" is a variable that the launcher itself sets or removes"),
        ] {
            let insert = |settings: &mut LauncherSettings| {
                settings.env.insert(name.to_string(), value.to_string());
            };
            assert_eq!(error(&insert), message);
        }
    }
}
