"""The example with two versions of Python: its tests pass, and its images start with nothing but a libc."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from bazel import CHECKOUT, PLAIN_OUTPUT, TIMEOUT
from conftest import BuiltWorkspace
from machine import base_layer, in_root

EXAMPLE = CHECKOUT / "examples" / "multi_version"

BATCHES = [["a", "b"], ["c", "d"], ["e"]]


def check(report: dict, version: str, runfiles: str | Path, name: str) -> None:
    """Checks the report of the program `name`."""
    assert report == {
        "version": version,
        "executable": f"{runfiles}/_main/app/_{name}.venv/bin/python3",
        "batched": "itertools" if minor(version) >= 12 else "app.batches",
        "batches": BATCHES,
    }


def minor(version: str) -> int:
    """The second number of a version."""
    return int(version.removeprefix("3."))


@pytest.fixture(scope="module")
def example(make_workspace) -> BuiltWorkspace:
    """A copy of the example, built."""
    workspace = make_workspace(EXAMPLE, "multi_version")
    workspace.build("//...")
    return workspace


@pytest.fixture(scope="module")
def versions(example) -> dict[str, str]:
    """The versions that the programs ask for."""
    (file,) = (example.folder / "bazel-bin").resolve().parents[4].glob("external/*python_toolchains/versions.bzl")
    older, newer = re.findall('"(.*)"', file.read_text())
    assert minor(older) < minor(newer)
    return {"older": older, "newer": newer}


def run(command: list[str | Path]) -> dict:
    """Runs a command that prints JSON, without variables."""
    process = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=TIMEOUT)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_the_tests_pass_with_both_versions(example) -> None:
    output = example.run("test", *PLAIN_OUTPUT, "//...").output
    assert re.findall(r"^(//\S+) .*PASSED", output, re.MULTILINE) == ["//app:newer_test", "//app:older_test"]


def test_a_program_runs_its_version_and_starts_another(example, versions) -> None:
    (newer,) = example.files("//app:newer")
    (older,) = example.files("//app:older")
    check(run([older]), versions["older"], f"{older}.runfiles", "older")
    reports = run([newer])
    check(reports["newer"], versions["newer"], f"{newer}.runfiles", "newer")
    check(reports["older"], versions["older"], f"{newer}.runfiles", "older")


def test_an_image_has_the_interpreters_of_its_programs(example, versions) -> None:
    for target, names in ("//app:older_layers", ["older"]), ("//app:newer_layers", ["newer", "older"]):
        layers = example.layers(target)
        assert sorted(layers) == ["default", "interpreter"]
        libraries = re.findall(r"/lib/python(3\.\d+)/os\.py$", "\n".join(layers["interpreter"].paths), re.MULTILINE)
        assert sorted(libraries, key=minor, reverse=True) == [versions[name] for name in names]


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("name", ["older", "newer"])
def test_an_image_starts_with_nothing_but_a_libc(name, example, versions, folder) -> None:
    root = folder / "root"
    root.mkdir()
    for layer in example.layers(f"//app:{name}_layers").values():
        subprocess.run(["tar", "-xf", layer.path, "-C", root], check=True)
    subprocess.run(["tar", "-xf", base_layer(root, folder / "base.tar"), "-C", root], check=True)
    assert list((root / "usr" / "bin").iterdir()) == []

    (config,) = example.files(f"//app:{name}_layers.config")
    (entrypoint,) = json.loads(config.read_text())["entrypoint"]
    report = run(in_root(root, [entrypoint]))
    reports = report if name == "newer" else {"older": report}
    for program, about in reports.items():
        check(about, versions[program], f"/srv/app/{name}.runfiles", program)
