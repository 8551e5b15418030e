"""The commands in the `run` steps of workflows and composite actions."""

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML


@dataclass
class Command:
    """A command, with the values of one combination of the matrix."""

    place: str  # the file and the job, for messages
    directory: str  # relative to the checkout
    words: list[str]


def load(file: Path) -> dict:
    """Parses a YAML file."""
    return YAML(typ="safe", pure=True).load(file)


def commands(github: Path) -> list[Command]:
    """All commands in `github`, the folder `.github`."""
    found = []
    for file in sorted(github.glob("workflows/*.yml")):
        for name, job in load(file)["jobs"].items():
            for values in combinations(job.get("strategy", {}).get("matrix", {})):
                variables = {key: substitute(value, values) for key, value in job.get("env", {}).items()}
                found += steps(f"{file.name}: {name}", job.get("steps", []), values, variables)
    for file in sorted(github.glob("actions/*/action.yml")):
        found += steps(str(file.relative_to(github)), load(file)["runs"]["steps"], {}, {})
    return found


def combinations(matrix: dict) -> Iterator[dict]:
    """The values of a matrix. Combinations that `exclude` names are not left out."""
    lists = {key: values for key, values in matrix.items() if key not in ("include", "exclude")}
    if lists:
        for values in itertools.product(*lists.values()):
            yield dict(zip(lists, values, strict=True))
    yield from matrix.get("include", [] if lists else [{}])


def substitute(text: str, matrix: dict) -> str:
    """Replaces `${{ matrix.NAME }}`."""
    return re.sub(r"\$\{\{ matrix\.(\w+) \}\}", lambda match: str(matrix[match[1]]), text)


def steps(place: str, steps: list[dict], matrix: dict, variables: dict) -> Iterator[Command]:
    """The commands of steps."""
    for step in steps:
        script = substitute(step.get("run", ""), matrix)
        script = re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), script)
        for line in script.replace("\\\n", " ").splitlines():
            yield Command(place, step.get("working-directory", "."), shlex.split(line, comments=True))
