"""Interrupted builds, and workers that are terminated by Bazel or others: the next build is correct."""

import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from bazel import PLAIN_OUTPUT, Workspace
from conftest import WORKSPACES
from layers import sha256
from remote import server, write_again
from workers import log, temporary_files, wait_until, workers

# Bazel's exit code for a build that the user interrupted.
INTERRUPTED = 8

LAYERS = "//app:layers"
# Takes a slow worker several seconds; the others are written at once.
SLOW_LAYER = "//app:layers_data"

# Without a cache for chunks, a worker is slow each time. It also logs its work.
SLOW_WORKER = ["--worker_extra_flag=PyImageLayer=--cache_mib=0", "--worker_extra_flag=PyImageLayer=--stats"]

# A part of such a worker's log.
CANCELLED = ": cancelled; "

SANDBOXED = ["--worker_sandboxing", "--experimental_worker_multiplex_sandboxing", "--experimental_worker_cancellation"]

RACE = [
    "--internal_spawn_scheduler",
    "--strategy=PyImageLayer=dynamic",
    "--dynamic_local_strategy=PyImageLayer=worker",
    "--dynamic_remote_strategy=PyImageLayer=remote",
    "--dynamic_local_execution_delay=0",
    "--noremote_accept_cached",
]


@pytest.fixture(scope="module")
def made_workspace(make_workspace) -> Workspace:
    """A binary whose data takes a worker several seconds to compress."""
    workspace = make_workspace(WORKSPACES / "worker", "worker_faults")
    data = workspace.folder / "app" / "data"
    data.mkdir()
    # A single part of the layer, which keeps one thread busy.
    half_of_the_bits = bytes(byte & 0x55 for byte in random.Random(1).randbytes(8 << 20))
    (data / "large.bin").write_bytes(half_of_the_bits)
    return workspace


@pytest.fixture(scope="module")
def expected(made_workspace) -> dict[str, str]:
    """The digests of the layers, written without a worker."""
    made_workspace.build("--strategy=PyImageLayer=local", LAYERS)
    return digests(made_workspace)


@pytest.fixture
def workspace(made_workspace, expected) -> Workspace:
    """The workspace with all layers except the slow one, without workers and temporary files of other tests."""
    made_workspace.build("--strategy=PyImageLayer=local", "--worker_quit_after_build", LAYERS)
    assert digests(made_workspace) == expected
    wait_until(lambda: not workers(made_workspace))
    for file in temporary_files(made_workspace):
        file.unlink()
    (slow,) = made_workspace.files(SLOW_LAYER)
    slow.unlink()
    return made_workspace


def digests(workspace: Workspace) -> dict[str, str]:
    """The digests of the layers on disk."""
    return {file.name: sha256(file.read_bytes()) for file in workspace.files(LAYERS) if file.exists()}


def start_slow_build(workspace: Workspace) -> subprocess.Popen:
    """Starts a build of the slow layer, and waits until a worker is writing it."""
    build = workspace.start("build", *PLAIN_OUTPUT, *SLOW_WORKER, LAYERS)
    wait_until(lambda: temporary_files(workspace) or build.poll() is not None)
    assert build.poll() is None, build.stderr.read()
    return build


def slow_workers(workspace: Workspace) -> set[int]:
    """The process IDs of the slow workers."""
    return {worker for worker, command in workers(workspace).items() if "--cache_mib=0" in command}


@contextmanager
def stopped(workspace: Workspace) -> Iterator[None]:
    """Stops each slow worker as soon as it exists. Continues them at the end."""
    ended = threading.Event()

    def stop() -> None:
        while not ended.wait(0.01):
            send(slow_workers(workspace), signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        send(slow_workers(workspace), signal.SIGCONT)


def send(processes: set[int], number: signal.Signals) -> None:
    """Sends a signal to processes that may have ended."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def test_after_an_interrupted_build_the_next_one_is_right(workspace, expected) -> None:
    build = start_slow_build(workspace)
    build.send_signal(signal.SIGINT)
    _, messages = build.communicate()
    assert build.returncode == INTERRUPTED, messages
    # Bazel may terminate the worker, and waits neither for that nor for the work to end.
    wait_until(lambda: not temporary_files(workspace))
    assert digests(workspace).items() <= expected.items()
    workspace.build(LAYERS)
    assert digests(workspace) == expected


def test_after_a_worker_was_killed_the_next_build_is_right(workspace, expected) -> None:
    build = start_slow_build(workspace)
    send(slow_workers(workspace), signal.SIGKILL)
    _, messages = build.communicate()
    assert build.returncode != 0
    assert "PyImageLayer" in messages, messages
    assert digests(workspace).items() <= expected.items()
    assert temporary_files(workspace), "a killed process cannot clean up"
    workspace.build(LAYERS)
    assert digests(workspace) == expected
    assert not temporary_files(workspace), "the next process does"


@pytest.mark.parametrize("shrink", ["--experimental_shrink_worker_pool", "--noexperimental_shrink_worker_pool"])
def test_a_worker_that_is_too_large_for_bazel_finishes_its_work(shrink, workspace, expected) -> None:
    limit = ["--experimental_total_worker_memory_limit_mb=1", "--experimental_worker_metrics_poll_interval=1s"]
    result = workspace.build(*limit, shrink, "--worker_verbose", *SLOW_WORKER, LAYERS)
    assert "Memory limit: 1 MB" in result.log or "Going to evict" in result.log, result.log
    assert ("New doomed workers candidates" in result.log) == (not shrink.startswith("--no")), result.log
    assert digests(workspace) == expected


def test_a_worker_that_loses_a_race_is_cancelled_and_goes_on(workspace, expected, scratch) -> None:
    cancelled_before = log(workspace).count(CANCELLED)
    with server(scratch / "remote_execution_for_races") as address, stopped(workspace):
        spawns = write_again(workspace, [LAYERS], *RACE, *SANDBOXED, *SLOW_WORKER, f"--remote_executor={address}")
    assert "remote" in {spawn.runner for spawn in spawns}
    assert digests(workspace) == expected
    # Only now does the worker read the cancellation.
    wait_until(lambda: log(workspace).count(CANCELLED) > cancelled_before)
    before = slow_workers(workspace)
    spawns = write_again(workspace, [LAYERS], *SANDBOXED, *SLOW_WORKER)
    assert {spawn.runner for spawn in spawns} == {"worker"}
    assert digests(workspace) == expected
    assert before & slow_workers(workspace), "cancelled, and not ended"
