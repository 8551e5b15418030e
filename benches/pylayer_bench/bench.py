"""The context of every part: the program, the corpus, a scratch folder, and the comparison of commands."""

import dataclasses
import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from pylayer_bench import cost
from pylayer_bench.archives import members
from pylayer_bench.console import check, say
from pylayer_bench.cost import IdleMachine
from pylayer_bench.files import File, read_all, total_size
from pylayer_bench.manifests import layer_manifest, mtree, tarfile_manifest
from pylayer_bench.paths import REPOSITORY
from pylayer_bench.results import Row


@dataclass
class Bench:
    program: Path
    corpus: Path
    scratch: Path
    rounds: int
    # Only check the benchmarks: smaller inputs, and archives are compared.
    quick: bool

    def __post_init__(self) -> None:
        self.machine = IdleMachine(patient=not self.quick)

    def folder(self, name: str) -> Path:
        path = self.scratch / name
        path.mkdir(parents=True)
        return path

    def compare(
        self, corpus: Path, files: list[File], commands: dict[str, str], *, rounds: int = 0, jobs: int = 0
    ) -> list[Row]:
        """Runs each command once per round. Each round starts with a different one."""
        rounds, jobs = rounds or self.rounds, jobs or cost.processors()
        rows = [Row(name, command, len(files), total_size(files), jobs) for name, command in commands.items()]
        out = self.scratch / "out"
        # The manifest's paths are relative to the scratch folder, which is the execution root.
        inputs = [dataclasses.replace(file, source=file.source and Path("files", file.image)) for file in files]
        manifests = {"MTREE": mtree(files), "MANIFEST": tarfile_manifest(files), "manifest": layer_manifest(inputs)}
        wheels = [Path("files", wheel.relative_to(corpus)) for wheel in sorted((corpus / "wheels").glob("*.whl"))]
        manifests["wheels"] = "".join(f"--wheel={wheel}\n" for wheel in wheels)
        for name, text in manifests.items():
            (self.scratch / name).write_text(text)
        link = self.scratch / "files"
        link.unlink(missing_ok=True)
        link.symlink_to(corpus)
        environment = {name: str(self.scratch / name) for name in manifests}
        environment |= {"PYLAYER": str(self.program), "EXECROOT": str(self.scratch)}
        environment |= {"CORPUS": str(corpus), "OUT": str(out), "JOBS": str(jobs)}

        def clear() -> None:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()

        expected = None
        for number in range(rounds):
            read_all(files)
            for index in range(len(rows)):
                row = rows[(index + number) % len(rows)]
                say(f"  {row.name}")
                run = functools.partial(cost.run, row.command, REPOSITORY, environment)
                row.add(self.machine.undisturbed(clear, run))
                layer = next(out.glob("*.tar*"))
                row.size = layer.stat().st_size
                if self.quick:
                    found = members(layer)
                    expected = expected or found
                    check(found == expected, f"{row.name}: other members than those of {rows[0].name}")
        clear()
        return rows
