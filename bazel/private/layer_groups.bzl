"""Layer groups at analysis: which layers may a path belong to?

A layer's action has the files of that layer as inputs and, wherever patterns allow it, no others. So
the rule searches the patterns in the path of every file, as the program does when it writes the layers
(src/groups.rs). Where that is not possible, a file becomes an input of every layer that it may belong
to; the program decides, so this costs a little work and never correctness.
"""

load(":automaton.bzl", "FIRST_STATE", "advance", "find", "find_below", "new_automaton")
load(":regex.bzl", "parse_pattern")

# The group of everything that no pattern takes.
DEFAULT_GROUP = "default"

# The groups that are tried after the user's own: names and patterns. `DEFAULT_GROUPS` in
# src/groups.rs holds the same, and says why.
DEFAULT_GROUPS = [
    ("interpreter", "{runfiles}([^/]*[~+])?python_?[0-9]+_[0-9]+(_[0-9]+)?_[a-z0-9_]+[_-](unknown|apple|pc)[_-][^/]*/|{runfiles}[^/]*/_solib_[^/]*/[^/]*python_U[0-9]+_U[0-9]+[^/]*/libpython"),
    ("packages", "{runfiles}pip_|{runfiles}pypi_|{runfiles}[^/]*[~+]pip_|{runfiles}[^/]*[~+]pypi_|{runfiles}[^/]*[~+]pip[~+]|{runfiles}[^/]*[~+]whl_install__"),
    (DEFAULT_GROUP, "{runfiles}.*/_[^/]*\\.venv/|{runfiles}.*/\\.[^/]*\\.venv/"),
    ("packages", "{runfiles}.*/site-packages/"),
]

# Wheels never belong into an image: their content is there unpacked.
DEFAULT_EXCLUDE = ["\\.whl$"]

def for_binary(pattern, runfiles):
    """Puts the runfiles directory of a binary into a pattern.

    Args:
        pattern: a pattern, with `{runfiles}` where it asks for the directory.
        runfiles: the directory's image path, such as `app/server.runfiles`.

    Returns:
        The regular expression.
    """
    if "{runfiles}" not in pattern:
        return pattern

    # A dot stands for each byte that is not ASCII.
    literal = "".join([
        "." if char > "~" else ("\\" + char if char in "\\.+*?()|[]{}^$#&-~" else char)
        for char in runfiles.elems()
    ])
    return pattern.replace("{runfiles}", "^\\./" + literal + "/")

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
    _, problem = parse_pattern(pattern)
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
    programs = [parse_pattern(pattern)[0] for pattern in exclude]

    # A file that may be left out has to be an input, and the program leaves it out.
    programs = [program for program in programs if program.exact]
    layers = [None] * len(programs) + [name for name, _ in groups]
    automaton = new_automaton(programs + [parse_pattern(pattern)[0] for _, pattern in groups])

    # Most files share their directory with others, and so the state behind it.
    start = advance(automaton, FIRST_STATE, "./")
    directories = {}
    layers_of_state = {}
    layers_below_state = {}

    def layers_of(path, is_tree):
        directory, slash, name = path.rpartition("/")
        state = directories.get(directory)
        if state == None:
            state = advance(automaton, start, directory + slash)
            directories[directory] = state
        state = advance(automaton, state, name + "/" if is_tree else name)
        known, search = (layers_below_state, find_below) if is_tree else (layers_of_state, find)
        if state not in known:
            known[state] = _layers(layers, *search(automaton, state))
        return known[state]

    return layers_of

def _layers(layers, numbers, certain):
    """The layers with these numbers, and the default layer unless one is certain."""
    names = [layers[number] for number in numbers] + ([] if certain else [DEFAULT_GROUP])
    return {name: None for name in names if name != None}.keys()
