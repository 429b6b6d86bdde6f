"""JSON for programs: one document on stdout, whose field names are those of the API's values."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..catalog.records import VersionRecord


def print_document(value: object) -> None:
    """Print `value` as JSON."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def version_document(version: VersionRecord) -> dict[str, Any]:
    """A version as every command gives it."""
    fields = {
        field.name: getattr(version, field.name)
        for field in dataclasses.fields(version)
        if field.name != "settings"
    }
    return {"ref": version.ref} | fields | settings(version)


def settings(version: VersionRecord) -> dict[str, Any]:
    """tau and the like: what the version was stored with."""
    return _settings(version.settings)


@functools.lru_cache
def _settings(text: str) -> dict[str, Any]:
    # Thousands of versions have the same few settings.
    found: dict[str, Any] = json.loads(text)
    return found


def plain(value: object) -> Any:
    """`value` in JSON's types. What is infinite or no number becomes null."""
    if type(value) in (str, int):  # most are
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
