"""The command line: `benches/run measure`, `check`, `corpus` and `report`."""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from pylayer_bench import report
from pylayer_bench.bench import Bench
from pylayer_bench.console import say
from pylayer_bench.corpus import make_corpus, make_tiny_corpus
from pylayer_bench.machine import describe_machine, require_programs
from pylayer_bench.parts import PARTS, SLOW_TO_CHECK
from pylayer_bench.paths import CHARTS, MARKDOWN, REPOSITORY, RESULTS, cache_folder
from pylayer_bench.programs import build_pylayer
from pylayer_bench.results import Results


def measure(options: argparse.Namespace) -> None:
    require_programs()
    if options.cpus:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cpus])
    program, corpus = program_of(options), make_corpus(options.corpus)
    with scratch_folder() as scratch:
        bench = Bench(program, corpus, Path(scratch), options.rounds, quick=False)
        run_parts(bench, options.parts, options.results)
    say(f"{bench.machine.dropped} runs were dropped because other processes kept the machine busy")
    report.write(options.results, MARKDOWN, CHARTS)


def check(options: argparse.Namespace) -> None:
    require_programs()
    program = program_of(options)
    with scratch_folder() as name:
        scratch = Path(name)
        bench = Bench(program, make_tiny_corpus(scratch / "corpus"), scratch, rounds=1, quick=True)
        results = scratch / "results.json"
        run_parts(bench, options.parts, results)
        report.write(results, Path(shutil.copy(MARKDOWN, scratch)), scratch / "charts")
    say("all parts work")


def print_corpus(options: argparse.Namespace) -> None:
    print(make_corpus(options.folder))


def write_report(options: argparse.Namespace) -> None:
    report.write(options.results, options.markdown, options.charts)


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder outside /tmp, which may be in memory and is hidden by Bazel's sandbox."""
    return tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_folder())


def program_of(options: argparse.Namespace) -> Path:
    return (options.pylayer or build_pylayer()).resolve()


def run_parts(bench: Bench, parts: Iterable[str], path: Path) -> None:
    """Replaces the tables of these parts in a results file, and saves it after each part."""
    results = Results.load(path) if path.exists() else Results()
    machine = describe_machine(bench.program, bench.scratch)
    for name in parts:
        say(name)
        for table, rows in PARTS[name].measure(bench).items():
            results.replace(table, machine, rows)
        results.save(path)


def part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"there is no part {name}; the parts are {', '.join(PARTS)}")
    return name


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benches/run",
        description="Compares pylayer with the programs that it replaces.",
        epilog="Requires Linux, gawk, bsdtar, GNU tar, pigz and zstd. BENCHMARKS.md describes the method.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add_command(name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(run=run)
        return command

    def add_parts(command: argparse.ArgumentParser, default: list[str]) -> None:
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.epilog = "parts:\n" + "\n".join(f"  {name:<17}{module.__doc__}" for name, module in PARTS.items())
        summary = f"[default: {', '.join(default)}]"
        command.add_argument("parts", metavar="PART", nargs="*", type=part, default=default, help=summary)
        command.add_argument("--pylayer", type=Path, metavar="PROGRAM", help="[default: built by cargo]")

    def add_file(command: argparse.ArgumentParser, option: str, metavar: str, default: Path) -> None:
        summary = f"[default: {default.relative_to(REPOSITORY)}]"
        command.add_argument(option, type=Path, metavar=metavar, default=default, help=summary)

    command = add_command("measure", measure, "measure parts and write the results into BENCHMARKS.md")
    add_parts(command, list(PARTS))
    command.add_argument("--rounds", type=int, metavar="N", default=5, help="runs of each command [default: 5]")
    command.add_argument("--corpus", type=Path, metavar="DIR", help="[default: made by `benches/run corpus`]")
    command.add_argument("--cpus", type=int, metavar="N", help="use only the first N processors [default: all]")
    add_file(command, "--results", "FILE", RESULTS)

    command = add_command("check", check, "test the benchmarks by running parts once on generated files")
    add_parts(command, [name for name in PARTS if name not in SLOW_TO_CHECK])

    command = add_command("corpus", print_corpus, "make the corpus (1.2 GB) and print its path")
    command.add_argument("folder", type=Path, metavar="DIR", nargs="?", help="[default: in the user's cache folder]")

    command = add_command("report", write_report, "update BENCHMARKS.md and the charts without measuring")
    add_file(command, "--results", "FILE", RESULTS)
    add_file(command, "--markdown", "FILE", MARKDOWN)
    add_file(command, "--charts", "DIR", CHARTS)

    options = parser.parse_args()
    options.run(options)
