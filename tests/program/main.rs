//! The program as a process for one action, and `pylayer pack`: real inputs, and layers that are checked
//! with independent tar readers.

#[path = "../support/mod.rs"]
mod support;

mod cancelled;
mod collisions;
mod contents;
mod determinism;
mod images;
mod inputs;
mod lazy;
mod links;
mod names;
mod observability;
mod outputs;
mod pack;
mod paths;
mod random;
mod record;
mod stress;
mod tune;
mod validation;
mod version;
mod wheels;
