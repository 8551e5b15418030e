"""Which wheels each layer may be lifted from (src/wheel.rs).

Where a wheel is known is up to the rules that installed it. Rules that unpack one into a tree artifact have it as an
attribute, which an aspect sees (binary_closure.bzl). Some put it next to its contents, so that it is in the runfiles.
For all others, it is given in `wheels`.
"""

load(":runfiles.bzl", "runfiles_path")
load(":survey.bzl", "normalize_distribution")
load(":tables.bzl", "CODECS")

_LIFTED_LEVELS = {row["name"]: row["lifted_levels"] for row in CODECS if "lifted_levels" in row}

def is_lifted(codec, level):
    """Whether layers take compressed files from wheels.

    Args:
        codec: value of `compress`.
        level: compression level, or `None` for the default.

    Returns:
        A bool.
    """
    levels = _LIFTED_LEVELS.get(codec)
    return bool(levels) and (level == None or levels["lowest"] <= level and level <= levels["highest"])

def wheels_by_layer(runfiles, members, given):
    """Finds the wheels of each layer's distributions.

    Args:
        runfiles: what `image_runfiles` returns.
        members: what `partition` returns.
        given: list of File: the attribute `wheels`.

    Returns:
        A dict from layers to lists of File, in order of preference.
    """
    wheels = {file.path: struct(file = file, trees = ()) for file in given + runfiles.wheels}
    wheels |= {wheel.file.path: wheel for wheel in runfiles.installed_wheels}
    repositories = {layer: _repositories(runfiles, member) for layer, member in members.items()}
    all_repositories = {name: None for names in repositories.values() for name in names}
    distributions = {layer: {name: None for name in member.distributions} for layer, member in members.items()}
    found = {layer: [] for layer in members}
    for wheel in wheels.values():
        repository = runfiles_path(wheel.file.short_path, runfiles.workspace).partition("/")[0]
        distribution = normalize_distribution(wheel.file.basename.partition("-")[0])
        for layer, member in members.items():
            if wheel.trees:
                is_needed = [tree for tree in wheel.trees if tree.path in member.trees]
            elif repository in all_repositories:
                is_needed = repository in repositories[layer]
            else:
                is_needed = distribution in distributions[layer]
            if is_needed:
                found[layer].append(wheel.file)
    return found

def _repositories(runfiles, member):
    """The repositories with files in a layer, other than the main one."""
    names = {
        directory.removeprefix(runfiles.prefix).partition("/")[0]: None
        for directory in member.directories
        if directory.startswith(runfiles.prefix)
    }
    names.pop(runfiles.workspace, None)
    return names
