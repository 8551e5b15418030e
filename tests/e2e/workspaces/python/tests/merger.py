"""Stands for Bazel's program that merges coverage reports, which is a download."""

import pathlib
import sys

options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:] if argument.startswith("--") and "=" in argument)
reports = sorted(pathlib.Path(options["coverage_dir"]).rglob("*.dat")) if "coverage_dir" in options else []
pathlib.Path(options["output_file"]).write_text("".join(report.read_text() for report in reports))
