//! Stands in for the interpreter: prints its arguments and environment, each followed by a NUL, with
//! the number of arguments before them. The variable `STAND_IN` can ask for something else.

use std::ffi::{CStr, c_char};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

unsafe extern "C" {
    static environ: *const *const c_char;
}

fn main() {
    let mut text = format!("{}\0", std::env::args_os().count()).into_bytes();
    for argument in std::env::args_os() {
        text.extend(argument.as_bytes());
        text.push(0);
    }
    // SAFETY: nothing changes the environment, which ends in a null pointer.
    let mut variable = unsafe { environ };
    // SAFETY: as above; no pointer before this one is null.
    while !unsafe { *variable }.is_null() {
        // SAFETY: as above; the pointer leads to a string.
        text.extend(unsafe { CStr::from_ptr(*variable) }.to_bytes_with_nul());
        // SAFETY: as above.
        variable = unsafe { variable.add(1) };
    }
    match std::env::var_os("STAND_IN") {
        None => {
            let _ = std::io::stdout().write_all(&text);
        }
        Some(mode) if mode == "exit" => std::process::exit(7),
        Some(mode) if mode == "wait" => {
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        Some(file) => std::fs::write(file, text).unwrap(),
    }
}
