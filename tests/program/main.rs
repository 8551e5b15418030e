//! The program as a process for one action, and `pylayer pack`: real files in, layers out, which other
//! people's readers read.

#[path = "../support/mod.rs"]
mod support;

mod cancelled;
mod contents;
mod determinism;
mod inputs;
mod links;
mod names;
mod observability;
mod outputs;
mod pack;
mod paths;
mod random;
mod stress;
mod validation;
