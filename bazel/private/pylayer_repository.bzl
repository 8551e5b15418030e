"""Repositories with the `pylayer` program, the launcher of Python binaries, and their toolchains."""

# Not from defs.bzl, so that toolchain resolution does not load rules_python.
_HEADER = """\
load("@rules_pylayer//bazel/private:toolchain.bzl", "py_image_layer_toolchain", "py_launcher_toolchain")
"""

_TOOLCHAIN = """
py_image_layer_toolchain(
    name = "{name}",
    pylayer = "{name}_program",
)

toolchain(
    name = "{name}_toolchain",
    exec_compatible_with = {constraints},
    toolchain = ":{name}",
    toolchain_type = "@rules_pylayer//bazel:toolchain_type",
)
"""

_LAUNCHER_TOOLCHAIN = """
py_launcher_toolchain(
    name = "{name}",
    launcher = "{name}_program",
)

toolchain(
    name = "{name}_toolchain",
    target_compatible_with = {constraints},
    toolchain = ":{name}",
    toolchain_type = "@rules_pylayer//bazel:launcher_toolchain_type",
)
"""

# The platforms that the program supports.
PLATFORMS = ["linux-aarch64", "linux-x86_64", "macos-aarch64", "macos-x86_64"]

# The platforms that the launcher supports, with Rust's names for them.
_LAUNCHER_TARGETS = {
    "linux-aarch64": "aarch64-unknown-linux-gnu",
    "linux-x86_64": "x86_64-unknown-linux-gnu",
}

# Bazel's names for parts of the host platform, where they differ.
_HOST_NAMES = {"amd64": "x86_64", "arm64": "aarch64", "mac os x": "macos"}

