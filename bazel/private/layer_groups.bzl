"""Layer groups at analysis: which layers may a path belong to?

Starlark has no regular expressions, but nearly every pattern in use is made of literals joined by
`.*`. `parse_pattern` turns a pattern into a *matcher* that answers `NO`, `MAYBE` or `YES` with
native string searches. Patterns in the subset of literals, `.*`, alternatives and anchors are
decided exactly; any other construct is passed over, which leaves a necessary condition: where the
literals around it are missing the answer is still `NO`, elsewhere it is `MAYBE`.

A file becomes an input of every layer that it may belong to, up to the first `YES`. The program
decides with the real regular expression, so `MAYBE` costs a little work and never correctness.
"""

NO = 0
MAYBE = 1
YES = 2

# The group of everything that no pattern takes.
DEFAULT_GROUP = "default"

# The groups that are tried after the user's own: names and patterns. `DEFAULT_GROUPS` in
# src/groups.rs holds the same, and says why.
DEFAULT_GROUPS = [
    ("interpreter", "\\.runfiles/([^/]*[~+])?python_?[0-9]+_[0-9]+(_[0-9]+)?_[a-z0-9_]+[_-](unknown|apple|pc)[_-][^/]*/|/_solib_[^/]*/[^/]*python_U[0-9]+_U[0-9]+[^/]*/libpython"),
    (DEFAULT_GROUP, "\\.runfiles/.*/_[^/]*\\.venv/|\\.runfiles/.*/\\.[^/]*\\.venv/"),
    ("packages", "\\.runfiles/.*/site-packages/|\\.runfiles/pip_|\\.runfiles/pypi_|\\.runfiles/[^/]*[~+]pip_|\\.runfiles/[^/]*[~+]pypi_|\\.runfiles/[^/]*[~+]pip[~+]|\\.runfiles/[^/]*[~+]whl_install__"),
]

# Wheels never belong into an image: their content is there unpacked.
DEFAULT_EXCLUDE = ["\\.whl$"]

# Escapes that stand for one character of a class, or for a place between characters.
_CLASS_ESCAPES = "dDsSwWbBAz<>"
_CONTROL_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}

# An alternative is a struct of
#   literals: strings that occur in the path one after another,
#   start, end: whether the first (last) of them begins (ends) the path,
#   exact: whether their occurrence is all that the alternative asks for.

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

def parse_pattern(pattern):
    """Turns a regular expression into a matcher for `may_match`.

    Args:
        pattern: a regular expression in the syntax of Rust's `regex`.

    Returns:
        A pair: the matcher and `None`, or `None` and what is wrong with the pattern. A mistake that
        is not found here is found by the program.
    """
    chars = list(pattern.elems())
    alternatives = []
    state = _new_alternative()
    skip_until = 0
    depth = 0  # of groups, whose content is passed over
    class_depth = 0  # of bracketed classes
    class_start = 0
    for i in range(len(chars)):
        if i < skip_until:
            continue
        char = chars[i]
        following = chars[i + 1] if i + 1 < len(chars) else ""
        if char == "\\":
            if not following:
                return None, "it ends in a backslash"
            skip_until = i + 2
            if class_depth or depth:
                continue
            if following in _CONTROL_ESCAPES:
                _literal(state, _CONTROL_ESCAPES[following])
            elif following in _CLASS_ESCAPES:
                _gap(state)
            elif following.isalnum():
                return [], None  # \x41, \pL and the like: no literal is certain
            else:
                _literal(state, following)
        elif class_depth:
            # A bracket that comes first, also after ^, is an ordinary member.
            first = i == class_start + 1 or (i == class_start + 2 and chars[i - 1] == "^")
            if char == "[":
                class_depth += 1
            elif char == "]" and not first:
                class_depth -= 1
        elif char == "[":
            class_depth = 1
            class_start = i
            if not depth:
                _gap(state)
        elif char == "(":
            if pattern[i + 1:i + 4].startswith(("?=", "?!", "?<=", "?<!")):
                return None, "look-around, such as (?!…), is not supported"
            if following == "?" and _changes_flags(pattern[i:]):
                return [], None  # (?i) and the like: literals may be spelt otherwise
            if not depth:
                _gap(state)
            depth += 1
        elif char == ")":
            if not depth:
                return None, "a parenthesis is closed that was never opened"
            depth -= 1
        elif depth:
            continue
        elif char == "|":
            alternatives.append(_finish(state))
            state = _new_alternative()
        elif char == "^":
            if state["begun"]:
                _gap(state)
            else:
                state["start"] = True
                state["begun"] = True
        elif char == "$":
            _flush(state)
            if following in ["", "|"]:
                state["end"] = True
            else:
                _gap(state)
        elif char == "." and following == "*":
            # Lazy or greedy is the same to a search.
            skip_until = i + (3 if i + 2 < len(chars) and chars[i + 2] == "?" else 2)
            _flush(state)
            state["begun"] = True
            state["tail_gap"] = True
            if not state["literals"]:
                state["start"] = False
        elif char in "*+?{":
            if not state["begun"]:
                return None, "{} has nothing to repeat".format(repr(char))
            if state["literal"] and state["literal"][-1] > "~":
                return [], None  # one byte of a character outside ASCII
            if char != "+":
                state["literal"] = state["literal"][:-1]
            _gap(state)
            if char == "{":
                end = pattern.find("}", i)
                if end < 0:
                    return None, "a repetition {…} is never closed"
                skip_until = end + 1
        elif char == ".":
            _gap(state)
        else:
            _literal(state, char)
    if class_depth:
        return None, "a bracket is never closed"
    if depth:
        return None, "a parenthesis is never closed"
    alternatives.append(_finish(state))
    return alternatives, None

