"""`bazel run {name}.record` lists what the service reads when it starts, and eStargz layers begin with that."""

import json
from pathlib import Path

import pytest

from bazel import PLAIN_OUTPUT
from conftest import EXAMPLE, BuiltWorkspace

TARGET = "//app:layers_estargz"
RECORD = f"{TARGET}.record"
# In the order in which they are read.
READ = [
    "app/web",
    "bin/python3.11",
    "lib/python3.11/encodings/__init__.py",
    "app/main.py",
    "site-packages/orjson/__init__.py",
    "site-packages/fastapi/__init__.py",
    "app/report.py",
    "site-packages/numpy/__init__.py",
    # Data.
    "lib/greeting/templates/greeting.html",
]


@pytest.fixture(scope="module")
def workspace(make_workspace) -> BuiltWorkspace:
    """A copy of the example without the list."""
    workspace = make_workspace(EXAMPLE, "record")
    (workspace.folder / "app/imports.txt").unlink()
    return workspace


@pytest.fixture(scope="module")
def recorded(workspace) -> list[str]:
    """The lines of the list, written where the user is."""
    # The service ends by itself.
    run = workspace.run("run", *PLAIN_OUTPUT, RECORD, "--", "--out", "app/imports.txt", "--", "--self-check")
    lines = (workspace.folder / "app/imports.txt").read_text().splitlines()
    report, _, printed = run.output.rpartition("}\n")
    assert json.loads(report + "}")["interpreter"]["version"]
    assert printed == f"{workspace.folder}/app/imports.txt: {len(lines) - 1} files\n"
    return lines


def test_the_list_has_what_the_service_reads_in_order(recorded) -> None:
    assert recorded[0].startswith("# ")
    assert [line for line in recorded if line in READ] == READ
    # Compiled modules, and libraries that these load.
    assert any(line.startswith("site-packages/numpy.libs/libscipy_openblas") for line in recorded)
    assert len(recorded) == len(set(recorded)) > 500
    # What it does not import.
    assert not any(line.endswith(("/test_numpy.py", "numpy/conftest.py", ".pyc")) for line in recorded)


def test_the_list_of_the_example_is_of_this_form(recorded) -> None:
    committed = (EXAMPLE / "app/imports.txt").read_text().splitlines()
    assert committed[0] == recorded[0]
    assert len(set(committed) & set(recorded)) > 0.9 * len(committed)


def test_the_list_is_printed_without_what_the_service_prints(recorded, workspace) -> None:
    run = workspace.run("run", *PLAIN_OUTPUT, RECORD, "--", "--", "--self-check")
    assert '"interpreter"' in run.log
    assert [line for line in run.output.splitlines() if line in READ] == READ


def test_layers_begin_with_the_list(recorded, workspace) -> None:
    workspace.build(TARGET)
    for layer in workspace.layers(TARGET).values():
        names = [entry.path.removeprefix("./") for entry in layer.entries]
        end = names.index(".prefetch.landmark")
        first = [entry.path for entry in layer.entries[:end] if entry.type != "directory"]
        assert first and all(listed(path, recorded) for path in first)
        # Files of more than 4 MiB stay where they are.
        others = [entry for entry in layer.entries[end + 1 :] if listed(entry.path, recorded)]
        assert all(entry.size > 4 << 20 for entry in others)


def test_a_list_that_names_no_file_is_a_warning(recorded, workspace) -> None:
    written = workspace.folder / "app/imports.txt"
    text = written.read_text()
    written.write_text("site-packages/gone/__init__.py\n")
    try:
        log = workspace.build(TARGET).log
    finally:
        written.write_text(text)
    assert "no file of the image is in the prefetch list, which begins with site-packages/gone/__init__.py" in log


def listed(path: str, recorded: list[str]) -> bool:
    parts = Path(path).parts
    return any("/".join(parts[start:]) in recorded for start in range(len(parts)))


def test_a_service_that_does_not_end_is_stopped(workspace) -> None:
    arguments = ["--out", "stopped.txt", "--seconds", "3"]
    workspace.run("run", *PLAIN_OUTPUT, RECORD, "--", *arguments, environment={"PORT": "0"})
    assert "app/web" in (workspace.folder / "stopped.txt").read_text().splitlines()


def test_a_mistake_in_its_arguments_is_an_error(workspace) -> None:
    result = workspace.run("run", *PLAIN_OUTPUT, RECORD, "--", "--second=3", check=False)
    assert result.status != 0
    assert "--second" in result.log and "--seconds" in result.log


def test_a_list_for_other_layers_is_an_error_at_analysis(workspace) -> None:
    build_file = workspace.folder / "app/BUILD.bazel"
    text = build_file.read_text()
    build_file.write_text(text.replace('    lazy = "estargz",\n', ""))
    try:
        result = workspace.build(TARGET, check=False)
    finally:
        build_file.write_text(text)
    assert result.status != 0
    assert 'prefetch requires lazy = "estargz"' in result.log
