//! The program as a persistent worker: caching, faults and endurance.

#[path = "../support/mod.rs"]
mod support;

mod cache;
mod endurance;
mod faults;
