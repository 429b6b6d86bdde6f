"""A fuzz target: the listing of a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.checkpoint.folder_listing import listing_bytes, parse_listing
from dsvd_registry.checkpoint.tree import ListedFile


def seeds() -> Iterator[bytes]:
    yield listing_bytes(ListedFile(path, "0" * 64, 3) for path in ("a/b.json", "model_index.json"))


def read(data: bytes, folder: Path) -> None:
    for file in parse_listing(data):
        assert (folder / file.path).resolve().is_relative_to(folder.resolve()), "it leads elsewhere"
