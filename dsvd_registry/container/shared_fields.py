"""Fields that occur in the headers of both containers and residuals."""

from __future__ import annotations

from typing import Any

from ..errors import ContainerError
from . import limits
from .json_fields import Fields
from .records import Result


def parse_shape(fields: Fields, where: str) -> tuple[int, ...]:
    """Read the field `shape`. Raises `ContainerError`."""
    shape = fields.array("shape", limits.MAX_DIMENSIONS)
    if not all(type(size) is int and 0 <= size <= limits.MAX_SIZE for size in shape):
        raise ContainerError(f"{where}: shape has an entry that is not a size")
    if not limits.shape_fits(shape):
        raise ContainerError(f"{where}: the shape has too many elements")
    return tuple(shape)


def result_object(result: Result) -> dict[str, Any]:
    """The JSON of a result."""
    return {"path": result.path, "sha256": result.sha256, "size": result.size}


def parse_result(value: Any, where: str) -> Result:
    """Inverse of `result_object`. Raises `ContainerError`."""
    fields = Fields(value, where)
    result = Result(
        path=fields.text("path", limits.MAX_NAME_BYTES),
        sha256=fields.hexadecimal("sha256", 64),
        size=fields.integer("size", 0, limits.MAX_SIZE),
    )
    fields.end()
    return result
