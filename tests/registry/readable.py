"""Results to be read in parts: every kind of record, view and form, with the whole file beside each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from layouts.pipelines import models, randomised, single_file
from lora import small
from lora.pipelines import LAYERS, PIPELINES
from safetensors.torch import load_file, save_file
from trained_pair import one_thread, trained_pair

from dsvd_registry import Registry
from dsvd_registry.codec import exact_product
from dsvd_registry.reconstruction import checked_bytes, kept_files, range_reader, reconstruction
from dsvd_registry.reconstruction.range_reader import RunCache
from dsvd_registry.reconstruction.shared_cache import SharedCache
from dsvd_registry.registry import OpenResult
from dsvd_registry.registry.results import result_pool

from .conftest import TAU, Pair, write_safetensors
from .hub_folders import UNET, make_pair


@dataclass(frozen=True)
class Readable:
    """A file of a result, and its bytes as they are on the disk."""

    registry: Registry
    ref: str
    path: str | None
    whole: bytes
    form: dict[str, Any] = field(default_factory=dict)

    def open(self) -> OpenResult:
        return self.registry.open_result(self.ref, self.path, **self.form)


@contextmanager
def in_small_pieces(limit: int) -> Iterator[None]:
    """Runs of some hundreds of elements, checks of some thousands of bytes, a cache of `limit` bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_product, "TILE_ELEMENTS", 1500)
        patch.setattr(exact_product, "TILE_ROWS", 3)
        patch.setattr(reconstruction, "STORED_RUN", 2000)
        patch.setattr(kept_files, "STORED_RUN", 2000)
        patch.setattr(checked_bytes, "CHUNK", 3000)
        patch.setattr(checked_bytes, "_sums", no_sums())
        patch.setattr(range_reader, "FOLLOWING", 20_000)
        patch.setattr(range_reader, "REORDERED", 5000)
        patch.setattr(result_pool, "FRAME_BYTES", 0)
        patch.setattr(result_pool, "run_cache", lambda: RunCache(limit))
        yield


def no_sums() -> SharedCache[tuple[str, int], Any]:
    """The checks of chunks as a process begins with them: none, so that every SHA-256 counts."""
    return SharedCache(1 << 20, lambda sums: sums.nbytes)


def of_every_kind(at: Path, pair: Pair) -> Iterator[Readable]:
    """Every kind of record: lossy, at a lower tau, lossless, and the lossy result of a lossless one."""
    registry = Registry.init(at / "kinds")
    registry.add_base("sd15", pair.base_file)
    registry.add(pair.tuned_file, base="sd15", name="lossy", tau=TAU)
    registry.add(pair.tuned_file, base="sd15", name="lossless", tau=TAU, lossless=True)
    yield Readable(registry, "lossless", None, pair.tuned_file.read_bytes())
    for ref, form in (("lossy", {}), ("lossy", {"tau": TAU / 2}), ("lossless", {"tau": TAU})):
        yield from written(registry, ref, at, form)


def of_casts(at: Path) -> Iterator[Readable]:
    """A trained pair, cast."""
    base, tuned = trained_pair()
    registry = Registry.init(at / "casts")
    registry.add_base("tiny", write_safetensors(base, at / "tiny.safetensors"))
    source = write_safetensors(tuned, at / "trained.safetensors")
    registry.add(source, base="tiny", name="lossy", tau=TAU)
    registry.add(source, base="tiny", name="lossless", lossless=True)
    for form in ({"dtype": "fp16"}, {"dtype": "bf16", "tau": TAU / 2}):
        yield from written(registry, "lossy", at, form)
    yield from written(registry, "lossless", at, {"dtype": "bf16"})


def of_variants(at: Path) -> Iterator[Readable]:
    """A U-Net with its half precision beside it, whose tensors are recorded as casts."""
    base, tuned = make_pair(at / "variants")
    folder = Path(shutil.copytree(tuned / "unet", at / "halves"))
    half = {name: t.half() for name, t in load_file(folder / f"{UNET}.safetensors").items()}
    save_file(half, folder / f"{UNET}.fp16.safetensors", {"format": "pt"})
    registry = Registry.init(at / "of-variants")
    registry.add_base("base", base)
    registry.add(folder, base="base", name="lossy", tau=TAU)
    registry.add(folder, base="base", name="lossless", lossless=True)
    yield from written(registry, "lossy", at, {})
    yield from written(registry, "lossy", at, {"dtype": "bf16"})
    for path in sorted(folder.iterdir()):
        yield Readable(registry, "lossless", path.name, path.read_bytes())


