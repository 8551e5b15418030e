"""A binary with a virtual environment, in the layout of Python rules, and with every kind of runfile."""

# Started by the interpreter on the PATH, and starts the one in its virtual environment.
_LAUNCHER = """\
#!/usr/bin/env python3
exec "$0.runfiles/{venv}/bin/python3" "$0.runfiles/{main}"
"""

# From <package>/_<name>.venv/bin and <package>/_<name>.venv/lib/python3.11/site-packages to the runfiles.
_FROM_BIN = "../../../../"
_FROM_SITE_PACKAGES = "../../../../../../"

_TREE = """\
cd "$1"
mkdir -p inner/deep empty
echo inner > inner/deep/file.txt
ln -s inner/deep/file.txt to_file.txt
ln -s inner to_directory
for name in 'a space.txt' "a${2}tab.txt" 'café.txt' '@x.txt' '-x.txt' 'back\\slash.txt'; do
  echo odd > "./$name"
done
: > nothing.txt
"""

def _venv_binary_impl(ctx):
    name = ctx.label.name
    made = []

    def declare_link(path, text):
        link = ctx.actions.declare_symlink(path)
        ctx.actions.symlink(output = link, target_path = text)
        made.append(link)

    def write(path, text):
        file = ctx.actions.declare_file(path)
        ctx.actions.write(file, text)
        return file

    # The virtual environment. All of its links dangle outside the runfiles.
    venv = "_{}.venv".format(name)
    site_packages = venv + "/lib/python3.11/site-packages/"
    declare_link(venv + "/bin/python3", _FROM_BIN + _rlocation(ctx, ctx.file.interpreter))
    declare_link(venv + "/bin/python", "python3")
    made.append(write(venv + "/pyvenv.cfg", ""))
    made.append(write(site_packages + "bazel.pth", "import _bazel_site_init\n"))
    root_symlinks = {}
    for wheel in ctx.files.wheels:
        place = wheel.short_path.split("/site-packages/")[1]
        if place.endswith(".so"):
            # A shared library is added a second time.
            root_symlinks["{}/{}/{}".format(ctx.workspace_name, ctx.label.package, site_packages + place)] = wheel
        elif place.startswith("numpy/"):
            # A package with shared libraries is split file by file.
            declare_link(site_packages + place, _FROM_SITE_PACKAGES + "../" + _rlocation(ctx, wheel))
        elif place.endswith("/__init__.py") or place.endswith("/METADATA"):
            # Other packages are linked as a whole.
            declare_link(site_packages + place.split("/")[0], _FROM_SITE_PACKAGES + _rlocation(ctx, wheel).rpartition("/")[0])
        elif "/" not in place:
            declare_link(site_packages + place, _FROM_SITE_PACKAGES + _rlocation(ctx, wheel))

    tree = ctx.actions.declare_directory("tree")
    ctx.actions.run_shell(outputs = [tree], command = _TREE, arguments = [tree.path, "\t"])
    made.append(tree)

    # A wheel that is a tree, under its own name.
    declare_link(site_packages + "unpacked", _FROM_SITE_PACKAGES + _rlocation(ctx, tree) + "/inner")
    declare_link("local_python3", "/usr/local/python/bin/python3")

    # A file, a generated file and a tree, each under another name.
    generated = write("generated.txt", "generated\n")
    made.append(generated)
    for target, alias in [
        (ctx.file.main, ctx.actions.declare_file("copies/main.sh")),
        (generated, ctx.actions.declare_file("copies/generated.txt")),
        (tree, ctx.actions.declare_directory("copies/tree")),
    ]:
        ctx.actions.symlink(output = alias, target_file = target)
        made.append(alias)

    hidden_tree = ctx.actions.declare_directory("hidden_tree")
    ctx.actions.run_shell(outputs = [hidden_tree], command = "echo hidden > $1/file.txt", arguments = [hidden_tree.path])
    hidden = write("hidden.txt", "only where links put it\n")
    root_symlinks["at_the_root/main.sh"] = ctx.file.main
    root_symlinks["at_the_root/hidden.txt"] = hidden

    launcher = ctx.actions.declare_file(name)
    ctx.actions.write(
        launcher,
        _LAUNCHER.format(
            main = _rlocation(ctx, ctx.file.main),
            venv = "{}/{}/{}".format(ctx.workspace_name, ctx.label.package, venv),
        ),
        is_executable = True,
    )
    runfiles = ctx.runfiles(
        files = [launcher, ctx.file.main] + made + ctx.files.data + ctx.files.wheels + ctx.files.transitioned,
        symlinks = {
            "links/generated.txt": generated,
            "links/hidden.txt": hidden,
            "links/hidden_tree": hidden_tree,
            "links/tree": tree,
        },
        root_symlinks = root_symlinks,
    )
    return DefaultInfo(
        executable = launcher,
        runfiles = runfiles.merge_all([target[DefaultInfo].default_runfiles for target in ctx.attr.data]),
    )

def _rlocation(ctx, file):
    return file.short_path[3:] if file.short_path.startswith("../") else ctx.workspace_name + "/" + file.short_path

_COMPILATION_MODE = "//command_line_option:compilation_mode"

_optimized = transition(
    implementation = lambda settings, attr: {_COMPILATION_MODE: "opt"},
    inputs = [],
    outputs = [_COMPILATION_MODE],
)

venv_binary = rule(
    implementation = _venv_binary_impl,
    attrs = {
        "data": attr.label_list(allow_files = True),
        "interpreter": attr.label(allow_single_file = True),
        "main": attr.label(allow_single_file = True),
        "transitioned": attr.label_list(
            doc = "Files from another output root.",
            cfg = _optimized,
        ),
        "wheels": attr.label_list(),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    executable = True,
)

def _compiled_impl(ctx):
    file = ctx.actions.declare_file(ctx.attr.out)
    ctx.actions.write(file, "compiled\n")
    return DefaultInfo(files = depset([file]))

compiled = rule(
    implementation = _compiled_impl,
    doc = "Makes a file that other targets of this rule may make as well, so that it has several owners.",
    attrs = {"out": attr.string()},
)
