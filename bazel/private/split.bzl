"""Distributes the files of a layer group among several layers, by distribution.

`src/split.rs` does the same in the program, and explains it.
"""

load(":survey.bzl", "normalize_distribution")

_MASK = 0xffffffff

# aspect_rules_py 2: whl_install__<project>__<distribution>__<version>
_TREE = "whl_install__"

def layer_name(group, number):
    """The name of a layer of a group; the first number is 1."""
    return "{}_{}".format(group, number)

def layer_number(distribution, layers):
    """Which of `layers` layers contains a distribution.

    Args:
        distribution: normalized name.
        layers: how many layers the group has.

    Returns:
        A number from 1.
    """
    mixed = hash(distribution) & _MASK
    mixed = ((mixed ^ (mixed >> 16)) * 0x85ebca6b) & _MASK
    mixed = ((mixed ^ (mixed >> 13)) * 0xc2b2ae35) & _MASK
    return (mixed ^ (mixed >> 16)) % layers + 1

def distribution_of(repository):
    """The name to use for a repository in which no distribution was found.

    Args:
        repository: its name.

    Returns:
        A normalized name.
    """
    return distribution_of_tree(repository) or normalize_distribution(_apparent_name(repository))

def distribution_of_tree(repository):
    """The distribution in a repository that has it as a tree artifact, whose files are not known.

    Args:
        repository: its name.

    Returns:
        The normalized name, or `None` if it is not in the name of the repository.
    """
    name = _apparent_name(repository)
    if not name.startswith(_TREE):
        return None
    rest, _, _version = name.removeprefix(_TREE).rpartition("__")
    _project, separator, distribution = rest.rpartition("__")
    return normalize_distribution(distribution) if separator else None

def _apparent_name(repository):
    return repository.replace("~", "+").rpartition("+")[2]
