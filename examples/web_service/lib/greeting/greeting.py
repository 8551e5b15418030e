"""Greets guests in HTML."""

from pathlib import Path

import jinja2

_TEMPLATES = jinja2.Environment(
    autoescape=True,
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
)


def greet(guest: str) -> str:
    """Returns a paragraph in which the guest's name is escaped."""
    return _TEMPLATES.get_template("greeting.html").render(guest=guest)
