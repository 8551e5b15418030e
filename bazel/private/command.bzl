"""The program as a command for `bazel run`."""

load(":toolchain.bzl", "TOOLCHAIN_TYPE")

def _pylayer_command_impl(ctx):
    program = ctx.actions.declare_file(ctx.label.name)
    tool = ctx.toolchains[TOOLCHAIN_TYPE].pylayer
    ctx.actions.symlink(output = program, target_file = tool.executable, is_executable = True)
    return [
        DefaultInfo(executable = program),
        # Paths in its arguments are relative to where the user is, not to the runfiles.
        RunEnvironmentInfo(environment = {"PYLAYER_BAZEL_RUN": "1"}),
    ]

pylayer_command = rule(
    implementation = _pylayer_command_impl,
    doc = "The program that writes layers, for `bazel run`.",
    executable = True,
    toolchains = [TOOLCHAIN_TYPE],
)
