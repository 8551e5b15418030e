"""Names in the site-packages of an environment that are its own. No distribution can have them.

`make_venv.py` repeats them.
"""

FIRST_PARTY_PTH = "_first_party.pth"
COVERAGE_PTH = "_pylayer_coverage.pth"
COVERAGE_MODULE = "_pylayer_coverage.py"

RESERVED_NAMES = [FIRST_PARTY_PTH, COVERAGE_PTH, COVERAGE_MODULE]
