"""The texts in a picture's file: PNG, JPEG and WEBP.

No pixel is decoded. A picture may come from anywhere, so all that is read is bounded: by the size of
the chunk that it stands in, by the size of what it inflates to, and by the sum of all texts. A part
that breaks its format's rules is passed over, because the other parts may still be whole.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import InvalidArgument
from ..fs import storage_errors

MAX_TEXT = 8 << 20  # bytes of one text, inflated
MAX_TEXTS = 32 << 20  # bytes of all texts of a picture
MAX_CHUNKS = 100_000  # of a file; an animation of 10,000 frames has as many
MAX_ENTRIES = 1_000  # of a table of EXIF

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
ASCII_TAG, USER_COMMENT, EXIF_TABLE = 2, 0x9286, 0x8769
MODEL = 0x0110  # of the camera: where ComfyUI's texts begin, and go down from


def is_picture(start: bytes) -> bool:
    """True if a file that starts with these 12 bytes or more is a PNG, a JPEG or a WEBP."""
    return start.startswith((PNG, JPEG)) or _is_webp(start)


def _is_webp(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def picture_texts(path: Path) -> list[str]:
    """The texts of the picture at `path`, in its order, without their keys.

    Raises `InvalidArgument` for a file that is not a picture, `StorageError`.
    """
    with storage_errors(path), path.open("rb") as file:
        start = file.read(12)
        if not is_picture(start):
            raise InvalidArgument(f"{path} is not a PNG, a JPEG or a WEBP")
        file.seek(0)
        reader = _webp if _is_webp(start) else _png if start.startswith(PNG) else _jpeg
        texts, left = [], MAX_TEXTS
        with contextlib.suppress(_Broken):
            for text in reader(file):
                left -= len(text)
                if left < 0:
                    break
                texts.append(text)
    return texts


class _Broken(Exception):
    """A file that ends early, or has more parts than any picture."""


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _Broken
    return data


def _png(file: BinaryIO) -> Iterator[str]:
    file.seek(len(PNG))
    for _ in range(MAX_CHUNKS):
        size, kind = struct.unpack(">I4s", _read(file, 8))
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf") and size <= MAX_TEXT:
            data = _read(file, size)
            yield from _exif(data) if kind == b"eXIf" else _png_text(kind, data)
        else:
            file.seek(size, 1)
        if kind == b"IEND":
            return
        file.seek(4, 1)  # the checksum
    raise _Broken


def _png_text(kind: bytes, data: bytes) -> Iterator[str]:
    _key, _, text = data.partition(b"\0")
    if kind == b"tEXt":
        # Latin 1 by the rules of PNG; some programs write UTF-8 all the same.
        yield _decoded(text, "utf-8", "latin-1")
    elif kind == b"zTXt" and text[:1] == b"\0":
        yield from (_decoded(one, "utf-8", "latin-1") for one in _inflated(text[1:]))
    elif kind == b"iTXt":
        _language, _, named = text[2:].partition(b"\0")
        _translated_key, _, value = named.partition(b"\0")
        values = _inflated(value) if text[:1] == b"\1" else [value]
        yield from (_decoded(one, "utf-8") for one in values)


def _inflated(data: bytes) -> list[bytes]:
    """The inflated text alone; none for one that is damaged, or grows beyond the limit."""
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(data, MAX_TEXT)
    except zlib.error:
        return []
    return [text] if inflate.eof else []


def _jpeg(file: BinaryIO) -> Iterator[str]:
    file.seek(2)
    for _ in range(MAX_CHUNKS):
        mark, kind = _read(file, 2)
        if mark != 0xFF:
            raise _Broken
        if kind == 0xFF:  # a byte of filling
            file.seek(-1, 1)
            continue
        if kind in (0xD9, 0xDA):  # the end, or the pixels, after which nothing is looked for
            return
        if kind == 0x01 or 0xD0 <= kind <= 0xD7:
            continue
        (size,) = struct.unpack(">H", _read(file, 2))
        data = _read(file, max(0, size - 2))
        if kind == 0xE1 and data.startswith(b"Exif\0\0"):
            yield from _exif(data[6:])
        elif kind == 0xFE:
            yield _decoded(data, "utf-8", "latin-1")
    raise _Broken


def _webp(file: BinaryIO) -> Iterator[str]:
    file.seek(12)
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            return
        kind, size = struct.unpack("<4sI", header)
        if kind == b"EXIF" and size <= MAX_TEXT:
            yield from _exif(_read(file, size).removeprefix(b"Exif\0\0"))
            file.seek(size % 2, 1)
        else:
            file.seek(size + size % 2, 1)
    raise _Broken


def _exif(data: bytes) -> Iterator[str]:
    """The user comment, and the texts that ComfyUI writes as the camera's make and model."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    main = dict(_table(data, order, place))
    for tag, (kind, value) in sorted(main.items()):
        if kind == ASCII_TAG and tag <= MODEL:
            yield _decoded(value.rstrip(b"\0"), "utf-8", "latin-1")
    _, value = main.get(EXIF_TABLE, (0, b""))
    if len(value) == 4:
        (place,) = struct.unpack(f"{order}I", value)
        _, comment = dict(_table(data, order, place)).get(USER_COMMENT, (0, b""))
        if comment:
            yield _user_comment(comment)


def _table(data: bytes, order: str, place: int) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """The entries of a table of EXIF: the tag, and the type and bytes of its value."""
    if place + 2 > len(data):
        return
    (count,) = struct.unpack_from(f"{order}H", data, place)
    for number in range(min(count, MAX_ENTRIES)):
        entry = place + 2 + 12 * number
        if entry + 12 > len(data):
            return
        tag, kind, length, at = struct.unpack_from(f"{order}HHII", data, entry)
        size = length * {1: 1, 2: 1, 3: 2, 4: 4, 7: 1}.get(kind, 0)
        value = data[entry + 8 : entry + 8 + size] if size <= 4 else data[at : at + size]
        if size and len(value) == size:
            yield tag, (kind, value)


def _user_comment(comment: bytes) -> str:
    code, text = comment[:8], comment[8:]
    if code != b"UNICODE\0":
        return _decoded(text if code in (b"ASCII\0\0\0", bytes(8)) else comment, "utf-8", "latin-1")
    # Big-endian is what A1111 writes, whatever the order of the other numbers; other programs differ.
    # The right order is the one that gives more of the characters that parameters are made of.
    both = [_decoded(text, f"utf-16-{order}") for order in ("be", "le")]
    return max(both, key=lambda one: sum(sign.isascii() for sign in one))


def _decoded(data: bytes, *encodings: str) -> str:
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    return data.decode(encodings[0], "replace")
