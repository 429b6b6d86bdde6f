"""What commands take alike: --json, --registry, points in time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from ..registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def common_options(command: Command) -> Command:
    """--json and --registry, which every command takes; the latter also stands before the command."""
    command = click.option(
        "--registry",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_keep_registry,
        help="The registry's folder.",
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def _keep_registry(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.find_root().params["registry"] = value


def registry_path() -> Path | None:
    """The value of --registry."""
    path = click.get_current_context().find_root().params["registry"]
    assert path is None or isinstance(path, Path)
    return path


def open_registry() -> Registry:
    """The registry that the command works on. Raises `NotFound`, `RegistryError`."""
    return Registry.open(registry_path())


def since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """click callback: an ISO date or time of this machine's clock, or how long ago: 12h, 7d, 2w."""
    if value is None:
        return None
    span = re.fullmatch(r"([0-9]+)([hdw])", value)
    try:
        if span:
            return datetime.now(UTC) - int(span[1]) * _UNITS[span[2]]
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError, OSError):
        message = f"{value!r} is neither a date such as 2026-01-31 nor an age such as 12h, 7d or 2w"
        raise click.BadParameter(message) from None
