//! The parts of the launcher that make no system calls. The program is `main.rs`, which includes the
//! same modules.
//!
//! | module | |
//! |---|---|
//! | [`errno`] | error numbers of Linux, and their texts |
//! | [`buffer`] | a NUL-terminated string in a fixed amount of memory |
//! | [`config`] | the section that holds the configuration |
//! | [`runfiles`] | finds the runfiles directory |
//! | [`origin`] | the directory of the interpreter, for the dynamic loader |
//! | [`exec`] | the arguments and environment of the interpreter, and why it was not executed |
//! | [`message`] | writes error messages |

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod buffer;
pub mod config;
pub mod errno;
pub mod exec;
pub mod message;
pub mod origin;
pub mod runfiles;
