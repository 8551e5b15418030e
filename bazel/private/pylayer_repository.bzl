"""Repositories with the `pylayer` program, the launcher of Python binaries, and their toolchains."""

load("@bazel_tools//tools/build_defs/repo:utils.bzl", "get_auth")
load(":released.bzl", "LAUNCHERS", "PROGRAMS")

# Not from defs.bzl, so that toolchain resolution does not load rules_python.
_HEADER = """\
load("@rules_pylayer//bazel/private:toolchain.bzl", "py_image_layer_toolchain", "py_launcher_toolchain")
"""

_TOOLCHAIN = """
py_image_layer_toolchain(
    name = "{name}",
    pylayer = "{file}",
    visibility = ["//visibility:public"],
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
    launcher = "{file}",
    visibility = ["//visibility:public"],
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
    return "-".join([_HOST_NAMES.get(part, part) for part in parts])

def _supported_host_platform(rctx):
    """The platform on which Bazel runs. Fails if the program does not support it."""
    platform = _host_platform(rctx)
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

def _build_file(programs, launchers, missing = {}):
    """The BUILD file with the toolchains.

    Args:
        programs: The label of the program by platform.
        launchers: The label of the launcher by platform.
        missing: Why there is no launcher for other platforms, by platform. Becomes comments.
    """
    exported = [file for file in programs.values() if ":" not in file]
    return _HEADER + ("\nexports_files({})\n".format(exported) if exported else "") + "".join([
        _TOOLCHAIN.format(name = "pylayer_" + platform, file = file, constraints = _constraints(platform))
        for platform, file in programs.items()
    ] + [
        _LAUNCHER_TOOLCHAIN.format(name = "launcher_" + platform, file = file, constraints = _constraints(platform))
        for platform, file in launchers.items()
    ] + [
        "\n# There is no launcher for {}:\n#   {}\n".format(platform, reason.strip().replace("\n", "\n#   "))
        for platform, reason in missing.items()
    ])

def _write_build_file(rctx, platform, launchers, missing = {}):
    """Writes the BUILD file of a repository that contains the program for `platform`, and `launchers` for others."""
    rctx.file("BUILD.bazel", _build_file(
        {platform: _program(platform)},
        {target: _launcher(target) for target in launchers},
        missing,
    ))

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
    for part in ["Cargo.lock", "Cargo.toml", ".cargo/config.toml", "bazel/private/tables.bzl"]:
        rctx.watch(source.get_child(part))
    rctx.watch_tree(source.get_child("src"))
    rctx.watch_tree(source.get_child("crates"))
    cargo = rctx.which("cargo")
    if not cargo:
        fail("pylayer is built from source with cargo, which is not on the PATH. Install Rust, or use " +
             "`pylayer.path(…)` or `pylayer.prebuilt(…)` in MODULE.bazel, or `path` or `urls` of " +
             "pylayer_register_toolchains in a WORKSPACE.")
    rctx.report_progress("cargo build --release")
    result = rctx.execute(
        # RUSTFLAGS would replace the flags that make the program static.
        ["env", "-u", "RUSTFLAGS", "-u", "CARGO_ENCODED_RUSTFLAGS", cargo, "build", "--release", "--locked", "--bin", "pylayer"],
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
    platform = _supported_host_platform(rctx)
    rctx.execute(["mv", str(programs[0]), str(rctx.path(_program(platform)))])
    rctx.delete("target")
    launchers, missing = _build_launchers(rctx)
    _write_build_file(rctx, platform, launchers, missing)

pylayer_source_repository = repository_rule(
    implementation = _source_impl,
    doc = "Builds the program and the launcher from this module's source with the host's Rust.",
    environ = _RUST_ENVIRONMENT + ["CARGO_HOME"],
)

def _path_impl(rctx):
    if not rctx.attr.path.startswith("/"):
        fail("pylayer.path(path = \"{}\"): must be an absolute path".format(rctx.attr.path))
    program = rctx.path(rctx.attr.path)
    if not program.exists:
        fail("pylayer.path(path = \"{}\"): there is no such file".format(rctx.attr.path))
    version = rctx.execute([program, "-V"])
    if version.return_code or not version.stdout.startswith("pylayer "):
        fail("pylayer.path(path = \"{}\"): this is not the program, or it does not run on this machine: {}".format(
            rctx.attr.path,
            (version.stderr or version.stdout)[:500].strip(),
        ))
    platform = _supported_host_platform(rctx)
    rctx.symlink(program, _program(platform))
    if not rctx.attr.launcher:
        launchers, missing = _build_launchers(rctx)
        _write_build_file(rctx, platform, launchers, missing)
        return
    launcher = rctx.path(rctx.attr.launcher)
    if not launcher.exists:
        fail("pylayer.path(launcher = \"{}\"): there is no such file".format(rctx.attr.launcher))
    launcher_platform = "linux-" + platform.split("-")[1]
    rctx.symlink(launcher, _launcher(launcher_platform))
    _write_build_file(rctx, platform, [launcher_platform])

pylayer_path_repository = repository_rule(
    implementation = _path_impl,
    doc = "Uses a program that is installed on the machine.",
    attrs = {
        "launcher": attr.string(doc = "Absolute path of the launcher. By default, it is built from source."),
        "path": attr.string(mandatory = True, doc = "Absolute path."),
    },
    environ = _RUST_ENVIRONMENT,
)

def _download_impl(rctx):
    download = rctx.download(
        url = rctx.attr.url,
        output = rctx.attr.file,
        sha256 = rctx.attr.sha256,
        executable = True,
        auth = get_auth(rctx, [rctx.attr.url]),
        allow_fail = True,
    )
    if not download.success:
        fail(("could not download {}: see the warning above. Other ways to get this file are --distdir, a mirror in " +
              "--experimental_downloader_config, and the tags pylayer.prebuilt, pylayer.path and pylayer.source; the guide " +
              "of rules_pylayer describes them under \"Where the program comes from\".").format(rctx.attr.url))
    rctx.file("BUILD.bazel", "exports_files([\"{}\"])\n".format(rctx.attr.file))

_download_repository = repository_rule(
    implementation = _download_impl,
    doc = "Downloads one executable file.",
    attrs = {
        "auth_patterns": attr.string_dict(doc = "For get_auth."),
        "file": attr.string(mandatory = True, doc = "The name that the file gets."),
        "netrc": attr.string(doc = "For get_auth, which otherwise reads $NETRC or ~/.netrc."),
        "sha256": attr.string(mandatory = True, doc = "SHA-256 of the download, in hexadecimal."),
        "url": attr.string(mandatory = True, doc = "The URL of the download."),
    },
)

def _toolchains_impl(rctx):
    programs = dict(rctx.attr.programs)
    host = _host_platform(rctx)
    if rctx.attr.source and host in PLATFORMS and host not in programs:
        programs[host] = "@{}//:{}".format(rctx.attr.source, _program(host))
    rctx.file("BUILD.bazel", _build_file(programs, rctx.attr.launchers))

_toolchains_repository = repository_rule(
    implementation = _toolchains_impl,
    doc = "Declares toolchains whose files are in other repositories, which Bazel only fetches if it uses them.",
    attrs = {
        "launchers": attr.string_dict(doc = "The label of the launcher by platform."),
        "programs": attr.string_dict(doc = "The label of the program by platform."),
        "source": attr.string(doc = "The repository with the program for the host, if that is none of these platforms."),
    },
)

def _declare_downloads(name, programs, launchers, source = None):
    """Declares repositories for files to download, one each, and the repository `name` with their toolchains.

    Args:
        name: The name of the repository with the toolchains, and the prefix of the others.
        programs: The URL and the SHA-256 of the program by platform.
        launchers: The URL and the SHA-256 of the launcher by platform.
        source: The repository with the program for the host, if that is none of these platforms.
    """
    labels = {"launcher": {}, "pylayer": {}}
    for file, downloads in [("pylayer", programs), ("launcher", launchers)]:
        for platform, (url, sha256) in downloads.items():
            repository = "{}_{}_{}".format(name, file, platform)
            _download_repository(name = repository, file = file, url = url, sha256 = sha256)
            labels[file][platform] = "@{}//:{}".format(repository, file)
    _toolchains_repository(name = name, programs = labels["pylayer"], launchers = labels["launcher"], source = source)

def pylayer_prebuilt_repositories(name, urls, sha256, launcher_urls = None, launcher_sha256 = None):
    """Declares the repositories of a program and a launcher that somebody hosts.

    Args:
        name: The name of the repository with the toolchains.
        urls: URLs of the program, by platform.
        sha256: SHA-256 of the programs, by platform.
        launcher_urls: URLs of the launcher, by platform.
        launcher_sha256: SHA-256 of the launchers, by platform.
    """
    launcher_urls, launcher_sha256 = launcher_urls or {}, launcher_sha256 or {}
    for platform in launcher_urls.keys() + launcher_sha256.keys():
        if platform not in _LAUNCHER_TARGETS:
            fail("the launcher runs on {}; there is none for {}".format(", ".join(_LAUNCHER_TARGETS), platform))
        if platform not in launcher_urls:
            fail("the prebuilt launcher for {} has a sha256 but no URL".format(platform))
    for platform in urls:
        if platform not in PLATFORMS:
            fail("pylayer runs on {}; there is none for {}".format(", ".join(PLATFORMS), platform))
    _declare_downloads(
        name,
        {platform: (url, _sha256_of("program", platform, sha256)) for platform, url in urls.items()},
        {platform: (url, _sha256_of("launcher", platform, launcher_sha256)) for platform, url in launcher_urls.items()},
    )

def _sha256_of(file, platform, sha256):
    return (sha256 or {}).get(platform) or fail("the prebuilt {} for {} has no sha256".format(file, platform))

def pylayer_default_repositories(name):
    """Declares the repositories of the released program, or of one built from source if this is not a release.

    Args:
        name: The name of the repository with the toolchains.
    """
    if not PROGRAMS:
        pylayer_source_repository(name = name)
        return

    # Bazel fetches it, and so runs cargo, only on a host for which there is no released program.
    source = name + "_source"
    pylayer_source_repository(name = source)
    _declare_downloads(name, PROGRAMS, LAUNCHERS, source)
