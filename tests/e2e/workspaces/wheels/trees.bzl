"""A rule that unpacks a wheel in an action, like `py_unpacked_wheel` and `whl_install` of aspect_rules_py."""

def _unpacked_wheel_impl(ctx):
    tree = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        inputs = [ctx.file.src],
        outputs = [tree],
        command = "python3 -m zipfile -e $1 $2/lib/python3.11/site-packages",
        arguments = [ctx.file.src.path, tree.path],
        use_default_shell_env = True,
    )
    return DefaultInfo(files = depset([tree]), runfiles = ctx.runfiles([tree]))

unpacked_wheel = rule(
    implementation = _unpacked_wheel_impl,
    attrs = {"src": attr.label(allow_single_file = [".whl"])},
)

def _patched_impl(ctx):
    file = ctx.actions.declare_file("site-packages/patched/core.so")
    ctx.actions.run_shell(
        inputs = [ctx.file.src],
        outputs = [file],
        command = "sed 's/patched 64$/patched 65/' $1 > $2",
        arguments = [ctx.file.src.path, file.path],
    )
    return DefaultInfo(files = depset([file]), runfiles = ctx.runfiles([file]))

patched = rule(
    implementation = _patched_impl,
    attrs = {"src": attr.label(allow_single_file = True)},
)
