"""Pictures with the texts of user interfaces in them, written in the ways of these programs."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

PARAMETERS = """a photo of sks dog, <lora:style:0.8>
Negative prompt: blurry
Steps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 1, Size: 8x8, """


def _picture() -> Image.Image:
    return Image.new("RGB", (8, 8), (200, 100, 50))


def png(texts: Mapping[str, str]) -> bytes:
    """A PNG by Pillow, as A1111 and ComfyUI write it: a chunk tEXt, or iTXt for other than Latin 1."""
    info, out = PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text)
    _picture().save(out, "PNG", pnginfo=info)
    return out.getvalue()


def png_of_comfyui(prompt: Any, workflow: Any = None) -> bytes:
    texts = {"prompt": json.dumps(prompt)}
    return png(texts if workflow is None else {**texts, "workflow": json.dumps(workflow)})


def exif_of_a1111(text: str) -> bytes:
    """EXIF as piexif writes it: big-endian, with a user comment in UTF-16."""
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    exif = struct.pack(">HHHII", 1, 0x9286, 7, len(comment), 8 + 18 + 18) + bytes(4)
    main = struct.pack(">HHHII", 1, 0x8769, 4, 1, 8 + 18) + bytes(4)
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + main + exif + comment


def with_exif(exif: bytes | Image.Exif, format: str) -> bytes:
    out = io.BytesIO()
    _picture().save(out, format, exif=exif)
    return out.getvalue()


def webp_of_comfyui(prompt: Any, workflow: Any) -> bytes:
    """As the node SaveAnimatedWEBP does: the texts stand where a camera's model and make would."""
    exif = _picture().getexif()
    exif[0x0110] = "prompt:" + json.dumps(prompt)
    exif[0x010F] = "workflow:" + json.dumps(workflow)
    return with_exif(exif, "WEBP")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_chunks(*chunks: bytes) -> bytes:
    """A PNG with chunks of one's own before its end."""
    whole = png({})
    return whole[: -len(chunk(b"IEND", b""))] + b"".join(chunks) + chunk(b"IEND", b"")
