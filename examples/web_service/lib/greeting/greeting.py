"""Greets guests in HTML."""

from pathlib import Path

import jinja2

_TEMPLATES = jinja2.Environment(
    autoescape=True,
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
)


def greet(guest: str) -> str:
    """Returns a paragraph that is safe whatever the guest's name holds."""
    return _TEMPLATES.get_template("greeting.html").render(guest=guest)
