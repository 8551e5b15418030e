"""The tables of the report, in Markdown, by their names in BENCHMARKS.md."""

import statistics
from collections.abc import Callable

from pylayer_bench.programs import BASELINES, DIGEST_BASELINES
from pylayer_bench.report.quantities import MIB, added, amount, mib, percent, seconds, spread, times
from pylayer_bench.report.targets import targets
from pylayer_bench.results import Results, Row


def markdown(head: list[str], body: list[list[str]]) -> str:
    """A table whose first column is text, and whose other columns are numbers."""
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def commands(rows: list[Row]) -> str:
    shown = "\n".join(f"# {row.name}\n{row.command}" for row in rows)
    return f"\n\n<details><summary>The commands</summary>\n\n```sh\n{shown}\n```\n\n</details>"


def targets_table(results: Results) -> str:
    return markdown(["", "target", "measured", "verdict"], [target.cells() for target in targets(results)])


def machine_table(results: Results) -> str:
    """One paragraph for all tables with the same date and machine."""
    found: dict[tuple, list[str]] = {}
    for name, table in results.tables.items():
        found.setdefault((table.date, *table.machine.items()), []).append(name)
    text = []
    for (date, *machine), names in found.items():
        text.append(f"{', '.join(names)} ({date}):\n" + "".join(f"\n- {name}: {value}" for name, value in machine))
    return "\n\n".join(text)


def cold_table(results: Results) -> str:
    body = []
    for row in results.rows("cold"):
        codec = row.name.split(", ")[1].split()[0]
        same, digested = (results.row("cold", names[codec]) for names in (BASELINES, DIGEST_BASELINES))
        cost = [seconds(row.median()), spread(row.wall), seconds(row.median("cpu")), mib(row.median("rss"))]
        speed = [times(other and other.median() / row.median()) for other in (same, digested)]
        size = [f"{row.size:,}", percent(same and row.size / same.size - 1)]
        body.append([row.name, *cost, *speed, *size])
    head = ["", "wall", "min … max", "CPU", "peak memory", "speedup over bsdtar", "… with digests", "bytes", "size"]
    return markdown(head, body) + commands(results.rows("cold"))


def lazy_table(results: Results) -> str:
    body = []
    for row in results.rows("lazy"):
        name, _, lazy = row.name.rpartition(", ")
        ordinary = results.row("lazy", name) if lazy in ("estargz", "zstd:chunked") else None
        cost = [seconds(row.median()), spread(row.wall), seconds(row.median("cpu")), mib(row.median("rss"))]
        time = times(ordinary and row.median() / ordinary.median())
        body.append([row.name, *cost, time, f"{row.size:,}", percent(ordinary and row.size / ordinary.size - 1)])
    head = ["", "wall", "min … max", "CPU", "peak memory", "time relative to an ordinary layer", "bytes", "size"]
    return markdown(head, body) + commands(results.rows("lazy"))


def incremental_table(results: Results) -> str:
    body = []
    baseline = results.median("cold", BASELINES["gzip"])
    for row in results.rows("incremental"):
        codec = row.name.partition(",")[0]
        # One that shares the runfiles directory has the paths of the first image.
        moved = "second image" in row.name and "shares" not in row.name
        cold = f"{codec}, the second image, cold" if moved else f"{codec}, cold"
        whole = results.median("incremental", cold)
        share = f"{row.median() / whole:.1%}" if whole else ""
        speed = times(baseline / row.median()) if baseline and codec == "gzip 6" else ""
        cost = [seconds(row.median()), spread(row.wall), mib(row.median("rss"))]
        body.append([row.name, f"{row.files:,}", *cost, share, speed])
    head = ["", "files", "wall", "min … max", "peak memory", "share of cold", "speedup over bsdtar's whole layer"]
    return markdown(head, body)


def scaling_table(results: Results, name: str, title: str, size_of: Callable[[Row], str]) -> str:
    """One row per size, with the programs side by side."""
    rows = results.rows(name)
    # The first row of each program.
    first = {row.name: row for row in reversed(rows)}
    programs = list(dict.fromkeys(row.name for row in rows))
    versus = len(programs) == 2 and not first[programs[1]].ours
    body = []
    for size in dict.fromkeys(map(size_of, rows)):
        by_program = {row.name: row for row in rows if size_of(row) == size}
        line = [size]
        for program in programs:
            row = by_program.get(program)
            line += [seconds(row.median()), str(len(row.wall)), mib(row.median("rss"))] if row else [""] * 3
        if versus:
            ours, baseline = (by_program.get(program) for program in programs)
            line.append(times(ours and baseline and baseline.median() / ours.median()))
        body.append(line)
    head = [title, *[column for program in programs for column in (program, "runs", "peak memory")]]
    head += ["speedup over bsdtar"] * versus
    return markdown(head, body) + commands([first[program] for program in programs])


