"""An executable with runfiles, which is all that either rule requires of a `py_binary`."""

def _binary_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "#!/usr/bin/env python3\n", is_executable = True)
    files = depset(transitive = [target[DefaultInfo].files for target in ctx.attr.data])
    return [DefaultInfo(executable = executable, runfiles = ctx.runfiles(transitive_files = files))]

binary = rule(
    implementation = _binary_impl,
    attrs = {"data": attr.label_list(allow_files = True)},
    executable = True,
)
