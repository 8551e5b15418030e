"""The virtual environment of a binary: declared files and links in its runfiles."""

load("//bazel/private:runfiles.bzl", "runfiles_path")
load(":distributions.bzl", "DistributionsInfo")
load(":layout.bzl", "lay_out")
load(":reserved.bzl", "FIRST_PARTY_PTH")

# An empty `home` makes every version of CPython since 3.8 find its library from the link `bin/python3`, and from 3.11
# on also for environments that `python -m venv` makes inside this one. Without the second line, packages that the
# interpreter came with could be imported.
_PYVENV_CFG = """\
home =
include-system-site-packages = false
"""

# For a directory whose contents are not known. `exec` runs the line with the variables of site.addpackage.
_ADD_DIRECTORY = "import site; site.addsitedir(sitedir + {path}, known_paths)"

def declare_environment(ctx, runtime, dependencies, imports, texts = {}, site_files = {}):
    """Declares the virtual environment.

    Args:
        ctx: the rule's context.
        runtime: what `python_runtime` returns.
        dependencies: targets whose distributions it has.
        imports: depset of import roots, relative to the runfiles directory.
        texts: dict from paths in the environment to the contents of further files; `{site_packages}` at the start of a
            path stands for that directory, and `{venv}` in a content for the path of the environment.
        site_files: dict from paths in site-packages to Files.

    Returns:
        A struct of
        path: of the environment, relative to the runfiles directory;
        directory: the same, relative to the package;
        programs: names in its directory `bin`;
        runfiles: of the environment;
        duplicates: as in `lay_out`.
    """
    workspace = ctx.workspace_name
    parent, slash, base = ctx.label.name.rpartition("/")
    name = "{}{}_{}.venv".format(parent, slash, base)
    venv = "/".join([part for part in [ctx.label.repo_name or workspace, ctx.label.package, name] if part])
    made = []

    def link(path, target):
        file = ctx.actions.declare_symlink(name + "/" + path)
        ctx.actions.symlink(output = file, target_path = target)
        made.append(file)

    def write(path, content):
        file = ctx.actions.declare_file(name + "/" + path)
        ctx.actions.write(file, content)
        made.append(file)

    def from_(path, target):
        """The relative path from a place in the environment to a runfile."""
        return "../" * (venv + "/" + path).count("/") + target

    write("pyvenv.cfg", _PYVENV_CFG)
    python = runtime.path or from_("bin/python3", runfiles_path(runtime.interpreter.short_path, workspace))
    link("bin/python3", python)
    aliases = ["python", "python" + runtime.version.removesuffix("t")]
    for alias in aliases:
        link("bin/" + alias, "python3")

    site_packages = "lib/python{}/site-packages".format(runtime.version)
    infos = [target[DistributionsInfo] for target in dependencies if DistributionsInfo in target]
    records = depset(transitive = [info.site_packages for info in infos], order = "preorder").to_list()
    layout = lay_out(records, workspace)
    up = from_(site_packages + "/", "")
    for path, target in layout.links.items():
        place = "{}/{}".format(site_packages, path)
        link(place, "../" * path.count("/") + up + target)

    opaque = depset(transitive = [info.opaque for info in infos], order = "preorder").to_list()
    elsewhere = {root: None for root in [record.path for record in records] + opaque + [workspace]}
    lines = [up + workspace]
    lines += [up + root for root in imports.to_list() if root not in elsewhere]
    lines.append(up.removesuffix("/"))
    lines += [_ADD_DIRECTORY.format(path = repr("/" + up + root)) for root in opaque]
    write("{}/{}".format(site_packages, FIRST_PARTY_PTH), "\n".join(lines) + "\n")

    for path, text in texts.items():
        write(path.replace("{site_packages}", site_packages), text.replace("{venv}", venv))

    start = "{}/{}/".format(venv, site_packages)
    files = layout.files | site_files
    return struct(
        path = venv,
        directory = name,
        programs = aliases + ["python3"],
        runfiles = ctx.runfiles(
            files = made,
            root_symlinks = {start + path: file for path, file in files.items()},
        ),
        duplicates = layout.duplicates,
    )
