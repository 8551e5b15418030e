"""Layer groups at analysis: which layers may a path belong to?

The inputs of a layer's action are the files of that layer and, if possible, no others. So the rule matches
the path of every file against the patterns, as the program does when it writes the layers (src/groups.rs).
If a match is uncertain, the file becomes an input of every layer that it may belong to. The program
decides, so this costs a little work but never correctness.
"""

load("//bazel/private/regex:defs.bzl", "new_matcher", "syntax_problem")
load(":survey.bzl", "NOTHING_FOUND", "normalize_distribution")
load(":tables.bzl", "DEFAULT_GROUP_PATTERNS", "REPOSITORY_NAMES")

# The group of all files that match no pattern.
DEFAULT_GROUP = "default"

def _joined(rows):
    """Names and patterns of groups. Consecutive rows of one group become alternatives of one pattern."""
    groups = []
    for row in rows:
        if groups and groups[-1][0] == row["group"]:
            groups[-1] = (row["group"], groups[-1][1] + "|" + row["pattern"])
        else:
            groups.append((row["group"], row["pattern"]))
    return groups

# Names and patterns of the groups that are tried after the user's own.
DEFAULT_GROUPS = _joined(DEFAULT_GROUP_PATTERNS)

# Patterns for the names of repositories, since the contents of tree artifacts are not known.
_REPOSITORY_NAMES = {row["holds"]: row["pattern"] for row in REPOSITORY_NAMES}

# A pattern that matches nothing.
_NO_PATH = "[^\\s\\S]"

_PIP_PACKAGE = "{pip_package:"
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_."

def for_binary(pattern, runfiles, found):
    """Expands the placeholders of a pattern for a binary.

    Args:
        pattern: a pattern with the placeholders `{runfiles}` for the runfiles directory, `{interpreter}`
            for the directory of an interpreter in it, and `{pip_package:NAME}` for the repository of a
            package.
        runfiles: the runfiles directory's image path, such as `app/server.runfiles`.
        found: the result of `survey` for the directory.

    Returns:
        The regular expression.
    """
    if "{" not in pattern:
        return pattern
    start = "^\\./" + _literal(runfiles) + "/"
    interpreters = [_literal(directory) for directory in found.interpreters]
    pattern = pattern.replace("{runfiles}", start)
    pattern = pattern.replace("{interpreter}", _directories(start, interpreters + [_REPOSITORY_NAMES["interpreter"]]))
    parts = pattern.split(_PIP_PACKAGE)
    expanded = parts[0]
    for part in parts[1:]:
        name, brace, rest = part.partition("}")
        if not brace:
            return pattern  # not a valid regular expression
        distribution = normalize_distribution(name)
        repositories = [_literal(directory) for directory in found.packages.get(distribution, [])]

        # The files of a tree artifact are not known, but aspect_rules_py puts delimiters around the name.
        name = "[-_.]".join([_literal(word) for word in distribution.split("-")])
        tree = _REPOSITORY_NAMES["package"].replace("{package}", name)
        expanded += _directories(start, repositories + [tree]) + rest
    return expanded

def directories_pattern(runfiles, directories):
    """The pattern for everything in some directories, if any.

    Args:
        runfiles: the runfiles directory's image path.
        directories: list of paths relative to it.

    Returns:
        The regular expression.
    """
    if not directories:
        return _NO_PATH
    return _directories("^\\./" + _literal(runfiles) + "/", [_literal(directory) for directory in sorted(directories)])

def _directories(start, patterns):
    return start + "(" + "|".join(patterns) + ")/"

def _literal(text):
    """A regular expression that matches `text`, with a dot for each non-ASCII byte."""
    return "".join([
        "." if char > "~" else ("\\" + char if char in "\\.+*?()|[]{}^$#&-~" else char)
        for char in text.elems()
    ])

