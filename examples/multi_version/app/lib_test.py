"""Tests of the library, for each version of Python."""

import os
import sys
import unittest

from app.batches import batched


class BatchedTest(unittest.TestCase):
    """Batches, and where they come from."""

    def test_python_has_the_requested_version(self):
        """The toolchain is the one for `python_version`."""
        self.assertEqual("{}.{}".format(*sys.version_info), os.environ["EXPECTED_VERSION"])

    def test_batches(self):
        """The last batch may be shorter."""
        self.assertEqual(list(batched("abcde", 2)), [("a", "b"), ("c", "d"), ("e",)])

    def test_the_standard_library_is_used(self):
        """It has the function from Python 3.12."""
        self.assertEqual(batched.__module__ == "itertools", sys.version_info >= (3, 12))
