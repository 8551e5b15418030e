"""The machine: a check for the compared programs, and its description in the results."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from pylayer_bench.console import check
from pylayer_bench.cost import processors

PROGRAMS = ("awk", "bsdtar", "tar", "pigz", "zstd")


def require_programs() -> None:
    for program in PROGRAMS:
        check(shutil.which(program) is not None, f"{program} is not on PATH")


def describe_machine(pylayer: Path, scratch: Path) -> dict[str, str]:
    def first_line(*command: str | Path) -> str:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]

    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    file_system = first_line("findmnt", "--noheadings", "--output=FSTYPE", "--target", scratch)
    versions = [first_line(program, "--version") for program in (pylayer, *PROGRAMS)]
    return {
        "processors": f"{processors()} × {cpu.partition(':')[2].strip() or platform.machine()}",
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"Linux {platform.release()}, {file_system}",
        "programs": "; ".join([*versions, f"Python {platform.python_version()}"]),
    }
