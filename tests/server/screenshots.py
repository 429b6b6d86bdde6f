"""The pictures of the pages for the documentation, made by `make screenshots`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from server.browser import Watched, chromium, context  # noqa: E402 - found by the line above
from server.gallery import make_gallery  # noqa: E402
from server.running import serving  # noqa: E402

FOLDER = ROOT / "docs" / "pictures"
LARGEST = 150_000  # bytes of a picture
SMOOTH, PLAIN = Image.Dither.FLOYDSTEINBERG, Image.Dither.NONE
DETAIL = ((256, SMOOTH), (256, PLAIN), (128, PLAIN), (64, PLAIN), (32, PLAIN))
SHOTS = {
    "pages-home": ("/", "light", "wide", 640),
    "pages-version": ("/versions/rex@2", "light", "wide", 1560),
    "pages-version-dark": ("/versions/rex@2", "dark", "wide", 900),
    "pages-compare": ("/compare?left=rex@1&right=rex@2", "light", "wide", 1560),
    "pages-bytes": ("/storage", "dark", "wide", 760),
    "pages-phone": ("/", "light", "phone", 900),
}
"""By file: the page, light or dark, the window, and the height in pixels."""


def main() -> None:
    """Make a registry, serve it, and write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        gallery = make_gallery(Path(place))
        with serving(gallery.registry, Path(place) / "run") as server, chromium() as browser:
            for name, (path, scheme, size, height) in SHOTS.items():
                with context(browser, scheme, size) as window:
                    page = Watched(window).page
                    width = page.viewport_size["width"] if page.viewport_size else 0
                    page.set_viewport_size({"width": width, "height": height})
                    answer = page.goto(server.url + path, wait_until="networkidle")
                    assert answer is not None and answer.ok, path
                    write(FOLDER / f"{name}.png", page.screenshot())


def write(path: Path, shot: bytes) -> None:
    """Write a picture with as many colours as fit into the largest size."""
    with Image.open(io.BytesIO(shot)) as picture:
        for colors, dither in DETAIL:
            buffer = io.BytesIO()
            picture.convert("RGB").quantize(colors, dither=dither).save(
                buffer, "PNG", optimize=True
            )
            if buffer.tell() <= LARGEST:
                break
    path.write_bytes(buffer.getvalue())
    sys.stderr.write(f"{path}: {buffer.tell()} bytes, {colors} colours\n")


if __name__ == "__main__":
    main()
