"""Determines what goes into the image: a binary's runfiles, and their paths in the image."""

load(":binary_closure.bzl", "BinaryClosureInfo")
load(":manifest.bzl", "manifest_line")
load(":survey.bzl", "survey")

def image_runfiles(binary, root, workspace):
    """Lists what goes into the image, and where.

    Args:
        binary: the target.
        root: the image directory that contains everything, without leading and trailing slashes.
        workspace: name of the main repository in the runfiles.

    Returns:
        A struct of
        files: list of (File, image path), without duplicates (a path can have several owners);
        extra: structs for all other entries: manifest `line`, image `path`, and `file` or `None`;
        trees: the tree artifacts among both;
        found: the result of `survey`;
        prefix: the image path of the runfiles directory, with a trailing slash;
        workspace: as given;
        kinds: manifest kinds of links that Bazel creates, by path of the file;
        cpu: name of the processor that the binary is built for, or `None`.
    """
    info = binary[DefaultInfo]
    executable = info.files_to_run.executable

    # Aspects do not apply to source files, so those lack the provider.
    if not executable or not info.default_runfiles or BinaryClosureInfo not in binary:
        fail("{} is not executable: py_image_layer requires a py_binary or another executable target with runfiles".format(binary.label))
    closure = binary[BinaryClosureInfo]
    executable_path = (root + "/" if root else "") + repository_relative(executable)
    prefix = executable_path + ".runfiles/"

    places = {}  # files to image paths
    for file in info.default_runfiles.files.to_list():
        places[file.path] = (file, prefix + runfiles_path(file.short_path, workspace))
    links = [
        (start + entry.path, entry.target_file)
        for start, entries in [
            (prefix + workspace + "/", info.default_runfiles.symlinks),
            (prefix, info.default_runfiles.root_symlinks),
        ]
        for entry in entries.to_list()
    ]

    # Paths in other repositories are external/<repository>/…, or ../<repository>/… with
    # --nolegacy_external_runfiles.
    empties = [
        prefix + runfiles_path("../" + path.removeprefix("external/") if path.startswith("external/") else path, workspace)
        for path in info.default_runfiles.empty_filenames.to_list()
    ]

    paths = [(path, file.is_directory) for file, path in places.values()]
    paths += [(path, file.is_directory) for path, file in links] + [(path, False) for path in empties]
    found = survey(
        [path.removeprefix(prefix) + ("/" if is_tree else "") for path, is_tree in paths],
        repository_relative(executable),
    )
    unneeded = {prefix + wheel: None for wheel in found.wheels}
    if unneeded:
        places = {key: place for key, place in places.items() if place[1] not in unneeded}
        links = [link for link in links if link[0] not in unneeded]

    kinds = {file.path: "l" for file in closure.declared_symlinks.to_list()}
    kinds |= {file.path: "f" for file in closure.file_symlinks.to_list() if file.path in places}

    # All other entries of the image.
    extra = [_extra("f", executable_path, executable)]
    repo_mapping = getattr(info.files_to_run, "repo_mapping_manifest", None)
    if repo_mapping:
        extra.append(_extra("f", prefix + "_repo_mapping", repo_mapping))
    for path, target in links:
        if target.path in places:
            extra.append(_extra("s", path, text = _relative(path, places[target.path][1])))
        else:
            extra.append(_extra(file_kind(target, kinds), path, target))
    extra.extend([_extra("e", path) for path in empties])

    trees = [file for file, _ in places.values() if file.is_directory]
    return struct(
        files = places.values(),
        extra = extra,
        trees = trees + [entry.file for entry in extra if entry.file and entry.file.is_directory],
        found = found,
        prefix = prefix,
        workspace = workspace,
        kinds = kinds,
        cpu = closure.cpu,
    )

def _extra(kind, path, file = None, text = None):
    """An entry with its own manifest line, and the file with its content, if there is one."""
    fields = [path] + ([file.path] if file else []) + ([text] if text else [])
    return struct(line = manifest_line(kind, *fields), path = path, file = file)

def repository_relative(file):
    """Path within the repository: `pkg/bin` for both `pkg/bin` and `../repository/pkg/bin`."""
    path = file.short_path
    return path.split("/", 2)[2] if path.startswith("../") else path

def runfiles_path(short_path, workspace):
    """The path of a file in the runfiles tree."""
    return short_path[3:] if short_path.startswith("../") else workspace + "/" + short_path

def file_kind(file, kinds):
    """Returns the manifest kind of a file.

    Args:
        file: the file.
        kinds: manifest kinds of links that Bazel creates, by path.

    Returns:
        The letter.
    """
    if file.is_directory:
        return "t"
    if hasattr(file, "is_symlink"):
        return "l" if file.is_symlink else "f"

    # Bazel 7: an output that a program creates may be a declared symlink.
    return kinds.get(file.path, "f" if file.is_source else "g")

def _relative(link, target):
    """The relative target of a symlink at `link` to `target`, both image paths."""
    here = link.split("/")[:-1]
    there = target.split("/")
    shared = 0
    for a, b in zip(here, there[:-1]):
        if a != b:
            break
        shared += 1
    return "/".join([".."] * (len(here) - shared) + there[shared:])
