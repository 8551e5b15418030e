"""A workspace with a `WORKSPACE` file and no `MODULE.bazel`."""

import platform
import re

import pytest

from bazel import PLAIN_OUTPUT, bazel_version
from conftest import WORKSPACES

pytestmark = pytest.mark.skipif(bazel_version() >= (9,), reason="Bazel has no WORKSPACE")


@pytest.fixture(scope="module")
def workspace(make_workspace):
    """A small workspace, built."""
    made = make_workspace(WORKSPACES / "workspace_file", "workspace_file", options=["--config=workspace"])
    made.build("//app:layers")
    return made


def test_it_builds_layers_by_workers(workspace) -> None:
    for file in workspace.files("//app:layers"):
        file.unlink(missing_ok=True)
    spawns = [spawn for spawn in workspace.spawns("//app:layers") if spawn.mnemonic == "PyImageLayer"]
    assert {spawn.runner for spawn in spawns} == {"worker"}


def test_a_file_of_another_repository_is_there_once_at_its_own_place(workspace) -> None:
    paths = [path for layer in workspace.layers("//app:layers").values() for path in layer.paths]
    runfiles = "app/app/tool.runfiles"
    assert [path for path in paths if path.endswith("/six.py")] == [f"{runfiles}/pip_deps_six/site-packages/six.py"]
    assert f"{runfiles}/tools/app/tool.py" in paths


def test_a_repository_of_a_wheel_is_in_the_layer_of_packages(workspace) -> None:
    (six,) = [path for path in workspace.layers("//app:layers")["packages"].paths if path.endswith("/six.py")]
    assert six


def test_the_launcher_is_a_toolchain(workspace) -> None:
    result = workspace.run("query", "kind(py_launcher_toolchain, @pylayer_toolchains//:all)")
    assert result.output == f"@pylayer_toolchains//:launcher_linux-{platform.machine()}\n"


@pytest.mark.parametrize(
    ("name", "version"),
    [("default", "3.10.8"), ("exact", "3.8.15"), ("minor", "3.11.1")],
)
def test_a_python_binary_runs_the_version_that_it_asks_for(name: str, version: str, workspace) -> None:
    printed = workspace.run("run", *PLAIN_OUTPUT, f"//python:{name}").output
    assert printed.startswith(f"stand-in {version} -B -I /")


def test_a_python_binary_becomes_an_image(workspace) -> None:
    workspace.build("//python:layers")
    paths = {group: layer.paths for group, layer in workspace.layers("//python:layers").items()}
    assert "python/minor.runfiles/python_3_11/lib/python3.11/os.py" in paths["interpreter"]
    assert "python/minor.runfiles/pip_deps_six/site-packages/six.py" in paths["packages"]
    library = "python/minor.runfiles/tools/python/_minor.venv/lib/python3.11"
    assert f"{library}/site-packages/six.py" in paths["default"]


def test_a_library_of_another_rule_set_is_a_dependency(workspace) -> None:
    workspace.build("//python:default")
    site_packages = workspace.folder / "bazel-bin/python/_default.venv/lib/python3.10/site-packages"
    paths = (site_packages / "_first_party.pth").read_text().splitlines()
    assert [path for path in paths if path.endswith("/tools/python/other")]


def test_a_version_that_is_not_registered_is_an_error(workspace) -> None:
    folder = workspace.folder / "wrong"
    folder.mkdir()
    (folder / "main.py").touch()
    (folder / "BUILD.bazel").write_text(
        'load("@rules_pylayer//bazel:python.bzl", "py_binary")\n'
        'py_binary(name = "wrong", srcs = ["main.py"], python_version = "3.12")\n'
    )
    log = workspace.build("//wrong", check=False).log
    assert "no toolchain is registered for Python 3.12; Bazel chose " in log
    assert "python_register_toolchains in a WORKSPACE" in log


def test_layers_need_no_rules_python(workspace) -> None:
    file = workspace.folder / "WORKSPACE"
    original = file.read_text()
    file.write_text(re.sub(r"(?s)# Registered as .*?(?=load\(\"@rules_pylayer)", "", original))
    override = f"--override_repository=rules_python={workspace.folder / 'rules_python_of_bazel'}"
    # In a configuration that is not yet analyzed.
    layers = workspace.build("//app:layers", override, "--define=rules_python=none", check=False)
    binary = workspace.build("//python:minor", override, check=False)
    file.write_text(original)
    assert layers.status == 0, layers.log
    assert binary.status != 0 and "@rules_python//" in binary.log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('launcher = "/launcher"', "launcher requires path"),
        ('path = "/pylayer", launcher_urls = {"linux-x86_64": "file:///launcher"}', "launcher_urls and launcher_sha256 require urls"),
        ('path = "/pylayer", source = True', "path, urls and source cannot be combined"),
        ('sha256 = {"linux-x86_64": "00"}', "sha256 requires urls"),
    ],
    ids=["launcher", "launcher_urls", "two_choices", "sha256"],
)
def test_arguments_that_contradict_each_other(workspace, arguments: str, message: str) -> None:
    file = workspace.folder / "WORKSPACE"
    original = file.read_text()
    file.write_text(re.sub(r"(?s)(?<=\npylayer_register_toolchains\().*?\)", arguments + ")", original))
    result = workspace.build("//app:layers", check=False)
    file.write_text(original)
    assert f"pylayer_register_toolchains: {message}" in result.log
