//! The arguments and the environment of the interpreter, and what can be learned from a file that the
//! kernel refuses to execute.

use core::ffi::CStr;

/// Variables that are replaced or removed: the first two describe this binary; the others may describe
/// another one, or make the interpreter use another one's standard library or shared libraries.
pub const OWN_VARIABLES: [&[u8]; 6] = [
    b"RUNFILES_DIR",
    b"VIRTUAL_ENV",
    b"LD_ORIGIN_PATH",
    b"RUNFILES_MANIFEST_FILE",
    b"RUNFILES_MANIFEST_ONLY",
    b"PYTHONHOME",
];

/// The interpreter's arguments. `own` are those of the program, with its name.
pub fn arguments<'a>(
    interpreter: &'a CStr,
    options: impl Iterator<Item = &'a CStr> + Clone,
    main: &'a CStr,
    own: impl Iterator<Item = &'a CStr> + Clone,
) -> impl Iterator<Item = &'a CStr> + Clone {
    core::iter::once(interpreter).chain(options).chain(core::iter::once(main)).chain(own.skip(1))
}

/// The interpreter's environment: `inherited` without the [`OWN_VARIABLES`], those of `configured` that
/// it does not have, and `own`.
///
/// The environment has precedence because it is closer to the user: `bazel run` and `bazel test` set the
/// variables of a target, and a container's configuration those of an image.
pub fn environment<'a>(
    inherited: impl Iterator<Item = &'a CStr> + Clone,
    configured: impl Iterator<Item = &'a CStr> + Clone,
    own: &'a [&'a CStr],
) -> impl Iterator<Item = &'a CStr> + Clone {
    let names = inherited.clone();
    let absent = move |variable: &&CStr| {
        let name = name(variable);
        !names.clone().any(|inherited| self::name(inherited) == name)
    };
    let kept = |variable: &&CStr| !OWN_VARIABLES.contains(&name(variable));
    inherited.filter(kept).chain(configured.filter(absent)).chain(own.iter().copied())
}

/// The value of a variable; the first, if there are several.
pub fn value<'a>(mut environment: impl Iterator<Item = &'a CStr>, name: &[u8]) -> Option<&'a [u8]> {
    environment.find_map(|variable| variable.to_bytes().strip_prefix(name)?.strip_prefix(b"="))
}

fn name(variable: &CStr) -> &[u8] {
    let variable = variable.to_bytes();
    let end = variable.iter().position(|&byte| byte == b'=');
    &variable[..end.unwrap_or(variable.len())]
}

/// The program without which the kernel cannot execute a file that begins with `start`: the dynamic
/// loader of an ELF executable (System V ABI, "Program Header"), or the interpreter of a script. The
/// kernel reports the absence of either as if the file itself were missing.
pub fn needed_program(start: &[u8]) -> Option<&[u8]> {
    if let Some(script) = start.strip_prefix(b"#!") {
        let line = script.split(|&byte| byte == b'\n').next()?;
        return line.split(|&byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty());
    }
    // ELFCLASS64, ELFDATA2LSB
    start.strip_prefix(b"\x7fELF\x02\x01")?;
    let headers = number(start, 32, 8)?;
    let (size, count) = (number(start, 54, 2)?, number(start, 56, 2)?);
    for index in 0..count {
        const PT_INTERP: usize = 3;
        let header = start.get(headers.checked_add(index * size)?..)?;
        if number(header, 0, 4)? == PT_INTERP {
            let name = start.get(number(header, 8, 8)?..)?;
            return name.split(|&byte| byte == 0).next();
        }
    }
    None
}

/// The little-endian number in `bytes[at..at + size]`.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.get(..size)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_s_own_name_is_dropped() {
        let own = [c"app", c"--flag", c"\xff"];
        let arguments = |own: &'static [&CStr]| {
            let all = arguments(c"python3", [c"-I"].into_iter(), c"main.py", own.iter().copied());
            all.collect::<Vec<_>>()
        };
        assert_eq!(arguments(&[]), [c"python3", c"-I", c"main.py"]);
        assert_eq!(arguments(&[c"app"]), [c"python3", c"-I", c"main.py"]);
        assert_eq!(arguments(&[c"app", c"--flag", c"\xff"]), [c"python3", c"-I", c"main.py", own[1], own[2]]);
    }

    #[test]
    fn the_environment_is_passed_on() {
        let inherited = [
            c"A=1",
            c"RUNFILES_DIR=/other",
            c"\xff=\xfe",
            c"RUNFILES_MANIFEST_FILE=/other",
            c"RUNFILES_MANIFEST_ONLY=1",
            c"PYTHONHOME=/other",
            c"LD_ORIGIN_PATH=/other",
            c"PYTHONHOMES=/x",
            c"no equals sign",
            c"=C:=x",
            c"A=2",
            c"RUNFILES_DIR=/another",
            c"EMPTY=",
        ];
        let configured = [c"A=3", c"B=3", c"EMPTY=3", c"PYTHONHOMES2="];
        let own = [c"RUNFILES_DIR=/own", c"VIRTUAL_ENV=/own/venv"];
        let environment = environment(inherited.into_iter(), configured.into_iter(), &own);
        assert_eq!(
            environment.collect::<Vec<_>>(),
            [
                c"A=1",
                c"\xff=\xfe",
                c"PYTHONHOMES=/x",
                c"no equals sign",
                c"=C:=x",
                c"A=2",
                c"EMPTY=",
                c"B=3",
                c"PYTHONHOMES2=",
                own[0],
                own[1],
            ]
        );
        assert_eq!(value(inherited.into_iter(), b"RUNFILES_DIR"), Some(&b"/other"[..]));
        assert_eq!(value(inherited.into_iter(), b"RUNFILES"), None);
    }

    #[test]
    fn needed_programs_are_named() {
        assert_eq!(needed_program(b"#! /bin/sh -e\nx"), Some(&b"/bin/sh"[..]));
        assert_eq!(needed_program(b"#!/bin/sh"), Some(&b"/bin/sh"[..]));
        assert_eq!(needed_program(b"#!\n"), None);
        assert_eq!(needed_program(b"\x7fELF\x02\x01"), None);
        assert_eq!(needed_program(b""), None);
        let mut elf = [0; 256];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[32], elf[54], elf[56]) = (64, 56, 2);
        (elf[64], elf[120], elf[128]) = (1, 3, 200);
        elf[200..210].copy_from_slice(b"/lib/ld.so");
        assert_eq!(needed_program(&elf), Some(&b"/lib/ld.so"[..]));
        // Whatever the numbers are, nothing outside the file is read.
        for at in 0..64 {
            let mut broken = elf;
            broken[at] = 255;
            needed_program(&broken);
            needed_program(&elf[..at]);
        }
    }
}
