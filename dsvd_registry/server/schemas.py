"""Schemas of documents, for the OpenAPI document: those of dataclasses are made from their fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
SHA256: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
COMMIT: Schema = {"type": "string", "pattern": "^[0-9a-f]{40}$"}
TIME: Schema = {"type": "string", "format": "date-time"}
_PLAIN: dict[Any, Schema] = {
    str: TEXT,
    bool: FLAG,
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},  # null stands for what JSON has no number for
    datetime: TIME,
    Path: TEXT,
    types.NoneType: {"type": "null"},
}


def fields(**properties: Schema) -> Schema:
    """An object that has exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def array(items: Schema) -> Schema:
    """An array of equal things."""
    return {"type": "array", "items": items}


def page(name: str, items: Schema, /, **more: Schema) -> Schema:
    """A page of a longer list: its entries, and what to give as `after` for the next page."""
    return fields(**more, **{name: array(items), "next": {"type": ["string", "null"]}})


def schema_of(kind: Any) -> Schema:
    """The schema of the JSON that `documents.plain` makes of a value of this type."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return fields(**{f.name: schema_of(hints[f.name]) for f in dataclasses.fields(kind)})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [schema_of(argument) for argument in arguments]}
    if origin in (tuple, list):
        return array(schema_of(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1])}
    raise TypeError(f"{kind} has no schema")
