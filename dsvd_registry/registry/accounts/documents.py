"""Records as documents: plain values for JSON, with the field names of the Python API."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...catalog.records import VersionRecord


def version_document(version: VersionRecord) -> dict[str, Any]:
    """A version as a JSON document, in the form that every command prints."""
    fields = {
        field.name: getattr(version, field.name)
        for field in dataclasses.fields(version)
        if field.name != "settings"
    }
    return {"ref": version.ref} | fields | settings(version)


def settings(version: VersionRecord) -> dict[str, Any]:
    """The settings of a version, such as its tau."""
    return _settings(version.settings)


@functools.lru_cache
def _settings(text: str) -> dict[str, Any]:
    # Thousands of versions share the same few settings: each text is parsed once.
    found: dict[str, Any] = json.loads(text)
    return found


def plain(value: object) -> Any:
    """The value in the types of JSON. Infinite numbers and NaN become null."""
    if type(value) in (str, int):  # the most frequent types first, for speed
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
