"""The program as a command for `bazel run`."""

load(":toolchain.bzl", "TOOLCHAIN_TYPE")

def link_program(ctx):
    """Declares a link to the program, with the target's name.

    Args:
        ctx: The context of a rule that uses the program's toolchain.

    Returns:
        The link.
    """
    program = ctx.actions.declare_file(ctx.label.name)
    tool = ctx.toolchains[TOOLCHAIN_TYPE].pylayer
    ctx.actions.symlink(output = program, target_file = tool.executable, is_executable = True)
    return program

def _pylayer_command_impl(ctx):
    return [
        DefaultInfo(executable = link_program(ctx)),
        # Paths in its arguments are relative to where the user is, not to the runfiles.
        RunEnvironmentInfo(environment = {"PYLAYER_BAZEL_RUN": "1"}),
    ]

pylayer_command = rule(
    implementation = _pylayer_command_impl,
    doc = "The program that writes layers, for `bazel run`.",
    executable = True,
    toolchains = [TOOLCHAIN_TYPE],
)
