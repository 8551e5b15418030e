"""Layer groups at analysis: which layers may a path belong to?

A layer's action has the files of that layer as inputs and, wherever patterns allow it, no others. So
the rule searches the patterns in the path of every file, as the program does when it writes the layers
(src/groups.rs). Where that is not possible, a file becomes an input of every layer that it may belong
to; the program decides, so this costs a little work and never correctness.
"""

load("//bazel/private/regex:defs.bzl", "new_matcher", "syntax_problem")
load(":survey.bzl", "NOTHING_FOUND", "normalize_distribution")
load(":tables.bzl", "DEFAULT_GROUP_PATTERNS", "REPOSITORY_NAMES")

# The group of everything that no pattern takes.
DEFAULT_GROUP = "default"

def _joined(rows):
    """Names and patterns: those of successive rows of one group are alternatives of one pattern."""
    groups = []
    for row in rows:
        if groups and groups[-1][0] == row["group"]:
            groups[-1] = (row["group"], groups[-1][1] + "|" + row["pattern"])
        else:
            groups.append((row["group"], row["pattern"]))
    return groups

# The groups that are tried after the user's own: names and patterns.
DEFAULT_GROUPS = _joined(DEFAULT_GROUP_PATTERNS)

# Repositories of interpreters and packages, by name: a tree artifact does not show what is in it.
_REPOSITORY_NAMES = {row["holds"]: row["pattern"] for row in REPOSITORY_NAMES}

_PIP_PACKAGE = "{pip_package:"
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_."

def for_binary(pattern, runfiles, found):
    """Puts what is known of a binary into a pattern.

    Args:
        pattern: a pattern, in which `{runfiles}` stands for the runfiles directory, `{interpreter}` for
            the directory of an interpreter in it, and `{pip_package:NAME}` for the repository of a
            package.
        runfiles: the runfiles directory's image path, such as `app/server.runfiles`.
        found: what `survey` found in the directory.

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
            return pattern  # which is no regular expression
        distribution = normalize_distribution(name)
        repositories = [_literal(directory) for directory in found.packages.get(distribution, [])]

        # The files of a tree artifact are not known, but aspect_rules_py delimits the name.
        name = "[-_.]".join([_literal(word) for word in distribution.split("-")])
        tree = _REPOSITORY_NAMES["package"].replace("{package}", name)
        expanded += _directories(start, repositories + [tree]) + rest
    return expanded

def _directories(start, patterns):
    return start + "(" + "|".join(patterns) + ")/"

def _literal(text):
    """A regular expression for a text. A dot stands for each byte that is not ASCII."""
    return "".join([
        "." if char > "~" else ("\\" + char if char in "\\.+*?()|[]{}^$#&-~" else char)
        for char in text.elems()
    ])

def pip_package(*names):
    """Makes a pattern, for `layer_groups` and `exclude`, that takes Python packages as a whole.

    It takes the repository of each package, however rules_python, aspect_rules_py and Bazel call it: all
    that the wheel brought, and no other package whose name begins alike. Packages are found by the
    metadata in their repositories, `site-packages/*.dist-info/METADATA`. A wheel that aspect_rules_py
    unpacks into a tree artifact, whose files are not known at analysis, is found by the name of its
    repository.

    Args:
        *names: Names of distributions, as in a requirements file: `pyyaml`, not `yaml`. Upper case and
            the kind of separator do not matter.

    Returns:
        The pattern. It can be a part of a longer one: `pip_package("torch") + "|/models/"`.
    """
    if not names:
        fail("pip_package: name at least one package, as in a requirements file")
    for name in names:
        is_name = type(name) == "string" and name.strip("-_.") and not [char for char in name.lower().elems() if char not in _NAME_CHARACTERS]
        if not is_name:
            fail("pip_package: {} is not the name of a package: give it as in a requirements file, without version or extras".format(repr(name)))
    return "|".join([_PIP_PACKAGE + normalize_distribution(name) + "}" for name in names])

def image_order(names):
    """Orders layers as an image stacks them: what changes least comes first.

    A container runtime unpacks every layer above a changed one again.

    Args:
        names: group names in matching order; a name may be repeated.

    Returns:
        The names, each once, and `default`, in image order.
    """
    names = {name: None for name in names}.keys()
    return (
        [name for name in names if name == "interpreter"] +
        [name for name in names if name not in ["interpreter", "packages", DEFAULT_GROUP]] +
        [name for name in names if name == "packages"] +
        [DEFAULT_GROUP]
    )

def normalize_pattern(pattern):
    """Gives patterns that were written for the awk program of older macros their meaning.

    There, a pattern went through `genrule` (`$$` is `$`) and an awk string (`\\\\.` is `\\.`) before it
    was a regular expression. A backslash itself can be matched as `\\x5c`.

    Args:
        pattern: the pattern of a BUILD file.

    Returns:
        The regular expression.
    """
    return pattern.replace("\\\\", "\\").replace("$$", "$")

def is_line(text):
    """Whether `text` can be an argument: a flagfile has one on each line, which Bazel also ends at `\\r`."""
    return "\n" not in text and "\r" not in text

def pattern_problem(pattern):
    """Tells what is wrong with a pattern, as far as that shows at analysis.

    Args:
        pattern: the regular expression.

    Returns:
        What is wrong, as the end of a sentence, or `None`.
    """
    if not is_line(pattern):
        return "has a line break in it: write it as \\n, or \\r"
    if _PIP_PACKAGE + "}" in pattern:
        return "names no package: use pip_package"
    problem = syntax_problem(for_binary(pattern, "", NOTHING_FOUND))
    return problem and "is not a regular expression: " + problem

def layer_finder(groups, exclude):
    """Prepares the division of paths among layers.

    Args:
        groups: list of names and patterns in matching order. A name may occur more than once.
        exclude: list of patterns of what is left out.

    Returns:
        A function of an image path, such as `app/bin.runfiles/_main/x.py`, and of whether it is the
        path of a tree artifact. It returns a list: the layers that the file (or a file in the tree)
        may belong to.
    """
    match = new_matcher(exclude + [pattern for _, pattern in groups])

    # A path that may be excluded is an input of its layer, and the program excludes it.
    layers = [None] * len(exclude) + [name for name, _ in groups]
    layers_of_answer = {}

    def layers_of(path, is_tree):
        answer = match("./" + path + ("/" if is_tree else ""), is_prefix = is_tree)
        if answer not in layers_of_answer:
            indices, is_certain = answer
            names = [layers[index] for index in indices] + ([] if is_certain else [DEFAULT_GROUP])
            layers_of_answer[answer] = {name: None for name in names if name != None}.keys()
        return layers_of_answer[answer]

    return layers_of
