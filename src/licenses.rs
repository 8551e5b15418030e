//! The licences of what the program contains. `tools/dependencies` writes the text, and the list at its top is also
//! what the program knows about the versions of its libraries.

/// What the program contains, and the texts of its licences. A constant would be in each of the program's crates.
pub static TEXT: &str = include_str!("licenses.txt");

/// The version of a crate or of a C library in one: `"zstd-safe"` → `"8.2.0"`.
pub fn version_of(name: &str) -> Option<&'static str> {
    let rest = TEXT.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    let (version, _) = rest.split_once(" (")?;
    (!version.contains(' ')).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_cargo() {
        let lock = include_str!("../Cargo.lock");
        let lock: Vec<&str> = lock.lines().collect();
        let versions = |name: &str| -> Vec<&str> {
            let name = format!("name = \"{name}\"");
            let packages = lock.windows(2).filter(|lines| lines[0] == name);
            packages.filter_map(|lines| lines[1].strip_prefix("version = \"")?.strip_suffix('"')).collect()
        };
        for crate_name in ["clap", "libdeflate-sys", "libdeflater", "zstd", "zstd-safe", "zstd-sys"] {
            let version = version_of(crate_name).unwrap();
            assert!(
                versions(crate_name).contains(&version),
                "src/licenses.txt has another {crate_name}: run tools/dependencies licenses"
            );
        }
    }

    #[test]
    fn the_text_has_the_licence_of_the_program_first_and_those_of_c_libraries() {
        assert!(TEXT.starts_with("pylayer is under the Apache License, Version 2.0."));
        let own = TEXT.find(include_str!("../LICENSE").trim()).unwrap();
        for other in
            ["Copyright 2016 Eric Biggers", "For Zstandard software", "GNU LESSER GENERAL PUBLIC LICENSE"]
        {
            assert!(TEXT.find(other).unwrap() > own, "{other}");
        }
    }

    #[test]
    fn only_whole_names_are_found() {
        assert_eq!(version_of("zstd-"), None);
        assert_eq!(version_of("On Linux, if"), None);
        assert_eq!(version_of("libzstd"), Some(zstd::zstd_safe::version_string()));
    }
}
