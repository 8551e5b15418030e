"""Groups that depend on the contents of repositories, not their names, in the workspace `groups`."""

import json
import re
import subprocess

import pytest

from bazel import program
from conftest import WORKSPACES
from test_image import descriptor
from test_options import members

PYTHON = "py311_toolchain_x86_64-unknown-linux-gnu"
TORCH = "deps_311_torch_cp311_cp311_manylinux_2_17_x86_64_666dbfb6"
AUDIO = "deps_311_torch_audio_py3_none_any_8bb0d34f"

LAYERS = {
    "interpreter": {
        f"{PYTHON}/bin/python3",
        f"{PYTHON}/include/python3.11/Python.h",
        f"{PYTHON}/lib/python3.11/ensurepip/_bundled/pip-24.0-py3-none-any.whl",
        f"{PYTHON}/lib/python3.11/os.py",
        f"{PYTHON}/lib/python3.11/site-packages/pip/__init__.py",
    },
    # Without the wheel, which is also there unpacked.
    "torch": {
        f"{TORCH}/bin/torchrun",
        f"{TORCH}/site-packages/torch-2.1.0.dist-info/METADATA",
        f"{TORCH}/site-packages/torch/__init__.py",
        f"{TORCH}/site-packages/torchgen/__init__.py",
    },
    "packages": {
        f"{AUDIO}/site-packages/torch_audio-2.1.0.dist-info/METADATA",
        f"{AUDIO}/site-packages/torch_audio/__init__.py",
    },
    "default": {
        "_main/app/_sub/server.venv/lib/python3.11/site-packages/bazel.pth",
        "_main/app/plugin.whl",
        "_main/app/server.py",
        "_main/app/sub/server",
        "_repo_mapping",
        "deps_311_plugin/plugin-1.0-py3-none-any.whl",
    },
}

# Groups → the likely reason in the warning.
REASONS = {
    "bazel_7": "Bazel 7 uses ~ in repository names, later versions use +",
    "hub": 'The binary has a package "torch": pip_package("torch") finds it',
    "misnamed": "Use the package's name in a requirements file",
}


@pytest.fixture(scope="module")
def workspace(make_workspace):
    """The workspace, with the binary and the layers of the first targets built."""
    workspace = make_workspace(WORKSPACES / "groups", "groups")
    layers = ["layers", "own_interpreter", "slim", "without_interpreter"]
    workspace.build("//app:sub/server", *[f"//app:{name}" for name in layers])
    return workspace


def found(workspace, target: str) -> dict[str, set[str]]:
    """As `LAYERS`, without the scripts that Bazel's own rules add."""
    layers = members(workspace.layers(target))
    return {group: {path for path in paths if not path.startswith("bazel_tools/")} for group, paths in layers.items()}


def test_files_are_in_the_layers_of_what_they_belong_to(workspace) -> None:
    assert found(workspace, "//app:layers") == LAYERS


def test_a_default_group_that_is_left_out_is_left_out_under_any_name(workspace) -> None:
    layers = found(workspace, "//app:without_interpreter")
    program = f"{TORCH}/bin/torchrun"
    packages = LAYERS["packages"] | LAYERS["torch"] - {program}
    assert layers == {"packages": packages, "default": LAYERS["default"] | {program}}


def test_a_group_called_interpreter_takes_the_place_of_the_default_one(workspace) -> None:
    layers = found(workspace, "//app:own_interpreter")
    assert layers["interpreter"] == {f"{PYTHON}/bin/python3"}
    assert f"{PYTHON}/lib/python3.11/os.py" in layers["default"]


def test_what_exclude_names_is_found_under_any_name(workspace) -> None:
    interpreter = {f"{PYTHON}/bin/python3", f"{PYTHON}/lib/python3.11/os.py"}
    assert found(workspace, "//app:slim") == {"interpreter": interpreter, "default": LAYERS["default"]}


def test_pack_makes_the_same_layers(workspace, folder) -> None:
    command = [
        *[program(), "pack", "--json", "--binary", workspace.folder / "bazel-bin/app/sub/server", "--out", folder],
        *["--root=/srv", "--layer-group=torch={pip_package:torch}"],
    ]
    printed = json.loads(subprocess.check_output(command, timeout=120))
    layers = workspace.layers("//app:layers")
    assert [row["layer"] for row in printed] == list(layers)
    for row, layer in zip(printed, layers.values(), strict=True):
        assert {key: row[key] for key in descriptor(layer)} == descriptor(layer)


def warnings(log: str) -> dict[str, str]:
    """The warnings by group. Checks that each occurs once."""
    lines = re.findall(r'^pylayer: layer "(.*)" is empty: (.*)$', log, re.MULTILINE)
    assert len(lines) == len(dict(lines)), log
    return dict(lines)


@pytest.mark.parametrize("validation", ["error", "off"])
def test_groups_without_files_are_reported_once_with_the_likely_reason(validation, workspace) -> None:
    target = f"//app:unused_{validation}"
    given = warnings(workspace.build(target).log)
    assert given.keys() == REASONS.keys()
    for group, reason in REASONS.items():
        assert reason in given[group]
    # It is not repeated when the binary changes.
    source = workspace.folder / "app" / "server.py"
    source.write_text(source.read_text() + f'print("{validation}")\n')
    assert warnings(workspace.build(target).log) == {}


def test_pack_reports_groups_without_files(workspace, folder) -> None:
    command = [program(), "pack", "--binary", workspace.folder / "bazel-bin/app/sub/server", "--out", folder]
    patterns = ["--layer-group=hub=deps_torch/", "--layer-group=misnamed={pip_package:pytorch}"]
    process = subprocess.run([*command, *patterns], capture_output=True, text=True, timeout=120, check=True)
    assert warnings(process.stderr).keys() == {"hub", "misnamed"}
