"""Lays out `site-packages`: which distribution owns which path. Pure functions."""

load("//bazel/private:runfiles.bzl", "runfiles_path")
load("//bazel/private:survey.bzl", "normalize_distribution")

_METADATA = ".dist-info"

# No path is deeper: the kernel takes 4096 bytes.
_MAX_DEPTH = 2048

def lay_out(site_packages, workspace):
    """Determines what a directory must contain to stand for several ones.

    A directory that one distribution owns becomes a link. One that several share becomes a directory with links in
    it: a namespace package, or a package that several distributions add to.

    The loader takes `$ORIGIN` from the path by which a shared object was opened, but the kernel follows the links in
    it when it resolves `..`. So the directories above a shared object become directories too, if it may need
    libraries of another distribution, as those for CUDA do.

    Args:
        site_packages: list of structs as in `DistributionsInfo`.
        workspace: name of the main repository in the runfiles.

    Returns:
        A struct of
        links: dict from paths to the directories they stand for, relative to the runfiles directory;
        files: dict from paths to Files;
        duplicates: list of structs: `path`, the File `chosen` and the File `other`, of the same path in another
            distribution. The first distribution's file is chosen.
    """
    records = {}
    for record in site_packages:
        records.setdefault(record.path, []).append(record)
    providers = [path for path, parts in records.items() if any([record.has_libraries for record in parts])]
    split = {
        path: {directory: None for record in parts for directory in record.native_directories} if [provider for provider in providers if provider != path] else {}
        for path, parts in records.items()
    }

    # What is in a directory: name -> root of the distribution -> files. These are as in the record, not copied, since
    # this loop runs for each binary, and most names have a single record.
    top = {}
    for root, parts in records.items():
        for record in parts:
            for name, files in record.entries:
                owners = top.setdefault(name, {})
                owners[root] = _union(owners[root], files) if root in owners else files

    links, files = {}, {}
    duplicates = _drop_other_versions(top)
    level = [("", top)]
    for _ in range(_MAX_DEPTH):
        below = []
        for directory, children in level:
            for name, owners in children.items():
                path = directory + name
                if len(owners) == 1:
                    [(root, members)] = owners.items()
                    if path not in split[root]:
                        file = _file_at(members, root + "/" + path, workspace)
                        if file:
                            files[path] = file
                        else:
                            links[path] = root + "/" + path
                        continue
                own = {root: _file_at(members, root + "/" + path, workspace) for root, members in owners.items()}
                own = [(root, file) for root, file in own.items() if file]
                if own:
                    # A file of one distribution, and a file or a directory of another.
                    files[path] = own[0][1]
                    duplicates.extend([
                        struct(path = path, chosen = own[0][1], other = members[0])
                        for root, members in owners.items()
                        if root != own[0][0]
                    ])
                    continue
                below.append((path + "/", _children(owners, path + "/", workspace)))
        level = below
        if not level:
            break
    return struct(links = links, files = files, duplicates = duplicates)

def _drop_other_versions(top):
    """Keeps the metadata of one version of each distribution: of the first, whose files are used.

    Args:
        top: what is in site-packages. Directories of metadata are removed.

    Returns:
        The metadata of the other versions, as in `duplicates`.
    """
    duplicates = []
    chosen = {}
    for name in list(top):
        if not name.endswith(_METADATA):
            continue
        distribution = normalize_distribution(name.removesuffix(_METADATA).rpartition("-")[0])
        first = chosen.setdefault(distribution, name)
        if first != name:
            duplicates.append(struct(
                path = first + "/METADATA",
                chosen = _metadata(top[first]),
                other = _metadata(top[name]),
            ))
            top.pop(name)
    return duplicates

def _metadata(owners):
    """A file of a directory of metadata, preferably the one that has the version."""
    members = owners.values()[0]
    return ([file for file in members if file.basename == "METADATA"] or members)[0]

def _union(files, others):
    return ({file: None for file in files} | {file: None for file in others}).keys()

def _file_at(members, path, workspace):
    """The file at a path, or `None` if it is a directory."""
    if len(members) > 1:
        return None
    file = members[0]
    return file if not file.is_directory and runfiles_path(file.short_path, workspace) == path else None

def _children(owners, directory, workspace):
    children = {}
    for root, members in owners.items():
        start = len(root) + 1 + len(directory)
        for file in members:
            name = runfiles_path(file.short_path, workspace)[start:].partition("/")[0]
            children.setdefault(name, {}).setdefault(root, []).append(file)
    return children
