"""A layer's bytes do not depend on how, where or by whom it is built."""

import subprocess

import pytest

from bazel import TIMEOUT, Workspace, downloaded_wheels, program
from conftest import EXAMPLE
from layers import sha256

TARGETS = ["//app:layers", "//app:layers_zstd", "//app:layers_estargz", "//app:layers_chunked"]
MULTIPLEX_SANDBOXING = ["--worker_sandboxing", "--experimental_worker_multiplex_sandboxing"]

# Neither root nor the user who runs the tests.
OTHER_USER = 61234


def digests(workspace: Workspace) -> dict[str, str]:
    """The digests of all layers of the targets on disk."""
    files = [file for target in TARGETS for file in workspace.files(target)]
    return {file.name: sha256(file.read_bytes()) for file in files}


def rebuild(workspace: Workspace, *arguments: str, **options) -> list[str]:
    """Rewrites all layers, and returns the runner of each."""
    for target in TARGETS:
        for file in workspace.files(target):
            file.unlink(missing_ok=True)
    spawns = workspace.spawns(*arguments, *TARGETS, **options)
    return [spawn.runner for spawn in spawns if spawn.mnemonic == "PyImageLayer"]


@pytest.fixture(scope="module")
def reference(example) -> dict[str, str]:
    """The digests of the layers written with the default strategy."""
    example.build(*TARGETS)
    return digests(example)


@pytest.mark.parametrize(
    "runner, arguments",
    [
        pytest.param("worker", [], id="multiplex worker"),
        pytest.param("worker", ["--noworker_multiplex"], id="singleplex worker"),
        pytest.param("worker", ["--noworker_multiplex", "--worker_sandboxing"], id="sandboxed worker"),
        pytest.param("worker", MULTIPLEX_SANDBOXING, id="sandboxed multiplex worker"),
        pytest.param("linux-sandbox", ["--strategy=PyImageLayer=linux-sandbox"], id="linux-sandbox"),
        pytest.param("local", ["--strategy=PyImageLayer=local"], id="local"),
    ],
)
def test_with_any_strategy(runner, arguments, example, reference) -> None:
    assert rebuild(example, *arguments) == [runner] * len(reference)
    assert digests(example) == reference


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"umask": 0o077}, id="umask 077"),
        pytest.param({"environment": {"LC_ALL": "C"}}, id="LC_ALL=C"),
    ],
)
def test_with_a_server_that_was_started_in_another_environment(options, example, reference) -> None:
    example.shutdown()
    try:
        assert rebuild(example, **options) == ["worker"] * len(reference)
        assert digests(example) == reference
    finally:
        example.shutdown()


def test_in_a_folder_of_another_name_by_another_user(make_workspace, scratch, reference) -> None:
    # In a user namespace, this user has another ID, but can read the same files.
    another = f"--map-user={OTHER_USER}", f"--map-group={OTHER_USER}"
    workspace = make_workspace(
        EXAMPLE,
        "another name",
        environment={"USER": "somebody"},
        prefix=["unshare", "--user", *another],
    )
    workspace.build(*TARGETS)
    assert digests(workspace) == reference


@pytest.mark.parametrize("jobs", ["1", "7"])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "target, options",
    [
        ("//app:layers", []),
        ("//app:layers_zstd", ["--compress=zstd"]),
        ("//app:layers_estargz", ["--lazy=estargz", f"--prefetch={EXAMPLE / 'app/imports.txt'}"]),
        ("//app:layers_chunked", ["--lazy=zstd:chunked", "--compress=zstd"]),
    ],
)
def test_by_pack(target, options, locale, jobs, example, reference, folder) -> None:
    command = [
        *[program(), "pack", "--binary", example.folder / "bazel-bin/app/web", "--out", folder],
        *["--root=/app", "--layer-group=numpy=pip_deps_numpy.*", f"--jobs={jobs}", *options],
        *[f"--wheel={wheel}" for wheel in downloaded_wheels(example)],
    ]
    subprocess.run(command, check=True, env={"LC_ALL": locale}, timeout=TIMEOUT, stdout=subprocess.DEVNULL)
    prefix = target.rpartition(":")[2] + "_"
    packed = {prefix + file.name: sha256(file.read_bytes()) for file in folder.iterdir()}
    assert packed == {file.name: reference[file.name] for file in example.files(target)}
