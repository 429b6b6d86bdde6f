"""A small registry with lossless versions, to be damaged; and residuals that no writer makes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from spec.exact import Json
from spec.header_bytes import encode_residual
from spec.residual_building import MAGIC, residual_header_of
from spec.sealing import payload_of, sealed

from dsvd_registry import Registry
from dsvd_registry.store import ObjectStore, RegistryFolder

from .conftest import Weights, object_path, write_pickle, write_safetensors

TAU = 0.5


def weights(seed: int) -> Weights:
    """A base (0), or a fine-tune of it: one delta of components, one of elements, one tensor more."""
    numbers = torch.Generator().manual_seed(3)
    made = {"w": torch.randn(24, 16, generator=numbers), "b": torch.randn(24, generator=numbers)}
    if seed:
        numbers.manual_seed(seed)
        made["w"] += 0.01 * torch.randn(24, 16, generator=numbers)
        made["b"] += 0.01 * torch.randn(24, generator=numbers)
        made["new"] = torch.randn(5, generator=numbers)
    return made


def write_sources(at: Path) -> None:
    """`base`, `one` and `two`, and `two` as a pickle."""
    for seed, name in enumerate(("base", "one", "two")):
        write_safetensors(weights(seed), at / f"{name}.safetensors", {"of": name})
    write_pickle(weights(2), at / "two.ckpt")


def make(at: Path) -> None:
    """The sources; a registry with `one`, `two` and `pickled`, lossless, and `lossy` of one's source."""
    write_sources(at)
    with Registry.init(at / "registry") as registry:
        registry.add_base("base", at / "base.safetensors")
        for name, file in (
            ("one", "one.safetensors"),
            ("two", "two.safetensors"),
            ("pickled", "two.ckpt"),
        ):
            registry.add(at / file, base="base", name=name, tau=TAU, lossless=True)
        registry.add(at / "one.safetensors", base="base", name="lossy", tau=0.4)


def copied(template: Path, at: Path) -> Path:
    """The sources and the registry, in `at`."""
    shutil.copytree(template, at, dirs_exist_ok=True)
    return at / "registry"


def residual_path(registry: Registry, ref: str) -> Path:
    """The path of the residual's object."""
    record = registry.version(ref).residual
    assert record is not None
    return object_path(registry.folder, record.sha256)


def attach_as_it_is(registry: Registry, ref: str, data: bytes) -> Path:
    """Let the version have this residual, whatever it says: the catalog does not read it."""
    stored = ObjectStore(RegistryFolder(registry.folder)).put(data)
    version = registry.version(ref)
    registry.repository.catalog.set_residual(
        version.model, version.number, residual=stored.sha256, size=stored.size
    )
    return object_path(registry.folder, stored.sha256)


def rewritten(data: bytes, change: Callable[[Json], object]) -> bytes:
    """A residual with another header and the same frames; every checksum is right."""
    header = residual_header_of(data)
    change(header)
    return sealed(encode_residual(header), payload_of(data), MAGIC)


def lying(data: bytes) -> bytes:
    """Give the residual of a pickled source a wrong digest of its result."""
    return rewritten(data, lambda header: header["results"][0].update(sha256="0" * 64))
