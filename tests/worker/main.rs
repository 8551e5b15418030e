//! The program as a persistent worker: what it remembers, what it survives, and how it ages.

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod endurance;
mod faults;
