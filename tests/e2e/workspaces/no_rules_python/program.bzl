"""A program without Python."""

def _program_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "#!/bin/sh\n", is_executable = True)
    return DefaultInfo(executable = executable, runfiles = ctx.runfiles(ctx.files.data))

program = rule(
    implementation = _program_impl,
    attrs = {"data": attr.label_list(allow_files = True)},
    executable = True,
)
