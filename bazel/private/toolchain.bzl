"""The toolchain: the program that writes layers."""

TOOLCHAIN_TYPE = Label("//bazel:toolchain_type")

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
