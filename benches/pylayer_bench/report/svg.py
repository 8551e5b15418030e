"""Bar charts and line charts as SVG, for light and dark pages. They contain no scripts and no fonts."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

WIDTH = 920
STYLE = """
    text { fill: #1f2328; }
    .quiet { fill: #59636e; font-size: 12px; }
    .grid { stroke: #8c959f; stroke-opacity: 0.35; }
    .ours { fill: #2da44e; stroke: #2da44e; }
    .rival { fill: #8c959f; stroke: #8c959f; }
    path.ours, path.rival { fill: none; stroke-width: 2; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .quiet { fill: #9198a1; }
    }
"""
# Widths of the labels of a bar chart, and of the values after the bars.
LABELS, VALUES = 350, 150
BAR, GAP, TOP = 18, 8, 56


def _svg(title: str, description: str, height: int, body: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-labelledby="title description" font-family="system-ui, sans-serif" font-size="14">\n'
        f'  <title id="title">{escape(title)}</title>\n  <desc id="description">{escape(description)}</desc>\n'
        f"  <style>{STYLE}  </style>\n"
        f'  <text x="20" y="28" font-weight="600">{escape(title)}</text>\n'
        f'  <text x="20" y="46" class="quiet">{escape(description)}</text>\n'
    )
    return head + "".join(f"  {line}\n" for line in body) + "</svg>\n"


@dataclass
class Bar:
    label: str
    value: float
    text: str
    ours: bool


def bars(title: str, description: str, rows: list[Bar]) -> str:
    """One bar per row, on a common scale that starts at zero."""
    scale = (WIDTH - LABELS - VALUES) / max(row.value for row in rows)
    body = []
    for number, row in enumerate(rows):
        top = TOP + GAP + number * (BAR + GAP)
        length = max(row.value * scale, 1)
        base, kind = top + BAR - 4, "ours" if row.ours else "rival"
        body += [
            f'<text x="{LABELS - 10}" y="{base}" text-anchor="end">{escape(row.label)}</text>',
            f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text x="{LABELS + length + 8:.1f}" y="{base}" class="quiet">{escape(row.text)}</text>',
        ]
    return _svg(title, description, TOP + 2 * GAP + len(rows) * (BAR + GAP), body)


@dataclass
class Line:
    label: str
    points: list[tuple[float, float]]
    ours: bool


def lines(title: str, description: str, series: list[Line], x_text: Callable, y_text: Callable) -> str:
    """Lines on logarithmic axes, with a grid at the powers of ten. `x_text` and `y_text` format the labels."""
    left, right, bottom, height = 90, WIDTH - 190, 380, 420
    points = [point for line in series for point in line.points]
    ranges = [
        (math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
        for values in zip(*points, strict=True)
    ]
    (x_low, x_high), (y_low, y_high) = [(low, max(high, low + 1)) for low, high in ranges]

    def x_of(value: float) -> float:
        return left + (math.log10(value) - x_low) / (x_high - x_low) * (right - left)

    def y_of(value: float) -> float:
        return bottom - (math.log10(value) - y_low) / (y_high - y_low) * (bottom - TOP - 20)

    body = []
    for power in range(x_low, x_high + 1):
        x = x_of(10**power)
        body.append(f'<path class="grid" d="M{x:.1f} {y_of(10**y_high):.1f}V{bottom}"/>')
        label = x_text(10**power)
        body.append(f'<text x="{x:.1f}" y="{bottom + 20}" class="quiet" text-anchor="middle">{label}</text>')
    for power in range(y_low, y_high + 1):
        y = y_of(10**power)
        body.append(f'<path class="grid" d="M{left} {y:.1f}H{right}"/>')
        body.append(f'<text x="{left - 8}" y="{y + 4:.1f}" class="quiet" text-anchor="end">{y_text(10**power)}</text>')
    for line in series:
        kind = "ours" if line.ours else "rival"
        places = [(x_of(x), y_of(y)) for x, y in line.points]
        body.append(f'<path class="{kind}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in places)}"/>')
        body += [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
        body.append(f'<text x="{places[-1][0] + 10:.1f}" y="{places[-1][1] + 4:.1f}">{escape(line.label)}</text>')
    return _svg(title, description, height, body)
