"""Divides the entries of an image among its layers."""

load(":layer_groups.bzl", "DEFAULT_GROUP", "layer_finder")
load(":manifest.bzl", "manifest_line")
load(":runfiles.bzl", "file_kind", "runfiles_path")
load(":split.bzl", "distribution_of", "distribution_of_tree", "layer_name", "layer_number")

# The key of the entries in no layer, in dicts from layers.
NO_LAYER = None

def partition(runfiles, patterns):
    """Finds the entries that may belong to each layer.

    Args:
        runfiles: what `image_runfiles` returns.
        patterns: a struct of `groups` (names and patterns in matching order), `exclude` (patterns),
            `dropped` (names of groups) and `split` (dict from names of groups to how many layers each becomes).
            For `actions.bzl`, it also has the two parts of `groups`, `own_groups` and `default_groups`.

    Returns:
        A dict from layers to structs of `files` and `inputs` (lists of File), `lines` (manifest lines of
        the entries that are not in `files`), `map_file` (a `map_each` for `files`), `is_certain` (whether
        nothing among them may also belong elsewhere), `directories` and `trees` (dicts from the paths of its files'
        directories and of its tree artifacts, as keys), and `distributions` (names of those with files in the
        layer). Entries in no layer, because they are excluded or their group is dropped, are under `NO_LAYER`.
    """
    groups_of = layer_finder(patterns.groups, patterns.exclude)
    names = {name: None for name, _ in patterns.groups + [(DEFAULT_GROUP, None)] if name not in patterns.dropped}
    layers = [layer for name in names for layer in layers_of_group(name, patterns.split)]
    members = {layer: struct(files = [], extra = [], doubts = [], directories = {}, trees = {}) for layer in layers + [NO_LAYER]}
    layer_of = _layer_finder_in_group(runfiles, patterns.split)

    def layers_of(path, is_tree):
        groups, is_certain = groups_of(path, is_tree)
        return [layer_of(group, path) for group in groups if group in names], is_certain

    def members_of(path, is_tree):
        layers, is_certain = layers_of(path, is_tree)
        found = [members[layer] for layer in layers] or [members[NO_LAYER]]
        if not is_certain:
            for member in found:
                member.doubts.append(path)
        return found

    for entry in runfiles.extra:
        for member in members_of(entry.path, entry.file and entry.file.is_directory):
            member.extra.append(entry)

    # All files of most directories belong to one layer, whatever their names.
    of_directories = {}
    for file, path in runfiles.files:
        directory = path[:path.rfind("/")]
        found = of_directories.get(directory)
        if found == None:
            layers, is_certain = layers_of(directory, True)
            found = ([members[layer] for layer in layers] or [members[NO_LAYER]]) if is_certain else []
            of_directories[directory] = found
            for member in found:
                member.directories[directory] = None
        if found:
            for member in found:
                member.files.append(file)
        else:
            for member in members_of(path, file.is_directory):
                member.files.append(file)
                member.directories[directory] = None

    for tree in runfiles.trees:
        path = runfiles.prefix + runfiles_path(tree.short_path, runfiles.workspace)
        for layer in layers_of(path, True)[0]:
            members[layer].trees[tree.path] = None

    distributions_in = _distributions_finder(runfiles)
    return {
        layer: struct(
            files = member.files,
            inputs = [entry.file for entry in member.extra if entry.file],
            lines = [entry.line for entry in member.extra],
            map_file = _file_mapper(runfiles),
            is_certain = not member.doubts,
            directories = member.directories,
            trees = member.trees,
            distributions = distributions_in(member.directories),
        )
        for layer, member in members.items()
    }

def layers_of_group(group, split):
    """The names of a group's layers.

    Args:
        group: the group's name.
        split: as in `partition`.

    Returns:
        A list.
    """
    count = split.get(group, 1)
    return [layer_name(group, number + 1) for number in range(count)] if count > 1 else [group]

def distributions_by_repository(found):
    """The distribution that stands for each repository: the first, if a repository has several.

    Args:
        found: what `survey` returns.

    Returns:
        A dict from names of repositories to normalized names.
    """
    names = {}
    for distribution in sorted(found.packages):
        for repository in found.packages[distribution]:
            names.setdefault(repository, distribution)
    return names

def _layer_finder_in_group(runfiles, split):
    """Returns a function from a group and an image path in it to the path's layer."""
    known = distributions_by_repository(runfiles.found) if split else {}
    layers = {group: {} for group, count in split.items() if count > 1}

    def layer_of(group, path):
        if group not in layers:
            return group
        repository = path.removeprefix(runfiles.prefix).partition("/")[0] if path.startswith(runfiles.prefix) else ""
        of_repository = layers[group]
        if repository not in of_repository:
            distribution = known.get(repository) or distribution_of(repository)
            of_repository[repository] = layer_name(group, layer_number(distribution, split[group]))
        return of_repository[repository]

    return layer_of

def _distributions_finder(runfiles):
    """Returns a function from image directories to the sorted names of the distributions in them."""
    names = {}
    for distribution, repositories in runfiles.found.packages.items():
        for repository in repositories:
            names.setdefault(repository, []).append(distribution)
    for tree in runfiles.trees:
        repository = runfiles_path(tree.short_path, runfiles.workspace).partition("/")[0]
        distribution = distribution_of_tree(repository)
        if distribution:
            names.setdefault(repository, [distribution])

    def distributions_in(directories):
        repositories = {directory.removeprefix(runfiles.prefix).partition("/")[0]: None for directory in directories}
        return sorted({
            distribution: None
            for repository in repositories
            for distribution in names.get(repository, [])
        })

    return distributions_in

def _file_mapper(runfiles):
    """A `map_each` that retains only strings and the kinds of the few links."""
    prefix, workspace, kinds = runfiles.prefix, runfiles.workspace, runfiles.kinds

    def map_file(file):
        return manifest_line(file_kind(file, kinds), prefix + runfiles_path(file.short_path, workspace), file.path)

    return map_file
