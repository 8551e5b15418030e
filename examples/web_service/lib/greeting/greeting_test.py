"""Tests of the greeting."""

import unittest

from lib.greeting.greeting import greet


class GreetTest(unittest.TestCase):
    """What guests read."""

    def test_the_guest_is_welcome(self) -> None:
        """The name is part of the greeting."""
        self.assertEqual(greet("Zoë"), "<p>Welcome, Zoë!</p>")

    def test_markup_is_escaped(self) -> None:
        """A name cannot contain elements."""
        self.assertEqual(greet("<b>"), "<p>Welcome, &lt;b&gt;!</p>")
