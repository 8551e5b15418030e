"""Parses the bsdtar options in the attribute `tar_args` of `py_image_layer`."""

load(":layer_groups.bzl", "is_line")
load(":tables.bzl", "CODECS")

_LEVELS = {row["name"]: row["levels"] for row in CODECS if "levels" in row}

_SUPPORTED = """\
  --options OPTION[,OPTION…]   gzip:!timestamp, {levels}, zstd:threads=N
  --uid N, --gid N             owner and group of every entry
  --uname NAME, --gname NAME   their names (none by default); --numeric-owner drops them
  --mtime TIME                 @SECONDS, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ
  --exclude GLOB               leave files out, as bsdtar does\
""".format(levels = ", ".join([
    "{}:compression-level={}…{}".format(codec, levels["lowest"], levels["highest"])
    for codec, levels in _LEVELS.items()
]))

_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

_WITH_VALUE = ["--options", "--uid", "--gid", "--uname", "--gname", "--mtime", "--exclude"]

def parse_tar_args(tar_args, compress):
    """Parses bsdtar options.

    Args:
        tar_args: list of strings, as in bsdtar's command line (`["--uid", "7"]` or `["--uid=7"]`).
        compress: `gzip`, `zstd` or `""`.

    Returns:
        A pair: the settings as a struct, and `None`; or `None`, and what is wrong, as a string.
        The settings are `level`, `owner`, `group`, `owner_name`, `group_name`, `mtime` (strings, or
        `None` if not set) and `exclude` (a list of regular expressions).
    """
    options, problem = _split(tar_args)
    if problem:
        return None, problem
    found = {"exclude": []}
    for option, value in options:
        problem = None
        if value and not is_line(value):
            problem = "{} has a line break in its value, {}".format(option, repr(value))
        elif option == "--options":
            problem = _parse_options(value, compress, found)
        elif option in ["--uid", "--gid"]:
            if not value.isdigit():
                problem = "{} requires a number, not {}".format(option, repr(value))
            found["owner" if option == "--uid" else "group"] = value
        elif option == "--uname":
            found["owner_name"] = value
        elif option == "--gname":
            found["group_name"] = value
        elif option == "--numeric-owner":
            found["owner_name"] = ""
            found["group_name"] = ""
        elif option == "--mtime":
            found["mtime"] = _seconds(value)
            if found["mtime"] == None:
                problem = "--mtime requires @SECONDS, YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ, not {}".format(repr(value))
        elif option == "--exclude":
            if not value:
                problem = "--exclude requires a glob, not \"\""
            elif [part for part in _parts(value) if part and part.startswith("[") and _is_foreign(part)]:
                problem = "--exclude {}: brackets can contain only ASCII characters; use ? for each byte of other characters".format(repr(value))
            regex = glob_to_regex(value)
            if regex:
                found["exclude"].append(regex)
        if problem:
            return None, problem
    return struct(
        level = found.get("level"),
        owner = found.get("owner"),
        group = found.get("group"),
        owner_name = found.get("owner_name"),
        group_name = found.get("group_name"),
        mtime = found.get("mtime"),
        exclude = found["exclude"],
    ), None

def _split(tar_args):
    """Pairs options with their values. Returns a list of pairs and `None`, or `None` and a problem."""
    options = []
    waiting = None
    for argument in tar_args:
        if waiting:
            options.append((waiting, argument))
            waiting = None
            continue
        option, equals, value = argument.partition("=")
        if option == "--numeric-owner" and not equals:
            options.append((option, None))
        elif option not in _WITH_VALUE:
            return None, "{} is not supported. Supported are\n{}".format(repr(argument), _SUPPORTED)
        elif equals:
            options.append((option, value))
        else:
            waiting = option
    if waiting:
        return None, "{} has no value".format(waiting)
    return options, None

def _parse_options(value, compress, found):
    """Adds the settings in a value of `--options` to `found`. Returns a problem or `None`."""
    for option in value.split(","):
        module, colon, setting = option.rpartition(":")
        key, _, number = setting.partition("=")
        if colon and module not in _LEVELS:
            return "--options {} is not supported. Supported are\n{}".format(repr(option), _SUPPORTED)
        if setting == "!timestamp" and module != "zstd":
            continue  # pylayer never writes a timestamp into a gzip header
        if key == "threads" and module != "gzip" and number.isdigit():
            continue  # pylayer uses all processors, and the result is the same
        if key != "compression-level" or not number.isdigit():
            return "--options {} is not supported. Supported are\n{}".format(repr(option), _SUPPORTED)
        if not compress:
            return "--options {} has no effect on a plain tar; remove it or set compress".format(repr(option))
        if module and module != compress:
            return "--options {} has no effect with compress = \"{}\"".format(repr(option), compress)
        levels = _LEVELS.get(compress)
        if not levels:
            return "{} has no compression levels; remove --options {}".format(compress, repr(option))
        if int(number) < levels["lowest"] or int(number) > levels["highest"]:
            return "{} has compression levels from {lowest} to {highest}, not {}".format(compress, number, **levels)
        found["level"] = number
    return None

