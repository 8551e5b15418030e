"""Determines what goes into the image: the runfiles of binaries, and their paths in the image."""

load(":binary_closure.bzl", "BinaryClosureInfo")
load(":manifest.bzl", "manifest_line")
load(":repo_mapping.bzl", "merge_repo_mappings")
load(":survey.bzl", "survey")

def image_runfiles(ctx, binaries, root, runfiles_root):
    """Lists what goes into the image, and where.

    Args:
        ctx: the rule's context.
        binaries: the targets.
        root: the image directory that contains everything, without leading and trailing slashes.
        runfiles_root: the image directory for the runfiles, likewise, or `None` for that of the only binary.

    Returns:
        A struct of
        files: list of (File, image path), without duplicates (a path can have several owners);
        extra: structs for all other entries: manifest `line`, image `path`, and `file` or `None`;
        trees: the tree artifacts among both;
        found: the result of `survey`;
        wheels: list of File: wheels in the runfiles that the image does not need;
        installed_wheels: structs of `BinaryClosureInfo` for other wheels that were installed;
        executables: image paths of the binaries;
        runfiles_of_executables: image paths of their copies in the runfiles directory;
        prefix: the image path of the runfiles directory, with a trailing slash;
        workspace: name of the main repository in the runfiles;
        kinds: manifest kinds of links that Bazel creates, by path of the file;
        cpu: name of the processor that the binaries are built for, or `None`.
    """
    workspace = ctx.workspace_name
    for binary in binaries:
        # Aspects do not apply to source files, so those lack the provider.
        info = binary[DefaultInfo]
        if not info.files_to_run.executable or not info.default_runfiles or BinaryClosureInfo not in binary:
            fail("{} is not executable: py_image_layer requires a py_binary or another executable target with runfiles".format(binary.label))
    executables = [binary[DefaultInfo].files_to_run.executable for binary in binaries]
    executable_paths = [(root + "/" if root else "") + repository_relative(executable) for executable in executables]
    directory = executable_paths[0] + ".runfiles" if runfiles_root == None else runfiles_root
    prefix = directory + "/"
    if runfiles_root != None:
        _check_places(binaries, executable_paths, prefix, root)

    # What binaries have in common occurs once in a depset.
    all_runfiles = [binary[DefaultInfo].default_runfiles for binary in binaries]

    # This loop runs for each file of each image, so it calls no functions.
    places = {}  # files to image paths
    paths = []  # in the runfiles; those of trees end in a slash
    trees = []
    for file in depset(transitive = [runfiles.files for runfiles in all_runfiles]).to_list():
        path = file.short_path
        path = path[3:] if path[:3] == "../" else workspace + "/" + path
        places[file.path] = (file, prefix + path)
        if file.is_directory:
            trees.append(file)
            path += "/"
        paths.append(path)
    links = [
        (start + entry.path, entry.target_file)
        for start, entries in [
            (prefix + workspace + "/", [runfiles.symlinks for runfiles in all_runfiles]),
            (prefix, [runfiles.root_symlinks for runfiles in all_runfiles]),
        ]
        for entry in depset(transitive = entries).to_list()
    ]

    # Paths in other repositories are external/<repository>/…, or ../<repository>/… with
    # --nolegacy_external_runfiles.
    empties = [
        prefix + runfiles_path("../" + path.removeprefix("external/") if path.startswith("external/") else path, workspace)
        for path in depset(transitive = [runfiles.empty_filenames for runfiles in all_runfiles]).to_list()
    ]

    paths += [path.removeprefix(prefix) + ("/" if file.is_directory else "") for path, file in links]
    paths += [path.removeprefix(prefix) for path in empties]
    found = survey(
        paths,
        [repository_relative(executable) for executable in executables],
    )
    unneeded = {prefix + wheel: None for wheel in found.wheels}
    wheels = [file for file, path in places.values() if path in unneeded] if unneeded else []
    if unneeded:
        places = {key: place for key, place in places.items() if place[1] not in unneeded}
        links = [link for link in links if link[0] not in unneeded]

    closures = [binary[BinaryClosureInfo] for binary in binaries]
    declared_symlinks = depset(transitive = [closure.declared_symlinks for closure in closures])
    file_symlinks = depset(transitive = [closure.file_symlinks for closure in closures])
    kinds = {file.path: "l" for file in declared_symlinks.to_list()}
    kinds |= {file.path: "f" for file in file_symlinks.to_list() if file.path in places}

    # All other entries of the image.
    extra = [_extra("f", path, file) for path, file in zip(executable_paths, executables)]
    for path in executable_paths:
        if path + ".runfiles" != directory:
            extra.append(_extra("s", path + ".runfiles", text = _relative(path + ".runfiles", directory)))
    repo_mapping = _repo_mapping(ctx, binaries)
    if repo_mapping:
        extra.append(_extra("f", prefix + "_repo_mapping", repo_mapping))
    for path, target in links:
        if target.path in places:
            extra.append(_extra("s", path, text = _relative(path, places[target.path][1])))
        else:
            extra.append(_extra(file_kind(target, kinds), path, target))
    extra.extend([_extra("e", path) for path in empties])

    return struct(
        files = places.values(),
        extra = extra,
        trees = trees + [entry.file for entry in extra if entry.file and entry.file.is_directory],
        found = found,
        wheels = wheels,
        installed_wheels = depset(transitive = [closure.wheels for closure in closures]).to_list(),
        executables = executable_paths,
        runfiles_of_executables = [prefix + runfiles_path(executable.short_path, workspace) for executable in executables],
        prefix = prefix,
        workspace = workspace,
        kinds = kinds,
        cpu = _cpu(binaries),
    )

