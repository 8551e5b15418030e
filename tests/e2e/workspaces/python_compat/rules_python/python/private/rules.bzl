"""Rules that need a `PyInfo` of their own in `deps`, as those of rules_python do."""

load(":py_info.bzl", "PyInfo")

def _collect(ctx):
    infos = [target[PyInfo] for target in ctx.attr.deps]
    package = "/".join([part for part in [ctx.label.repo_name or ctx.workspace_name, ctx.label.package] if part])
    info = PyInfo(
        imports = depset(
            [package + "/" + path for path in ctx.attr.imports],
            transitive = [info.imports for info in infos],
        ),
        transitive_sources = depset(
            ctx.files.srcs,
            order = "postorder",
            transitive = [info.transitive_sources for info in infos],
        ),
    )
    runfiles = ctx.runfiles(files = ctx.files.srcs + ctx.files.data, transitive_files = info.transitive_sources)
    return info, runfiles.merge_all([target[DefaultInfo].default_runfiles for target in ctx.attr.deps + ctx.attr.data])

def _py_library_impl(ctx):
    info, runfiles = _collect(ctx)
    return [DefaultInfo(files = depset(ctx.files.srcs), runfiles = runfiles), info]

# Only the standard library comes from the machine.
_SCRIPT = """\
#!/bin/sh
cd "$0.runfiles" && PYTHONPATH={path} exec python3 -B {main} "$@"
"""

def _py_binary_impl(ctx):
    info, runfiles = _collect(ctx)
    executable = ctx.actions.declare_file(ctx.label.name)
    script = _SCRIPT.format(
        main = ctx.workspace_name + "/" + ctx.files.srcs[0].short_path,
        path = ":".join(["$PWD/" + path for path in [ctx.workspace_name, "."] + info.imports.to_list()]),
    )
    ctx.actions.write(executable, script, is_executable = True)
    return [
        DefaultInfo(
            executable = executable,
            runfiles = runfiles.merge(ctx.runfiles([executable])),
        ),
        info,
    ]

_ATTRIBUTES = {
    "data": attr.label_list(allow_files = True),
    "deps": attr.label_list(providers = [PyInfo]),
    "imports": attr.string_list(),
    "srcs": attr.label_list(allow_files = [".py"]),
}

py_library = rule(
    implementation = _py_library_impl,
    attrs = _ATTRIBUTES,
    provides = [PyInfo],
)

py_binary = rule(
    implementation = _py_binary_impl,
    attrs = _ATTRIBUTES,
    executable = True,
    provides = [PyInfo],
)
