"""A binary without runfiles."""

def _binary_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "#!/bin/sh\n", is_executable = True)
    return DefaultInfo(executable = executable, runfiles = ctx.runfiles())

binary = rule(implementation = _binary_impl, executable = True)
