"""Metadata and attachments of versions: what is set is there, whatever happens to the catalog."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.catalog import metadata_edits
from dsvd_registry.errors import Conflict, InvalidArgument, NotFound, RegistryError
from dsvd_registry.registry.describing.attached_bytes import MAX_PIXELS, checked_bytes
from dsvd_registry.registry.describing.attachments import preview_of

from .conftest import flip, object_path

ENTRIES = {"trigger": "sks dog", "modelspec.title": "Rex\n<b>", "ss_clip_skip": ""}


@pytest.fixture
def root(root: Path) -> Path:
    """The registry, whose version has none of the metadata of its source."""
    with Registry.open(root) as registry:
        for key in registry.metadata("subject"):
            registry.remove_metadata("subject", key)
    return root


def test_what_is_set_is_there_after_a_rebuild(root: Path, tmp_path: Path) -> None:
    (tmp_path / "grid 1.PNG").write_bytes(picture())
    with Registry.open(root) as registry:
        registry.set_metadata("subject", ENTRIES | {"gone": "x"})
        registry.set_metadata("subject", {"trigger": "sks cat"})
        assert dict(registry.remove_metadata("subject", "gone")) == ENTRIES | {"trigger": "sks cat"}
        attached = registry.attach("subject", tmp_path / "grid 1.PNG")
        assert (attached.name, attached.role, attached.media_type) == (
            "grid-1.png",
            "preview",
            "image/png",
        )
        kept = registry.attachments("subject")
    (root / "catalog.sqlite").unlink()
    Registry.rebuild_catalog(root)
    with Registry.open(root) as registry:
        assert list(registry.metadata("subject").items()) == sorted(
            (ENTRIES | {"trigger": "sks cat"}).items()
        )
        assert registry.attachments("subject") == kept == (attached,)
        with registry.open_attachment("subject", "grid-1.png") as file:
            assert file.read() == picture()
        assert registry.verify(deep=True).is_well
        with pytest.raises(TypeError):
            registry.metadata("subject")["trigger"] = "x"  # type: ignore[index]


def test_garbage_collection_takes_what_was_detached_alone(root: Path, tmp_path: Path) -> None:
    for name, seed in (("a.png", 1), ("b.png", 2)):
        (tmp_path / name).write_bytes(picture(seed=seed))
    with Registry.open(root) as registry:
        kept, gone = (registry.attach("subject", tmp_path / name) for name in ("a.png", "b.png"))
        assert (kept.role, gone.role) == ("preview", "sample")
        registry.collect_garbage(grace_days=-1)
        registry.detach("subject", "b.png")
        registry.collect_garbage(grace_days=-1)
        assert object_path(root, kept.sha256).is_file()
        assert not object_path(root, gone.sha256).exists()
        with pytest.raises(NotFound):
            registry.open_attachment("subject", "b.png")
        assert registry.verify().is_well


def test_a_damaged_attachment_is_found_and_not_given(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    with Registry.open(root) as registry:
        attached = registry.attach("subject", tmp_path / "a.png")
        flip(object_path(root, attached.sha256))
        (finding,) = registry.verify("subject").findings
        assert "the attachment a.png" in finding.problem
        with pytest.raises(RegistryError, match="damaged"):
            registry.open_attachment("subject", "a.png")


def test_repeats_change_nothing_and_other_bytes_are_a_conflict(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("one")
    with Registry.open(root) as registry:
        first = registry.attach("subject", file)
        (tmp_path / "a.png").write_bytes(picture())
        preview = registry.attach("subject", tmp_path / "a.png")
        registry.set_metadata("subject", ENTRIES)
        position = registry.repository.catalog.position()
        assert registry.attach("subject", file) == first
        assert registry.attach("subject", tmp_path / "a.png") == preview
        registry.set_metadata("subject", {"trigger": "sks dog"})
        assert registry.repository.catalog.position() == position
        file.write_text("two")
        file.rename(tmp_path / "NOTE.txt")
        with pytest.raises(Conflict):
            registry.attach("subject", tmp_path / "NOTE.txt")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.text(max_size=6), st.text(max_size=6), min_size=1, max_size=4))
def test_any_metadata_is_kept_or_refused_whole(root: Path, entries: dict[str, str]) -> None:
    with Registry.open(root) as registry:
        before = dict(registry.metadata("subject"))
        try:
            after = registry.set_metadata("subject", entries)
        except InvalidArgument:
            assert dict(registry.metadata("subject")) == before
        else:
            assert dict(after) == before | entries


def test_limits_of_a_version(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry.open(root) as registry:
        registry.set_metadata("subject", {f"k{n}": "" for n in range(metadata_edits.MAX_KEYS)})
        with pytest.raises(InvalidArgument, match="1024 keys"):
            registry.set_metadata("subject", {"one": "more"})
        registry.set_metadata("subject", {"k1": "changed"})
        with pytest.raises(InvalidArgument, match="196608 characters"):
            registry.set_metadata("subject", {"k1": "x" * 196_000})
        assert registry.metadata("subject")["k1"] == "changed"
        for number in range(metadata_edits.MAX_ATTACHMENTS):
            (tmp_path / f"{number}.txt").write_text(str(number))
            registry.attach("subject", tmp_path / f"{number}.txt")
        (tmp_path / "more.txt").write_text("more")
        with pytest.raises(InvalidArgument, match="65 attachments"):
            registry.attach("subject", tmp_path / "more.txt")
        registry.detach("subject", "3.txt")
        monkeypatch.setattr(metadata_edits, "MAX_ATTACHED_BYTES", 100)
        with pytest.raises(InvalidArgument, match="attachments of"):
            registry.attach("subject", tmp_path / "more.txt")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + body + chunk(b"IEND", b"")


TEXT_BOMB = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 << 20), 9))


@pytest.mark.parametrize(
    "data",
    [
        picture()[:-40],
        picture("JPEG", size=64)[:-200],
        picture("WEBP", size=64)[:-20],
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\x04\0\0\0WEBP",
        b"GIF89a" + bytes(20),
        b"\x00\x01",
        b"\xff\xfe",
        png(1 << 14, 1 << 13, bytes((1 << 11) + 1) * (1 << 13)),  # 134 million pixels in 17 kB
        png(0, 5, b""),
        png(8, 8, bytes(2) * 8, TEXT_BOMB),
    ],
    ids=["png", "jpeg", "webp", "no png", "no jpeg", "no webp", "gif", "nul", "bytes", "pixels",
         "empty", "text"],
)  # fmt: skip
def test_what_is_no_whole_picture_and_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        checked_bytes(data, "it.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_every_cut_of_a_picture_is_refused_or_decodes(format: str) -> None:
    whole = picture(format, size=16)
    assert checked_bytes(whole, "it").media_type == f"image/{format.lower()}"
    for length in range(len(whole)):
        try:
            found = checked_bytes(whole[:length], "it")
        except InvalidArgument:
            continue
        if found.is_picture:  # a cut behind the last pixel
            with Image.open(io.BytesIO(whole[:length])) as image:
                image.load()


def test_the_largest_picture_is_taken() -> None:
    side = 1 << 13
    assert side * side == MAX_PIXELS
    data = png(side, side, bytes(side // 8 + 1) * side)
    assert checked_bytes(data, "it").media_type == "image/png"


@pytest.mark.parametrize(
    ("name", "text", "media_type"),
    [
        ("a.civitai.info", '{"id": 1}', "application/json"),
        ("a.json", "{", "text/plain"),
        ("a.json", "[" * 100_000, "text/plain"),
        ("a.txt", "é\u202e\x1b[31m", "text/plain"),
        ("a.svg", "<svg onload='x()'/>", "text/plain"),
    ],
)
def test_types_of_texts(name: str, text: str, media_type: str) -> None:
    assert checked_bytes(text.encode(), name).media_type == media_type


def test_roles_fit_what_the_bytes_are(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "a.txt").write_text("x")
    with Registry.open(root) as registry:
        for name, role in (("a.png", "note"), ("a.txt", "preview")):
            with pytest.raises(InvalidArgument, match="cannot be a"):
                registry.attach("subject", tmp_path / name, role=role)  # type: ignore[arg-type]
        for path in (tmp_path, tmp_path / "missing.png"):
            with pytest.raises(InvalidArgument):
                registry.attach("subject", path)
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InvalidArgument, match="plain file"):
            registry.attach("subject", tmp_path / "pipe")
        shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
        registry.attach("subject", tmp_path / "a.png", role="preview")
        newest = registry.attach("subject", tmp_path / "b.png", role="preview")
        assert preview_of(registry.attachments("subject")) == newest
