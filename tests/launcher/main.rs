//! The launcher of Python binaries, configured by the program, in real processes.

#[path = "../support/mod.rs"]
mod support;

mod errors;
mod executable;
mod finding;
mod passing_on;
#[path = "support.rs"]
mod trees;
