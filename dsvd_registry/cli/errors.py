"""Every way in which a command ends: the exit code, and the message of an error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from .. import errors
from ..errors import BUG_EXIT_CODE, DsvdError, InvalidArgument, StorageError
from .printable_text import color, printable

INTERRUPTED = 130
BROKEN_PIPE = 141
TORCH_OUT_OF_MEMORY = "DefaultCPUAllocator"  # in the RuntimeError of torch's allocator
DEBUG_VARIABLE = "DSVD_DEBUG"

_OTHER_CODES = (
    (BUG_EXIT_CODE, "A bug in dsvd; DSVD_DEBUG=1 shows where."),
    (INTERRUPTED, "Interrupted."),
    (BROKEN_PIPE, "The reader of the output went away."),
)


@dataclass(frozen=True)
class Failure:
    """An error as it is printed, for people or as JSON."""

    type: str
    message: str
    hint: str
    exit_code: int


def exit_codes() -> Iterator[tuple[int, str]]:
    """Every exit code with its meaning: the first sentence of its error class."""
    meanings: dict[int, str] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, DsvdError) and kind is not DsvdError:
            meanings.setdefault(kind.exit_code, (kind.__doc__ or "").split("\n")[0])
    yield 0, "All is well."
    yield from sorted(meanings.items())
    yield from _OTHER_CODES


def failure_of(error: BaseException) -> Failure:
    """The `Failure` to print for an exception."""
    if isinstance(error, DsvdError):
        return Failure(type(error).__name__, str(error), error.hint, error.exit_code)
    if isinstance(error, click.ClickException):
        context = error.ctx if isinstance(error, click.UsageError) else None
        hint = f"`{context.command_path} --help` shows how." if context else ""
        message = error.format_message().rstrip(".")
        return Failure(InvalidArgument.__name__, message, hint, InvalidArgument.exit_code)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Failure("Interrupted", "interrupted", "", INTERRUPTED)
    if isinstance(error, BrokenPipeError):
        return Failure("BrokenPipe", "", "", BROKEN_PIPE)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else "the operating system refused: "
        message = f"{place}{error.strerror or error}"
        return Failure(StorageError.__name__, message, "", StorageError.exit_code)
    if isinstance(error, MemoryError) or TORCH_OUT_OF_MEMORY in str(error):
        hint = "Close other programs, or use a machine with more memory."
        return Failure(StorageError.__name__, "out of memory", hint, StorageError.exit_code)
    return Failure(
        type(error).__name__,
        f"this is a bug in dsvd: {type(error).__name__}: {error}",
        f"Run it again with {DEBUG_VARIABLE}=1 to see where, and report it with what that prints.",
        BUG_EXIT_CODE,
    )


def tell(failure: Failure, *, as_json: bool) -> None:
    """Print a failure on stderr. Call it inside the `except` block, for the traceback of a bug."""
    with contextlib.suppress(OSError):
        if failure.exit_code == BUG_EXIT_CODE and os.environ.get(DEBUG_VARIABLE) == "1":
            traceback.print_exc()
        if not failure.message:
            return
        if as_json:
            click.echo(json.dumps({"error": asdict(failure)}, indent=2), err=True)
            return
        title = click.style("error:", fg="red", bold=True)
        click.echo(f"{title} {printable(failure.message)}", err=True, color=color())
        if failure.hint:
            title = click.style("hint:", bold=True)
            click.echo(f"{title} {printable(failure.hint)}", err=True, color=color())


def discard_output() -> None:
    """Drop the unwritten output, which Python would otherwise try to write again when it exits."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