def scenarios_table(results: Results) -> str:
    """One row per scenario, with both programs side by side."""
    found: dict[str, dict[str, Row]] = {}
    for row in results.rows("scenarios"):
        scenario, _, program = row.name.rpartition(": ")
        found.setdefault(scenario, {})[program] = row
    programs = ("pylayer", "awk + bsdtar")
    body = []
    for scenario, by_program in found.items():
        ours, baseline = (by_program[program] for program in programs)
        cost = [cell for row in (ours, baseline) for cell in (seconds(row.median()), spread(row.wall))]
        speed = times(baseline.median() / ours.median())
        body.append([scenario, str(ours.actions), str(baseline.actions), *cost, speed])
    head = ["", "layers rebuilt by pylayer", "by awk + bsdtar"]
    head += [column for program in programs for column in (f"{program}, wall", "min … max")]
    return markdown([*head, "speedup over bsdtar"], body)


def launch_table(results: Results, name: str) -> str:
    """The first row is what the others are compared with."""
    rows = results.rows(name)
    body = []
    for row in rows:
        more = [added(row.median() - rows[0].median()), times(row.median() / rows[0].median())]
        body.append([row.name, seconds(row.median()), spread(row.wall), *more, f"`{row.command}`"])
    return markdown(["", "median", "min … max", "added", "relative", "command"], body)


def launcher_table(results: Results) -> str:
    body = [
        [row.name, f"{row.size:,}", seconds(row.median()), f"`{row.command}`"] for row in results.rows("launcher")
    ]
    return markdown(["", "bytes", "time to build", "command"], body)


def python_analysis_table(results: Results) -> str:
    body = []
    for row in results.rows("python_analysis"):
        heap = row.median("heap") / MIB
        per_binary = [seconds(row.median() / row.binaries), f"{heap / row.binaries:.2f} MiB"]
        cost = [seconds(row.median()), spread(row.wall), f"{heap:.0f} MiB"]
        body.append([row.name, *cost, *per_binary, f"`{row.command}`"])
    head = ["", "median", "min … max", "memory", "time per binary", "memory per binary", "command"]
    return markdown(head, body)


def updates_table(results: Results) -> str:
    rows = results.rows("updates")
    body = []
    for row in rows:
        line = [row.name, str(row.layers)]
        for of in (statistics.mean, statistics.median, max):
            line += [amount(of(row.sent)), f"{of(row.sent) / rows[0].size:.1%}"]
        body.append([*line, f"{row.size:,}", percent(row.size / rows[0].size - 1)])
    head = ["", "layers"]
    head += [column for of in ("mean", "median", "maximum") for column in (f"{of} update", "share")]
    return markdown([*head, "bytes of all layers", "size"], body) + commands(rows)


def push_table(results: Results) -> str:
    body = [
        [row.name, f"{row.sent[0]:,}", f"{row.sent[0] / row.size:.2%}", str(row.layers), f"{row.size:,}"]
        for row in results.rows("push")
    ]
    return markdown(["", "bytes sent", "share of the image", "layers sent", "bytes of the image"], body)


def many_images_table(results: Results) -> str:
    body = []
    for row in results.rows("many_images"):
        analysis, build = (row.median(of) for of in ("wall", "build"))
        cost = [seconds(analysis), seconds(analysis / row.binaries), seconds(build), mib(row.median("heap"))]
        sizes = [amount(row.metadata / row.binaries), amount(row.size), amount(row.distinct)]
        body.append([row.name, *cost, *sizes, f"`{row.command}`"])
    head = ["", "analysis", "per image", "build", "memory", "metadata per image", "all layers", "distinct layers"]
    return markdown([*head, "command"], body)


def plain_table(results: Results, name: str) -> str:
    body = [
        [row.name, seconds(row.median()), spread(row.wall), str(len(row.wall)), f"`{row.command}`"]
        for row in results.rows(name)
    ]
    return markdown(["", "median", "min … max", "runs", "command"], body)


TABLES: dict[str, Callable[[Results], str]] = {
    "targets": targets_table,
    "machine": machine_table,
    "cold": cold_table,
    "lazy": lazy_table,
    "incremental": incremental_table,
    "files": lambda results: scaling_table(results, "files", "files", lambda row: f"{row.files:,}"),
    "bytes": lambda results: scaling_table(results, "bytes", "bytes", lambda row: amount(row.bytes)),
    "memory": lambda results: scaling_table(results, "memory", "bytes", lambda row: amount(row.bytes)),
    "threads": lambda results: scaling_table(results, "threads", "threads", lambda row: str(row.jobs)),
    "startup": lambda results: plain_table(results, "startup"),
    "inner": lambda results: plain_table(results, "inner"),
    "scenarios": scenarios_table,
    "analysis": lambda results: plain_table(results, "analysis"),
    "launch": lambda results: launch_table(results, "launch"),
    "launch_imports": lambda results: launch_table(results, "launch_imports"),
    "launcher": launcher_table,
    "python_analysis": python_analysis_table,
    "updates": updates_table,
    "push": push_table,
    "many_images": many_images_table,
}
