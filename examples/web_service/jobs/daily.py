"""Prints the day's menu, as the printer takes it."""

from app.report import make_report


def main() -> None:
    """Prints the menu."""
    print(make_report()["printing"]["yaml"], end="")


if __name__ == "__main__":
    main()
