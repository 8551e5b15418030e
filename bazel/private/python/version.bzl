"""`python_version`: the transitions between versions of Python.

A binary that asks for a version sets a flag of this module, which any string may be given to, and the flag of
rules_python. A third one has the values that both had before, so that `data` is built as if the binary had not
asked. Otherwise each version would build it again, and a binary in `data` would get a version that it
did not ask for.
"""

load("@pylayer_python//:defs.bzl", "RULES_PYTHON_FLAG_VALUES")

PYTHON_VERSION = str(Label("//bazel:python_version"))
_OUTER_VERSIONS = str(Label("//bazel/private/python:outer_versions"))
_RULES_PYTHON_VERSION = "@rules_python//python/config_settings:python_version"

_FLAGS = [PYTHON_VERSION, _OUTER_VERSIONS, _RULES_PYTHON_VERSION]

def _rules_python_value(version, current):
    """The value for the flag of rules_python, or `current` if it does not take the version."""
    return version if RULES_PYTHON_FLAG_VALUES == None else RULES_PYTHON_FLAG_VALUES.get(version, current)

def _to_version_impl(settings, attr):
    version = attr.python_version
    outer = [settings[PYTHON_VERSION], settings[_RULES_PYTHON_VERSION]]
    if not version or version == settings[PYTHON_VERSION]:
        return {}
    return {
        PYTHON_VERSION: version,
        _OUTER_VERSIONS: settings[_OUTER_VERSIONS] or json.encode(outer),
        _RULES_PYTHON_VERSION: _rules_python_value(version, settings[_RULES_PYTHON_VERSION]),
    }

to_python_version = transition(
    implementation = _to_version_impl,
    inputs = _FLAGS,
    outputs = _FLAGS,
)

def _to_outer_versions_impl(settings, _attr):
    if not settings[_OUTER_VERSIONS]:
        return {}
    own, rules_python = json.decode(settings[_OUTER_VERSIONS])
    return {PYTHON_VERSION: own, _OUTER_VERSIONS: "", _RULES_PYTHON_VERSION: rules_python}

to_outer_python_versions = transition(
    implementation = _to_outer_versions_impl,
    inputs = _FLAGS,
    outputs = _FLAGS,
)
