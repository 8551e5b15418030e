"""Bazel builds after a change: the executed actions, and the time."""

import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bazel import Result, Workspace, copy_workspace
from remote import server

from pylayer_bench.archives import members
from pylayer_bench.bench import Bench
from pylayer_bench.console import check, say
from pylayer_bench.corpus import RUNFILES
from pylayer_bench.paths import REPOSITORY
from pylayer_bench.results import Row

# The programs that write the layers, and their packages in benches/workspace.
SIDES = {"pylayer": "//pylayer", "awk + bsdtar": "//awk_bsdtar"}
LAYER_MNEMONICS = ("PyImageLayer", "Tar")

# The wheels of a typical data service. With the interpreter, about 500 MB, so that builds take seconds.
WHEELS = """
aiohttp anyio certifi cffi cryptography fastapi fonttools grpcio kiwisolver matplotlib numpy pandas pillow protobuf
pydantic pydantic_core pyyaml requests scikit_learn scipy sqlalchemy starlette urllib3 uvicorn
""".split()

# Both sides build in one folder.
OPTIONS = ["--symlink_prefix=/"]


def measure(bench: Bench) -> dict[str, list[Row]]:
    scratch = bench.folder("scenarios")
    # For copy_workspace.
    os.environ["PYLAYER_BIN"] = str(bench.program)
    os.environ["PYLAYER_LAUNCHER"] = str(scratch / "launcher")
    subprocess.run([REPOSITORY / "crates/launcher/build", scratch / "launcher"], check=True)
    binary = Binary(copy_workspace(REPOSITORY / "benches/workspace", scratch / "workspace"), bench.corpus)
    with server(scratch / "remote_cache") as remote_cache:
        sides = [Side(name, binary, scratch, remote_cache) for name in SIDES]
        table = Scenarios(bench, binary, sides)
        try:
            say("  caches are filled")
            for side in sides:
                side.fill_caches()
            # These run first, because the caches do not contain an updated wheel.
            table.run([scenario for scenario in SCENARIOS if scenario.cache])
            for side in sides:
                side.workspace.build(*OPTIONS, *side.labels("layers"))
            if bench.quick:
                check_same_files(sides)
            table.run([scenario for scenario in SCENARIOS if not scenario.cache])
        finally:
            for side in sides:
                side.workspace.shutdown()
                side.empty.shutdown()
    return {"scenarios": list(table.rows.values())}


# --- the binary and its changes ----------------------------------------------------------------------------


