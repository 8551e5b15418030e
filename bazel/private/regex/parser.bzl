"""Parses a regular expression into a program for `automaton.bzl`, by Thompson's construction.

The parser supports the syntax of Rust's `regex` crate that patterns for paths use. Unsupported syntax
makes the program *inexact*: it matches whatever the pattern matches, and more.

A program is a list of instructions, which are tuples:

    (TAKE, chars, negated)  consumes one character that is (or, if negated, is not) in chars
    (JUMP, offsets)         continues at each of these offsets, relative to this instruction
    (START,), (END,)        continues if at the start (end) of the text

The pattern matches when execution passes the last instruction. Offsets are relative, so parts of a
program can be moved and repeated.
"""

TAKE = 0
JUMP = 1
START = 2
END = 3

# Maximum number of instructions, which {m,n} multiplies. Running a longer program would take more time
# at analysis than an exact answer saves.
_MAX_LENGTH = 1000

_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# ASCII from 0x20 to 0x7e, in order.
_PRINTABLE = " !\"#$%&'()*+,-./" + _DIGITS + ":;<=>?@" + _UPPER + "[\\]^_`" + _LOWER + "{|}~"
_PUNCTUATION = "".join([char for char in _PRINTABLE.elems() if not char.isalnum() and char != " "])

# The white space characters that have an escape in every implementation of Starlark. Classes need no
# other control characters: the automaton gives no answer for a path that contains one.
_SPACE = "\t\n\r "

# A set of characters is a pair: characters, and whether the set is their complement.
_NOTHING = ("", False)
_ANYTHING = ("", True)

_ESCAPES = {
    "D": (_DIGITS, True),
    "S": (_SPACE, True),
    "W": (_DIGITS + _UPPER + _LOWER + "_", True),
    "a": _NOTHING,
    "d": (_DIGITS, False),
    "f": _NOTHING,
    "n": ("\n", False),
    "r": ("\r", False),
    "s": (_SPACE, False),
    "t": ("\t", False),
    "v": _NOTHING,
    "w": (_DIGITS + _UPPER + _LOWER + "_", False),
}

_POSIX_CLASSES = {
    "alnum": _DIGITS + _UPPER + _LOWER,
    "alpha": _UPPER + _LOWER,
    "blank": "\t ",
    "digit": _DIGITS,
    "graph": _PRINTABLE[1:],
    "lower": _LOWER,
    "print": _PRINTABLE,
    "punct": _PUNCTUATION,
    "space": _SPACE,
    "upper": _UPPER,
    "word": _DIGITS + _UPPER + _LOWER + "_",
    "xdigit": _DIGITS + "ABCDEFabcdef",
}

# May match any text.
_UNKNOWN = struct(instructions = [], exact = False)

