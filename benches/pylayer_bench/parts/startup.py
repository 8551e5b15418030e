"""The time from the start of a worker to the first byte of its response to a request for one small file."""

import dataclasses

from pylayer_bench.action import Execroot, Layer
from pylayer_bench.bench import Bench
from pylayer_bench.cost import Cost
from pylayer_bench.files import files_of, new_binary
from pylayer_bench.results import Row
from pylayer_bench.worker import Worker


def measure(bench: Bench) -> dict[str, list[Row]]:
    folder = new_binary(bench.folder("startup"))
    execroot = Execroot(bench.folder("startup_execroot"), folder, files_of(folder))
    request = Layer(execroot, "startup", files_of(folder)).request()
    row = Row("start of a worker to the first byte of its answer", "benches/run measure startup", files=1)

    def start() -> Cost:
        with Worker(bench.program, execroot.folder) as worker:
            cost = worker.ask(request)
            return dataclasses.replace(cost, wall=worker.first_byte)

    for _ in range(2 if bench.quick else 10 * bench.rounds):
        row.add(bench.machine.undisturbed(execroot.remove_outputs, start))
    return {"startup": [row]}
