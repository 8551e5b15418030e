"""Virtual dependencies: libraries name a distribution, and binaries choose the target that provides it."""

PyVirtualInfo = provider(
    doc = "Virtual dependencies of a target, and what resolves them.",
    fields = {
        "dependencies": "depset of names of distributions",
        "resolutions": "depset of structs: `name` of the distribution, `target` that provides it",
    },
)

def virtual_info(names, resolutions, dependencies):
    """Combines the virtual dependencies of a target.

    Args:
        names: list of its own.
        resolutions: its own resolutions, dict from targets to names.
        dependencies: list of targets.

    Returns:
        A `PyVirtualInfo`.
    """
    infos = [target[PyVirtualInfo] for target in dependencies if PyVirtualInfo in target]
    return PyVirtualInfo(
        dependencies = depset(names, transitive = [info.dependencies for info in infos]),
        resolutions = depset(
            [struct(name = name, target = target) for target, name in resolutions.items()],
            transitive = [info.resolutions for info in infos],
        ),
    )

def resolve(label, info, own):
    """Determines the targets for the virtual dependencies of a binary.

    Args:
        label: of the binary.
        info: a `PyVirtualInfo`.
        own: the binary's own resolutions, dict from targets to names; they take precedence.

    Returns:
        A list of targets.
    """
    chosen = {name: target for target, name in own.items()}
    for resolution in info.resolutions.to_list():
        first = chosen.setdefault(resolution.name, resolution.target)
        if first.label != resolution.target.label and resolution.name not in own.values():
            fail("{}: two libraries resolve the virtual dependency {}: with {} and {}. Choose one in the resolutions of the binary".format(
                label,
                repr(resolution.name),
                first.label,
                resolution.target.label,
            ))
    missing = [name for name in info.dependencies.to_list() if name not in chosen]
    if missing:
        fail("{}: nothing resolves the virtual dependencies {}: add them to resolutions, such as {}".format(
            label,
            ", ".join(sorted(missing)),
            {missing[0]: "@pypi//" + missing[0].replace("-", "_")},
        ))
    return chosen.values()

def _resolutions(labels):
    """The value that the attribute `resolutions` takes, with the methods of the one of aspect_rules_py."""
    return struct(
        labels = labels,
        override = lambda overrides: _resolutions(labels | overrides),
        to_label_keyed_dict = lambda: {label: name for name, label in labels.items()},
    )

# As in aspect_rules_py: `from_requirements` takes a dict (or list) of names and a function from names to labels.
resolutions = struct(
    empty = lambda: _resolutions({}),
    from_requirements = lambda base, requirement_fn = lambda name: name: _resolutions({name: requirement_fn(name) for name in base}),
)

def label_keyed(value):
    """Converts the attribute `resolutions`.

    Args:
        value: a dict from names to labels or from labels to names, or what `resolutions` returns.

    Returns:
        A dict from labels to names.
    """
    if not value:
        return {}
    if type(value) == "struct":
        return value.to_label_keyed_dict()
    return {
        key if _is_label(key) else label: label if _is_label(key) else key
        for key, label in value.items()
    }

def _is_label(key):
    return type(key) != "string" or key.startswith((":", "@", "//"))