def _seconds(text):
    """Seconds since 1970 as a string, or `None` if `text` is not a time."""
    if text.lstrip("@").isdigit() and text.count("@") <= 1:
        return text.lstrip("@")
    date, _, time = text.replace(" ", "T").removesuffix("Z").partition("T")
    numbers = date.split("-") + (time.split(":") if time else ["0", "0", "0"])
    if len(numbers) != 6 or not all([number.isdigit() for number in numbers]):
        return None
    year, month, day, hour, minute, second = [int(number) for number in numbers]
    if year < 1970 or month < 1 or month > 12 or hour > 23 or minute > 59 or second > 60:
        return None
    is_leap_year = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day < 1 or day > (29 if month == 2 and is_leap_year else _DAYS[month - 1]):
        return None

    # Days since 1970 in the proleptic Gregorian calendar, counting years from March.
    shifted = year - (1 if month <= 2 else 0)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400 + day_of_year - 719468
    return str(days * 86400 + hour * 3600 + minute * 60 + second)

# The parts of globs, other than regular expressions for one byte.
_STAR = "*"
_SLASH = "/"
_END = "$"
_NOT_AT_END = "./"

def glob_to_regex(glob):
    """Converts a bsdtar exclusion glob to a regular expression.

    As in libarchive (archive_pathmatch.c), a match can begin and end at any path component, `*` and `?`
    also match slashes, and `^` and `$` anchor the glob. `tests/`, `./tests` and `tests` are equivalent, as
    are `a/b`, `a//b` and `a/./b`. A glob with a leading slash only matches names with one, which no layer
    has.

    Args:
        glob: the pattern.

    Returns:
        A regular expression for image paths prefixed with `./`, or `None` if no image path matches.
    """
    glob = glob.removesuffix("/")
    is_anchored = glob.startswith("^")
    glob = glob[1:] if is_anchored else glob
    parts = _parts(glob)
    if glob.startswith("/") or not parts or None in parts:
        return None
    regex = "^\\./" if is_anchored else "/"

    # The part after a star never matches at the very end of a path, except at the end of the glob.
    is_behind_star = False
    for i, part in enumerate(parts):
        rest = parts[i + 1:]
        if part == _STAR:
            if not rest:
                return regex + ("." if is_behind_star else "")
            regex += ".*"
            is_behind_star = True
        elif part == _SLASH:
            if rest in [[], [_STAR]]:
                return regex + ("/" if is_behind_star else "(/|$)")
            if rest == [_END]:
                return None if is_behind_star else regex + "$"
            regex += "/"
            is_behind_star = False
        elif part == _END:
            # To libarchive, a trailing dot is the directory itself, even in `a.`.
            return regex + ("\\.$" if is_behind_star else "\\.?$")
        elif part != _NOT_AT_END:
            regex += part
            is_behind_star = False
    return regex + ("/" if is_behind_star else "(/|$)")

def _parts(glob):
    """Splits a glob into parts: the constants above, and regular expressions for one byte.

    `None` stands for an empty class.
    """
    chars = list(glob.elems())
    parts = []
    resume = 0
    for i, char in enumerate(chars):
        if i < resume:
            continue
        resume = i + 1
        is_last = resume == len(chars)
        if char == "." and chars[resume:resume + 1] == ["/"] and (i == 0 or parts[-1] == _STAR):
            resume = _skip_slashes(chars, resume)
            parts.append(_NOT_AT_END)
        elif char == "/":
            resume = _skip_slashes(chars, i)
            parts.append(_SLASH)
        elif char == "*":
            if parts[-1:] != [_STAR]:
                parts.append(_STAR)
        elif char == "[":
            part, resume = _class_to_regex(chars, i)
            parts.append(part)
        elif char == "?":
            parts.append(".")
        elif char == "$" and is_last:
            parts.append(_END)
        elif char == "\\" and not is_last:
            # Written as a class, to distinguish an escaped slash from a plain one.
            parts.append("[/]" if chars[resume] == "/" else _literal(chars[resume]))
            resume += 1
        else:
            parts.append(_literal(char))
    return parts

def _is_foreign(text):
    """Whether `text` contains non-ASCII characters."""
    return bool([char for char in text.elems() if char > "~"])

def _skip_slashes(chars, start):
    """The index after the slashes at `start`, dots between them, and a dot at the end of the glob."""
    for i in range(start, len(chars)):
        is_dot = chars[i] == "." and chars[i + 1:i + 2] in [[], ["/"]]
        if chars[i] != "/" and not is_dot:
            return i
    return len(chars)

def _literal(char):
    """Escapes `char` for a regular expression, or for a class in one."""
    return "\\" + char if char in "\\.+*?()|[]{}^$-&~" else char

def _class_to_regex(chars, start):
    """Returns a regular expression for the class that begins at `start`, and the index after the class.

    The expression is `None` if the class is empty.

    As in libarchive, the first unescaped `]` ends a class, even an empty one. Without it, the `[` is a
    literal. Backslashes escape. There are no named classes.
    """
    end = start + 1
    for i in range(start + 1, len(chars)):
        if i == end and chars[i] != "]":
            end += 2 if chars[i] == "\\" and i + 1 < len(chars) else 1
    if end >= len(chars):
        return _literal("["), start + 1
    negated = chars[start + 1] in ["!", "^"]
    members = ""
    low = None  # possible start of a range
    resume = start + (2 if negated else 1)
    for i in range(resume, end):
        if i < resume:
            continue
        resume = i + 1
        if chars[i] == "-" and low and resume < end:
            resume += 2 if chars[resume] == "\\" else 1
            if low <= chars[resume - 1]:
                members += "-" + _literal(chars[resume - 1])
            low = None
        elif chars[i] == "-":
            members += _literal("-")
            low = None
        else:
            if chars[i] == "\\":
                resume += 1
            low = chars[resume - 1]
            members += _literal(low)
    if not members:
        return "." if negated else None, end + 1
    return "[" + ("^" if negated else "") + members + "]", end + 1
