"""The contents of the report's charts."""

from pylayer_bench.report.quantities import amount, seconds
from pylayer_bench.report.svg import Bar, Line, bars, lines
from pylayer_bench.results import Results, Row


def draw(results: Results) -> dict[str, str]:
    """The charts that have results, as SVG, by name."""
    charts = {}
    if rows := results.rows("cold"):
        shown = [bar(row, row.name, f", {amount(row.size)}", ours=row.ours) for row in rows]
        facts = f"{rows[0].files:,} files, {amount(rows[0].bytes)}, {rows[0].jobs} processors"
        subtitle = f"{facts}: wall time, size of the layer"
        charts["cold"] = bars("One layer from nothing", subtitle, sorted(shown, key=lambda bar: bar.value))
    if rows := [row for row in results.rows("incremental") if row.name.startswith("gzip 6, ")]:
        shown = [bar(row, row.name.removeprefix("gzip 6, ").partition(" (")[0]) for row in rows]
        charts["incremental"] = bars("A worker's next request", "all files in one layer, gzip 6: wall time", shown)
    for unit in ("files", "bytes"):
        by_program: dict[str, list[Row]] = {}
        for row in results.rows(unit):
            by_program.setdefault(row.name, []).append(row)
        series = [
            Line(program, [(getattr(row, unit), row.median()) for row in rows], rows[0].ours)
            for program, rows in by_program.items()
        ]
        if series:
            x_text = amount if unit == "bytes" else "{:,}".format
            subtitle = f"wall time by {unit} of the layer, gzip 6"
            charts[unit] = lines(f"More {unit}", subtitle, series, x_text, seconds)
    if rows := results.rows("threads"):
        shown = [bar(row, f"{row.name}, {row.jobs} thread{'s' * (row.jobs > 1)}") for row in rows]
        charts["threads"] = bars("More threads", "one layer from nothing: wall time", shown)
    return charts


def bar(row: Row, label: str, more: str = "", *, ours: bool = True) -> Bar:
    return Bar(label, row.median(), seconds(row.median()) + more, ours)
