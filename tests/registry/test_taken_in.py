"""The metadata and files that `add` takes in, in the layouts of the tools that write them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument, NotFound
from dsvd_registry.store.event_fields import MAX_ENTRIES

KOHYA = {
    "ss_network_dim": "8",
    "ss_tag_frequency": json.dumps({"5_sks dog": {"dog": 5, "ear": 3}}),
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.title": "Rex",
    "sshs_model_hash": "ab",
    "format": "pt",
}
CIVITAI = {"id": 7, "modelId": 3, "trainedWords": ["sks dog", "rex"], "model": {"name": "Rex"}}


@pytest.fixture
def place(tmp_path: Path, root: Path) -> Path:
    """A folder with a checkpoint `ft.safetensors` of its own, beside the registry at `root`."""
    return tmp_path


def tuned(root: Path, path: Path, metadata: dict[str, str]) -> Path:
    """A fine-tune of the registry's base with this metadata."""
    with Registry.open(root) as registry:
        registry.materialize("subject", path.with_name("made.safetensors"))
    weights = load_file(path.with_name("made.safetensors"))
    path.with_name("made.safetensors").unlink()
    save_file(weights, path, metadata)
    return path


def add(root: Path, path: Path, **options: object):  # type: ignore[no-untyped-def]
    with Registry.open(root) as registry:
        return registry.add(path, base="sd15", name="taken", tau=0.5, **options)  # type: ignore[arg-type]


def test_metadata_and_files_beside_are_taken_in_and_listed(root: Path, place: Path) -> None:
    file = tuned(root, place / "ft.safetensors", KOHYA)
    shown, sample = picture(seed=1), picture("JPEG", seed=2)
    (place / "ft.preview.png").write_bytes(shown)
    (place / "ft.jpg").write_bytes(sample)
    (place / "ft.civitai.info").write_text(json.dumps(CIVITAI))
    (place / "ft.cm-info.json").write_text("{}")
    (place / "ft.json").write_text('{"activation text": "other"}')
    (place / "ft.txt").write_text("a note")
    (place / "other.png").write_bytes(picture(seed=3))
    added = add(root, file)
    with Registry.open(root) as registry:
        assert dict(registry.metadata("taken")) == {
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.title": "Rex",
            "ss_network_dim": "8",
            "ss_tag_frequency": KOHYA["ss_tag_frequency"],
            "trigger": "sks dog, rex",
        }
        assert added.taken_in.keys == tuple(registry.metadata("taken"))
        attached = registry.attachments("taken")
        assert added.taken_in.attachments == attached and added.taken_in.left_out == ()
        assert [(one.name, one.role, one.media_type) for one in attached] == [
            ("ft.preview.png", "preview", "image/png"),
            ("ft.jpg", "sample", "image/jpeg"),
            ("ft.civitai.info", "sidecar", "application/json"),
            ("ft.cm-info.json", "sidecar", "application/json"),
            ("ft.json", "sidecar", "application/json"),
            ("ft.txt", "sidecar", "text/plain"),
        ]
        for name in ("ft.preview.png", "ft.jpg", "ft.civitai.info", "ft.txt"):
            with registry.open_attachment("taken", name) as opened:
                assert opened.read() == (place / name).read_bytes()


def test_what_a_person_set_is_kept_and_again_completes(root: Path, place: Path) -> None:
    file = tuned(root, place / "ft.safetensors", {"modelspec.trigger_phrase": "of the file"})
    (place / "mine.webp").write_bytes(picture("WEBP"))
    (place / "ft.png").write_bytes(picture(seed=4))
    options = {"metadata": {"trigger": "mine"}, "preview": place / "mine.webp"}
    add(root, file, **options)
    with Registry.open(root) as registry:
        assert registry.metadata("taken")["trigger"] == "mine"
        assert [(one.name, one.role) for one in registry.attachments("taken")] == [
            ("mine.webp", "preview"),
            ("ft.png", "sample"),
        ]
        registry.detach("taken", "ft.png")
        position = registry.repository.catalog.position()
    again = add(root, file, **options)
    assert not again.created
    assert [one.name for one in again.taken_in.attachments] == ["ft.png"]
    with Registry.open(root) as registry:
        assert registry.repository.catalog.position() == position + 1
        assert registry.metadata("taken")["trigger"] == "mine"


def test_pictures_in_the_header(root: Path, place: Path) -> None:
    thumbnail, cover = picture("JPEG", seed=5), picture(seed=6)
    covers = [base64.b64encode(cover).decode(), "no base64!", base64.b64encode(b"text").decode()]
    metadata = {
        "modelspec.thumbnail": "data:image/jpeg;base64," + base64.b64encode(thumbnail).decode(),
        "ssmd_cover_images": json.dumps(covers + [covers[0]] * 9),
        "ssmd_author": "me",
    }
    added = add(root, tuned(root, place / "ft.safetensors", metadata))
    with Registry.open(root) as registry:
        assert dict(registry.metadata("taken")) == {"ssmd_author": "me"}
        attached = registry.attachments("taken")
        assert [(one.name, one.role) for one in attached] == [
            ("thumbnail.jpg", "preview"),
            ("cover-1.png", "sample"),
            *((f"cover-{n}.png", "sample") for n in range(4, 9)),
        ]
        with registry.open_attachment("taken", "thumbnail.jpg") as opened:
            assert opened.read() == thumbnail
    reasons = [f"{one.name} {one.reason}" for one in added.taken_in.left_out]
    assert len(reasons) == 3
    assert all("ssmd_cover_images" in reason for reason in reasons)


def test_what_cannot_be_kept_is_left_out_and_listed(root: Path, place: Path) -> None:
    file = tuned(
        root,
        place / "ft.safetensors",
        {
            "ss_long": "x" * MAX_ENTRIES,
            "ss_nul": "a\0b",
            "ss_bad key": "1",
            "ss_good": "1",
            "ssmd_cover_images": "[" * 5000,
        },
    )
    (place / "secret").write_text("secret")
    (place / "ft.txt").symlink_to(place / "secret")
    (place / "ft.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    (place / "ft.civitai.info").write_bytes(b"\xff\xfe\0")
    (place / "ft.json").mkdir()
    added = add(root, file)
    with Registry.open(root) as registry:
        assert dict(registry.metadata("taken")) == {"ss_good": "1"}
        assert registry.attachments("taken") == ()
    assert sorted(one.name for one in added.taken_in.left_out) == [
        "ft.civitai.info",
        "ft.json",
        "ft.png",
        "ft.txt",
        "ss_bad key",
        "ss_long",
        "ss_nul",
        "ssmd_cover_images",
    ]


def test_bad_options_are_refused_before_the_work(root: Path, place: Path) -> None:
    (place / "a.txt").write_text("no picture")
    torch.save({}, place / "never-opened.ckpt")
    for options in (
        {"metadata": {"a b": "x"}},
        {"metadata": {"a": "\0"}},
        {"preview": place / "a.txt"},
        {"preview": place / "missing.png"},
    ):
        with pytest.raises(InvalidArgument):
            add(root, place / "never-opened.ckpt", **options)
    with Registry.open(root) as registry, pytest.raises(NotFound):
        registry.version("taken")
