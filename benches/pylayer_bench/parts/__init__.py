"""The parts of the benchmarks, one module each. `measure` returns the rows of a part's tables, by table name."""

from pylayer_bench.parts import (
    analysis,
    cold,
    incremental,
    inner,
    launch,
    lazy,
    many_images,
    push,
    python_analysis,
    scaling,
    scenarios,
    startup,
    updates,
)

PARTS = {
    "cold": cold,
    "lazy": lazy,
    "incremental": incremental,
    "scaling": scaling,
    "startup": startup,
    "inner": inner,
    "scenarios": scenarios,
    "analysis": analysis,
    "launch": launch,
    "python_analysis": python_analysis,
    "updates": updates,
    "push": push,
    "many_images": many_images,
}
# The criterion benchmarks take minutes to compile and are tested separately; Bazel takes a minute to set up.
SLOW_TO_CHECK = ("inner", "scenarios", "analysis", "launch", "python_analysis", "many_images")
