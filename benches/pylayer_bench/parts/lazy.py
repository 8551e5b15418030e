"""A cold layer of the whole corpus that can be pulled in part, and the same layer without that."""

from pylayer_bench.bench import Bench
from pylayer_bench.files import files_of
from pylayer_bench.programs import LAZY_COMMANDS
from pylayer_bench.results import Row


def measure(bench: Bench) -> dict[str, list[Row]]:
    return {"lazy": bench.compare(bench.corpus, files_of(bench.corpus), LAZY_COMMANDS)}
