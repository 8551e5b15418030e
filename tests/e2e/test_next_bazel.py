"""The rules with the defaults of later versions of Bazel, as far as Bazel 7 has options for them.

`workspaces/next_bazel.bazelrc` lists the options. Each workspace is first built without them and then with all of them.
"""

import json
from pathlib import Path

import pytest

from bazel import CHECKOUT, PLAIN_OUTPUT, bazel_version
from conftest import EXAMPLE, REPORT, WORKSPACES, BuiltWorkspace

OPTIONS = (WORKSPACES / "next_bazel.bazelrc").read_text()

# Changes the names of repositories, and so the paths in layers. The layers that are compared are all built with it.
PLUS = "common --incompatible_use_plus_in_repo_names\n"

pytestmark = pytest.mark.skipif(bazel_version() >= (8,), reason="Bazel has these defaults, and not all of the options")


def build(workspace: BuiltWorkspace, options: str, *arguments: str) -> None:
    """Builds with the options of a bazelrc."""
    (workspace.folder / "next.bazelrc").write_text(options)
    workspace.build(*arguments)


def set_up(workspace: BuiltWorkspace) -> BuiltWorkspace:
    """Makes a workspace read its options from a file."""
    with (workspace.folder / ".bazelrc").open("a") as file:
        file.write("import %workspace%/next.bazelrc\n")
    return workspace


def digests(workspace: BuiltWorkspace) -> dict[str, str]:
    """The digests of the layers that the last build has written, by path."""
    bin_folder = Path(workspace.run("info", "bazel-bin").output.strip())
    suffix = ".descriptor.json"
    return {
        str(file.relative_to(bin_folder)).removesuffix(suffix): json.loads(file.read_text())["digest"]
        for file in bin_folder.rglob(f"*{suffix}")
    }


def test_the_example_has_the_same_layers_and_a_report(make_workspace) -> None:
    workspace = set_up(make_workspace(EXAMPLE, "next_web_service"))
    build(workspace, PLUS, "//app:layers", "//jobs:layers")
    before = digests(workspace)
    build(workspace, OPTIONS, REPORT, "//...")
    after = digests(workspace)
    assert len(before) > 8
    assert {path: digest for path, digest in after.items() if path in before} == before
    workspace.run("test", *PLAIN_OUTPUT, "//...")


def test_the_example_with_two_versions_builds_and_passes_its_tests(make_workspace) -> None:
    workspace = set_up(make_workspace(CHECKOUT / "examples" / "multi_version", "next_multi_version"))
    build(workspace, OPTIONS, REPORT, "//...")
    workspace.run("test", *PLAIN_OUTPUT, "//...")
    assert digests(workspace)


def test_layers_of_every_kind_of_runfile_are_the_same(make_workspace) -> None:
    workspace = set_up(make_workspace(WORKSPACES / "runfiles", "next_runfiles"))
    build(workspace, PLUS, "//...")
    before = digests(workspace)
    build(workspace, OPTIONS, "//...")
    assert len(before) > 20
    assert digests(workspace) == before


def test_python_binaries_have_the_same_layers_and_tests_record_coverage(make_workspace) -> None:
    workspace = set_up(make_workspace(WORKSPACES / "python", "next_python"))
    layers = ["//app:layers", "//shared:all", "//versions:layers"]
    build(workspace, PLUS, *layers)
    before = digests(workspace)
    # A target expects the variable.
    build(workspace, OPTIONS, "--define=SOME_VAR=value", "//...")
    after = digests(workspace)
    assert len(before) > 5
    assert {path: digest for path, digest in after.items() if path in before} == before
    # Bazel's own programs for reports are a download.
    merger = [f"--coverage_{kind}_generator=//tests:merger" for kind in ("output", "report")]
    workspace.run("coverage", *PLAIN_OUTPUT, *merger, "--instrumentation_filter=^//tests", "//tests:pytest_test")
    report = workspace.folder / "bazel-testlogs" / "tests" / "pytest_test" / "coverage.dat"
    assert "SF:tests/counted.py" in report.read_text().splitlines()
