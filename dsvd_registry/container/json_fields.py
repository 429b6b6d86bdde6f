"""Strict reading of the header's JSON: canonical spelling, and each field by name and type."""

from __future__ import annotations

import math
from typing import Any

from .. import canonical
from ..errors import ContainerError


def decode(data: bytes) -> Any:
    """The value of a canonical text whose weight was checked. Raises `ContainerError` for any other."""
    try:
        return canonical.decode(data, weighed=True)
    except canonical.NotCanonical as error:
        raise ContainerError(f"the header is {error}") from error


class Fields:
    """One JSON object of the header, read field by field; `where` names it in errors.

    Every method raises `ContainerError`.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ContainerError(f"{where} is not an object")
        self._left = dict(value)
        self._where = where

    def take(self, name: str) -> Any:
        if name not in self._left:
            raise ContainerError(f"{self._where} has no field {name!r}")
        return self._left.pop(name)

    def has(self, name: str) -> bool:
        """Whether an optional field is present and was not taken yet."""
        return name in self._left

    def integer(self, name: str, least: int, most: int) -> int:
        value = self.take(name)
        if type(value) is not int:
            raise ContainerError(f"{self._where}: {name} is not an integer")
        if not least <= value <= most:
            raise ContainerError(f"{self._where}: {name} is outside {least}..{most}")
        return value

    def optional_integer(self, name: str, least: int, most: int) -> int:
        """Take an integer field; 0 if it is absent."""
        return self.integer(name, least, most) if self.has(name) else 0

    def real(self, name: str) -> float:
        value = self.take(name)
        if type(value) is not float:
            raise ContainerError(f"{self._where}: {name} is not a real number")
        if not math.isfinite(value) or math.copysign(1.0, value) < 0:
            raise ContainerError(f"{self._where}: {name} is not a finite number of at least 0")
        return value

    def text(self, name: str, most_bytes: int, least_bytes: int = 1) -> str:
        value = self.take(name)
        if not isinstance(value, str):
            raise ContainerError(f"{self._where}: {name} is not a string")
        try:
            length = len(value.encode())
        except UnicodeEncodeError as error:
            raise ContainerError(f"{self._where}: {name} holds half a surrogate pair") from error
        if not least_bytes <= length <= most_bytes:
            raise ContainerError(
                f"{self._where}: {name} must have {least_bytes}..{most_bytes} bytes"
            )
        return value

    def hexadecimal(self, name: str, digits: int) -> str:
        value = self.text(name, digits)
        if len(value) != digits or not set(value) <= set("0123456789abcdef"):
            raise ContainerError(f"{self._where}: {name} is not {digits} hexadecimal digits")
        return value

    def array(self, name: str, most: int, least: int = 0) -> list[Any]:
        value = self.take(name)
        if not isinstance(value, list):
            raise ContainerError(f"{self._where}: {name} is not an array")
        if not least <= len(value) <= most:
            raise ContainerError(f"{self._where}: {name} must have {least}..{most} entries")
        return value

    def end(self) -> None:
        """Refuse all fields that were not taken."""
        if self._left:
            name = min(self._left)
            raise ContainerError(f"{self._where} has an unknown field {name!r}")