def _check_places(binaries, executable_paths, prefix, root):
    """Checks that the binaries and their runfiles can be where they should."""
    binary_at = {}
    environments = {}
    for binary, path in zip(binaries, executable_paths):
        inside = [place for place in [path, path + ".runfiles"] if prefix.startswith(place + "/") and prefix != place + "/"]
        if (path + "/").startswith(prefix) or prefix == path + "/":
            problem = "/{} would be both a binary and in the runfiles directory".format(path)
        elif inside:
            problem = "it would be inside /{}, which is a {}".format(inside[0], "binary" if inside[0] == path else "symlink to it")
        else:
            problem = None
        if problem:
            fail("runfiles_root: {}: choose a directory without binaries, such as /{}".format(
                problem,
                (root + "/" if root else "") + ".runfiles",
            ))
        if path in binary_at:
            fail("binaries: {} and {} would both be /{}: rename one, or build separate images".format(binary_at[path], binary.label, path))
        binary_at[path] = binary.label
        if binary[BinaryClosureInfo].makes_environment:
            name = path.rpartition("/")[2]
            if name in environments:
                fail("binaries: the launchers of {} and {} (aspect_rules_py 1) make virtual environments at the same place, /{}.{}.venv, when they start: rename one, or build separate images".format(
                    environments[name],
                    binary.label,
                    prefix,
                    name,
                ))
            environments[name] = binary.label

def _cpu(binaries):
    """The processor that all binaries are built for."""
    cpus = {binary[BinaryClosureInfo].cpu: binary.label for binary in binaries}
    if len(cpus) > 1:
        fail("binaries: one image has programs for one processor, but {}".format(" and ".join([
            "{} is built for {}".format(label, cpu or "an unknown one")
            for cpu, label in cpus.items()
        ])))
    return cpus.keys()[0]

def _repo_mapping(ctx, binaries):
    """The repository mapping of the runfiles, or `None`."""
    mappings = [getattr(binary[DefaultInfo].files_to_run, "repo_mapping_manifest", None) for binary in binaries]
    mappings = [mapping for mapping in mappings if mapping]
    return merge_repo_mappings(ctx, mappings) if len(mappings) > 1 else mappings[0] if mappings else None

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
