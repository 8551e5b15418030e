import os
import unittest

from tests import counted


class Counted(unittest.TestCase):
    def test_here(self):
        self.assertEqual(counted.here(), "here")

    def test_can_fail(self):
        self.assertNotIn("FAIL", os.environ)