def pip_package(*names):
    """Returns a pattern, for `layer_groups` and `exclude`, that matches whole Python packages.

    It matches the repository of each package, whatever rules_python, aspect_rules_py and Bazel call it: all
    files of the wheel, and no other package with the same prefix. Packages are recognized by the metadata
    in their repositories, `site-packages/*.dist-info/METADATA`. If aspect_rules_py unpacks a wheel into a
    tree artifact, whose files are not known at analysis, it is recognized by the name of its repository.

    Args:
        *names: Names of distributions, as in a requirements file: `pyyaml`, not `yaml`. Case and the kind
            of separator do not matter.

    Returns:
        The pattern. It can be part of a longer one: `pip_package("torch") + "|/models/"`.
    """
    if not names:
        fail("pip_package: name at least one package, as in a requirements file")
    for name in names:
        is_name = type(name) == "string" and name.strip("-_.") and not [char for char in name.lower().elems() if char not in _NAME_CHARACTERS]
        if not is_name:
            fail("pip_package: {} is not the name of a package: give it as in a requirements file, without version or extras".format(repr(name)))
    return "|".join([_PIP_PACKAGE + normalize_distribution(name) + "}" for name in names])

def image_order(names):
    """Orders layers as an image stacks them: those that change least come first.

    Container runtimes unpack every layer above a changed one again.

    Args:
        names: group names in matching order, possibly with duplicates.

    Returns:
        The names without duplicates, and `default`, in image order.
    """
    names = {name: None for name in names}.keys()
    return (
        [name for name in names if name == "interpreter"] +
        [name for name in names if name not in ["interpreter", "packages", DEFAULT_GROUP]] +
        [name for name in names if name == "packages"] +
        [DEFAULT_GROUP]
    )

def normalize_pattern(pattern):
    """Undoes the escaping that patterns needed for the awk program of older macros.

    There, a pattern passed through a `genrule` (`$$` is `$`) and an awk string (`\\\\.` is `\\.`) before it
    was used as a regular expression. A literal backslash can be matched as `\\x5c`.

    Args:
        pattern: the pattern of a BUILD file.

    Returns:
        The regular expression.
    """
    return pattern.replace("\\\\", "\\").replace("$$", "$")

def is_line(text):
    """Whether `text` can be a line of a flagfile. Bazel also ends lines at `\\r`."""
    return "\n" not in text and "\r" not in text

def pattern_problem(pattern):
    """Returns what is wrong with a pattern, as far as analysis can tell.

    Args:
        pattern: the regular expression.

    Returns:
        The end of a sentence that begins with the pattern, or `None`.
    """
    if not is_line(pattern):
        return "contains a line break: write it as \\n, or \\r"
    if _PIP_PACKAGE + "}" in pattern:
        return "names no package: use pip_package"
    problem = syntax_problem(for_binary(pattern, "", NOTHING_FOUND))
    return problem and "is not a regular expression: " + problem

def layer_finder(groups, exclude):
    """Prepares the division of paths among layers.

    Args:
        groups: list of names and patterns in matching order, possibly with duplicate names.
        exclude: list of patterns of excluded paths.

    Returns:
        A function `groups_of(path, is_tree)` of an image path, such as `app/bin.runfiles/_main/x.py`, and
        whether it is a tree artifact. It returns a pair: a list of the groups that the file, or a file in the
        tree, may belong to, and whether that is certain: there is one group, and no doubt about `exclude`.
    """
    match = new_matcher(exclude + [pattern for _, pattern in groups])

    # A path that may be excluded is an input of its layer, and the program excludes it.
    names = [None] * len(exclude) + [name for name, _ in groups]
    groups_of_answer = {}

    def groups_of(path, is_tree):
        answer = match("./" + path + ("/" if is_tree else ""), is_prefix = is_tree)
        if answer not in groups_of_answer:
            indices, is_certain = answer
            found = {names[index]: None for index in indices} | ({} if is_certain else {DEFAULT_GROUP: None})
            groups_of_answer[answer] = ([name for name in found if name != None], len(found) == 1)
        return groups_of_answer[answer]

    return groups_of
