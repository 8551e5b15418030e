"""Rules that make tree artifacts."""

def _unpacked_impl(ctx):
    tree = ctx.actions.declare_directory("actual_install.install")
    start = ctx.label.workspace_root + "/"
    ctx.actions.run_shell(
        inputs = ctx.files.srcs,
        outputs = [tree],
        command = "cd {} && for file in {}; do mkdir -p $OLDPWD/{}/site-packages/$(dirname $file); cp $file $OLDPWD/{}/site-packages/$file; done".format(
            start,
            " ".join([file.path.removeprefix(start) for file in ctx.files.srcs]),
            tree.path,
            tree.path,
        ),
    )
    return DefaultInfo(files = depset([tree]))

unpacked = rule(
    implementation = _unpacked_impl,
    attrs = {"srcs": attr.label_list(allow_files = True)},
)