def _new_alternative():
    return {"literals": [], "literal": "", "start": False, "end": False, "exact": True, "begun": False, "tail_gap": False}

def _literal(state, text):
    state["literal"] += text
    state["begun"] = True
    state["tail_gap"] = False

def _flush(state):
    if state["literal"]:
        state["literals"].append(state["literal"])
        state["literal"] = ""

def _gap(state):
    """A construct that is passed over: anything may stand here."""
    _flush(state)
    state["exact"] = False
    state["begun"] = True
    state["tail_gap"] = True
    if not state["literals"]:
        state["start"] = False

def _finish(state):
    _flush(state)
    return struct(
        literals = state["literals"],
        start = state["start"],
        end = state["end"] and not state["tail_gap"],
        exact = state["exact"],
    )

def _changes_flags(group):
    """Whether a group such as `(?i)` changes what follows it."""
    for char in group[2:].elems():
        if char == ")":
            return True
        if not (char.isalpha() or char == "-"):
            return False
    return False

def may_match(matcher, path):
    """Whether a pattern is found in `path`.

    Args:
        matcher: what `parse_pattern` made of the pattern.
        path: the path in which the program searches, such as `./app/bin.runfiles/_main/x.py`.

    Returns:
        `NO`, `MAYBE` or `YES`.
    """
    if not matcher:
        return MAYBE
    best = NO
    for alternative in matcher:
        if _occur(alternative, path):
            if alternative.exact:
                return YES
            best = MAYBE
    return best

def may_match_below(matcher, directory):
    """Whether a pattern is found in the paths below `directory`, which are not known yet.

    Args:
        matcher: what `parse_pattern` made of the pattern.
        directory: the path of a tree artifact.

    Returns:
        `YES` where every path below matches, `NO` where none can, else `MAYBE`.
    """
    prefix = directory + "/"
    best = NO if matcher else MAYBE
    for alternative in matcher:
        if alternative.exact and not alternative.end and _occur(alternative, prefix):
            return YES
        first = alternative.literals[0] if alternative.literals else ""
        if not alternative.start or prefix.startswith(first) or first.startswith(prefix):
            best = MAYBE
    return best

def _occur(alternative, path):
    """Whether the literals of `alternative` occur in `path`, in order and without overlap."""
    literals = alternative.literals
    position = 0
    end = len(path)
    first, last = 0, len(literals)
    if alternative.start:
        if not literals:
            # Only anchors: ^, or ^$, which no path is.
            return not alternative.end or not path
        if not path.startswith(literals[0]):
            return False
        position = len(literals[0])
        first = 1
    if alternative.end and first < last:
        last -= 1
        end -= len(literals[last])
        if end < position or not path.endswith(literals[last]):
            return False
    elif alternative.end and alternative.start:
        return position == end
    for i in range(first, last):
        found = path.find(literals[i], position, end)
        if found < 0:
            return False
        position = found + len(literals[i])
    return True