class Binary:
    """A workspace with a binary made of the corpus. Each change can be made any number of times."""

    def __init__(self, folder: Path, corpus: Path):
        self.folder = folder
        self.numbers = itertools.count()
        runfiles = corpus / RUNFILES
        shutil.copytree(runfiles / "_main" / "services", folder / "app" / "services")
        self.modules = sorted(folder.glob("app/services/**/*.py"))
        # By the last part of their names, which is the same in all versions of Bazel.
        self.repositories = {path.name.rpartition("~")[2]: path for path in runfiles.iterdir() if path.name != "_main"}
        wheels = [name for name in self.repositories if name.startswith("pip_deps_")]
        if chosen := {name for name in wheels if name.removeprefix("pip_deps_311_") in WHEELS}:
            for name in set(wheels) - chosen:
                del self.repositories[name]
        wheels = sorted((name for name in self.repositories if name in wheels), key=self.size_of)
        largest, self.updated_wheel = wheels[-1], wheels[len(wheels) // 2]
        groups = {largest.removeprefix("pip_deps_311_"): f"{largest}/"}
        (folder / "groups.bzl").write_text(f"LAYER_GROUPS = {json.dumps(groups)}\n")
        self.write_repositories()

    def size_of(self, repository: str) -> int:
        return sum(path.stat().st_size for path in self.repositories[repository].rglob("*") if path.is_file())

    def write_repositories(self) -> None:
        paths = {name: str(path) for name, path in sorted(self.repositories.items())}
        (self.folder / "repositories.json").write_text(json.dumps(paths))

    def edit_a_file(self) -> None:
        append(self.modules[0], f"# {next(self.numbers)}\n")

    def add_a_file(self) -> None:
        number = next(self.numbers)
        (self.folder / "app" / "services" / f"added_{number}.py").write_text(f"VALUE = {number}\n")

    def remove_a_file(self) -> None:
        self.modules.pop().unlink()

    def rename_a_file(self) -> None:
        path = self.modules.pop()
        path.rename(path.with_name(f"renamed_{path.name}"))

    def update_a_wheel(self) -> None:
        """Replaces the wheel with another version, in a new folder."""
        number = next(self.numbers)
        newer = self.folder.parent / f"wheel_{number}"
        shutil.copytree(self.repositories[self.updated_wheel], newer)
        append(min(newer.rglob("*.py")), f"# {number}\n")
        (newer / "site-packages" / f"added_{number}.py").write_text(f"VALUE = {number}\n")
        self.repositories[self.updated_wheel] = newer
        self.write_repositories()

    def compress_by(self, codec: str) -> None:
        """Changes one of the targets on each side."""
        for package in SIDES.values():
            file = self.folder / package.removeprefix("//") / "BUILD.bazel"
            text = file.read_text()
            for other in ("gzip", "zstd"):
                text = text.replace(f'compress = "{other}"', f'compress = "{codec}"')
            file.write_text(text)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@dataclass(frozen=True)
class Scenario:
    name: str
    change: Callable[[Binary], None]
    # If set, the build has an empty output base and this cache.
    cache: str = ""
    targets: tuple[str, ...] = ("layers",)


SCENARIOS = [
    Scenario("a file of the application edited", Binary.edit_a_file),
    Scenario("… added", Binary.add_a_file),
    Scenario("… removed", Binary.remove_a_file),
    Scenario("… renamed", Binary.rename_a_file),
    Scenario("a wheel updated", Binary.update_a_wheel),
    Scenario(
        "gzip to zstd for one of two targets",
        lambda binary: binary.compress_by("zstd"),
        targets=("layers", "other_layers"),
    ),
    Scenario("nothing changed", lambda _: None),
    Scenario("empty output base, warm disk cache, a file added", Binary.add_a_file, cache="disk"),
    Scenario("empty output base, warm remote cache, a file added", Binary.add_a_file, cache="remote"),
]

# --- what builds it ----------------------------------------------------------------------------------------


class Side:
    """One of the compared programs, with its own Bazel server."""

    def __init__(self, name: str, binary: Binary, scratch: Path, remote_cache: str):
        self.name, self.package, self.folder = name, SIDES[name], binary.folder
        own = scratch / self.package.removeprefix("//")
        self.workspace = Workspace(self.folder, own / "bazel")
        self.empty = Workspace(self.folder, own / "empty")
        self.caches = {"disk": f"--disk_cache={own / 'disk_cache'}", "remote": f"--remote_cache={remote_cache}"}

    def fill_caches(self) -> None:
        self.empty.build(*OPTIONS, *self.caches.values(), *self.labels("layers"))
        self.forget()

    def labels(self, *targets: str) -> list[str]:
        return [f"{self.package}:{target}" for target in targets]

    def command(self, scenario: Scenario) -> list[str]:
        cache = [self.caches[scenario.cache]] if scenario.cache else []
        return [*OPTIONS, *cache, *self.labels(*scenario.targets)]

    def builder(self, scenario: Scenario) -> Workspace:
        return self.empty if scenario.cache else self.workspace

    def forget(self) -> None:
        """Empties the output base of `empty` again."""
        self.empty.shutdown()
        # Bazel's outputs are read-only.
        subprocess.run(["chmod", "-R", "u+w", self.empty.output_user_root], check=True)
        shutil.rmtree(self.empty.output_user_root)

    def layers(self) -> list[Path]:
        root = Path(self.workspace.run("info", "execution_root").output.strip())
        query = self.workspace.run("cquery", "--output=files", *self.labels("layers"))
        return sorted(root / line for line in query.output.splitlines())


def executed(result: Result) -> int:
    """The number of processes that ran, from Bazel's summary."""
    return sum(count for how, count in result.processes.items() if how != "internal" and not how.endswith("hit"))


class Scenarios:
    """The builds after a change: the first one with the execution log, the others timed."""

    def __init__(self, bench: Bench, binary: Binary, sides: list[Side]):
        self.bench, self.binary, self.sides = bench, binary, sides
        self.rows = {
            (scenario, side): Row(
                f"{scenario.name}: {side.name}", f"bazel build {' '.join(side.labels(*scenario.targets))}"
            )
            for scenario in SCENARIOS
            for side in sides
        }
        self.processes: dict[tuple[Scenario, Side], int] = {}

    def run(self, scenarios: list[Scenario]) -> None:
        for number in range(self.bench.rounds + 1):
            for scenario in scenarios:
                say(f"  {scenario.name}")
                self.prepare(scenario)
                scenario.change(self.binary)
                if number == 0:
                    self.count(scenario)
                else:
                    self.time(scenario, number)

    def prepare(self, scenario: Scenario) -> None:
        if "other_layers" not in scenario.targets:
            return
        self.binary.compress_by("gzip")
        for side in self.sides:
            # No worker may remain that has compressed the same files before.
            side.workspace.build(*side.command(scenario), "--worker_quit_after_build")

    def count(self, scenario: Scenario) -> None:
        for side in self.sides:
            spawns = side.builder(scenario).spawns(*side.command(scenario))
            ran = [spawn for spawn in spawns if not spawn.runner.endswith("hit")]
            self.rows[scenario, side].actions = sum(spawn.mnemonic in LAYER_MNEMONICS for spawn in ran)
            self.processes[scenario, side] = len(ran)
            if scenario.cache:
                side.forget()

    def time(self, scenario: Scenario, number: int) -> None:
        for side in self.sides[:: -1 if number % 2 else 1]:
            self.bench.machine.settle()
            start = time.monotonic()
            result = side.builder(scenario).build(*side.command(scenario))
            seconds = time.monotonic() - start
            row, expected = self.rows[scenario, side], self.processes[scenario, side]
            check(executed(result) == expected, f"{row.name}: {executed(result)} processes instead of {expected}")
            row.wall.append(round(seconds, 6))
            if scenario.cache:
                side.forget()


def check_same_files(sides: list[Side]) -> None:
    """Compares all files but `_repo_mapping`, which the original does not pack."""

    def files_of(side: Side) -> dict[str, dict[str, str]]:
        return {
            layer.name: {
                path: content
                for path, content in members(layer).items()
                if content != "folder" and not path.endswith(".runfiles/_repo_mapping")
            }
            for layer in side.layers()
        }

    ours, baseline = map(files_of, sides)
    check(ours == baseline, "the layers of pylayer have other files than those of awk + bsdtar")