def parse_pattern(pattern):
    """Parses a regular expression.

    Args:
        pattern: the regular expression.

    Returns:
        A pair: the program, a struct of `instructions` and `exact`, and `None`; or `None` and what is
        wrong with the pattern.
    """
    chars = list(pattern.elems())
    groups = [_open_group(fold_case = False, dot = _ANYTHING)]
    exact = True
    resume = 0
    for i in range(len(chars)):
        if i < resume:
            continue
        resume = i + 1
        char = chars[i]
        following = chars[i + 1] if i + 1 < len(chars) else ""
        group = groups[-1]
        if char == "\\":
            if not following:
                return None, "it ends in a backslash"
            if following in "Az":
                group.atoms.append([(START,) if following == "A" else (END,)])
                resume = i + 2
            elif following in "bB":
                if chars[i + 2:i + 3] == ["{"]:
                    return _UNKNOWN, None
                group.atoms.append([])  # assume a word boundary everywhere
                exact = False
                resume = i + 2
            else:
                members, resume = _parse_escape(chars, i + 1)
                if not members:
                    return _UNKNOWN, None
                group.atoms.append(_take(members, group))
        elif char == "[":
            members, resume, problem = _parse_class(chars, i, group)
            if problem:
                return None, problem
            if not members:
                return _UNKNOWN, None
            group.atoms.append([(TAKE,) + members])
        elif char == "(":
            if following != "?":
                groups.append(_open_group(group.flags["fold_case"], group.flags["dot"]))
                continue
            if pattern[i + 2:i + 4] in ["<=", "<!"] or pattern[i + 2:i + 3] in ["=", "!"]:
                return None, "look-around, such as (?!…), is not supported"
            flags, resume = _parse_group_start(pattern, i, group)
            if not flags:
                return _UNKNOWN, None
            if chars[resume - 1] == ")":
                group.flags.update(flags)
            else:
                groups.append(_open_group(**flags))
        elif char == ")":
            if len(groups) == 1:
                return None, "unmatched closing parenthesis"
            groups.pop()
            groups[-1].atoms.append(_close_group(group))
        elif char == "|":
            group.branches.append(_concatenate(group.atoms))
            group.atoms.clear()
        elif char == "^":
            group.atoms.append([(START,)])
        elif char == "$":
            group.atoms.append([(END,)])
        elif char == ".":
            group.atoms.append([(TAKE,) + group.flags["dot"]])
        elif char in "*+?{":
            if not group.atoms:
                return None, "{} has nothing to repeat".format(repr(char))
            if chars[i - 1] > "~":
                return _UNKNOWN, None  # a multibyte character, which repeats as a whole
            if char == "{" and "}" not in chars[i:]:
                return None, "unclosed repetition {…}"
            low, high, resume = _parse_repetition(pattern, i)
            repeated = group.atoms.pop()
            if low == None or len(repeated) * max(low, high or 0) > _MAX_LENGTH:
                return _UNKNOWN, None
            group.atoms.append(_repeat(repeated, low, high))
        elif char > "~" and group.flags["fold_case"]:
            return _UNKNOWN, None
        else:
            group.atoms.append(_take((char, False), group))
    if len(groups) > 1:
        return None, "unclosed parenthesis"
    instructions = _close_group(groups[0])
    if len(instructions) > _MAX_LENGTH:
        return _UNKNOWN, None
    return struct(instructions = instructions, exact = exact), None

def _open_group(fold_case, dot):
    """The state of a group being parsed: the parts of the current branch, and the branches before it."""
    return struct(branches = [], atoms = [], flags = {"fold_case": fold_case, "dot": dot})

def _close_group(group):
    return _alternate(group.branches + [_concatenate(group.atoms)])

def _concatenate(parts):
    return [instruction for part in parts for instruction in part]

def _alternate(branches):
    if len(branches) == 1:
        return branches[0]
    body = []
    starts = []
    end = len(_concatenate(branches)) + len(branches)
    for branch in branches:
        starts.append(1 + len(body))
        body.extend(branch)
        body.append((JUMP, [end - len(body)]))
    return [(JUMP, starts)] + body

def _repeat(part, low, high):
    """`part` repeated `low` to `high` times, or at least `low` times if `high` is `None`."""
    if high == None:
        optional = [(JUMP, [1, len(part) + 2])] + part + [(JUMP, [-len(part) - 1])]
    else:
        optional = ([(JUMP, [1, len(part) + 1])] + part) * (high - low)
    return part * low + optional

def _take(members, group):
    return [(TAKE,) + _fold_case(members, group)]

def _fold_case(members, group):
    """Adds the other case to `members` if the group ignores case; negated sets already have both."""
    if members[1] or not group.flags["fold_case"]:
        return members
    return members[0].lower() + members[0].upper(), False

def _union(a, b):
    if not a[1] and not b[1]:
        return a[0] + b[0], False
    others, members = (a, b) if a[1] else (b, a)
    both = members[1]  # whether both sets are complements
    return "".join([char for char in others[0].elems() if (char in members[0]) == both]), True

def _parse_escape(chars, i):
    """Parses the escape whose backslash precedes `i`.

    Returns:
        The set (`None` if unsupported), and the index after the escape.
    """
    char = chars[i]
    if char in _ESCAPES:
        return _ESCAPES[char], i + 1
    if char == "x":
        digits = "".join(chars[i + 1:i + 3])
        if len(digits) == 2 and not digits.strip("0123456789abcdefABCDEF"):
            code = int(digits, 16) - 0x20
            if code >= 0 and code < len(_PRINTABLE):
                return (_PRINTABLE[code], False), i + 3
    if char in _PUNCTUATION and char not in "<>":
        return (char, False), i + 1
    return None, i

