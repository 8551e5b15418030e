"""A rule with runfiles of every kind that Bazel has."""

def _kinds_impl(ctx):
    source = ctx.file.src
    copy = ctx.actions.declare_file("copy.txt")
    ctx.actions.symlink(output = copy, target_file = source)
    declared = ctx.actions.declare_symlink("declared")
    ctx.actions.symlink(output = declared, target_path = "../lib/lib.py")  # right in the runfiles only
    tree = ctx.actions.declare_directory("tree")
    ctx.actions.run_shell(
        inputs = [source],
        outputs = [tree],
        arguments = [tree.path, source.path],
        command = "mkdir $1/inner && cp $2 $1/inner/file.txt && cp $2 \"$1/with space.txt\" && ln -s inner/file.txt $1/link.txt",
    )
    target = ctx.actions.declare_file("target.txt")
    ctx.actions.write(target, "only reached by links\n")
    runfiles = ctx.runfiles(
        files = [copy, declared, tree, source],
        symlinks = {
            "links/to_source.txt": source,
            "links/to_target.txt": target,
        },
        root_symlinks = {"at_the_root.txt": source},
    )
    return [DefaultInfo(files = depset([copy]), runfiles = runfiles), OutputGroupInfo(tree = depset([tree]))]

kinds = rule(
    implementation = _kinds_impl,
    attrs = {"src": attr.label(allow_single_file = True)},
)
