"""The toolchains: the program that writes layers, and the launcher of Python binaries."""

TOOLCHAIN_TYPE = Label("//bazel:toolchain_type")
LAUNCHER_TOOLCHAIN_TYPE = Label("//bazel:launcher_toolchain_type")

def _py_image_layer_toolchain_impl(ctx):
    return [platform_common.ToolchainInfo(
        pylayer = ctx.attr.pylayer[DefaultInfo].files_to_run,
    )]

py_image_layer_toolchain = rule(
    implementation = _py_image_layer_toolchain_impl,
    doc = "Makes a `pylayer` program usable as `@rules_pylayer//bazel:toolchain_type`.",
    attrs = {
        "pylayer": attr.label(
            doc = "The program, for the execution platform.",
            mandatory = True,
            executable = True,
            allow_single_file = True,
            cfg = "exec",
        ),
    },
    provides = [platform_common.ToolchainInfo],
)

def _py_launcher_toolchain_impl(ctx):
    return [platform_common.ToolchainInfo(launcher = ctx.file.launcher)]

py_launcher_toolchain = rule(
    implementation = _py_launcher_toolchain_impl,
    doc = "Makes a launcher of Python binaries usable as `@rules_pylayer//bazel:launcher_toolchain_type`.",
    attrs = {
        # Not built for the execution platform: an action copies the launcher, and the target platform runs it.
        "launcher": attr.label(
            doc = "The launcher, not configured, for the target platform.",
            mandatory = True,
            allow_single_file = True,
        ),
    },
    provides = [platform_common.ToolchainInfo],
)
