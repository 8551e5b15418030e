"""Binaries in the layouts of other rule sets."""

_FROM_SITE_PACKAGES = "../../../../../../"

def _laid_out_impl(ctx):
    name = ctx.label.name
    executable = ctx.actions.declare_file(name)
    ctx.actions.write(executable, "#!/bin/sh\n", is_executable = True)
    made = []
    if ctx.attr.layout == "venv":
        # rules_python 1, and aspect_rules_py 2.
        site_packages = "_{}.venv/lib/python3.11/site-packages/".format(name)
        for wheel in ctx.files.deps:
            if wheel.basename == "METADATA":
                link = ctx.actions.declare_symlink(site_packages + wheel.dirname.rpartition("/")[2])
                place = wheel.short_path.removeprefix("../").removesuffix("/METADATA")
                ctx.actions.symlink(output = link, target_path = _FROM_SITE_PACKAGES + place)
                made.append(link)
    if ctx.attr.layout == "tree":
        # aspect_rules_py 1.
        tree = ctx.actions.declare_directory("." + name)
        ctx.actions.run_shell(
            outputs = [tree],
            command = "d=$1/lib/python3.11/site-packages; mkdir -p $d; echo $2 > $d/$2.pth",
            arguments = [tree.path, name],
        )
        made.append(tree)
    runfiles = ctx.runfiles(
        files = [executable] + made + ctx.files.srcs + ctx.files.deps,
        root_symlinks = {path: target.files.to_list()[0] for target, path in ctx.attr.root_symlinks.items()},
    )
    return DefaultInfo(executable = executable, runfiles = runfiles)

_ATTRIBUTES = {
    "deps": attr.label_list(allow_files = True),
    "layout": attr.string(default = "tree", values = ["plain", "tree", "venv"]),
    "root_symlinks": attr.label_keyed_string_dict(allow_files = True),
    "srcs": attr.label_list(allow_files = True),
}

aspect_binary = rule(
    implementation = _laid_out_impl,
    doc = "A binary whose launcher is that of aspect_rules_py 1.",
    attrs = _ATTRIBUTES | {
        "_run_tmpl": attr.label(default = "@aspect_rules_py//py/private:run.tmpl.sh", allow_single_file = True),
    },
    executable = True,
)

laid_out = rule(
    implementation = _laid_out_impl,
    attrs = _ATTRIBUTES,
    executable = True,
)
