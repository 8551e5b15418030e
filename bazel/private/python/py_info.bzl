"""`PyInfo`, of which rule sets have their own: native rules, rules_python, aspect_rules_py.

The providers to read and to return are in a generated repository, because a `.bzl` file cannot load one that
may not exist (`repository.bzl`).
"""

load("@pylayer_python//:defs.bzl", "PY_INFOS")

def py_info(target):
    """Finds the first `PyInfo` of a target.

    Args:
        target: any target.

    Returns:
        The provider, which has the fields `imports` and `transitive_sources`, or `None`.
    """
    for row in PY_INFOS:
        if row.provider in target:
            return target[row.provider]
    return None

def new_py_infos(transitive_sources, imports):
    """Returns one instance of each `PyInfo`.

    Args:
        transitive_sources: depset of the sources.
        imports: depset of import roots, relative to the runfiles directory.

    Returns:
        A list.
    """
    return [
        row.provider(
            transitive_sources = transitive_sources,
            imports = imports,
            **row.other_fields
        )
        for row in PY_INFOS
    ]
