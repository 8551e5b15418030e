//! The Starlark functions in `bazel/private`, compared with the program and with bsdtar.

mod bazel_private;

mod layer_groups;
mod tar_args;
