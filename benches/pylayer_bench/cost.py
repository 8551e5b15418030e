"""The cost of a command on an otherwise idle machine.

As a program, `cost.py COMMAND` runs a shell command and prints its cost as JSON. This is a separate process,
because Linux counts the memory of the process that starts a program towards the program's peak. The minimum is
then the size of this small process (about 13 MiB), not that of the benchmarks with their lists of files. For the
same reason, this file imports no other module of the package.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Above this share of the machine, other processes change the results by more than their usual variation.
MAX_FOREIGN = 0.06
# /proc/stat counts in steps of 10 ms per processor; over a shorter time, a share would be meaningless.
MIN_SECONDS_TO_JUDGE = 0.5
IDLE_SECONDS = 0.4
# After this time, the run starts anyway; the time of other processes then shows whether it was disturbed.
MAX_WAIT_SECONDS = 120
ATTEMPTS = 5


@dataclass
class Cost:
    """Wall time and CPU time in seconds, and peak memory in bytes. `busy` is the CPU time of all processes."""

    wall: float
    cpu: float
    rss: int
    busy: float


def busy_seconds() -> float:
    """The CPU time of all processes since the machine started."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, *others = map(int, stat.readline().split()[1:9])
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


def processors() -> int:
    return len(os.sched_getaffinity(0))


def run(command: str, folder: Path, environment: dict[str, str]) -> Cost:
    """Runs a shell command, which must succeed."""
    process = subprocess.run(
        [sys.executable, "-I", "-S", __file__, command],
        cwd=folder,
        # In other locales, bsdtar cannot write names that are not ASCII.
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
        stdout=subprocess.PIPE,
    )
    if process.returncode != 0:
        sys.exit(f"benches/run: this failed:\n  {command}")
    return Cost(**json.loads(process.stdout))


class IdleMachine:
    """Waits until the machine is idle, and detects whether it stays idle. If not `patient`, never waits and
    accepts every result, which only tests the benchmarks."""

    def __init__(self, patient: bool):
        self.patient = patient
        self.dropped = 0

    def settle(self) -> None:
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while self.patient and time.monotonic() < deadline:
            before = busy_seconds()
            time.sleep(IDLE_SECONDS)
            if busy_seconds() - before <= MAX_FOREIGN / 2 * IDLE_SECONDS * processors():
                return

    def undisturbed(
        self, prepare: Callable[[], None], action: Callable[[], Cost], attempts: int = ATTEMPTS
    ) -> Cost | None:
        """Runs `prepare` and `action` until nothing disturbs the action, and returns its cost."""
        for _ in range(attempts):
            prepare()
            self.settle()
            cost = action()
            foreign = cost.busy - cost.cpu
            judged = self.patient and cost.wall >= MIN_SECONDS_TO_JUDGE
            if not judged or foreign <= MAX_FOREIGN * cost.wall * processors():
                return cost
            self.dropped += 1
        return None


def main() -> None:
    output = os.open(os.devnull, os.O_WRONLY)
    busy, start = busy_seconds(), time.perf_counter()
    # Without word splitting and globbing, the commands need no quotes around variables.
    arguments = ["bash", "-feuo", "pipefail", "-c", f"IFS=\n{sys.argv[1]}"]
    process = os.posix_spawnp("bash", arguments, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, output, 1)])
    _, status, usage = os.wait4(process, 0)
    wall, busy = time.perf_counter() - start, busy_seconds() - busy
    cpu, rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    print(json.dumps({"wall": wall, "cpu": cpu, "rss": rss, "busy": busy}))
    sys.exit(os.waitstatus_to_exitcode(status) != 0)


if __name__ == "__main__":
    main()
