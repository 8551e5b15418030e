"""The smallest example, which registries build on each platform."""

import pytest

from bazel import CHECKOUT, PLAIN_OUTPUT
from conftest import BuiltWorkspace

EXAMPLE = CHECKOUT / "examples" / "smoke"

# An interpreter of the machine, because rules_python downloads its own.
INTERPRETER = f"""
bazel_dep(name = "web_service")
local_path_override(
    module_name = "web_service",
    path = "{CHECKOUT}/examples/web_service",
)

interpreter = use_extension("@web_service//python:interpreter.bzl", "interpreter")
use_repo(interpreter, "python_toolchain")

register_toolchains("@python_toolchain//:all")
"""


@pytest.fixture(scope="module")
def example(make_workspace) -> BuiltWorkspace:
    """A copy of the example, built."""
    workspace = make_workspace(EXAMPLE, "smoke")
    with (workspace.folder / "MODULE.bazel").open("a") as file:
        file.write(INTERPRETER)
    workspace.build("//...")
    return workspace


def test_the_test_passes(example) -> None:
    assert "Executed 1 out of 1 test: 1 test passes" in example.run("test", *PLAIN_OUTPUT, "//...").output


def test_the_image_has_an_interpreter_and_the_program(example) -> None:
    assert list(example.layers("//:layers")) == ["interpreter", "default"]
    assert "app/main" in example.layers("//:layers")["default"].paths


def test_the_program_runs(example) -> None:
    assert example.run("run", *PLAIN_OUTPUT, "//:main").output == "Hello, world!\n"


def test_the_image_is_the_same_for_a_named_platform(example) -> None:
    """As a machine that is not Linux builds it."""
    layers = {group: layer.path.read_bytes() for group, layer in example.layers("//:layers").items()}
    cpu = example.run("info", "bazel-bin").output.partition("bazel-out/")[2].partition("-")[0]
    platform = "--platforms=//platforms:linux_" + {"k8": "x86_64"}.get(cpu, cpu)
    example.build(platform, "//:layers")
    files = example.files("//:layers", platform)
    assert [file.read_bytes() for file in files] == list(layers.values())
