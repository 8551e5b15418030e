"""What holds for all programs in `bazel/private/python`."""

import ast

import pytest
from conftest import PROGRAMS

FILES = sorted(PROGRAMS.glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_syntax_is_that_of_the_oldest_python(file):
    ast.parse(file.read_text(), feature_version=(3, 8))


def test_the_rules_can_name_each_program():
    build = (PROGRAMS / "BUILD.bazel").read_text()
    assert [file.name for file in FILES if f'"{file.name}"' not in build] == []
