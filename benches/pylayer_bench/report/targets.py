"""The targets: bounds on pylayer's cost, and the measured values."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from pylayer_bench.programs import BASELINES, DIGEST_BASELINES, LIFTED
from pylayer_bench.report.quantities import MIB, mib, seconds
from pylayer_bench.results import Results


@dataclass
class Target:
    what: str
    at_least: bool
    bound: float
    measured: float | None
    show: Callable[[float], str]

    def cells(self) -> list[str]:
        """A row of the table."""
        wanted = f"{'≥' if self.at_least else '≤'} {self.show(self.bound)}"
        if self.measured is None:
            return [self.what, wanted, "", "not measured"]
        met = self.measured >= self.bound if self.at_least else self.measured <= self.bound
        return [self.what, wanted, self.show(self.measured), "met" if met else "**not met**"]


def targets(results: Results) -> list[Target]:
    def cold(name: str, of: str = "wall") -> float | None:
        return results.median("cold", name, of)

    def warm(name: str) -> float | None:
        return results.median("incremental", name)

    def speed(what: str, bound: float, ours: str, baseline: str) -> Target:
        return Target(what, True, bound, ratio(cold(baseline), cold(ours)), lambda value: f"{value:.1f}×")

    def share(what: str, bound: float, part: float | None, whole: float | None) -> Target:
        return Target(what, False, bound, ratio(part, whole), lambda value: f"{value:.1%}")

    def at_most(what: str, bound: float, measured: float | None) -> Target:
        return Target(what, False, bound, measured, seconds)

    def adds(what: str, bound: float, table: str, name: str, baseline: str) -> Target:
        value, other = results.median(table, name), results.median(table, baseline)
        return at_most(what, bound, None if value is None or other is None else value - other)

    def size(what: str, bound: float, ours: str, baseline: str) -> Target:
        row, other = results.row("cold", ours), results.row("cold", baseline)
        return share(what, bound, row and row.size, other and other.size)

    gzip, zstd, none = BASELINES["gzip"], BASELINES["zstd"], BASELINES["none"]
    found = [
        speed("gzip 6: speedup over awk + bsdtar", 5, "pylayer, gzip 6", gzip),
        speed("… with both digests on either side", 6, "pylayer, gzip 6", DIGEST_BASELINES["gzip"]),
        speed("gzip 1: speedup over awk + bsdtar, gzip 6", 9, "pylayer, gzip 1", gzip),
        size("gzip 6: size relative to bsdtar", 1, "pylayer, gzip 6", gzip),
        share("gzip 6: CPU time relative to bsdtar", 0.4, cold("pylayer, gzip 6", "cpu"), cold(gzip, "cpu")),
        speed("gzip 6 with wheels: speedup over awk + bsdtar", 10, LIFTED, gzip),
        speed("… with both digests on either side", 12, LIFTED, DIGEST_BASELINES["gzip"]),
        size("gzip 6 with wheels: size relative to bsdtar", 1.01, LIFTED, gzip),
        speed("zstd 3: speedup over awk + bsdtar", 1.6, "pylayer, zstd 3", zstd),
        size("zstd 3: size relative to bsdtar", 1.01, "pylayer, zstd 3", zstd),
        speed("none: speedup over awk + bsdtar, which computes no digest", 1, "pylayer, none", none),
    ]
    # With the default codec.
    whole = warm("gzip 6, cold")
    found.append(share("worker: nothing changed, share of cold", 0.05, warm("gzip 6, nothing changed"), whole))
    for place in ("first", "in the middle", "last"):
        edited = warm(f"gzip 6, 10 KB edited that sort {place}")
        found.append(share(f"worker: 10 KB edited that sort {place}, share of cold", 0.2, edited, whole))
    second = warm("gzip 6, a second image with the same wheels"), warm("gzip 6, the second image, cold")
    found.append(share("worker: second image with the same wheels, share of its cold", 0.35, *second))
    for codec, bound in (("gzip 6", 0.05), ("zstd 3", 0.1)):
        sharing = warm(f"{codec}, a second image that shares the runfiles directory"), warm(f"{codec}, cold")
        what = f"worker, {codec}: second image that shares the runfiles directory, share of cold"
        found.append(share(what, bound, *sharing))
    for step in ("10 KB edited", "nothing changed"):
        name = f"application layer, {step}"
        found.append(at_most(f"worker: {name}", 0.015, warm(name)))
    names = ("match 150,000 paths with 10 patterns", "plan 150,000 files")
    parts = [results.median("inner", name) for name in names]
    planning = None if None in parts else sum(parts)
    found.append(at_most("match and plan 150,000 files on one core", 0.25, planning))
    start = "start of a worker to the first byte of its answer"
    found.append(at_most(start, 0.01, results.median("startup", start)))
    analyses = "analysis", "the binary and its layers", "the binary alone"
    found.append(adds("analysis time added by eight layer groups, 100,000 files", 2, *analyses))
    launchers = "launch", "pylayer", "the environment's python3"
    found.append(adds("launcher: time added to the start of the environment's python3", 0.001, *launchers))
    environments = "launch_imports", "pylayer", "one site-packages"
    found.append(adds("200 wheels, 50 imports: time added to one site-packages", 0.005, *environments))
    split, unsplit = results.row("updates", "split = 8"), results.row("updates", "not split")
    mean, whole = split and statistics.mean(split.sent), unsplit and unsplit.size
    found.append(share("split = 8: mean update of a package, share of all packages", 0.25, mean, whole))
    # Rows with less than 10 GB are from a machine without the disk space.
    for row in (row for row in results.rows("memory") if row.bytes >= 10e9):
        what = f"{row.name}: peak memory of a layer of 10 GB"
        found.append(Target(what, False, 300 * MIB, row.median("rss"), mib))
    return found


def ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a / b
