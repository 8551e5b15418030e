"""The repository `pylayer_python`: what the rules for Python must know about other rule sets."""

_DEFS = """\
\"\"\"What is known about the rule sets for Python in this build.\"\"\"

load("@rules_python//python:py_info.bzl", _rules_python_info = "PyInfo")
load("@rules_python//python:versions.bzl", _MINOR_MAPPING = "MINOR_MAPPING", _TOOL_VERSIONS = "TOOL_VERSIONS")
{loads}
_CLASSIC_FIELDS = {{
    "has_py2_only_sources": False,
    "has_py3_only_sources": True,
    "uses_shared_libraries": False,
}}

# The providers called `PyInfo`, each once, and what its constructor needs besides `imports` and
# `transitive_sources`.
PY_INFOS = [
    struct(provider = provider, other_fields = other_fields)
    for index, (provider, other_fields) in enumerate([{rows}])
    if provider not in [{providers}][:index]
]

# From X.Y and X.Y.Z to the value of rules_python's flag `python_version`, or `None` if it takes any version.
RULES_PYTHON_FLAG_VALUES = {flag_values}

# The names of the interpreters of rules_python's extension.
EXTENSION_INTERPRETERS = {interpreters}

# Whether the extension registers their toolchains, as it does since 0.23. Before, the root module has to.
EXTENSION_REGISTERS = {registers}
"""

# What the flag takes depends on the version of rules_python: any string since 0.36; before, the versions that
# rules_python knows, and X.Y since 0.30.
_ANY_VERSION = "None"
_LISTED_VERSIONS = "{version: version for version in _TOOL_VERSIONS} | _MINOR_MAPPING"
_LISTED_AND_MINOR_VERSIONS = "{version: version for version in _TOOL_VERSIONS.keys() + _MINOR_MAPPING.keys()}"

# Where the flag was defined before 0.32, and from then on.
_FLAG_FILES = [
    "@rules_python//python/config_settings:config_settings.bzl",
    "@rules_python//python/private:config_settings.bzl",
]
_FLAG_NAME = "name = \"python_version\",\n"

def _flag_values(rctx):
    """The expression for `RULES_PYTHON_FLAG_VALUES`, found in the source of rules_python.

    Neither the flag nor any other target tells it, and a module does not know the versions of others.
    """
    for label in _FLAG_FILES:
        path = rctx.path(Label(label))
        rctx.watch(path)
        text = rctx.read(path) if path.exists else ""

        # Other flags and rules in the file have `values` and `flag_values`, too.
        definition = text.partition(_FLAG_NAME)[2].partition("\n\n")[0]
        if " values = " in definition:
            return _LISTED_AND_MINOR_VERSIONS if "MINOR_MAPPING" in text else _LISTED_VERSIONS
    return _ANY_VERSION

def _pylayer_python_impl(rctx):
    rows = ["_rules_python_info"]
    fields = ["_CLASSIC_FIELDS"]
    loads = []

    # Before Bazel 8, the native rules have a provider of their own, and it is a global name.
    major = native.bazel_version.partition(".")[0] if hasattr(native, "bazel_version") else "7"
    if major.isdigit() and int(major) < 8:
        rows.append("PyInfo")
        fields.append("_CLASSIC_FIELDS")
    for index, provider in enumerate(rctx.attr.providers):
        bzl, symbol, depsets = json.decode(provider)
        name = "_provider_{}".format(index)
        loads.append("load({}, {} = {})\n".format(repr(bzl), name, repr(symbol)))
        rows.append(name)
        fields.append("{" + ", ".join(["{}: depset()".format(repr(field)) for field in depsets]) + "}")
    interpreters = "[]"
    registers = True
    if rctx.attr.interpreters:
        loads.append("load({}, _INTERPRETERS = \"INTERPRETER_LABELS\")\n".format(repr(str(rctx.attr.interpreters))))

        # Since 0.31, NAME_host stands for the interpreter of the host; since 1.0, nothing else is listed.
        interpreters = "{name.removesuffix(\"_host\"): None for name in _INTERPRETERS}.keys()"

        # The toolchains are next to the list.
        build = rctx.path(rctx.attr.interpreters).dirname.get_child("BUILD.bazel")
        rctx.watch(build)
        registers = not build.exists or rctx.read(build) != ""
    rctx.file("BUILD.bazel", "")
    rctx.file("defs.bzl", _DEFS.format(
        flag_values = _flag_values(rctx),
        loads = "".join(loads),
        interpreters = interpreters,
        providers = ", ".join(rows),
        registers = registers,
        rows = ", ".join(["({}, {})".format(row, field) for row, field in zip(rows, fields)]),
    ))

pylayer_python_repository = repository_rule(
    implementation = _pylayer_python_impl,
    doc = "What the rules for Python must know about other rule sets.",
    attrs = {
        "interpreters": attr.label(doc = "The file of rules_python's extension that lists its interpreters."),
        "providers": attr.string_list(
            doc = "Further providers like PyInfo, each as JSON: label of its file, symbol, and the names of depsets that its constructor also needs.",
        ),
    },
    # Runs again in each Bazel server, because Bazel does not know that the result depends on its own version.
    local = True,
)