def _parse_class(chars, start, group):
    """Parses the `[…]` at `start`.

    Returns:
        The set (`None` if unsupported), the index after it, and a problem or `None`.
    """
    negated = chars[start + 1:start + 2] == ["^"]
    first = start + (2 if negated else 1)
    members = _NOTHING
    leading = True  # only hyphens so far, which are members
    resume = first
    for i in range(first, len(chars)):
        if i < resume:
            continue
        char = chars[i]
        following = chars[i + 1] if i + 1 < len(chars) else ""
        leading = leading and char == "-"
        if char == "]" and i > first:
            return (members[0], members[1] != negated), i + 1, None
        if char == "[":
            name, colon, _ = "".join(chars[i + 2:]).partition(":]")
            posix_class = _POSIX_CLASSES.get(name.removeprefix("^"))
            if following != ":" or not colon or not posix_class:
                return None, i, None  # a nested class
            item, _ = _fold_case((posix_class, False), group)
            members = _union(members, (item, name.startswith("^")))
            resume = i + len(name) + 4
            continue
        if char in "&-~" and char == following and not leading:
            return None, i, None  # a set operation
        item, resume = _parse_class_item(chars, i)
        last = chars[resume + 1] if resume + 1 < len(chars) else ""
        if item and chars[resume:resume + 1] == ["-"] and last not in ["", "-", "]"] and not leading:
            high, resume = _parse_class_item(chars, resume + 1)
            item = _range(item, high)
        if not item:
            return None, i, None
        members = _union(members, _fold_case(item, group))
    return None, len(chars), "unclosed bracket"

def _parse_class_item(chars, i):
    if chars[i] != "\\":
        # Without Unicode, a class cannot contain non-ASCII characters.
        return (None if chars[i] > "~" else (chars[i], False)), i + 1
    return _parse_escape(chars, i + 1) if i + 1 < len(chars) else (None, i + 1)

def _range(low, high):
    if not high or low[1] or high[1] or len(low[0]) != 1 or len(high[0]) != 1:
        return None
    first, last = _PRINTABLE.find(low[0]), _PRINTABLE.find(high[0])
    return (_PRINTABLE[first:last + 1], False) if first >= 0 and first <= last else None

def _parse_group_start(pattern, start, group):
    """Parses `(?:`, `(?P<name>`, `(?i)` and the like.

    Returns:
        The flags (`None` if unsupported), and the index after the opening.
    """
    for opening in ["(?P<", "(?<"]:
        if pattern.startswith(opening, start):
            return dict(group.flags), pattern.find(">", start) + 1
    flags = dict(group.flags)
    on = True
    for i in range(start + 2, len(pattern)):
        char = pattern[i]
        if char in ":)":
            return flags, i + 1
        if char == "-":
            on = False
        elif char == "i":
            flags["fold_case"] = on
        elif char == "s":
            flags["dot"] = _ANYTHING if on else ("\n", True)
        elif char != "U":  # U swaps greedy and lazy, which a search need not distinguish
            break
    return None, start

def _parse_repetition(pattern, i):
    """Parses `*`, `+`, `?` or `{m,n}`.

    Returns:
        The minimum (`None` if unsupported), the maximum (`None` if unbounded), and the index after it.
    """
    low, high, end = {"*": (0, None, i), "+": (1, None, i), "?": (0, 1, i)}.get(pattern[i], (None, None, i))
    if pattern[i] == "{":
        end = pattern.find("}", i)
        least, comma, most = pattern[i + 1:end].partition(",")
        if not least or (least + most).strip(_DIGITS):
            return None, None, end
        low = int(least)
        high = int(most) if most else None if comma else low
        if high != None and high < low:
            return None, None, end

    # Whether a text matches does not depend on laziness.
    lazy = pattern.startswith("?", end + 1)
    return low, high, end + (2 if lazy else 1)
