"""Generated wheels, each in a repository like those of pip rules, and a repository with an alias for each."""

load("//:sizes.bzl", "WHEELS")

# The number of modules per package. Each wheel has six packages.
_MODULES = 8
_PACKAGES = ["", "/api", "/client", "/models", "/server", "/utils"]

_BUILD = """\
load("@rules_python//python:defs.bzl", "py_library")

py_library(
    name = "pkg",
    srcs = glob(["{root}/**/*.py"]),
    data = glob(["{root}/**"], exclude = ["**/*.py"]),
    imports = ["{root}"],
    visibility = ["//visibility:public"],
)
"""

def _wheel_impl(rctx):
    module, root = rctx.attr.module, rctx.attr.root
    for package in _PACKAGES:
        folder = "{}/{}{}/".format(root, module, package)
        rctx.file(folder + "__init__.py", "" if package else "from {}.module_0 import VALUE\n".format(module))
        for number in range(_MODULES - 1):
            rctx.file("{}module_{}.py".format(folder, number), "VALUE = {}\n".format(number))
    metadata = "{}/{}-1.0.dist-info/".format(root, module)
    rctx.file(metadata + "METADATA", "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n".format(module))
    rctx.file(metadata + "RECORD", "")
    rctx.file("BUILD.bazel", _BUILD.format(root = root))

_wheel = repository_rule(
    implementation = _wheel_impl,
    attrs = {
        "module": attr.string(),
        "root": attr.string(),
    },
)

def _aliases_impl(rctx):
    rctx.file("BUILD.bazel", "\n".join([
        'alias(name = "{0}", actual = "@{0}//:pkg", visibility = ["//visibility:public"])'.format(name)
        for name in rctx.attr.repositories
    ]))

_aliases = repository_rule(
    implementation = _aliases_impl,
    attrs = {"repositories": attr.string_list()},
)

def _wheels_impl(_mctx):
    names = []
    for number in range(WHEELS):
        module = "wheel_{}".format(number)
        _wheel(name = module, module = module, root = "site-packages")

        # Its directory has another name than those of distributions, so it is a line in a .pth file.
        _wheel(name = "pth_" + module, module = module, root = "lib")
        names += [module, "pth_" + module]
    _aliases(name = "wheels", repositories = names)

wheels = module_extension(implementation = _wheels_impl)
