"""The description of an exported version: it goes along, and is checked whole before it comes in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_text import HOSTILE_TEXTS
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, ContainerError

from .conftest import Pair

Edit = Callable[[dict[str, Any], list[bytes]], None]


def described(root: Path, place: Path) -> None:
    """Give `subject` metadata, a preview and a note."""
    (place / "rex.preview.png").write_bytes(picture())
    (place / "note.txt").write_text("five photographs\n")
    with Registry.open(root) as registry:
        registry.set_metadata("subject", HOSTILE_TEXTS | {"trigger": "sks dog"})
        registry.attach("subject", place / "rex.preview.png")
        registry.attach("subject", place / "note.txt")
        registry.export_container("subject", place / "rex.dsvd")


@pytest.fixture
def other(pair: Pair, tmp_path: Path) -> Path:
    """Another registry that has the base alone."""
    with Registry.init(tmp_path / "other") as registry:
        registry.add_base("theirs", pair.base_file)
    return tmp_path / "other"


def test_it_is_there_in_another_registry(root: Path, other: Path, tmp_path: Path) -> None:
    described(root, tmp_path)
    with Registry.open(root) as registry, Registry.open(other) as theirs:
        done = theirs.import_container(tmp_path / "rex.dsvd", name="rex")
        assert dict(theirs.metadata("rex")) == dict(registry.metadata("subject"))
        assert theirs.metadata("rex")["bidi"] == HOSTILE_TEXTS["bidi"]
        ours = [(one.name, one.role, one.sha256) for one in registry.attachments("subject")]
        assert [(one.name, one.role, one.sha256) for one in theirs.attachments("rex")] == ours
        with theirs.open_attachment("rex", "rex.preview.png") as file:
            assert file.read() == picture()
        assert done.taken_in.attachments == theirs.attachments("rex")
        theirs.set_metadata("rex", {"trigger": "mine"})
        again = theirs.import_container(tmp_path / "rex.dsvd", name="rex")
        assert not again.created and again.taken_in.attachments == ()
        assert theirs.metadata("rex")["trigger"] == "mine"
        assert theirs.verify(deep=True).is_well
    Registry.rebuild_catalog(other)
    with Registry.open(other) as theirs:
        assert theirs.metadata("rex")["trigger"] == "mine"
        assert len(theirs.attachments("rex")) == 2


def test_without_a_description_nothing_is_written(root: Path, tmp_path: Path) -> None:
    described(root, tmp_path)
    with Registry.open(root) as registry:
        with pytest.raises(Conflict):
            registry.export_container("subject", tmp_path / "rex.dsvd")
        for key in registry.metadata("subject"):
            registry.remove_metadata("subject", key)
        for one in registry.attachments("subject"):
            registry.detach("subject", one.name)
        (tmp_path / "rex.dsvd").unlink()
        with pytest.raises(Conflict):
            registry.export_container("subject", tmp_path / "rex.dsvd")
        done = registry.export_container("subject", tmp_path / "rex.dsvd", replace=True)
        assert done.description is None and not (tmp_path / "rex.dsvdm").exists()


def listed(header: dict[str, Any], number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = header["attachments"][number]
    return found


def relisted(header: dict[str, Any], parts: list[bytes], number: int, data: bytes) -> None:
    """Other bytes for an attachment, with their own size and digest."""
    parts[number] = data
    listed(header, number).update(size=len(data), sha256=hashlib.sha256(data).hexdigest())


EDITS: dict[str, Edit] = {
    "another container": lambda header, _: header.update(container="0" * 64),
    "a field more": lambda header, _: header.update(more=1),
    "a bad key": lambda header, _: header["metadata"].update({"a b": "x"}),
    "a bad value": lambda header, _: header["metadata"].update({"a": 1}),
    "a NUL": lambda header, _: header["metadata"].update({"a": "\0"}),
    "too much": lambda header, _: header["metadata"].update({"a": "x" * 200_000}),
    "too many keys": lambda header, _: header["metadata"].update(
        {f"k{n}": "" for n in range(1100)}
    ),
    "no object": lambda header, _: header.update(metadata=[]),
    "no list": lambda header, _: header.update(attachments={}),
    "a bad name": lambda header, _: listed(header).update(name="../x"),
    "a bad role": lambda header, _: listed(header).update(role="page"),
    "a bad type": lambda header, _: listed(header).update(media_type="text/html"),
    "a false type": lambda header, _: listed(header).update(media_type="image/jpeg"),
    "a false role": lambda header, _: listed(header).update(role="note"),
    "a text as a preview": lambda header, _: listed(header, 1).update(role="preview"),
    "a huge size": lambda header, _: listed(header).update(size=1 << 62),
    "one name twice": lambda header, _: listed(header, 1).update(name="REX.preview.png"),
    "other bytes": lambda _, parts: parts.__setitem__(0, picture(seed=9)),
    "no picture": lambda header, parts: relisted(header, parts, 0, picture()[:-40]),
    "no text": lambda header, parts: relisted(header, parts, 1, b"\xff\xfe"),
    "too many": lambda header, _: header["attachments"].extend(
        {**listed(header, 1), "name": f"n{n}"} for n in range(70)
    ),
    "bytes behind": lambda _, parts: parts.append(b"\0"),
    "cut": lambda _, parts: parts.pop(),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_forged_one_is_refused_before_anything_is_stored(
    edit: str, root: Path, other: Path, tmp_path: Path
) -> None:
    described(root, tmp_path)
    file = tmp_path / "rex.dsvdm"
    data = file.read_bytes()
    length = int.from_bytes(data[8:16], "little")
    header, rest = json.loads(data[16 : 16 + length]), data[16 + length :]
    first = header["attachments"][0]["size"]
    parts = [rest[:first], rest[first:]]
    EDITS[edit](header, parts)
    forged = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    file.write_bytes(b"DSVDMETA" + len(forged).to_bytes(8, "little") + forged + b"".join(parts))
    check_refused(other, tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DSVDMETA",
        b"DSVDMETA" + b"\xff" * 8,
        b"DSVDMETA" + (1 << 20).to_bytes(8, "little") + b"{}",
        b"DSVDMETA" + (9000).to_bytes(8, "little") + b"[" * 9000,
        b"DSVDMETA" + (2).to_bytes(8, "little") + b"{}",
        b"DSVDMETA" + (3).to_bytes(8, "little") + b"{ }",
        b"PK\3\4" + bytes(40),
    ],
)
def test_what_is_no_description(data: bytes, root: Path, other: Path, tmp_path: Path) -> None:
    described(root, tmp_path)
    (tmp_path / "rex.dsvdm").write_bytes(data)
    check_refused(other, tmp_path)


def check_refused(other: Path, place: Path) -> None:
    with Registry.open(other) as theirs:
        before = sorted((other / "objects").rglob("*"))
        with pytest.raises(ContainerError, match=r"rex\.dsvdm"):
            theirs.import_container(place / "rex.dsvd")
        assert theirs.versions() == [] and sorted((other / "objects").rglob("*")) == before
