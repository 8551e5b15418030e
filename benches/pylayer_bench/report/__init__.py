"""Writes results into BENCHMARKS.md and into charts.

The text of BENCHMARKS.md is written by hand. Only the tables, between the lines `<!-- table: NAME -->` and
`<!-- end -->`, are replaced.
"""

import re
from pathlib import Path

from pylayer_bench.console import check
from pylayer_bench.report.charts import draw
from pylayer_bench.report.tables import TABLES
from pylayer_bench.results import Results


def write(results_file: Path, markdown: Path, charts: Path) -> None:
    results = Results.load(results_file)
    markdown.write_text(fill_in(markdown.read_text(), results))
    charts.mkdir(parents=True, exist_ok=True)
    for name, chart in draw(results).items():
        (charts / f"{name}.svg").write_text(chart)


def fill_in(text: str, results: Results) -> str:
    def replacement(match: re.Match) -> str:
        name = match[1]
        check(name in TABLES, f"BENCHMARKS.md wants a table {name}; the tables are {', '.join(TABLES)}")
        known = name in ("targets", "machine") or results.rows(name)
        return f"<!-- table: {name} -->\n\n{TABLES[name](results) if known else 'Not measured.'}\n\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", replacement, text, flags=re.DOTALL)
