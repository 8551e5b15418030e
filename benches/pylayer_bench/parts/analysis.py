"""The analysis time that py_image_layer adds to a binary with 100,000 runfiles."""

import time
from pathlib import Path

from bazel import Workspace

from pylayer_bench.bench import Bench
from pylayer_bench.console import say
from pylayer_bench.paths import REPOSITORY
from pylayer_bench.results import Row

PYTHON = "python_3_11_x86_64-unknown-linux-gnu"
# The row names, by the target that a round analyzes.
ROWS = {
    "//:server": "the binary alone",
    "//:layers": "the binary and its layers",
}

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


def measure(bench: Bench) -> dict[str, list[Row]]:
    scratch = bench.folder("analysis")
    files = make_workspace(bench, scratch / "workspace")
    workspace = Workspace(scratch / "workspace", scratch / "output")
    rows = {target: Row(name, f"bazel build --nobuild {target}", files) for target, name in ROWS.items()}
    try:
        # Loads everything, so that the commands below only analyze.
        say("  everything is loaded")
        workspace.build("--nobuild", *rows)
        for number in range(bench.rounds):
            for target, row in rows.items():
                bench.machine.settle()
                start = time.monotonic()
                # A configuration that is new to Bazel, for which nothing is analyzed yet.
                workspace.build("--nobuild", f"--action_env=ROUND={number}{target}", target)
                row.wall.append(round(time.monotonic() - start, 6))
    finally:
        workspace.shutdown()
    return {"analysis": list(rows.values())}


def names(count: int, folder: str) -> list[str]:
    """Paths as in wheels: packages of 8 modules each, three folders deep."""
    paths = [f"{folder}/part_{i // 64}/sub_{i // 8 % 8}/module_{i % 8}_{i * 7919 % 1000}.py" for i in range(count)]
    return [path if i % 8 else path.rpartition("/")[0] + "/__init__.py" for i, path in enumerate(paths)]


def make_workspace(bench: Bench, folder: Path) -> int:
    """Creates a binary with an interpreter, wheels and its own modules. Returns the number of files."""
    wheels, modules, modules_of_wheel = (3, 50, 10) if bench.quick else (150, 5_000, 600)
    repositories = {PYTHON: names(modules, "lib/python3.11")}
    for number in range(wheels):
        wheel = f"pip_deps_wheel_{number}"
        repositories[wheel] = names(modules_of_wheel, f"site-packages/{wheel}")
    runfiles = folder.parent / "runfiles"
    own = names(modules, "lib")
    for root, files in [(folder, own), *((runfiles / name, files) for name, files in repositories.items())]:
        for file in files:
            path = root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    quoted = ", ".join(f'"{name}"' for name in repositories)
    (folder / "MODULE.bazel").write_text(MODULE.format(checkout=REPOSITORY, program=bench.program, repositories=quoted))
    (folder / "runfiles.bzl").write_text(RUNFILES.format(folder=runfiles, repositories=list(repositories)))
    (folder / "BUILD.bazel").write_text(BUILD.format(files=[f"@{name}//:files" for name in repositories]))
    return len(own) + sum(map(len, repositories.values()))
