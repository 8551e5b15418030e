"""What rules of both versions do, with the provider that each has."""

WHEEL_ATTRIBUTES = {
    "deps": attr.label_list(),
    "files": attr.string_dict(),
}

SOURCE_ATTRIBUTES = {
    "deps": attr.label_list(),
    "srcs": attr.label_list(allow_files = [".py"]),
}

def _root(ctx):
    return "/".join([ctx.label.repo_name or ctx.workspace_name, ctx.label.package])

def _collect(ctx, new_info, provider, sources, imports):
    infos = [target[provider] for target in ctx.attr.deps]
    info = new_info(
        imports = depset(imports, transitive = [info.imports for info in infos]),
        transitive_sources = depset(sources, order = "postorder", transitive = [info.transitive_sources for info in infos]),
    )
    runfiles = ctx.runfiles(transitive_files = info.transitive_sources)
    return info, runfiles.merge_all([target[DefaultInfo].default_runfiles for target in ctx.attr.deps])

def wheel(ctx, new_info, provider):
    """An installed wheel: a directory whose files Bazel does not know before.

    Args:
        ctx: the rule's context.
        new_info: makes the provider.
        provider: the provider.

    Returns:
        The providers.
    """
    tree = ctx.actions.declare_directory(ctx.label.name + ".install")
    args = ctx.actions.args().add(tree.path)
    for path, content in ctx.attr.files.items():
        args.add(path).add(content)
    ctx.actions.run_shell(
        outputs = [tree],
        arguments = [args],
        command = "site=$1/lib/python3/site-packages; shift; while [ $# != 0 ]; do mkdir -p \"$(dirname \"$site/$1\")\"; printf %s \"$2\" > \"$site/$1\"; shift 2; done",
    )
    imports = [_root(ctx) + "/" + tree.basename + "/lib/python3/site-packages"]
    info, runfiles = _collect(ctx, new_info, provider, [tree], imports)
    return [DefaultInfo(files = depset([tree]), runfiles = runfiles), info]

def library(ctx, new_info, provider):
    """A library.

    Args:
        ctx: the rule's context.
        new_info: makes the provider.
        provider: the provider.

    Returns:
        The providers.
    """
    info, runfiles = _collect(ctx, new_info, provider, ctx.files.srcs, [])
    return [DefaultInfo(files = depset(ctx.files.srcs), runfiles = runfiles), info]

_SCRIPT = """\
#!/bin/sh
cd "$0.runfiles" && PYTHONPATH={path} exec python3 -B {main} "$@"
"""

def binary(ctx, new_info, provider):
    """A program, which runs the machine's Python.

    Args:
        ctx: the rule's context.
        new_info: makes the provider.
        provider: the provider.

    Returns:
        The providers.
    """
    info, runfiles = _collect(ctx, new_info, provider, ctx.files.srcs, [])
    executable = ctx.actions.declare_file(ctx.label.name)
    script = _SCRIPT.format(
        main = ctx.workspace_name + "/" + ctx.files.srcs[0].short_path,
        path = ":".join(["$PWD/" + path for path in [ctx.workspace_name, "."] + info.imports.to_list()]),
    )
    ctx.actions.write(executable, script, is_executable = True)
    return [DefaultInfo(executable = executable, runfiles = runfiles), info]
