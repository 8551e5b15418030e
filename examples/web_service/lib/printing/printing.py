"""Prints a price list in several formats."""

import io

import yaml
from lxml import etree
from PIL import Image, ImageDraw

_CARD_SIZE = (240, 120)


def as_yaml(prices: dict[str, float]) -> str:
    """Returns a YAML mapping."""
    return yaml.dump(prices, Dumper=yaml.CSafeDumper, allow_unicode=True)


def as_xml(prices: dict[str, float]) -> str:
    """Returns one element per price."""
    menu = etree.Element("menu")
    for name, price in prices.items():
        etree.SubElement(menu, "item", price=str(price)).text = name
    return etree.tostring(menu, encoding="unicode")


def as_png(prices: dict[str, float]) -> bytes:
    """Returns a picture of the prices as bars."""
    card = Image.new("L", _CARD_SIZE, "white")
    draw = ImageDraw.Draw(card)
    for row, price in enumerate(prices.values()):
        draw.rectangle((0, 30 * row, 20 * price, 30 * row + 20), fill="black")
    png = io.BytesIO()
    card.save(png, "PNG")
    return png.getvalue()
