#!/usr/bin/env python3
"""Measures what `py_image_layer` adds to the analysis of a large binary.

    benches/analysis.py [FOLDER]

Makes a workspace in FOLDER (below ${XDG_CACHE_HOME:-~/.cache}/pylayer by default): a binary with
100,000 runfiles in an interpreter's repository, 150 wheels' and the workspace's own. Then `tools/bazel`
analyses, several times afresh and without running an action, the binary alone and the binary with its
layers in eight groups. Prints the medians and their difference.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
ROUNDS = 5
PYTHON = "python_3_11_x86_64-unknown-linux-gnu"
WHEELS = 150

MODULE = """\
module(name = "analysis")
bazel_dep(name = "platforms", version = "0.0.10")
bazel_dep(name = "rules_pylayer")
local_path_override(module_name = "rules_pylayer", path = "{checkout}")
pylayer = use_extension("@rules_pylayer//bazel:extensions.bzl", "pylayer")
pylayer.path(path = "{program}")
runfiles = use_extension("//:runfiles.bzl", "runfiles")
use_repo(runfiles, {repositories})
"""

RUNFILES = """\
def _folder_impl(rctx):
    for child in rctx.path(rctx.attr.path).readdir():
        rctx.symlink(child, child.basename)
    rctx.file("BUILD.bazel", 'filegroup(name = "files", srcs = glob(["**"]), visibility = ["//visibility:public"])')

_folder = repository_rule(_folder_impl, attrs = {{"path": attr.string()}})

def _runfiles_impl(_mctx):
    for name in {repositories}:
        _folder(name = name, path = "{folder}/" + name)

runfiles = module_extension(_runfiles_impl)

def _binary_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(executable, "", is_executable = True)
    return [DefaultInfo(executable = executable, runfiles = ctx.runfiles(ctx.files.data))]

binary = rule(_binary_impl, executable = True, attrs = {{"data": attr.label_list(allow_files = True)}})
"""

BUILD = """\
load("@rules_pylayer//bazel:defs.bzl", "py_image_layer")
load(":runfiles.bzl", "binary")

binary(
    name = "server",
    data = glob(["lib/**"]) + {files},
)

py_image_layer(
    name = "layers",
    py_binary = ":server",
    root = "/app",
    # With interpreter, packages and default, eight groups.
    layer_groups = {{
        "torch": "pip_deps_wheel_(7|8|9)/",
        "numpy": "\\\\.runfiles/[^/]*wheel_1[0-9]/.*",
        "models": "/data/.*\\\\.(bin|onnx)$",
        "certificates": "certifi.*/cacert\\\\.pem$",
        "generated": "_pb2(_grpc)?\\\\.pyi?$",
    }},
)
"""


def names(count: int, shape: str) -> list[str]:
    """Paths in packages of some 8 modules each, three folders deep, as wheels have them."""
    parts = [f"{shape}/part_{i // 64}/sub_{i // 8 % 8}/module_{i % 8}_{i * 7919 % 1000}.py" for i in range(count)]
    return [path if i % 8 else path.rpartition("/")[0] + "/__init__.py" for i, path in enumerate(parts)]


def make_workspace(folder: Path) -> None:
    wheels = [f"pip_deps_wheel_{number}" for number in range(WHEELS)]
    repositories = {PYTHON: names(5_000, "lib/python3.11")}
    repositories |= {wheel: names(600, f"site-packages/{wheel}") for wheel in wheels}
    runfiles = folder.parent / "runfiles"
    for root, files in [(folder, names(5_000, "lib"))] + [(runfiles / n, f) for n, f in repositories.items()]:
        for file in files:
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    quoted = [f'"{name}"' for name in repositories]
    (folder / "MODULE.bazel").write_text(
        # The program does not run, so any will do.
        MODULE.format(checkout=CHECKOUT, program=sys.executable, repositories=", ".join(quoted))
    )
    (folder / "runfiles.bzl").write_text(RUNFILES.format(folder=runfiles, repositories=list(repositories)))
    (folder / "BUILD.bazel").write_text(BUILD.format(files=[f"@{name}//:files" for name in repositories]))


def seconds(folder: Path, target: str, configuration: object) -> float:
    """Time of an analysis in a configuration that Bazel has not seen."""
    command = [CHECKOUT / "tools" / "bazel", f"--output_user_root={folder.parent / 'output'}", "build", "--nobuild"]
    start = time.monotonic()
    subprocess.run(
        [*command, "--noshow_progress", "--ui_event_filters=-info", f"--action_env=ROUND={configuration}", target],
        cwd=folder,
        check=True,
    )
    return time.monotonic() - start


def main() -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pylayer"
    scratch = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else cache / "analysis"
    folder = scratch / "workspace"
    for old in [folder, scratch / "runfiles"]:
        shutil.rmtree(old, ignore_errors=True)
    make_workspace(folder)
    try:
        times: dict[str, list[float]] = {"//:server": [], "//:layers": []}
        seconds(folder, "//:layers", "warm")
        for number in range(ROUNDS):
            for target, measured in times.items():
                measured.append(seconds(folder, target, f"{number}{target}"))
    finally:
        subprocess.run(
            [CHECKOUT / "tools" / "bazel", f"--output_user_root={scratch / 'output'}", "shutdown"], cwd=folder
        )
    binary, layers = (statistics.median(measured) for measured in times.values())
    print(f"binary {binary:.2f} s, with layers {layers:.2f} s, difference {layers - binary:.2f} s")


if __name__ == "__main__":
    main()
