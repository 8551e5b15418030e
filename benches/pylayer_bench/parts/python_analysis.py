"""The analysis time and the memory of Python binaries that have many wheels."""

import time

from bazel import Workspace

from pylayer_bench.bench import Bench
from pylayer_bench.console import say
from pylayer_bench.python_workspace import RULES_PYTHON, make_workspace
from pylayer_bench.results import Row

# The packages of each rule set in benches/python_workspace.
SIDES = {"pylayer": "//pylayer", RULES_PYTHON: "//rules_python"}


def measure(bench: Bench) -> dict[str, list[Row]]:
    wheels, binaries = (6, 3) if bench.quick else (200, 100)
    workspace = make_workspace(bench, "python_analysis", {"WHEELS": wheels, "BINARIES": binaries})
    # By the packages of each rule set.
    kinds = {"first": ("the first binary", 1), "many": (f"{binaries} more", binaries)}
    rows = {
        (side, kind): Row(f"{side}, {name}", f"bazel build --nobuild {package}/{kind}:all", binaries=count)
        for kind, (name, count) in kinds.items()
        for side, package in SIDES.items()
    }
    try:
        say("  everything is fetched")
        workspace.build("--nobuild", *(f"{package}/..." for package in SIDES.values()))
        for number in range(bench.rounds):
            for side in list(SIDES)[:: -1 if number % 2 else 1]:
                say(f"  {side}")
                # Memory is only comparable in a new server.
                workspace.shutdown()
                for kind in kinds:
                    analyze(bench, workspace, f"{SIDES[side]}/{kind}:all", rows[side, kind])
    finally:
        workspace.shutdown()
    return {"python_analysis": list(rows.values())}


def analyze(bench: Bench, workspace: Workspace, target: str, row: Row) -> None:
    """Analyzes targets whose dependencies are loaded. The memory includes that of their own package."""
    before = used_heap(workspace)
    load(workspace, target)
    row.wall.append(build_seconds(bench, workspace, "--nobuild", target))
    row.heap.append(used_heap(workspace) - before)


def load(workspace: Workspace, target: str) -> None:
    """Loads targets and all that they depend on."""
    # Parts of Bazel's own tools may not exist on this machine. What the build needs does.
    workspace.run("query", "--keep_going", f"deps({target})", check=False)


def build_seconds(bench: Bench, workspace: Workspace, *arguments: str) -> float:
    """The time of a build that starts when the machine is idle."""
    bench.machine.settle()
    start = time.monotonic()
    workspace.build(*arguments)
    return round(time.monotonic() - start, 6)


def used_heap(workspace: Workspace) -> int:
    """The memory that Bazel's server keeps, in bytes."""
    used = workspace.run("info", "used-heap-size-after-gc").output.strip()
    return int(used.removesuffix("MB")) << 20
