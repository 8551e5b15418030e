"""Determines the file that a binary runs."""

load("//bazel/private:runfiles.bzl", "repository_relative")

def find_main(label, sources, main, main_file):
    """Determines the main file.

    Args:
        label: of the binary.
        sources: list of Files: `srcs`.
        main: the end of the path of a source, or the empty string.
        main_file: the File that `main` is the label of, or `None`.

    Returns:
        The File.
    """
    if main_file and not main:
        return main_file
    wanted = main or label.name.rpartition("/")[2] + ".py"
    found = [file for file in sources if ("/" + file.short_path).endswith("/" + wanted)]
    if len(found) > 1:
        # A path in the package comes before the end of a longer one.
        path = "/".join([part for part in [label.package, wanted] if part])
        exact = [file for file in found if repository_relative(file) == path]
        found = exact if len(exact) == 1 else found
    if not found and not main and len(sources) == 1:
        found = sources
    if len(found) == 1:
        return found[0]
    if main_file and not found:
        return main_file
    if found:
        fail("{}: {} is the end of the paths of {} sources, {}: set main to the whole path of one".format(
            label,
            repr(wanted),
            len(found),
            " and ".join(sorted([file.short_path for file in found])),
        ))
    if main:
        fail("{}: main is {}, but no source has this path: add the file to srcs, or write a label".format(label, repr(main)))
    fail("{}: it is not clear which source is the program: set main, since srcs has {} and none called {}".format(
        label,
        "{} files".format(len(sources)) if sources else "no file",
        repr(wanted),
    ))
