"""Prints a report as JSON."""

import json

from app.report import report

print(json.dumps(report()))
