"""A tree artifact, whose contents are only known after its action has run."""

def _tree_impl(ctx):
    tree = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [tree],
        arguments = [tree.path] + ctx.attr.paths,
        command = "cd $1 && shift && touch $@",
    )
    return DefaultInfo(files = depset([tree]))

tree = rule(
    implementation = _tree_impl,
    attrs = {"paths": attr.string_list()},
)
