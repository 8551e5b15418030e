//! Compiles `proto/worker_protocol.proto` without a `protoc` on the machine, twice:
//!
//! * `$OUT_DIR/blaze.worker.rs`, by prost: what the program uses;
//! * `$OUT_DIR/reference/`, by protobuf-codegen: an independent implementation that the tests hold
//!   the first one against. Nothing but the tests includes it.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};
use protobuf::Message as _;

const SCHEMA: &str = "proto/worker_protocol.proto";

/// Fields declared as text that carry paths, which need not be UTF-8.
///
/// `string` and `bytes` are encoded alike; reading them as bytes is what lets a strict decoder
/// accept every path that Bazel can send.
const PATHS: [(&str, &str); 3] =
    [("Input", "path"), ("WorkRequest", "arguments"), ("WorkRequest", "sandbox_dir")];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={SCHEMA}");
    let out_dir = env::var("OUT_DIR")?;

    let mut schema = parse()?;
    for message in schema.file.iter_mut().flat_map(|file| &mut file.message_type) {
        for field in &mut message.field {
            if PATHS.contains(&(message.name.as_deref().unwrap_or(""), field.name())) {
                field.set_type(Type::Bytes);
            }
        }
    }
    prost_build::Config::new()
        // Slices of the received frame: a request with 150,000 inputs is not copied path by path.
        .bytes(["."])
        .out_dir(&out_dir)
        .compile_fds(schema)?;

    let reference = Path::new(&out_dir).join("reference");
    fs::create_dir_all(&reference)?;
    protobuf_codegen::Codegen::new().pure().include("proto").input(SCHEMA).out_dir(reference).run()?;
    Ok(())
}

/// Parses the schema in Rust and hands it from the protobuf crate's types to prost's.
fn parse() -> Result<FileDescriptorSet, Box<dyn Error>> {
    let parsed = protobuf_parse::Parser::new().pure().include("proto").input(SCHEMA).file_descriptor_set()?;
    Ok(FileDescriptorSet::decode(parsed.write_to_bytes()?.as_slice())?)
}
