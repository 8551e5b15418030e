"""Divides the entries of an image among its layers."""

load(":layer_groups.bzl", "DEFAULT_GROUP", "layer_finder")
load(":manifest.bzl", "manifest_line")
load(":runfiles.bzl", "file_kind", "runfiles_path")

# The key of the entries in no layer, in dicts from layers.
NO_LAYER = None

def partition(runfiles, patterns):
    """Finds the entries that may belong to each layer.

    Args:
        runfiles: what `image_runfiles` returns.
        patterns: a struct of `groups` (names and patterns in matching order), `exclude` (patterns) and
            `dropped` (names of groups). For `actions.bzl`, it also has the two parts of `groups`, `own_groups` and
            `default_groups`.

    Returns:
        A dict from layers to structs of `files` and `inputs` (lists of File), `lines` (manifest lines of
        the entries that are not in `files`) and `map_file` (a `map_each` for `files`). Entries in no
        layer, because they are excluded or their group is dropped, are under `NO_LAYER`.
    """
    layers_of = layer_finder(patterns.groups, patterns.exclude)
    names = {name: None for name, _ in patterns.groups + [(DEFAULT_GROUP, None)] if name not in patterns.dropped}
    members = {name: struct(files = [], extra = []) for name in names.keys() + [NO_LAYER]}

    def members_of(path, is_tree):
        return [members[name] for name in layers_of(path, is_tree) if name in names] or [members[NO_LAYER]]

    for entry in runfiles.extra:
        for member in members_of(entry.path, entry.file and entry.file.is_directory):
            member.extra.append(entry)
    for file, path in runfiles.files:
        for member in members_of(path, file.is_directory):
            member.files.append(file)
    return {
        layer: struct(
            files = member.files,
            inputs = [entry.file for entry in member.extra if entry.file],
            lines = [entry.line for entry in member.extra],
            map_file = _file_mapper(runfiles),
        )
        for layer, member in members.items()
    }

def _file_mapper(runfiles):
    """A `map_each` that retains only strings and the kinds of the few links."""
    prefix, workspace, kinds = runfiles.prefix, runfiles.workspace, runfiles.kinds

    def map_file(file):
        return manifest_line(file_kind(file, kinds), prefix + runfiles_path(file.short_path, workspace), file.path)

    return map_file
