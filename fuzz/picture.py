"""A fuzz target: the texts of a picture, and the models that they mention."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.pictures import mentions_in, picture_texts

PARAMETERS = (
    b'dog <lora:a:1>\nSteps: 9, Model hash: 0123456789, Model: m, Lora hashes: "a: 0123456789ab"'
)
PROMPT = {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "a.safetensors"}}}


def seeds() -> Iterator[bytes]:
    chunks = (
        (b"tEXt", b"parameters\0" + PARAMETERS),
        (b"zTXt", b"prompt\0\0" + zlib.compress(json.dumps(PROMPT).encode())),
        (b"iTXt", b"parameters\0\0\0\0\0" + PARAMETERS),
        (b"IEND", b""),
    )
    yield b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I4s", len(data), kind) + data + bytes(4) for kind, data in chunks
    )
    comment = b"UNICODE\0" + PARAMETERS.decode().encode("utf-16-be")
    exif = b"MM\0*" + struct.pack(">IHHHIII", 8, 1, 0x8769, 4, 1, 26, 0)
    exif += struct.pack(">HHHIII", 1, 0x9286, 7, len(comment), 44, 0) + comment
    part = b"Exif\0\0" + exif
    yield b"\xff\xd8\xff\xe1" + struct.pack(">H", len(part) + 2) + part + b"\xff\xd9"
    body = b"WEBP" + struct.pack("<4sI", b"EXIF", len(exif)) + exif
    yield struct.pack("<4sI", b"RIFF", len(body)) + body


def read(data: bytes, folder: Path) -> None:
    path = folder / "picture"
    path.write_bytes(data)
    for mention in mentions_in(picture_texts(path)):
        assert mention.digest is None or 8 <= len(mention.digest) <= 64
        assert mention.name is None or 0 < len(mention.name) <= 300
