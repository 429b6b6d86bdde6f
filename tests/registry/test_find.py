"""What is found by a digest, a file or a picture. Every digest is worked out here, from the files."""

from __future__ import annotations

import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from blake3 import blake3
from lora.small import base_weights, kohya, pairs
from picture_texts.drawn import PARAMETERS, exif_of_a1111, png, png_of_comfyui, with_exif
from safetensors.torch import load_file, save_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument
from dsvd_registry.hashing import all_digests

from .conftest import Pair


def digests_of(path: Path) -> dict[str, str]:
    """By the names that sites give them; AutoV1 and AutoV3 where there is one."""
    data = path.read_bytes()
    found = {
        "SHA-256": hashlib.sha256(data).hexdigest(),
        "AutoV2": hashlib.sha256(data).hexdigest()[:10],
        "BLAKE3": blake3(data).hexdigest(),
        "CRC32": f"{zlib.crc32(data):08X}",
    }
    if len(data) > 0x100000:
        found["AutoV1"] = hashlib.sha256(data[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]
    if path.suffix == ".safetensors":
        found["AutoV3"] = tensors_sha256(data)[:12].upper()
    return found


def tensors_sha256(data: bytes) -> str:
    """As kohya's `sshs_model_hash`."""
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


@dataclass(frozen=True)
class Shelf:
    """A registry, and the files that were added and that come back."""

    registry: Registry
    folder: Path
    sources: dict[str, Path]
    results: dict[str, Path]


@pytest.fixture(scope="module")
def shelf(trained: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    """Versions of each kind: lossy, restored from a pickle, a LoRA, a merge, a folder."""
    folder = tmp_path_factory.mktemp("shelf")
    long = {**trained.tuned, "extra": torch.randn(400_000, generator=torch.Generator())}
    save_file(long, folder / "lossy.safetensors", {"title": "a dog"})
    torch.save(trained.tuned, folder / "pickled.ckpt")
    save_file(base_weights(), folder / "small.safetensors")
    layers = kohya(pairs())
    save_file(layers, folder / "style.safetensors", {"sshs_model_hash": "AB" * 32})
    sources = {name.stem: name for name in folder.iterdir() if name.stem != "small"}
    with one_thread(), Registry.init(folder / "registry") as registry:
        registry.add_base("tiny", trained.base_file)
        registry.add_base("small", folder / "small.safetensors", link=True)
        registry.add(sources["lossy"], base="tiny", name="lossy", tau=0.8)
        registry.add(sources["lossy"], base="tiny", name="twin", tau=0.8)
        registry.add(sources["pickled"], base="tiny", name="pickled", lossless=True)
        registry.add(sources["style"], base="small", name="style", lossless=True)
        registry.merge([("lossy", 0.5), ("pickled", 0.5)], name="merged")
        results = {}
        for name in ("lossy", "pickled", "style", "merged"):
            results[name] = folder / f"of-{name}.safetensors"
            registry.materialize(name, results[name])
        yield Shelf(registry, folder, sources, results)


def found(registry: Registry, digest: str) -> list[tuple[str, str, str]]:
    return [(match.name, match.by, match.of) for match in registry.find(digest).matches]


def test_every_digest_of_every_source_and_the_sha256_of_every_result(shelf: Shelf) -> None:
    tried = set()
    for name, path in shelf.sources.items():
        for by, digest in digests_of(path).items():
            assert (f"{name}@1", by, "source") in found(shelf.registry, digest), (name, by)
            tried.add(by)
    assert tried == {"SHA-256", "AutoV1", "AutoV2", "AutoV3", "BLAKE3", "CRC32"}
    for name in ("lossy", "style", "merged"):
        result = digests_of(shelf.results[name])
        for by in ("SHA-256", "AutoV2"):
            assert (f"{name}@1", by, "result") in found(shelf.registry, result[by]), (name, by)
        for by in ("BLAKE3", "CRC32", "AutoV3"):  # which would take longer than the result itself
            assert found(shelf.registry, result[by]) == [], (name, by)
    # Of what comes back of a pickle, the SHA-256 alone is recorded.
    restored = digests_of(shelf.results["pickled"])
    assert found(shelf.registry, restored["AutoV2"]) == [("pickled@1", "AutoV2", "restored")]
    assert found(shelf.registry, restored["BLAKE3"]) == []
    twins = [("twin@1", "SHA-256", "result"), ("lossy@1", "SHA-256", "result")]
    assert found(shelf.registry, digests_of(shelf.results["lossy"])["SHA-256"]) == twins
    assert found(shelf.registry, "0x" + "AB" * 32) == [("style@1", "sshs_model_hash", "source")]
    base = hashlib.sha256((shelf.folder / "small.safetensors").read_bytes()).hexdigest()
    assert found(shelf.registry, base[:10].upper()) == [("small", "AutoV2", "file")]
    assert found(shelf.registry, "0" * 12) == []


def test_files_are_found_by_their_bytes_or_their_tensors(shelf: Shelf, tmp_path: Path) -> None:
    same = shutil.copy(shelf.sources["pickled"], tmp_path / "renamed.bin")
    assert [m.name for m in shelf.registry.find(same).matches] == ["pickled@1"]
    # Another title: only what comes after the header is the same.
    edited = tmp_path / "edited.safetensors"
    save_file(load_file(shelf.sources["lossy"]), edited, {"title": "another"})
    matches = shelf.registry.find(str(edited)).matches
    assert {(m.name, m.by) for m in matches} == {("lossy@1", "AutoV3"), ("twin@1", "AutoV3")}
    (tmp_path / "other").write_bytes(b"nobody has added this")
    assert shelf.registry.find(tmp_path / "other").matches == ()


def test_a_picture_leads_to_the_versions_that_made_it(shelf: Shelf, tmp_path: Path) -> None:
    picture = tmp_path / "picture"
    checkpoint = hashlib.sha256(shelf.results["lossy"].read_bytes()).hexdigest()[:10]
    lora = tensors_sha256(shelf.sources["style"].read_bytes())[:12]
    parameters = f'{PARAMETERS}Model hash: {checkpoint}, Lora hashes: "s: {lora}, gone: {"0" * 12}"'
    for made in (png({"parameters": parameters}), with_exif(exif_of_a1111(parameters), "JPEG")):
        picture.write_bytes(made)
        answer = shelf.registry.find(picture)
        assert answer.kind == "picture"
        assert [(s.role, s.name, [m.name for m in s.matches]) for s in answer.sought] == [
            ("checkpoint", None, ["twin@1", "lossy@1"]),
            ("lora", "s", ["style@1"]),
            ("lora", "gone", []),
            ("lora", "style", ["style@1"]),
        ]
    loaders = {"ckpt_name": "mnt/checkpoints/merged@1.safetensors", "lora_name": "loras/style.pt"}
    nodes = {
        str(number): {"class_type": f"{key} loader", "inputs": {key: value}}
        for number, (key, value) in enumerate({**loaders, "unet_name": "small.sft"}.items())
    }
    nodes["9"] = {"class_type": "DsvdApplySubject", "inputs": {"subject": "twin", "version": "1"}}
    picture.write_bytes(png_of_comfyui(nodes))
    named = [
        (s.role, m.name, m.by, m.of) for s in shelf.registry.find(picture).sought for m in s.matches
    ]
    assert named == [
        ("checkpoint", "merged@1", "name", "model"),
        ("checkpoint", "small", "name", "base"),
        ("checkpoint", "twin@1", "name", "model"),
        ("lora", "style@1", "name", "model"),
    ]
    picture.write_bytes(png({"Title": "no parameters"}))
    with pytest.raises(InvalidArgument, match="does not say what it was made with"):
        shelf.registry.find(picture)


def test_names_of_files_that_were_renamed_or_archived(trained: Pair, tmp_path: Path) -> None:
    """The name of a file is not always that of a model, and tells which version it was."""
    picture, models = tmp_path / "picture.png", tmp_path / "models"
    models.mkdir()
    shutil.copy(trained.tuned_file, tmp_path / "My Dog (v2).safetensors")
    save_file({**trained.tuned, "more": torch.ones(3)}, models / "old.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("tiny", trained.base_file)
        registry.add(tmp_path / "My Dog (v2).safetensors", base="tiny")
        registry.archive(registry.plan_archive(models, base="tiny"))
        registry.set_alias("prod", "old@1")
        registry.add(trained.tuned_file, base="tiny", name="old")
        for name, ref in (("My Dog (v2)", "My-Dog-v2@1"), ("old", "old@1"), ("old@prod", "old@1")):
            picture.write_bytes(png({"parameters": f"a dog\nSteps: 1, Model: {name}"}))
            assert registry.find(picture).matches[0].name == ref


def test_digests_come_back_with_the_catalog_and_travel_with_an_export(
    shelf: Shelf, trained: Pair, tmp_path: Path
) -> None:
    lossy, pickled = digests_of(shelf.results["lossy"]), digests_of(shelf.results["pickled"])
    style, source = digests_of(shelf.sources["style"]), digests_of(shelf.sources["lossy"])
    known = [lossy["SHA-256"], pickled["SHA-256"], style["AutoV3"], source["SHA-256"]]
    copy = tmp_path / "copy"
    shutil.copytree(shelf.folder / "registry", copy)
    for path in copy.glob("catalog.sqlite*"):
        path.unlink()
    Registry.rebuild_catalog(copy)
    with Registry.open(copy) as rebuilt:
        every = [*lossy.values(), *source.values(), *style.values(), *pickled.values()]
        assert [found(rebuilt, one) for one in every] == [
            found(shelf.registry, one) for one in every
        ]
    with Registry.init(tmp_path / "other") as other:
        other.add_base("tiny", trained.base_file)
        other.add_base("small", shelf.folder / "small.safetensors")
        for name in ("lossy", "pickled", "style"):
            shelf.registry.export_container(name, tmp_path / f"{name}.dsvd")
            other.import_container(tmp_path / f"{name}.dsvd", name=name)
        assert all(found(other, digest) for digest in known)
        # What nobody here has seen: the bytes of the lossy version's source.
        assert found(other, source["BLAKE3"]) == found(other, source["AutoV3"]) == []


def test_what_is_neither_a_file_nor_a_digest(shelf: Shelf, tmp_path: Path) -> None:
    for what in ("1234567", "0" * 65, "xyz", "missing.safetensors", "a\0b"):
        with pytest.raises(InvalidArgument, match="neither a file nor a digest"):
            shelf.registry.find(what)
    with pytest.raises(InvalidArgument, match="is a folder"):
        shelf.registry.find(tmp_path)


@pytest.mark.parametrize("size", [1, 8, 9, 100_000, 1 << 22])
def test_digests_do_not_depend_on_the_chunks(shelf: Shelf, size: int) -> None:
    data = shelf.sources["lossy"].read_bytes()
    first = data[: 50 * size]  # small chunks for the header alone
    chunks = [first[i : i + size] for i in range(0, len(first), size)] + [b"", data[len(first) :]]
    kinds = all_digests(chunks)
    expected = digests_of(shelf.sources["lossy"])
    assert kinds["autov3"] == tensors_sha256(data) and kinds["autov1"] == expected["AutoV1"]
    assert kinds["crc32"] == expected["CRC32"].lower()
    assert (kinds["sha256"], kinds["blake3"]) == (expected["SHA-256"], expected["BLAKE3"])
    assert json.dumps(sorted(kinds)) == '["autov1", "autov3", "blake3", "crc32", "sha256"]'
