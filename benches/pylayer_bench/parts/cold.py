"""A cold layer of the whole corpus, by every program."""

from pylayer_bench.bench import Bench
from pylayer_bench.files import files_of
from pylayer_bench.programs import COMMANDS
from pylayer_bench.results import Row


def measure(bench: Bench) -> dict[str, list[Row]]:
    return {"cold": bench.compare(bench.corpus, files_of(bench.corpus), COMMANDS)}
