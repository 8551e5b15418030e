"""A program with an environment."""

def _server_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "#!/bin/sh\n", is_executable = True)
    return [
        DefaultInfo(executable = executable, runfiles = ctx.runfiles(ctx.files.data)),
        RunEnvironmentInfo(environment = {"PORT": "8080"}),
    ]

server = rule(
    implementation = _server_impl,
    attrs = {"data": attr.label_list(allow_files = True)},
    executable = True,
)
