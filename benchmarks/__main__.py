"""`python -m benchmarks [NAME ...]`: run the named figures (all by default) and print them as tables."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable

from . import startup

Rows = list[dict[str, object]]
FIGURES: dict[str, Callable[[], Rows]] = {"startup": startup.measure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    names = parser.parse_args().names or list(FIGURES)
    unknown = set(names) - set(FIGURES)
    if unknown:
        parser.error(f"no figure is called {min(unknown)}; there are {', '.join(FIGURES)}")
    print(f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}\n")
    for name in names:
        print(f"{name}\n\n{markdown(FIGURES[name]())}\n")


def markdown(rows: Rows) -> str:
    """Rows with the same keys as a Markdown table."""
    columns = list(rows[0])
    lines = [columns, ["---"] * len(columns), *([str(row[c]) for c in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