def of_loras(at: Path) -> Iterator[Readable]:
    """A LoRA file, merged into its base: exact where it is lossless, and cast."""
    (at / "lora").mkdir()
    source = write_safetensors(small.kohya(small.pairs()), at / "lora/style.safetensors")
    registry = small.registry_of(at / "lora", small.base_weights())
    registry.add(source, base="sd15", name="lossy")
    registry.add(source, base="sd15", name="lossless", lossless=True)
    yield from written(registry, "lossy", at, {})
    yield from written(registry, "lossless", at, {"dtype": "fp16"})


def of_layouts(at: Path) -> Iterator[Readable]:
    """A pipeline as folder and as file, each over the other: views, shards, files without tensors."""
    write_pipelines(at, "sdxl")
    registry = Registry.init(at / "layouts")
    registry.add_base("folder", at / "base")
    registry.add_base("file", at / "base.safetensors")
    registry.add(at / "tuned", base="folder", name="as-it-is", lossless=True)
    registry.add(at / "tuned", base="file", name="over-a-file", tau=TAU)
    registry.add(at / "tuned.safetensors", base="folder", name="over-a-folder", tau=TAU)
    for entry in registry.result_files("as-it-is"):
        whole = (at / "tuned" / entry.path).read_bytes()
        yield Readable(registry, "as-it-is", entry.path, whole)
    for ref, form in (
        ("as-it-is", {"layout": "single-file"}),
        ("over-a-file", {}),
        ("over-a-file", {"layout": "single-file", "dtype": "fp16"}),
        ("over-a-folder", {}),
        ("over-a-folder", {"layout": "diffusers"}),
        ("over-a-file", {"layout": "diffusers", "like": "folder"}),
    ):
        yield from written(registry, ref, at, form)


def write_pipelines(at: Path, family: str = "sd1") -> None:
    """A tiny pipeline before and after: `base`, `tuned` in shards, and both in the original layout."""
    pipeline = PIPELINES[family]()
    numbers = torch.Generator().manual_seed(8)
    with one_thread(), torch.no_grad():
        for model in models(randomised(pipeline)).values():
            for parameter in model.parameters():
                parameter.mul_(0.05)
        for step in ("base", "tuned"):
            if step == "tuned":  # few of them: each takes its time
                changed = [p for m in models(pipeline).values() for p in m.parameters()][::15]
                for parameter in changed:
                    parameter.add_(1e-3 * torch.randn(parameter.shape, generator=numbers))
            pipeline.save_pretrained(at / step, max_shard_size="40KB" if step == "tuned" else "1GB")
            (at / step / "tokenizer").mkdir()
            (at / step / "tokenizer/vocab.json").write_text(json.dumps({"a": list(range(300))}))
            (at / step / "tokenizer/own.json").write_text(json.dumps({step: list(range(300))}))
            (at / step / "tokenizer/empty.txt").touch()
            states = {name: model.state_dict() for name, model in models(pipeline).items()}
            whole = single_file(family, states, LAYERS)
            whole = {name: tensor.detach().clone() for name, tensor in whole.items()}
            save_file(whole, at / f"{step}.safetensors")


def written(registry: Registry, ref: str, at: Path, form: dict[str, Any]) -> Iterator[Readable]:
    """Every file of a result, as `materialize` writes it."""
    name = "-".join([ref, *map(str, form.values())])
    place = registry.materialize(ref, at / f"written-{registry.folder.name}-{name}", **form).path
    if place.is_file():
        yield Readable(registry, ref, None, place.read_bytes(), form)
        return
    for path in sorted(place.rglob("*")):
        if path.is_file():
            inside = path.relative_to(place).as_posix()
            yield Readable(registry, ref, inside, path.read_bytes(), form)
