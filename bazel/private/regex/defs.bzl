"""A regular-expression engine for analysis, because Starlark has none.

It searches for several patterns at once, in the syntax of Rust's `regex` crate as `src/groups.rs`
configures it: patterns and texts are bytes, not Unicode, and `.` matches newlines too. Syntax that the
engine does not support makes a match uncertain, never wrong.

`parser.bzl` turns a pattern into a program (Thompson's construction), and `automaton.bzl` runs all
programs as one DFA whose states are built on demand.
"""

load(":automaton.bzl", "FIRST_STATE", "advance", "find", "find_below", "new_automaton")
load(":parser.bzl", "parse_pattern")

def syntax_problem(pattern):
    """Returns what is wrong with a pattern, or `None`.

    Not all syntax errors are found here; the program finds the others.

    Args:
        pattern: the regular expression.

    Returns:
        The end of a sentence that begins with "is not a regular expression:", or `None`.
    """
    return parse_pattern(pattern)[1]

def new_matcher(patterns):
    """Prepares a search for several patterns.

    Args:
        patterns: list of regular expressions in order of precedence, none with a `syntax_problem`.

    Returns:
        A function that searches a path: `match(path)`, or `match(path, is_prefix = True)` for all longer
        paths that begin with `path`. It returns a pair:

        - a tuple with the indices of the patterns that may match, in order, up to the first one that
          certainly does (for a prefix: in each of the paths);
        - whether the last of these certainly matches.
    """
    automaton = new_automaton([parse_pattern(pattern)[0] for pattern in patterns])

    # Most files share a directory with others, so the state after it is cached.
    directories = {}
    answers = {}
    answers_below = {}

    def match(path, is_prefix = False):
        # Of a directory, the last part too is a name, with the slash after it.
        name_start = path.rfind("/", 0, len(path) - 1) + 1
        directory = path[:name_start]
        state = directories.get(directory)
        if state == None:
            state = advance(automaton, FIRST_STATE, directory)
            directories[directory] = state
        state = advance(automaton, state, path[name_start:])
        cache, search = (answers_below, find_below) if is_prefix else (answers, find)
        if state not in cache:
            cache[state] = search(automaton, state)
        return cache[state]

    return match
