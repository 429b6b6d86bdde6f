"""Painted pictures in a folder, each under the digest of everything that it was made by."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import canonical, fs
from ..errors import InvalidArgument
from ..hashing import sha256
from ..registry.describing.attached_bytes import checked_bytes
from .image_similarity import Picture


@dataclass(frozen=True)
class PictureStore:
    """Pictures as PNG files in `folder`: a run that was stopped finds them and goes on."""

    folder: Path

    def path(self, key: str) -> Path:
        """The file of a picture, whether it is there or not."""
        return self.folder / f"{key}.png"

    def has(self, key: str) -> bool:
        """True if the picture was painted."""
        with fs.storage_errors(self.folder):
            return self.path(key).is_file()

    def put(self, key: str, picture: Picture) -> None:
        """Keep a picture; it is whole or not there. Raises `StorageError`."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        fs.make_folder(self.folder)
        fs.write_file(self.path(key), buffer.getvalue(), replace=True)

    def get(self, key: str) -> Picture:
        """A picture that was painted. Raises `InvalidArgument` for a damaged file, `StorageError`."""
        return read_picture(self.path(key))


def picture_key(made_by: Mapping[str, object]) -> str:
    """The name of a picture: the SHA-256 of everything that it is made by."""
    return sha256(canonical.encode(made_by))


def read_picture(path: Path) -> Picture:
    """The pixels of a PNG, JPEG or WebP file, upright.

    Raises `InvalidArgument` for what is no whole picture or too large, `StorageError`.
    """
    from PIL import Image, ImageOps

    with fs.storage_errors(path):
        data = path.read_bytes()
    if not checked_bytes(data, str(path)).is_picture:
        raise InvalidArgument(f"{path} is a text", "Give a PNG, JPEG or WebP picture.")
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        return np.asarray(upright.convert("RGB"))
