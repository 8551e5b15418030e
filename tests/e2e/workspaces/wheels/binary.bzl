"""A binary with arbitrary runfiles."""

def _binary_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "#!/bin/sh\n", is_executable = True)
    return DefaultInfo(executable = executable, runfiles = ctx.runfiles(files = ctx.files.data))

binary = rule(
    implementation = _binary_impl,
    attrs = {"data": attr.label_list(allow_files = True)},
    executable = True,
)