# What decides which rustc runs.
_RUST_ENVIRONMENT = ["PATH", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"]

def _host_platform(rctx):
    """The platform on which Bazel runs, such as `linux-x86_64`."""
    parts = [rctx.os.name.lower(), rctx.os.arch.lower()]
    platform = "-".join([_HOST_NAMES.get(part, part) for part in parts])
    if platform not in PLATFORMS:
        fail("pylayer runs on {}; this is {}".format(", ".join(PLATFORMS), platform))
    return platform

def _program(platform):
    """The name of the program's file for `platform`."""
    return "pylayer_{}_program".format(platform)

def _launcher(platform):
    """The name of the launcher's file for `platform`."""
    return "launcher_{}_program".format(platform)

def _constraints(platform):
    os, cpu = platform.split("-")
    return ["@platforms//os:" + os, "@platforms//cpu:" + cpu]

def _write_build_file(rctx, platforms, launchers, missing = {}):
    """Writes the BUILD file with the toolchains.

    Args:
        rctx: The repository context.
        platforms: The platforms for which there is a program.
        launchers: The platforms for which there is a launcher.
        missing: Why there is no launcher for other platforms, by platform. Becomes a comment in the file.
    """
    toolchains = [
        _TOOLCHAIN.format(name = "pylayer_" + platform, constraints = _constraints(platform))
        for platform in platforms
    ] + [
        _LAUNCHER_TOOLCHAIN.format(name = "launcher_" + platform, constraints = _constraints(platform))
        for platform in launchers
    ] + [
        "\n# There is no launcher for {}:\n#   {}\n".format(platform, reason.strip().replace("\n", "\n#   "))
        for platform, reason in missing.items()
    ]
    rctx.file("BUILD.bazel", _HEADER + "".join(toolchains))

def _source_directory(rctx):
    """This module's directory."""
    return rctx.path(Label("//:Cargo.toml")).dirname

def _build_launchers(rctx):
    """Builds the launcher for each platform for which the host's rustc can.

    A failure is not an error, because `py_image_layer` needs no launcher.

    Returns:
        The arguments `launchers` and `missing` of `_write_build_file`.
    """
    source = _source_directory(rctx)
    crate = source.get_child("crates", "launcher")
    rctx.watch_tree(crate)
    rustc = rctx.which("rustc")
    if not rustc:
        return [], {platform: "rustc is not on the PATH" for platform in _LAUNCHER_TARGETS}

    # Where cargo runs, because rustup chooses the toolchain by the directory.
    directory = str(source)
    built, missing = [], {}
    for platform, target in _LAUNCHER_TARGETS.items():
        rctx.report_progress("rustc: the launcher for " + platform)
        library = rctx.execute([rustc, "--print", "target-libdir", "--target", target], working_directory = directory)
        if library.return_code == 0:
            # Exists if the target's `core` library is installed, which may happen later.
            rctx.watch(library.stdout.strip())
        result = rctx.execute(
            ["/bin/sh", crate.get_child("build"), "--target", target, rctx.path(_launcher(platform))],
            working_directory = directory,
            environment = {"LINKER": "", "RUSTC": str(rustc)},
        )
        if result.return_code:
            missing[platform] = result.stderr or "rustc failed without a message"
        else:
            built.append(platform)
    return built, missing

def _source_impl(rctx):
    source = _source_directory(rctx)
    for part in ["Cargo.lock", ".cargo/config.toml", "bazel/private/tables.bzl"]:
        rctx.watch(source.get_child(part))
    rctx.watch_tree(source.get_child("src"))
    rctx.watch_tree(source.get_child("crates"))
    cargo = rctx.which("cargo")
    if not cargo:
        fail("pylayer is built from source with cargo, which is not on the PATH. Install Rust, or use " +
             "`pylayer.path(…)` or `pylayer.prebuilt(…)` in MODULE.bazel.")
    rctx.report_progress("cargo build --release")
    result = rctx.execute(
        [cargo, "build", "--release", "--locked", "--bin", "pylayer"],
        # Cargo searches for .cargo/config.toml, which makes the program static, in this directory and above.
        working_directory = str(source),
        environment = {"CARGO_TARGET_DIR": str(rctx.path("target"))},
        timeout = 1800,
    )
    if result.return_code:
        fail("cargo build of pylayer failed:\n{}{}".format(result.stdout, result.stderr))
    programs = [
        release.get_child("pylayer")
        for release in [child.get_child("release") for child in rctx.path("target").readdir()]
        if release.exists and release.get_child("pylayer").exists
    ]
    if len(programs) != 1:
        fail("cargo build left {} programs below {}; expected one".format(len(programs), rctx.path("target")))

    # Moved rather than linked, because the build directory of a few hundred MB is deleted.
    platform = _host_platform(rctx)
    rctx.execute(["mv", str(programs[0]), str(rctx.path(_program(platform)))])
    rctx.delete("target")
    launchers, missing = _build_launchers(rctx)
    _write_build_file(rctx, [platform], launchers, missing)

pylayer_source_repository = repository_rule(
    implementation = _source_impl,
    doc = "Builds the program and the launcher from this module's source with the host's Rust.",
    environ = _RUST_ENVIRONMENT + ["CARGO_HOME", "RUSTFLAGS"],
)

def _path_impl(rctx):
    program = rctx.path(rctx.attr.path)
    if not program.exists:
        fail("pylayer.path(path = \"{}\"): there is no such file".format(rctx.attr.path))
    platform = _host_platform(rctx)
    rctx.symlink(program, _program(platform))
    if not rctx.attr.launcher:
        launchers, missing = _build_launchers(rctx)
        _write_build_file(rctx, [platform], launchers, missing)
        return
    launcher = rctx.path(rctx.attr.launcher)
    if not launcher.exists:
        fail("pylayer.path(launcher = \"{}\"): there is no such file".format(rctx.attr.launcher))
    launcher_platform = "linux-" + platform.split("-")[1]
    rctx.symlink(launcher, _launcher(launcher_platform))
    _write_build_file(rctx, [platform], [launcher_platform])

pylayer_path_repository = repository_rule(
    implementation = _path_impl,
    doc = "Uses a program that is installed on the machine.",
    attrs = {
        "launcher": attr.string(doc = "Absolute path of the launcher. By default, it is built from source."),
        "path": attr.string(mandatory = True, doc = "Absolute path."),
    },
    environ = _RUST_ENVIRONMENT,
)

def _prebuilt_impl(rctx):
    launchers = rctx.attr.launcher_urls
    for platform in launchers.keys() + rctx.attr.launcher_sha256.keys():
        if platform not in _LAUNCHER_TARGETS:
            fail("the launcher runs on {}; there is none for {}".format(", ".join(_LAUNCHER_TARGETS), platform))
        if platform not in launchers:
            fail("the prebuilt launcher for {} has a sha256 but no URL".format(platform))
        if platform not in rctx.attr.launcher_sha256:
            fail("the prebuilt launcher for {} has no sha256".format(platform))
    for platform, url in rctx.attr.urls.items():
        sha256 = rctx.attr.sha256.get(platform) or fail("the prebuilt program for {} has no sha256".format(platform))
        rctx.download(url = url, output = _program(platform), sha256 = sha256, executable = True)
    for platform, url in launchers.items():
        sha256 = rctx.attr.launcher_sha256[platform]
        rctx.download(url = url, output = _launcher(platform), sha256 = sha256, executable = True)
    _write_build_file(rctx, rctx.attr.urls.keys(), launchers.keys())

pylayer_prebuilt_repository = repository_rule(
    implementation = _prebuilt_impl,
    doc = "Downloads the program, and optionally the launcher, for one or more platforms.",
    attrs = {
        "launcher_sha256": attr.string_dict(doc = "SHA-256 of the launchers, by platform."),
        "launcher_urls": attr.string_dict(doc = "URLs of the launcher by target platform."),
        "sha256": attr.string_dict(mandatory = True, doc = "SHA-256 of the downloads, by platform."),
        "urls": attr.string_dict(mandatory = True, doc = "URLs by platform, such as `linux-x86_64`."),
    },
)
