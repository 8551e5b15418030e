"""Creates two in-build interpreters of different minor versions.

One is a copy of the machine's `python3`. The other is a copy of the newest other `python3.X` on the PATH or in pyenv's
directory or, if there is none, comes from the packages of a Debian release.
"""

load("@web_service//python:host_python.bzl", "describe_python", "find_python")
load("@web_service//python:interpreter.bzl", "copy_interpreter", "interpreter_repository")

# The rules support CPython 3.8 to 3.14.
_VERSIONS = ["3.14", "3.13", "3.12", "3.11", "3.10", "3.9", "3.8"]

# Releases whose interpreters run on Debian 12 and later: they need no newer libc.
_DEBIAN_RELEASES = {
    "3.11": "bookworm",
    "3.9": "bullseye",
}

_TOOLCHAIN_BUILD = """
config_setting(
    name = "is_python_{version}",
    flag_values = {{"@rules_pylayer//bazel:python_minor_version": "{version}"}},
)

toolchain(
    name = "python_{version}",
    target_compatible_with = [
        "@platforms//cpu:{cpu}",
        "@platforms//os:linux",
    ],
    target_settings = [":is_python_{version}"],
    toolchain = "@{repository}//:runtimes",
    toolchain_type = "@rules_python//python:toolchain_type",
)
"""

def _toolchains_repository_impl(rctx):
    rctx.file("BUILD.bazel", "".join([
        _TOOLCHAIN_BUILD.format(
            cpu = rctx.attr.cpu,
            repository = repository,
            version = version,
        )
        for version, repository in rctx.attr.interpreters.items()
    ]))
    older, newer = sorted(rctx.attr.interpreters, key = _minor)
    rctx.file("versions.bzl", "OLDER = {}\nNEWER = {}\n".format(repr(older), repr(newer)))

_toolchains_repository = repository_rule(
    implementation = _toolchains_repository_impl,
    attrs = {
        "cpu": attr.string(mandatory = True),
        "interpreters": attr.string_dict(
            doc = "Repositories of interpreters by version.",
            mandatory = True,
        ),
    },
    doc = "A toolchain for each interpreter, and the constants `OLDER` and `NEWER`.",
)

def _minor(version):
    return int(version.split(".")[1])

def _debian_interpreter_impl(rctx):
    apt_get = rctx.which("apt-get")
    list_sources = [apt_get, "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    sources = _run(rctx, list_sources).splitlines() if apt_get else []
    mirrors = [source for source in sources if source.rstrip("/").endswith("/debian")]
    if not mirrors:
        fail("There is only one CPython from 3.8 to 3.14 on this machine, and no apt with a mirror of Debian. Install another minor version, such as python3.12.")
    rctx.file("apt/sources.list", "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {} {} main\n".format(
        mirrors[0],
        rctx.attr.release,
    ))
    for directory in ["lists", "archives"]:
        rctx.file("apt/{}/partial/.keep".format(directory))
    apt_get = [
        apt_get,
        "-qq",
        # Otherwise, for root, a user that may not write here.
        "--option=APT::Sandbox::User=",
        # The index of an old release is not renewed.
        "--option=Acquire::Check-Valid-Until=false",
        "--option=Acquire::Languages=none",
        "--option=Dir::Cache={}".format(rctx.path("apt")),
        "--option=Dir::Etc::SourceList={}".format(rctx.path("apt/sources.list")),
        "--option=Dir::Etc::SourceParts=/dev/null",
        "--option=Dir::State={}".format(rctx.path("apt")),
    ]
    version = rctx.attr.version
    _run(rctx, apt_get + ["update"])
    _run(rctx, apt_get + [
        "download",
        "python{}-minimal".format(version),
        "libpython{}-minimal".format(version),
        "libpython{}-stdlib".format(version),
    ])
    for package in rctx.path(".").readdir():
        if package.basename.endswith(".deb"):
            _run(rctx, ["dpkg-deb", "--extract", package, rctx.path("debian")])
            rctx.delete(package)
    copy_interpreter(rctx, rctx.path("debian/usr/bin/python" + version))
    rctx.delete("apt")
    rctx.delete("debian")

def _run(rctx, command):
    result = rctx.execute(command)
    if result.return_code:
        fail("{} failed:\n{}".format(" ".join([str(word) for word in command]), result.stderr))
    return result.stdout

_debian_interpreter = repository_rule(
    implementation = _debian_interpreter_impl,
    attrs = {
        "release": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
    },
    doc = "The interpreter of a Debian release. Its modules that need other libraries, such as ssl, are not usable.",
)

def _find_other(mctx, machine):
    """Describes an interpreter of another minor version than `machine`, or returns `None`."""
    versions = [version for version in _VERSIONS if version != machine.version]
    pyenv = mctx.path(mctx.os.environ.get("HOME", "/") + "/.pyenv/versions")
    installations = [str(path) for path in pyenv.readdir()] if pyenv.exists else []
    for version in versions:
        name = "python" + version
        candidates = [mctx.which(name)] + [
            mctx.path("{}/bin/{}".format(installation, name))
            for installation in installations
        ]
        for candidate in candidates:
            if candidate and candidate.exists:
                # A program of pyenv on the PATH does not start if its version is not activated.
                other, _ = describe_python(mctx, candidate)
                if other and other.version == version:
                    return other
    return None

def _interpreters_impl(mctx):
    machine = find_python(mctx)
    other = _find_other(mctx, machine)
    found = [machine] + ([other] if other else [])
    interpreters = {python.version: _repository_name(python.version) for python in found}
    for python in found:
        interpreter_repository(
            name = interpreters[python.version],
            python = python.executable,
        )
    if not other:
        version = [version for version in _DEBIAN_RELEASES if version != machine.version][0]
        interpreters[version] = _repository_name(version)
        _debian_interpreter(
            name = interpreters[version],
            release = _DEBIAN_RELEASES[version],
            version = version,
        )
    _toolchains_repository(
        name = "python_toolchains",
        cpu = machine.cpu,
        interpreters = interpreters,
    )

    # Cheap, and specific to this machine, so it should not be in the lock file.
    return mctx.extension_metadata(reproducible = True)

def _repository_name(version):
    return "python_" + version.replace(".", "_")

interpreters = module_extension(
    implementation = _interpreters_impl,
    doc = "Creates the repository `python_toolchains` with toolchains for two versions of Python.",
)
