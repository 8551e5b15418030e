//! The protocol's messages by protobuf-codegen: an independent implementation that the tests hold the
//! crate's against. The test `generated` writes it.

#[allow(warnings)]
pub mod worker_protocol;
