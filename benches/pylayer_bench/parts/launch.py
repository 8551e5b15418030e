"""The time that launchers and environments of Python binaries add to a start, and the launcher's size."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pylayer_bench.bench import Bench
from pylayer_bench.console import check, say
from pylayer_bench.cost import Cost, busy_seconds
from pylayer_bench.python_workspace import RULES_PYTHON, build_launcher, make_workspace
from pylayer_bench.results import Row

STARTS = 200
# The share of the starts of a round that are faster than its result. Other processes only add to a start.
QUANTILE = 0.1

LAUNCHER_TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")

# As of a binary without any of the variables that launchers set. Nothing writes caches of wheels.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass
class Start:
    """A command that executes the main file, and how long it took in the current round."""

    row: Row
    command: list[str]
    environment: dict[str, str]
    seconds: list[float] = field(default_factory=list)

    def run(self) -> float:
        """Starts it, and returns its CPU time."""
        start = time.perf_counter()
        process = os.posix_spawn(self.command[0], self.command, self.environment)
        _, status, usage = os.wait4(process, 0)
        self.seconds.append(time.perf_counter() - start)
        check(os.waitstatus_to_exitcode(status) == 0, f"{self.row.name}: {self.command} failed")
        return usage.ru_utime + usage.ru_stime

    def result(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * QUANTILE)]


def measure(bench: Bench) -> dict[str, list[Row]]:
    wheels, imports = (6, 3) if bench.quick else (200, 50)
    workspace = make_workspace(bench, "launch", {"WHEELS": wheels, "BINARIES": 0})
    modules = [f"wheel_{number * wheels // imports}" for number in range(imports)]
    main = workspace.folder / "launch" / "imports.py"
    main.write_text("".join(f"import {module}\n" for module in ["os", *modules]) + "\nos._exit(0)\n")
    try:
        say("  the binaries are built")
        workspace.build("//launch:all")
    finally:
        workspace.shutdown()
    binaries = (workspace.folder / "bazel-bin" / "launch").resolve()
    environments = Environments(binaries, bench.scratch / "launch" / "flat")
    empty, with_imports = (list(starts) for starts in (environments.empty(), environments.imports()))
    environments.warm()
    for _ in range(bench.rounds):
        time_starts(bench, [*empty, *with_imports])
    return {
        "launch": [start.row for start in empty],
        "launch_imports": [start.row for start in with_imports],
        "launcher": launchers(bench),
    }


class Environments:
    """The compared commands."""

    def __init__(self, binaries: Path, flat: Path):
        self.binaries, self.flat = binaries, flat
        self.venv = binaries / "empty.runfiles/_main/launch/_empty.venv"
        self.interpreter = (self.venv / "bin/python3").resolve()

    def start(self, name: str, shown: str, *command: str | Path) -> Start:
        # Launchers that are scripts find the interpreter of the binaries, which a machine's python3 may only lead to.
        path = f"{self.interpreter.parent}:/usr/bin:/bin"
        return Start(Row(name, shown), list(map(str, command)), {**ENVIRONMENT, "PATH": path})

    def empty(self) -> Iterator[Start]:
        options = ("-B", "-I", self.main("empty"))
        yield self.start("python3", "python3 -B -I empty.py", self.interpreter, *options)
        yield self.start(
            "the environment's python3", "_empty.venv/bin/python3 -B -I empty.py", self.venv / "bin/python3", *options
        )
        yield self.binary("pylayer", "empty")
        yield self.binary("launcher in bash", "empty_by_bash")
        yield self.binary(RULES_PYTHON, "empty_by_rules_python")

    def imports(self) -> Iterator[Start]:
        self.make_flat_environment()
        command = (self.flat / "bin/python3", "-B", "-I", self.main("imports"))
        yield self.start("one site-packages", "flat/bin/python3 -B -I imports.py", *command)
        yield self.binary("pylayer", "imports")
        yield self.binary("pylayer's launcher, a .pth line per wheel", "imports_by_pth")
        yield self.binary(RULES_PYTHON, "imports_by_rules_python")

    def binary(self, name: str, target: str) -> Start:
        return self.start(name, f"bazel-bin/launch/{target}", self.binaries / target)

    def main(self, binary: str) -> Path:
        return self.binaries / f"{binary}.runfiles/_main/launch/{binary}.py"

    def make_flat_environment(self) -> None:
        """An environment in which all wheels are installed, as by pip."""
        subprocess.run([self.interpreter, "-I", "-m", "venv", "--without-pip", "--symlinks", self.flat], check=True)
        [site_packages] = self.flat.glob("lib/python*/site-packages")
        for wheel in (self.binaries / "imports.runfiles").glob("*wheel_*/site-packages"):
            shutil.copytree(wheel, site_packages, dirs_exist_ok=True)

    def warm(self) -> None:
        """Lets the interpreter write the caches of the standard library, which it comes without."""
        for command in ([self.interpreter, "-I", self.main("empty")], [self.binaries / "empty_by_rules_python"]):
            path = f"{self.interpreter.parent}:/usr/bin:/bin"
            subprocess.run(command, env={"LC_ALL": "C.UTF-8", "PATH": path}, check=True)


def time_starts(bench: Bench, starts: list[Start]) -> None:
    """One round: runs all commands in turn, each time beginning with another one."""

    def clear() -> None:
        for start in starts:
            start.seconds.clear()

    def run() -> Cost:
        cpu, busy, begin = time.process_time(), busy_seconds(), time.perf_counter()
        children = 0.0
        for number in range(3 if bench.quick else STARTS):
            first = number % len(starts)
            children += sum(start.run() for start in starts[first:] + starts[:first])
        wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
        return Cost(wall, cpu + children, 0, busy_seconds() - busy)

    say("  a round of starts")
    disturbed = bench.machine.undisturbed(clear, run) is None
    for start in starts:
        if disturbed:
            start.row.disturbed += 1
        else:
            start.row.wall.append(round(start.result(), 6))


def launchers(bench: Bench) -> list[Row]:
    """The size of the launcher for each target that rustc has a core library for, and the time to build it."""
    rows = []
    for target in LAUNCHER_TARGETS:
        query = ["rustc", "--print", "target-libdir", "--target", target]
        libraries = subprocess.run(query, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        if not Path(libraries).is_dir():
            say(f"  rustc has no core library for {target}")
            continue
        row = Row(target, f"crates/launcher/build --target {target}")
        output = bench.scratch / "launch" / target
        begin = time.perf_counter()
        build_launcher(output, "--target", target)
        row.wall.append(round(time.perf_counter() - begin, 6))
        row.size = output.stat().st_size
        rows.append(row)
    return rows
