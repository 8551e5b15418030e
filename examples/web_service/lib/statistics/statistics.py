"""Describes lists of numbers."""

import numpy


def describe(numbers: list[float]) -> dict[str, float]:
    """Returns count, mean, median and standard deviation."""
    array = numpy.asarray(numbers)
    return {
        "count": array.size,
        "mean": float(array.mean()),
        "median": float(numpy.median(array)),
        "standard_deviation": round(float(array.std()), 6),
    }
