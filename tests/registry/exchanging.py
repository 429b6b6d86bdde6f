"""Registries to exchange versions between, and what they have, read without the code of the exchange."""

from __future__ import annotations

import hashlib
from pathlib import Path

from faults import scenarios
from small_pictures import picture

from dsvd_registry import Registry

FILES = ("base.safetensors", "tuned.safetensors", "other.safetensors", "lora.safetensors")


def make_studio(at: Path) -> Path:
    """A registry `at/registry` with every kind of version, and of what belongs to one.

    `one@1` is removed; `one@2` is lossless, signed, described and labelled; `lora@1` has its original;
    `folder@1` is a folder, against a base that is one.
    """
    scenarios.write_sources(at)
    (at / "note.txt").write_text("5 photographs of Rex\n")
    (at / "sample.png").write_bytes(picture(seed=3))
    with Registry.init(at / "registry") as r:
        scenarios.base(r, at)
        scenarios.folder_base(r, at)
        r.add(at / "other.safetensors", base="sd15", name="one", tau=0.5)
        r.add(at / "tuned.safetensors", base="sd15", name="one", tau=0.5, lossless=True)
        r.add(at / "lora.safetensors", base="sd15", name="lora", lossless=True)
        r.add(at / "tuned-folder", base="folder", name="folder", tau=0.5)
        r.remove_version("one@1")
        r.sign("one@2", at / "key")
        r.set_metadata("one@2", {"trigger": "sks dog", "licence": "CC0"})
        for name in ("preview.png", "sample.png", "note.txt"):
            r.attach("one@2", at / name)
        r.set_note("one@2", "good")
        r.add_tag("one@2", "dog")
        r.set_alias("prod", "one@2")
    return at / "registry"


def sources(root: Path) -> dict[str, str]:
    """The SHA-256 of the source of each live version, by its ref."""
    with Registry.open(root) as registry:
        return {version.ref: version.source.sha256 for version in registry.versions()}


def events(root: Path) -> dict[str, bytes]:
    """The files of the event log."""
    return {path.name: path.read_bytes() for path in (root / "events").rglob("*.json")}


def objects(root: Path) -> dict[str, int]:
    """The sizes of the objects, each of which has its SHA-256."""
    found = {path.name: path for path in (root / "objects").rglob("*") if path.is_file()}
    for name, path in found.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
    return {name: path.stat().st_size for name, path in found.items()}


def belongings(registry: Registry, ref: str) -> dict[str, object]:
    """All that belongs to a version, but for its number and its times; attachments with their bytes."""
    version = registry.version(ref)
    attached = {}
    for one in registry.attachments(ref):
        with registry.open_attachment(ref, one.name) as file:
            attached[one.name, one.role, one.media_type] = file.read()
    return {
        "note": version.note,
        "tags": version.tags,
        "aliases": version.aliases,
        "settings": version.settings,
        "summary": version.summary,
        "source": version.source,
        "lossless": (version.residual, version.original),
        "metadata": dict(registry.metadata(ref)),
        "signers": [one.fingerprint for one in registry.signers(ref)],
        "attachments": attached,
    }


def files_of(path: Path) -> dict[str, bytes]:
    """A file, or the files of a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
