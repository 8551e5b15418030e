"""Progress and error messages, on standard error."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check(truth: bool, message: str) -> None:
    """Exits with `message` unless `truth`."""
    if not truth:
        sys.exit(f"benches/run: {message}")
