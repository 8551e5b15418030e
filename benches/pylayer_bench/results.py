"""The results file: for each table its rows, the date, and the machine on which they were measured."""

import datetime
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from pylayer_bench.cost import Cost


@dataclass
class Row:
    """A row of a table: the cost of each round."""

    name: str
    command: str
    # Of the input.
    files: int = 0
    bytes: int = 0
    jobs: int = 0
    # Of the layer or layers, in bytes.
    size: int = 0
    # Number of layers.
    layers: int = 0
    # Number of layers that Bazel rebuilt.
    actions: int = 0
    # Number of rounds without a result, because other processes kept the machine busy.
    disturbed: int = 0
    # Number of Python binaries.
    binaries: int = 0
    # Of files next to the layers of all images, in bytes.
    metadata: int = 0
    # Of the layers, each digest once, in bytes.
    distinct: int = 0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[int] = field(default_factory=list)
    # The time to build what `wall` is the analysis of.
    build: list[float] = field(default_factory=list)
    # The memory that Bazel's server keeps, in bytes.
    heap: list[int] = field(default_factory=list)
    # Bytes that a registry does not have yet: of a push, or after the update of each package.
    sent: list[int] = field(default_factory=list)

    def add(self, cost: Cost | None) -> None:
        """Records a round; None if it was disturbed."""
        if cost is None:
            self.disturbed += 1
            return
        self.wall.append(round(cost.wall, 6))
        self.cpu.append(round(cost.cpu, 6))
        self.rss.append(cost.rss)

    def median(self, of: str = "wall") -> float:
        """The median of one of the lists."""
        return statistics.median(getattr(self, of))

    @property
    def ours(self) -> bool:
        """Whether the row is for pylayer, not for a program that it replaces."""
        return self.name.startswith("pylayer")


@dataclass
class Table:
    date: str
    machine: dict[str, str]
    rows: list[Row]


@dataclass
class Results:
    tables: dict[str, Table] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Results":
        tables = {}
        for name, table in json.loads(path.read_text()).items():
            rows = [Row(**row) for row in table["rows"]]
            tables[name] = Table(table["date"], table["machine"], rows)
        return cls(tables)

    def save(self, path: Path) -> None:
        """Writes one line per row, so that a diff shows which rows were measured again. Fields that are 0 or empty,
        which are the default values, are left out."""
        texts = []
        for name, table in self.tables.items():
            head = json.dumps({"date": table.date, "machine": table.machine})
            fields = [{name: value for name, value in vars(row).items() if value} for row in table.rows]
            rows = ",\n".join(map(json.dumps, fields))
            texts.append(f'{json.dumps(name)}: {head[:-1]}, "rows": [\n{rows}\n]}}')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{\n" + ",\n".join(texts) + "\n}\n")

    def replace(self, name: str, machine: dict[str, str], rows: list[Row]) -> None:
        self.tables[name] = Table(datetime.date.today().isoformat(), machine, rows)

    def rows(self, table: str) -> list[Row]:
        """The rows that have a result."""
        return [row for row in self.tables[table].rows if row.wall or row.sent] if table in self.tables else []

    def row(self, table: str, name: str) -> Row | None:
        """The row with this name, which may be followed by details in parentheses."""
        return next((row for row in self.rows(table) if row.name.partition(" (")[0] == name), None)

    def median(self, table: str, name: str, of: str = "wall") -> float | None:
        row = self.row(table, name)
        return row.median(of) if row else None
