"""Reports facts about the menu and the service itself.

Everything except `interpreter` and `extensions` is the same on every machine, so a test can check that the
code computes the same inside an image as outside.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, TypeAdapter

from lib.greeting.greeting import greet
from lib.printing.printing import as_png, as_xml, as_yaml
from lib.statistics.statistics import describe
from lib.storage.storage import Storage

MENU = Path(__file__).parent / "data" / "café menu.json"

# The extension modules of the wheels. Some wheels have a slower fallback, so they would work without.
EXTENSIONS = [
    "PIL._imaging",
    "_cffi_backend",
    "cryptography.hazmat.bindings._rust",
    "httptools.parser.parser",
    "lxml.etree",
    "lz4.frame._frame",
    "markupsafe._speedups",
    "msgpack._cmsgpack",
    "numpy.linalg._umath_linalg",
    "orjson.orjson",
    "pydantic_core._pydantic_core",
    "uvloop.loop",
    "xxhash._xxhash",
    "yaml._yaml",
]


class Item(BaseModel):
    """An item of the menu."""

    name: str
    price: float


def make_report() -> dict[str, Any]:
    """Uses every compiled wheel and returns the results."""
    menu = TypeAdapter(list[Item]).validate_json(MENU.read_bytes())
    prices = {item.name: item.price for item in menu}
    storage = Storage()
    fingerprint = storage.put(prices)
    return {
        "greeting": greet("<Zoë>"),
        "statistics": describe(list(prices.values())),
        "storage": {"fingerprint": fingerprint, "intact": storage.get(fingerprint) == prices},
        "printing": {
            "yaml": as_yaml(prices),
            "xml": as_xml(prices),
            "png": as_png(prices)[1:4].decode(),
        },
        "menu": orjson.loads(MENU.read_bytes()),
        "extensions": {name: importlib.import_module(name).__file__ for name in EXTENSIONS},
        "interpreter": {
            "executable": sys.executable,
            "prefix": sys.prefix,
            "version": sys.version.split()[0],
        },
    }
