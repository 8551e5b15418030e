//! Compiles the worker protocol by protobuf-codegen, to compare the program's decoder with.

fn main() {
    protobuf_codegen::Codegen::new()
        .pure()
        .include("../proto")
        .input("../proto/worker_protocol.proto")
        .cargo_out_dir("reference")
        .run_from_script();
}
