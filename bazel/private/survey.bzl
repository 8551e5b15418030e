"""Determines from the paths of a binary's runfiles what its repositories contain.

Repository names depend on users, rule sets and Bazel versions, but their contents do not. An interpreter
has a standard library, and the repository of a package has the metadata of its wheel. `src/survey.rs` does
the same for `pylayer pack`, and explains it in detail.
"""

# The result of an empty survey.
NOTHING_FOUND = struct(interpreters = [], packages = {}, wheels = [])

_STANDARD_LIBRARY = "/os.py"
_METADATA = ".dist-info/METADATA"
_WHEEL = ".whl"

def survey(paths, binaries):
    """Finds interpreters, packages, and wheels that the image does not need.

    Args:
        paths: list of paths relative to the runfiles directory; those of tree artifacts end in a slash.
        binaries: paths of the executables within their repositories.

    Returns:
        A struct of
        interpreters: sorted directories that contain an interpreter;
        packages: dict from normalized distribution names to sorted repositories;
        wheels: sorted paths of wheels whose contents are also in the runfiles, unpacked.
    """
    ends = tuple([_STANDARD_LIBRARY, _METADATA, _WHEEL] + ["/" + binary for binary in binaries])
    landmarks = {
        path: path.split("/")
        for path in paths
        if path.endswith(ends)
    }
    executables = {path: None for path, parts in landmarks.items() if "/".join(parts[1:]) in binaries}
    own = {path.partition("/")[0]: None for path in executables}
    interpreters = {}
    packages = {}
    wheels = []
    for path, parts in landmarks.items():
        if path.endswith(_STANDARD_LIBRARY) and len(parts) > 3 and parts[-3] == "lib" and _is_versioned(parts[-2]):
            directory = "/".join(parts[:-3])
            holds_binary = [path for path in executables if path.startswith(directory + "/")]
            if "site-packages" not in parts and not holds_binary:
                interpreters[directory] = None
        elif path.endswith(_METADATA) and len(parts) == 4 and parts[1] == "site-packages":
            distribution = parts[2].removesuffix(".dist-info").rpartition("-")[0]
            packages.setdefault(normalize_distribution(distribution), {})[parts[0]] = None
        elif path.endswith(_WHEEL) and len(parts) == 2 and parts[0] not in own:
            wheels.append(path)
    starts = tuple({wheel.partition("/")[0] + "/site-packages/": None for wheel in wheels})
    unpacked = {path.partition("/")[0]: None for path in paths if path.startswith(starts)} if wheels else {}
    return struct(
        interpreters = sorted(interpreters),
        packages = {distribution: sorted(repositories) for distribution, repositories in packages.items()},
        wheels = sorted([wheel for wheel in wheels if wheel.partition("/")[0] in unpacked]),
    )

def _is_versioned(name):
    """Whether this is the name of a standard library's directory: `python3.11`, `python3.13t`."""
    major, dot, minor = name.removeprefix("python").removesuffix("t").partition(".")
    return name.startswith("python") and bool(dot) and major.isdigit() and minor.isdigit()

def normalize_distribution(name):
    """Normalizes the name of a distribution: `Flask_SQLAlchemy` becomes `flask-sqlalchemy` (PEP 503)."""
    return "-".join([part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part])
