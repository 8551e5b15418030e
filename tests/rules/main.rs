//! The Starlark functions of `bazel/private`, compared with what the program does.

mod bazel_private;

mod layer_groups;
mod tar_args;
