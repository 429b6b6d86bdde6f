"""The `dsvd` program: one module per command, imported when that command is used."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from collections.abc import Sequence
from gc import set_threshold  # by name: `gc` is a command of this package too

import click

from .commands import dsvd
from .errors import discard_output, failure_of, tell

__all__ = ["main"]

# Imports make many lasting objects; their garbage collection took a tenth of the time of `dsvd ls`.
GARBAGE_THRESHOLD = 200_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dsvd` with `arguments` (default: those of the process); returns the exit code."""
    set_threshold(GARBAGE_THRESHOLD)
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name or a note may have characters that the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    with contextlib.suppress(ValueError):  # only the main thread may set signal handlers
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, _end)
    try:
        exit_code = _run(words)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, OSError):
            discard_output()
        failure = failure_of(error)
        tell(failure, as_json="--json" in words)
        return failure.exit_code
    return exit_code


def _end(number: int, frame: object) -> None:  # noqa: ARG001 - as signal calls it
    """End the program as Ctrl-C does, so that unfinished files are removed."""
    raise KeyboardInterrupt


def _run(words: list[str]) -> int:
    # Not click's own `main`: it has its own exit codes for a broken pipe and an interrupt.
    try:
        with dsvd.make_context("dsvd", words) as context:
            dsvd.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return 0
