"""Prints its own report, and that of the program for the other version of Python, as JSON."""

import json
import os
import subprocess

from app.report import report

older = os.path.join(os.environ["RUNFILES_DIR"], os.environ["OLDER"])
print(json.dumps({"newer": report(), "older": json.loads(subprocess.check_output([older]))}))
