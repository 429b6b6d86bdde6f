"""The fields of a binary header, one after another: written, and read strictly (spec, "Fields")."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import ContainerError
from . import limits

DIGEST_BYTES = 32

Name = TypeVar("Name", bound=str)
Item = TypeVar("Item")


class FieldWriter:
    """Appends fields to the bytes of a header."""

    def __init__(self) -> None:
        self.data = bytearray()

    def uint(self, value: int) -> None:
        """An unsigned integer below 2^53: seven bits a byte, the lowest first."""
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def code(self, name: Name, names: Sequence[Name]) -> None:
        """A byte: the index of `name` in `names`."""
        self.data.append(names.index(name))

    def text(self, value: str) -> None:
        """The number of UTF-8 bytes, and these."""
        data = value.encode()
        self.uint(len(data))
        self.data += data

    def digest(self, value: str) -> None:
        """A SHA-256, given in hexadecimal."""
        self.data += bytes.fromhex(value)

    def shape(self, shape: Sequence[int]) -> None:
        """The number of dimensions, and each."""
        self.uint(len(shape))
        for size in shape:
            self.uint(size)

    def single(self, value: float) -> None:
        """A binary32."""
        self.data += struct.pack("<f", value)

    def double(self, value: float) -> None:
        """A binary64."""
        self.data += struct.pack("<d", value)

    def signed_byte(self, value: int) -> None:
        """An integer from -128 to 127."""
        self.data += struct.pack("<b", value)


class FieldReader:
    """Reads the fields of a header in their order; `place` names the present entry in errors.

    `file_bytes`: the size of the whole file, which bounds what a header may list (spec, "Limits").
    Every method raises `ContainerError` for a field that breaks its rule.
    """

    def __init__(self, data: bytes, file_bytes: int) -> None:
        self._data = data
        self._entries = limits.FREE_ENTRIES + file_bytes // limits.BYTES_OF_AN_ENTRY
        self._dimensions = limits.FREE_DIMENSIONS + file_bytes
        self.position = 0
        self.place = "the header"

    def fail(self, message: str) -> ContainerError:
        """An error of the present entry."""
        return ContainerError(f"{self.place}: {message}")

    def uint(self, name: str, least: int = 0, most: int = limits.MAX_SIZE) -> int:
        """An integer from `least` to `most`, in its shortest form."""
        data, at = self._data, self.position
        value = shift = 0
        while True:
            if at >= len(data) or shift > 49:
                raise self.fail(f"{name} is not an integer, or the header ends in it")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if not byte and shift:
            raise self.fail(f"{name} is an integer with needless bytes")
        if not least <= value <= most:
            raise self.fail(f"{name} is {value}, outside {least}..{most}")
        self.position = at
        return value

    def count(self, name: str, most: int, least: int = 0) -> int:
        """The number of entries that follow; all of them must be within what the file may list."""
        value = self.uint(name, least, most)
        self._entries -= value
        if self._entries < 0:
            raise self.fail(f"{name}: the header lists too much for the size of the file")
        return value

    def entries(
        self, name: str, most: int, read: Callable[[], Item], least: int = 0
    ) -> tuple[Item, ...]:
        """A number, and as many entries; each is named by its place in errors."""
        result = []
        place = self.place
        for index in range(self.count(name, most, least)):
            self.place = f"{name}[{index}]"
            result.append(read())
        self.place = place
        return tuple(result)

    def code(self, name: str, names: Sequence[Name]) -> Name:
        """The one of `names` whose index follows as a byte."""
        index = self._take(1, name)[0]
        if index >= len(names):
            raise self.fail(f"{name} {index} is unknown")
        return names[index]

    def text(self, name: str, most: int = limits.MAX_NAME_BYTES, least: int = 1) -> str:
        """A string of `least` to `most` bytes of UTF-8."""
        data = self._take(self.uint(f"the length of {name}", least, most), name)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.fail(f"{name} is not UTF-8") from error

    def digest(self, name: str) -> str:
        """A SHA-256, in hexadecimal."""
        return self._take(DIGEST_BYTES, name).hex()

    def single(self, name: str) -> float:
        """A binary32, finite and without a minus sign."""
        return self._positive(name, *struct.unpack("<f", self._take(4, name)))

    def double(self, name: str) -> float:
        """A binary64, finite and without a minus sign."""
        return self._positive(name, *struct.unpack("<d", self._take(8, name)))

    def signed_double(self, name: str) -> float:
        """A binary64, finite, and not -0.0."""
        (value,) = struct.unpack("<d", self._take(8, name))
        if not math.isfinite(value) or (value == 0 and math.copysign(1.0, value) < 0):
            raise self.fail(f"{name} is not a finite number, or is -0.0")
        return float(value)

    def signed_byte(self, name: str, least: int, most: int) -> int:
        """An integer from `least` to `most` in one byte."""
        (value,) = struct.unpack("<b", self._take(1, name))
        if not least <= value <= most:
            raise self.fail(f"{name} is {value}, outside {least}..{most}")
        return int(value)

    def shape(self) -> tuple[int, ...]:
        """The number of dimensions, and each."""
        count = self.uint("the number of dimensions", 0, limits.MAX_DIMENSIONS)
        self._dimensions -= count
        if self._dimensions < 0:
            raise self.fail("the header has too many dimensions for the size of the file")
        shape = tuple(self.uint("a dimension") for _ in range(count))
        if not shape_fits(shape):
            raise self.fail("the shape has too many elements")
        return shape

    def end(self) -> None:
        """Check that nothing follows."""
        if self.position != len(self._data):
            raise self.fail(f"it has {len(self._data) - self.position} bytes behind its last field")

    def _take(self, size: int, name: str) -> bytes:
        end = self.position + size
        if end > len(self._data):
            raise self.fail(f"the header ends in {name}")
        data = self._data[self.position : end]
        self.position = end
        return data

    def _positive(self, name: str, value: float) -> float:
        if not math.isfinite(value) or math.copysign(1.0, value) < 0:
            raise self.fail(f"{name} is not a finite number of at least 0")
        return value


def shape_fits(shape: Sequence[int]) -> bool:
    """True if a tensor of this shape is within the limits, not counting dimensions of 0."""
    return math.prod(size for size in shape if size) * 16 <= limits.MAX_SIZE
