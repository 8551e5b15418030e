//! The checked-in messages match what the generators produce from the schema.
//!
//! ```sh
//! BLESS=1 cargo test --package bazel_worker --test generated     # regenerates them
//! ```

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};
use protobuf::Message as _;

const SCHEMA: &str = "worker_protocol.proto";

/// Fields declared as `string` that contain paths, which need not be UTF-8.
///
/// `string` and `bytes` have the same encoding. Declared as bytes, a strict decoder accepts every path
/// that Bazel can send.
const PATHS: [(&str, &str); 3] =
    [("Input", "path"), ("WorkRequest", "arguments"), ("WorkRequest", "sandbox_dir")];

/// The directory of the schema, in the repository.
fn schema_directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto"))
}

/// The messages of the crate.
#[test]
fn by_prost() -> Result<(), Box<dyn Error>> {
    let schema = schema_directory();
    let parsed = protobuf_parse::Parser::new()
        .pure()
        .include(schema)
        .input(schema.join(SCHEMA))
        .file_descriptor_set()?;
    // Convert from the protobuf crate's types to prost's.
    let mut set = FileDescriptorSet::decode(parsed.write_to_bytes()?.as_slice())?;
    for message in set.file.iter_mut().flat_map(|file| &mut file.message_type) {
        for field in &mut message.field {
            if PATHS.contains(&(message.name.as_deref().unwrap_or(""), field.name())) {
                field.set_type(Type::Bytes);
            }
        }
    }
    let out = tempfile::tempdir()?;
    // Fields are slices of the frame, so that a request with 150,000 inputs is not copied path by path.
    prost_build::Config::new().bytes(["."]).out_dir(out.path()).compile_fds(set)?;
    assert_same("src/proto.rs", &fs::read_to_string(out.path().join("blaze.worker.rs"))?)
}

/// The independent implementation with which the other tests compare the crate.
#[test]
fn by_protobuf_codegen() -> Result<(), Box<dyn Error>> {
    let (schema, out) = (schema_directory(), tempfile::tempdir()?);
    protobuf_codegen::Codegen::new()
        .pure()
        .include(schema)
        .input(schema.join(SCHEMA))
        .out_dir(out.path())
        .run()?;
    let generated = fs::read_to_string(out.path().join("worker_protocol.rs"))?;
    assert_same("tests/reference/worker_protocol.rs", &generated)
}

fn assert_same(path: &str, generated: &str) -> Result<(), Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, generated)?;
    }
    let is_same = fs::read_to_string(&path)? == generated;
    assert!(is_same, "{} is not what the generator writes; BLESS=1 writes it", path.display());
    Ok(())
}
