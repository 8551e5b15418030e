"""Creates one repository per wheel of a lock file, downloaded with the machine's pip.

The repositories have the layout of those of rules_python, so they can replace them where only pip can
reach a package index: `pip_deps_numpy` contains `site-packages/numpy`, and `@pip_deps//numpy` is the
library to depend on.
"""

load(":host_python.bzl", "find_python")

_WHEEL_BUILD = """\
load("@rules_pylayer//bazel:python.bzl", "py_library")
load("@{hub}//:requirements.bzl", "LOCKED")

# The dependencies in the wheel's metadata, including those for other platforms.
_REQUIRED = {required}

py_library(
    name = "pkg",
    srcs = glob(["site-packages/**/*.py"], allow_empty = True),
    data = glob(
        ["site-packages/**"],
        exclude = ["**/*.py", "**/__pycache__/**"],
    ),
    imports = ["site-packages"],
    visibility = ["//visibility:public"],
    deps = ["@{hub}//" + name for name in _REQUIRED if name in LOCKED],
)

filegroup(
    name = "whl",
    srcs = glob(["*.whl"]),
    visibility = ["//visibility:public"],
)
"""

_ALIAS_BUILD = """\
alias(
    name = "{name}",
    actual = "@{hub}_{name}//:pkg",
    visibility = ["//visibility:public"],
)

alias(
    name = "whl",
    actual = "@{hub}_{name}//:whl",
    visibility = ["//visibility:public"],
)
"""

_REQUIREMENTS = """\
LOCKED = {locked}

# For `wheels` of `py_image_layer`.
all_whl_requirements = [str(Label("//" + name + ":whl")) for name in LOCKED]
"""

def _project_name(requirement):
    """Returns the normalized project name at the start of a requirement (PEP 508).

    Args:
        requirement: a requirement such as "Typing-Extensions>=4.8.0; python_version < '3.13'".

    Returns:
        The name as in repository names: "typing_extensions".
    """
    requirement = requirement.strip()
    name = requirement
    for position, character in enumerate(requirement.elems()):
        if not character.isalnum() and character not in "-_.":
            name = requirement[:position]
            break
    return name.lower().replace("-", "_").replace(".", "_")

def _required_projects(metadata):
    """Returns the names in a wheel's `Requires-Dist` lines, without those for extras."""
    headers = metadata.replace("\r", "").partition("\n\n")[0]
    names = [
        _project_name(line.removeprefix("Requires-Dist:"))
        for line in headers.splitlines()
        if line.startswith("Requires-Dist:") and "extra" not in line.partition(";")[2]
    ]
    return {name: None for name in names}.keys()

def _locked_requirements(lock):
    """Reads a lock file in pip's requirements format.

    Args:
        lock: the file's text.

    Returns:
        A dict from normalized project name to `name==version --hash=…`.
    """
    lines = [line.strip() for line in lock.replace("\\\n", " ").splitlines()]
    return {
        _project_name(line): line
        for line in lines
        if line and not line.startswith("#")
    }

def _wheel_repository_impl(rctx):
    rctx.file("requirement.txt", rctx.attr.requirement)
    result = rctx.execute([
        rctx.attr.python,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        "--dest=.",
        "--requirement=requirement.txt",
    ])
    if result.return_code:
        fail("pip did not fetch `{}`. The lock file has wheels for CPython 3.11 to 3.14, this is {} {}.\n{}".format(
            rctx.attr.requirement.partition(" ")[0],
            rctx.attr.python,
            rctx.attr.python_version,
            result.stderr,
        ))

    # Bazel determines the type of an archive from its name.
    (wheel,) = [path for path in rctx.path(".").readdir() if path.basename.endswith(".whl")]
    rctx.symlink(wheel, "wheel.zip")
    rctx.extract("wheel.zip", output = "site-packages")

    metadata = None
    for folder in rctx.path("site-packages").readdir():
        if folder.basename.endswith(".dist-info"):
            metadata = rctx.read(folder.get_child("METADATA"))
        elif folder.basename.endswith(".data"):
            # Files to be installed elsewhere (binary distribution format, "Spreading"). Scripts and headers are
            # not needed for imports.
            for scheme in ["purelib", "platlib"]:
                if folder.get_child(scheme).exists:
                    rctx.extract(
                        "wheel.zip",
                        output = "site-packages",
                        stripPrefix = "{}/{}".format(folder.basename, scheme),
                    )
            rctx.delete(folder)

    rctx.file("BUILD.bazel", _WHEEL_BUILD.format(
        hub = rctx.attr.hub,
        required = repr(_required_projects(metadata)),
    ))
    for path in ["requirement.txt", "wheel.zip"]:
        rctx.delete(path)

_wheel_repository = repository_rule(
    implementation = _wheel_repository_impl,
    attrs = {
        "hub": attr.string(mandatory = True),
        "python": attr.string(mandatory = True),
        "python_version": attr.string(mandatory = True),
        "requirement": attr.string(mandatory = True),
    },
    doc = "One wheel, and what it contains.",
)

def _hub_repository_impl(rctx):
    rctx.file("BUILD.bazel", "")
    rctx.file("requirements.bzl", _REQUIREMENTS.format(locked = repr(rctx.attr.locked)))
    for name in rctx.attr.locked:
        rctx.file(name + "/BUILD.bazel", _ALIAS_BUILD.format(
            hub = rctx.attr.hub,
            name = name,
        ))

_hub_repository = repository_rule(
    implementation = _hub_repository_impl,
    attrs = {
        "hub": attr.string(mandatory = True),
        "locked": attr.string_list(mandatory = True),
    },
    doc = "The libraries of all wheels, under fixed names for BUILD files.",
)

def _wheels_impl(mctx):
    python = find_python(mctx)
    for module in mctx.modules:
        for install in module.tags.install:
            locked = _locked_requirements(mctx.read(install.lock))
            for name, requirement in locked.items():
                _wheel_repository(
                    name = "{}_{}".format(install.name, name),
                    hub = install.name,
                    python = python.executable,
                    python_version = python.version,
                    requirement = requirement,
                )
            _hub_repository(
                name = install.name,
                hub = install.name,
                locked = locked.keys(),
            )

    # Cheap, and specific to this machine, so it should not be in the lock file.
    return mctx.extension_metadata(reproducible = True)

wheels = module_extension(
    implementation = _wheels_impl,
    doc = "Creates a hub repository, such as `pip_deps`, and a `pip_deps_<name>` per wheel.",
    tag_classes = {
        "install": tag_class(
            attrs = {
                "lock": attr.label(
                    mandatory = True,
                    doc = "Requirements, each with one version and its hashes, as written by `pip-compile --generate-hashes`.",
                ),
                "name": attr.string(
                    mandatory = True,
                    doc = "Name of the hub repository and prefix of the wheels' repositories.",
                ),
            },
        ),
    },
)
