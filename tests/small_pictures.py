"""Small real pictures, made by Pillow."""

from __future__ import annotations

import io

from PIL import Image
from PIL.PngImagePlugin import PngInfo


def picture(format: str = "PNG", seed: int = 0, size: int = 8, text: str | None = None) -> bytes:
    """A picture of `size` x `size` pixels in the format; `text` is its generation parameters (PNG)."""
    made = Image.new("RGB", (size, size))
    made.putdata([((x * 7 + seed) % 256, (x * 13) % 256, seed % 256) for x in range(size * size)])
    buffer = io.BytesIO()
    if text is None:
        made.save(buffer, format)
    else:
        info = PngInfo()
        info.add_text("parameters", text)
        made.save(buffer, format, pnginfo=info)
    return buffer.getvalue()
