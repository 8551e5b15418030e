"""A binary with arbitrary runfiles."""

def _binary_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "#!/bin/sh\n", is_executable = True)
    links = []
    for name, text in ctx.attr.links.items():
        links.append(ctx.actions.declare_symlink(name))
        ctx.actions.symlink(output = links[-1], target_path = text)
    runfiles = ctx.runfiles(
        files = ctx.files.data + links,
        symlinks = {path: target.files.to_list()[0] for target, path in ctx.attr.symlinks.items()},
    )
    return DefaultInfo(
        executable = executable,
        runfiles = runfiles.merge_all([target[DefaultInfo].default_runfiles for target in ctx.attr.data]),
    )

binary = rule(
    implementation = _binary_impl,
    attrs = {
        "data": attr.label_list(allow_files = True),
        "links": attr.string_dict(doc = "Declared symlinks: texts by name."),
        "symlinks": attr.label_keyed_string_dict(
            doc = "Places below the workspace's runfiles.",
            allow_files = True,
        ),
    },
    executable = True,
)
