"""Prints which of two packages of the same name is imported."""

import plain

print(getattr(plain, "NAME", "plain"))
import plain.more
