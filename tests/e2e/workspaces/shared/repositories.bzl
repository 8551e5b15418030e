"""Repositories with the layouts of those of an interpreter and of wheels."""

_BUILD = """\
package(default_visibility = ["//visibility:public"])

filegroup(
    name = "files",
    srcs = glob(["**"], exclude = ["*"]),
)
"""

# As aspect_rules_py 2 does it: a wheel is a tree artifact.
_BUILD_TREE = """\
load("@@//:trees.bzl", "unpacked")

unpacked(
    name = "files",
    srcs = glob(["**"], exclude = ["*"]),
    visibility = ["//visibility:public"],
)
"""

def _interpreter_impl(rctx):
    for path in ["bin/python3", "lib/python3.11/os.py", "lib/python3.11/site-packages/pip/__init__.py"]:
        rctx.file(path, "# {}\n".format(path))
    rctx.file("BUILD.bazel", _BUILD)

interpreter = repository_rule(implementation = _interpreter_impl)

def _launcher_template_impl(rctx):
    rctx.file("py/private/run.tmpl.sh", "")
    rctx.file("py/private/BUILD.bazel", "exports_files([\"run.tmpl.sh\"])\n")

launcher_template = repository_rule(implementation = _launcher_template_impl)

def _wheel_impl(rctx):
    name, version = rctx.attr.distribution, rctx.attr.version
    module = name.lower().replace(".", "_")
    start = "" if rctx.attr.tree else "site-packages/"
    rctx.file("{}{}-{}.dist-info/METADATA".format(start, name, version), "Name: {}\nVersion: {}\n".format(name, version))
    for number in range(20):
        rctx.file("{}{}/part_{}.py".format(start, module, number), "VERSION = {}\n".format(repr(version)))
    rctx.file("BUILD.bazel", _BUILD_TREE if rctx.attr.tree else _BUILD)

_wheel = repository_rule(
    implementation = _wheel_impl,
    attrs = {
        "distribution": attr.string(),
        "tree": attr.bool(),
        "version": attr.string(),
    },
)

# How repositories are named: by rules_python in a WORKSPACE, in a hub for several versions, and with an index; by
# aspect_rules_py 2; by a rule set that is not known.
SCHEMES = {
    "workspace": "pip_deps_{name}",
    "versions": "hub_311_{name}",
    "index": "hub_311_{name}_cp311_manylinux_2_17_x86_64_0123abcd",
    "aspect": "whl_install__myproj__{name}__{version}",
    "unknown": "third_party_{version}_{name}",
}

def _hub_impl(rctx):
    rctx.file("BUILD.bazel", "")
    lines = [
        "    {}: [str(Label(name)) for name in {}],\n".format(repr(scheme), repr(["@{}//:files".format(name) for name in names]))
        for scheme, names in rctx.attr.wheels.items()
    ]

    # A repository of an extension can name its others.
    rctx.file("wheels.bzl", "WHEELS = {{\n{}}}\n".format("".join(lines)))

_hub = repository_rule(
    implementation = _hub_impl,
    attrs = {"wheels": attr.string_list_dict()},
)

def _wheels_impl(mctx):
    wheels = {scheme: [] for scheme in SCHEMES}
    for name, version in mctx.modules[0].tags.install[0].distributions.items():
        for scheme, pattern in SCHEMES.items():
            repository = pattern.format(
                name = name.lower().replace(".", "_"),
                version = version.replace(".", "_"),
            )
            _wheel(name = repository, distribution = name, version = version, tree = scheme == "aspect")
            wheels[scheme].append(repository)
    _hub(name = "wheels", wheels = wheels)

wheels = module_extension(
    implementation = _wheels_impl,
    tag_classes = {"install": tag_class(attrs = {"distributions": attr.string_dict()})},
)
