"""The command that records what the binary of an image reads when it starts."""

load(":command.bzl", "link_program")
load(":image_config.bzl", "command_of")
load(":platform_transition.bzl", "platform_transition")
load(":toolchain.bzl", "TOOLCHAIN_TYPE")

def _record_command_impl(ctx):
    # With its transition, the attribute for one label is a list.
    binary = ctx.attr.binary
    binary = ((binary if type(binary) == "list" else [binary] if binary else []) + ctx.attr.binaries)[0]
    executable = binary[DefaultInfo].files_to_run.executable
    path = executable.short_path
    cmd, env = command_of(binary)
    return [
        DefaultInfo(
            executable = link_program(ctx),
            runfiles = ctx.runfiles([executable]).merge(binary[DefaultInfo].default_runfiles),
        ),
        RunEnvironmentInfo(environment = env | {
            "PYLAYER_ARGUMENTS": json.encode(cmd),
            "PYLAYER_BINARY": path.removeprefix("../") if path.startswith("../") else ctx.workspace_name + "/" + path,
            "PYLAYER_COMMAND": "record",
        }),
    ]

record_command = rule(
    implementation = _record_command_impl,
    doc = """\
A command for `bazel run` that lists what the binary of an image reads when it starts.

It does not depend on the layers: the list that they begin with need not exist yet, nor need they be valid.""",
    attrs = {
        "binary": attr.label(doc = "As in `py_image_layer`.", allow_files = True, cfg = platform_transition),
        "binaries": attr.label_list(
            doc = "Several binaries instead of one. The first is started.",
            allow_files = True,
            cfg = platform_transition,
        ),
        "platform": attr.label(doc = "Platform to build the binary for."),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    executable = True,
    toolchains = [TOOLCHAIN_TYPE],
)
