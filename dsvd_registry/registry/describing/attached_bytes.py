"""The check of bytes before they are attached: pictures by decoding them, texts as UTF-8.

Nothing in them is executed. A picture's size is read and limited before its pixels are decoded, and of
Pillow only the three decoders that are needed are used.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ... import fs
from ...errors import InvalidArgument

MAX_PICTURE = 32 << 20
MAX_TEXT = 4 << 20
MAX_PIXELS = 1 << 26  # such as 8192 x 8192, which takes 256 MiB to decode

_PNG, _JPEG, _RIFF, _WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"WEBP"
_JSON_ENDINGS = ("json", "info")

ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
"""The ending of a file of each type of picture."""


@dataclass(frozen=True)
class AttachedBytes:
    """Bytes that were checked, and the media type that they have."""

    data: bytes
    media_type: str

    @property
    def is_picture(self) -> bool:
        """True for a picture, false for a text."""
        return self.media_type in ENDINGS


def read_attached(path: Path) -> AttachedBytes:
    """Read a file to attach, and check it as `checked_bytes` does; no more than the limit is read.

    Raises `InvalidArgument`, `StorageError`.
    """
    with fs.storage_errors(path):
        if not path.is_file():
            what = "is not a plain file" if path.exists() else "does not exist"
            raise InvalidArgument(f"{path} {what}", "Give the path of a picture or a text.")
        with path.open("rb") as file:
            data = file.read(MAX_PICTURE + 1)
    return checked_bytes(data, str(path))


def read_picture(path: Path) -> AttachedBytes:
    """Read a picture as `read_attached` does. Raises `InvalidArgument` for a text, too."""
    found = read_attached(path)
    if not found.is_picture:
        raise InvalidArgument(f"{path} is a text", "Give a PNG, JPEG or WebP picture.")
    return found


def checked_bytes(data: bytes, where: str) -> AttachedBytes:
    """The bytes with their media type; `where` names them in errors, and its ending tells JSON.

    Raises `InvalidArgument` for what is no whole PNG, JPEG or WebP picture and no text, or is too
    large.
    """
    media_type = _picture_type(data)
    limit = MAX_TEXT if media_type is None else MAX_PICTURE
    if len(data) > limit:
        what = "text" if media_type is None else "picture"
        raise InvalidArgument(
            f"{where} is larger than {limit >> 20} MiB, the limit for a {what}",
            "Make it smaller, or keep it elsewhere and set its address as metadata.",
        )
    if media_type is None:
        return AttachedBytes(data, _text_type(data, where))
    _check_picture(data, media_type, where)
    return AttachedBytes(data, media_type)


def _picture_type(data: bytes) -> str | None:
    if data.startswith(_PNG):
        return "image/png"
    if data.startswith(_JPEG):
        return "image/jpeg"
    if data.startswith(_RIFF) and data[8:12] == _WEBP:
        return "image/webp"
    return None


def _check_picture(data: bytes, media_type: str, where: str) -> None:
    from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin
    from PIL.ImageFile import ImageFile

    decoders: dict[str, Callable[[BinaryIO], ImageFile]] = {
        "image/png": PngImagePlugin.PngImageFile,
        "image/jpeg": JpegImagePlugin.JpegImageFile,
        "image/webp": WebPImagePlugin.WebPImageFile,
    }
    try:
        # The class itself, because `Image.open` warns of large pictures by a setting of the process.
        with decoders[media_type](io.BytesIO(data)) as picture:
            width, height = picture.size
            if width * height <= MAX_PIXELS:
                picture.load()
    except Exception as error:  # damaged bytes make Pillow raise a dozen classes
        raise InvalidArgument(
            f"{where} is not a whole {media_type.removeprefix('image/').upper()} picture: {error}",
            "Save the picture again as PNG, JPEG or WebP.",
        ) from error
    if width * height > MAX_PIXELS:
        raise InvalidArgument(
            f"{where} has {width} x {height} pixels, more than {MAX_PIXELS}",
            "Make the picture smaller.",
        )


def _text_type(data: bytes, where: str) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidArgument(
            f"{where} is neither a PNG, JPEG or WebP picture nor a text in UTF-8",
            "Only these can be attached.",
        )
    if where.lower().rpartition(".")[2] in _JSON_ENDINGS and _is_json(text):
        return "application/json"
    return "text/plain"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
