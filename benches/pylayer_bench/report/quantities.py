"""The format of quantities in the report."""

import math

MIB = 1 << 20


def seconds(value: float) -> str:
    """A time with three significant digits."""
    if value < 0:
        return f"-{seconds(-value)}"
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1 or unit == "µs":
            digits = max(0, 2 - math.floor(math.log10(max(value * factor, 1))))
            return f"{value * factor:.{digits}f} {unit}"
    raise AssertionError


def spread(values: list[float]) -> str:
    return f"{seconds(min(values))} … {seconds(max(values))}"


def amount(value: float) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def mib(value: float) -> str:
    return f"{value / MIB:.0f} MiB"


def times(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}×" if value >= 10 else f"{value:.2f}×"


def added(value: float) -> str:
    """A difference of times."""
    return f"{value * 1e3:+.2f} ms"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1%}"
