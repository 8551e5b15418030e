"""Installed distributions: what the `site-packages` directories of a binary's dependencies contain.

An aspect looks at each target once, however many binaries depend on it.
"""

load("//bazel/private:py_binary_info.bzl", "PyBinaryInfo")
load("//bazel/private:runfiles.bzl", "runfiles_path")
load(":py_info.bzl", "py_info")
load(":reserved.bzl", "RESERVED_NAMES")

DistributionsInfo = provider(
    doc = "The site-packages directories in the dependencies of a target.",
    fields = {
        "site_packages": """depset of structs, one for each directory and target:
path: relative to the runfiles directory;
entries: tuple of (name, tuple of Files) for everything directly in the directory;
native_directories: tuple of the directories in it that contain shared objects, at any depth, relative to it;
has_libraries: whether it contains libraries that shared objects of other distributions may need.""",
        "directories": "depset of paths: the repositories of distributions, or their site-packages in the main one, including those in `data`",
        "interpreters": "depset of paths: the directories of the interpreters of binaries in `data`",
        "opaque": "depset of paths of directories whose contents are not known, because they are in tree artifacts",
    },
)

_NAMES = ["site-packages", "dist-packages"]

def import_roots(label, imports, workspace):
    """The paths of the attribute `imports`, relative to the runfiles directory.

    Args:
        label: of the target.
        imports: the attribute, relative to the package.
        workspace: name of the main repository in the runfiles.

    Returns:
        A list.
    """
    repository = label.repo_name or workspace
    roots = []
    for path in imports:
        if path.startswith("/"):
            fail("{}: imports has {}: paths are relative to the package".format(label, repr(path)))
        if "\n" in path or "\r" in path:
            fail("{}: imports has {}: remove the line break".format(label, repr(path)))
        parts = []
        for part in label.package.split("/") + path.split("/"):
            if part == "..":
                if not parts:
                    fail("{}: imports has {}, which leads out of the repository".format(label, repr(path)))
                parts.pop()
            elif part not in ["", "."]:
                parts.append(part)
        roots.append("/".join([repository] + parts))
    return roots

def distribution_directory(root, workspace):
    """The directory whose files belong to a distribution.

    Wheels are in repositories of their own. In the main repository, other files may be next to their site-packages.

    Args:
        root: the site-packages directory.
        workspace: name of the main repository in the runfiles.

    Returns:
        The repository, or `root`.
    """
    repository = root.partition("/")[0]
    return root if repository == workspace else repository

def _distributions_impl(target, ctx):
    dependencies = [
        dependency
        for attribute in _DEPENDENCIES
        for dependency in _targets(getattr(ctx.rule.attr, attribute, None))
    ]
    infos = [dependency[DistributionsInfo] for dependency in dependencies if DistributionsInfo in dependency]
    data = _targets(getattr(ctx.rule.attr, "data", None))
    all_infos = infos + [dependency[DistributionsInfo] for dependency in data if DistributionsInfo in dependency]
    binaries = [target[PyBinaryInfo]] if PyBinaryInfo in target else []
    found = []
    opaque = []
    for root in _own_site_packages(target, ctx, dependencies):
        record = _site_packages(root, _own_files(target, ctx), ctx.workspace_name)
        if record:
            found.append(record)
        else:
            opaque.append(root)
    directories = [distribution_directory(root, ctx.workspace_name) for root in [record.path for record in found] + opaque]
    return [DistributionsInfo(
        directories = depset(directories, transitive = [info.directories for info in all_infos]),
        interpreters = depset(transitive = [info.interpreters for info in all_infos + binaries]),
        site_packages = depset(found, transitive = [info.site_packages for info in infos], order = "preorder"),
        opaque = depset(opaque, transitive = [info.opaque for info in infos], order = "preorder"),
    )]

# Attributes with dependencies; `actual` is that of aliases made by rules. Binaries decide which `resolutions` they use.
_DEPENDENCIES = ["deps", "actual"]
_NOT_OWN = _DEPENDENCIES + ["resolutions"]

distributions = aspect(
    implementation = _distributions_impl,
    doc = "Collects `DistributionsInfo`.",
    attr_aspects = _DEPENDENCIES + ["data"],
    provides = [DistributionsInfo],
)

def _targets(value):
    values = value if type(value) == "list" else value.keys() if type(value) == "dict" else [value]
    return [value for value in values if type(value) == "Target"]

def _own_site_packages(target, ctx, dependencies):
    """The site-packages directories that the target itself adds to the import path."""
    if not py_info(target):
        return []
    own = getattr(ctx.rule.attr, "imports", None)
    if type(own) == "list":
        roots = import_roots(ctx.label, own, ctx.workspace_name)
    else:
        infos = [info for info in [py_info(dependency) for dependency in dependencies] if info]
        inherited = {root: None for info in infos for root in info.imports.to_list()}
        roots = [root for root in py_info(target).imports.to_list() if root not in inherited]
    return [root for root in roots if root.rpartition("/")[2] in _NAMES]

def _own_files(target, ctx):
    """The files of the target itself."""
    files = {file: None for file in target[DefaultInfo].files.to_list()}
    for attribute in dir(ctx.rule.files):
        value = getattr(ctx.rule.files, attribute)
        if type(value) == "list" and attribute not in _NOT_OWN and not attribute.startswith("_"):
            files |= {file: None for file in value}
    return files.keys()

def _site_packages(root, files, workspace):
    """Describes a directory, or returns `None` if it is in a tree artifact or has no known files."""
    entries = {}
    native_directories = {}
    has_libraries = False
    for file in files:
        path = runfiles_path(file.short_path, workspace)
        if not path.startswith(root + "/"):
            continue
        path = path[len(root) + 1:]
        parts = path.split("/")
        if parts[0] in RESERVED_NAMES:
            continue
        entries.setdefault(parts[0], []).append(file)
        if ".so" in file.basename and _is_shared_object(file.basename) and len(parts) > 1:
            for depth in range(1, len(parts)):
                native_directories["/".join(parts[:depth])] = None

            # Libraries in NAME.libs were put there by auditwheel, with names that only their wheel knows.
            if file.basename.startswith("lib") and not parts[-2].endswith(".libs"):
                has_libraries = True
    if not entries:
        return None
    return struct(
        path = root,
        entries = tuple([(name, tuple(members)) for name, members in entries.items()]),
        native_directories = tuple(native_directories.keys()),
        has_libraries = has_libraries,
    )

def _is_shared_object(name):
    """Whether this is a name such as `x.so` or `libx.so.1.2`."""
    return name.endswith(".so") or name.partition(".so.")[2].replace(".", "").isdigit()
