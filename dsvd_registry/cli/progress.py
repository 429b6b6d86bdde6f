"""Progress bars on stderr, if it is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from ..progress import FILES, silent
from ..registry import Progress


@contextlib.contextmanager
def shown_progress() -> Iterator[Progress]:
    """A `Progress` for the registry that shows bars; they vanish on leaving."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, bars.TaskID] = {}

        def advance(stage: str, done: int, total: int, /) -> None:
            if stage == FILES:
                for other in [name for name in tasks if name != FILES]:
                    shown.remove_task(tasks.pop(other))
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage)
            shown.update(tasks[stage], completed=done, total=total)

        yield advance
