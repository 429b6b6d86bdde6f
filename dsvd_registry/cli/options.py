"""Options that several commands share: the registry, --json, the form of a result, points in time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from ..registry import Registry
from .registry_place import RegistryPlace

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def common_options(command: Command) -> Command:
    """Add --json, --registry and --catalog to a command; the last two may also stand before it."""
    command = click.option(
        "--catalog",
        metavar="URL",
        expose_value=False,
        callback=_keep,
        help="The database of the catalog, as a URL.",
    )(command)
    command = click.option(
        "--registry",
        type=RegistryPlace(),
        expose_value=False,
        callback=_keep,
        help="The registry's folder, or its URL (s3://, gs://, az://).",
    )(command)
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def form_options(command: Command) -> Command:
    """Add --tau, --dtype, --layout and --like, which say in what form a full checkpoint is given."""
    for option in (
        click.option(
            "--like",
            metavar="BASE",
            help="The base, a folder, that gives the configurations.  [default: the version's base]",
        ),
        click.option(
            "--layout",
            type=click.Choice(["as-added", "diffusers", "single-file"]),
            default="as-added",
            show_default=True,
            help="A folder of diffusers, or one file in the original layout (A1111, ComfyUI).",
        ),
        click.option(
            "--dtype",
            type=click.Choice(["fp32", "fp16", "bf16"]),
            help="Cast the exact result.  [default: the dtypes of the fine-tune]",
        ),
        click.option(
            "--tau",
            type=float,
            help="A tau up to the stored one; a lossless version then gives the lossy result.",
        ),
    ):
        command = option(command)
    return command


def _keep(ctx: click.Context, param: click.Parameter, value: Path | str | None) -> None:
    if value is not None:
        ctx.find_root().params[str(param.name)] = value


def registry_path() -> Path | str | None:
    """The value of --registry: the path of a folder, or a URL."""
    path = click.get_current_context().find_root().params["registry"]
    assert path is None or isinstance(path, Path | str)
    return path


def catalog_url() -> str | None:
    """The value of --catalog."""
    url = click.get_current_context().find_root().params["catalog"]
    assert url is None or isinstance(url, str)
    return url


def open_registry() -> Registry:
    """The registry that the command works on. Raises `NotFound`, `RegistryError`."""
    return Registry.open(registry_path(), catalog=catalog_url())


def since(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """Parse an ISO date or time in the local time zone, or an age: 12h, 7d, 2w. A callback of click."""
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
