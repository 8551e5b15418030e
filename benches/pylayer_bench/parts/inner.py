"""The cost of a request before it reads a file, from the criterion benchmarks in benches/inner.rs."""

import json
import os
import subprocess
import sys

from pylayer_bench.bench import Bench
from pylayer_bench.paths import REPOSITORY
from pylayer_bench.results import Row


def measure(bench: Bench) -> dict[str, list[Row]]:
    home = bench.folder("criterion")
    command = ["cargo", "bench", "--locked", "--bench", "inner"]
    command += ["--", "--quick"] if bench.quick else []
    environment = {**os.environ, "CRITERION_HOME": str(home)}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdout=sys.stderr)
    rows = []
    for facts in sorted(home.glob("**/new/benchmark.json")):
        sample = json.loads(facts.with_name("sample.json").read_text())
        row = Row(json.loads(facts.read_text())["title"], "cargo bench --bench inner")
        row.wall = [time / count / 1e9 for time, count in zip(sample["times"], sample["iters"], strict=True)]
        rows.append(row)
    return {"inner": rows}
