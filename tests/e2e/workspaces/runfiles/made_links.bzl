"""A binary with links created by a program, whose actions look like any others in Bazel 7."""

# By name: the link's target, and whether it is a declared symlink or stands for its target.
_LINKS = {
    "absolute": ("/usr/bin/env", True),
    "declared": ("target.txt", True),
    "file": ("target.txt", False),
    "in_the_runfiles": ("../main.sh", True),  # dangles where actions run
}

def _made_links_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "#!/bin/sh\n", is_executable = True)
    folder = "links_of_{}/".format(ctx.label.name)
    target = ctx.actions.declare_file(folder + "target.txt")
    ctx.actions.run_shell(outputs = [target], command = "echo target > $1", arguments = [target.path])
    files = [target, ctx.file.main]
    for name in ctx.attr.links:
        text, is_declared = _LINKS[name]
        declare = ctx.actions.declare_symlink if is_declared else ctx.actions.declare_file
        link = declare(folder + name)
        ctx.actions.run_shell(
            inputs = [target],
            outputs = [link],
            command = "ln -s $1 $2",
            arguments = [text, link.path],
        )
        files.append(link)
    return DefaultInfo(executable = executable, runfiles = ctx.runfiles(files = files))

made_links = rule(
    implementation = _made_links_impl,
    attrs = {
        "links": attr.string_list(default = _LINKS.keys()),
        "main": attr.label(allow_single_file = True),
    },
    executable = True,
)
