"""Repositories with the `pylayer` program and its toolchain."""

_HEADER = """\
load("@rules_pylayer//bazel:defs.bzl", "py_image_layer_toolchain")
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

# The platforms that the program supports.
PLATFORMS = ["linux-aarch64", "linux-x86_64", "macos-aarch64", "macos-x86_64"]

# Bazel's names for parts of the host platform, where they differ.
_HOST_NAMES = {"amd64": "x86_64", "arm64": "aarch64", "mac os x": "macos"}

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

def _write_build_file(rctx, platforms):
    toolchains = [
        _TOOLCHAIN.format(
            name = "pylayer_" + platform,
            constraints = ["@platforms//os:" + platform.split("-")[0], "@platforms//cpu:" + platform.split("-")[1]],
        )
        for platform in platforms
    ]
    rctx.file("BUILD.bazel", _HEADER + "".join(toolchains))

def _source_impl(rctx):
    manifest = rctx.path(Label("//:Cargo.toml"))
    source = manifest.dirname
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
    _write_build_file(rctx, [platform])

pylayer_source_repository = repository_rule(
    implementation = _source_impl,
    doc = "Builds the program from this module's source with the host's cargo.",
    environ = ["PATH", "CARGO_HOME", "RUSTUP_HOME", "RUSTFLAGS"],
)

def _path_impl(rctx):
    program = rctx.path(rctx.attr.path)
    if not program.exists:
        fail("pylayer.path(path = \"{}\"): there is no such file".format(rctx.attr.path))
    platform = _host_platform(rctx)
    rctx.symlink(program, _program(platform))
    _write_build_file(rctx, [platform])

pylayer_path_repository = repository_rule(
    implementation = _path_impl,
    doc = "Uses a program that is installed on the machine.",
    attrs = {"path": attr.string(mandatory = True, doc = "Absolute path.")},
)

def _prebuilt_impl(rctx):
    for platform, url in rctx.attr.urls.items():
        sha256 = rctx.attr.sha256.get(platform) or fail("the prebuilt program for {} has no sha256".format(platform))
        rctx.download(url = url, output = _program(platform), sha256 = sha256, executable = True)
    _write_build_file(rctx, rctx.attr.urls.keys())

pylayer_prebuilt_repository = repository_rule(
    implementation = _prebuilt_impl,
    doc = "Downloads the program for one or more platforms.",
    attrs = {
        "sha256": attr.string_dict(mandatory = True, doc = "SHA-256 of the downloads, by platform."),
        "urls": attr.string_dict(mandatory = True, doc = "URLs by platform, such as `linux-x86_64`."),
    },
)
