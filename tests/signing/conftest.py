"""Real keys in every file format, and a small registry."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.torch import save_file

from dsvd_registry import Registry

PASSPHRASE = "ünlock"
PEM = serialization.Encoding.PEM
PRIVATE = serialization.PrivateFormat
PLAIN = serialization.NoEncryption()


def write_keys(folder: Path, name: str, seed: int) -> None:
    """The key pair of a seed: `name.pem`, `name.locked.pem`, `name.ssh`; `.pub.pem`, `.pub`."""
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    public = private.public_key()
    locked = serialization.BestAvailableEncryption(PASSPHRASE.encode())
    openssh = serialization.PublicFormat.OpenSSH
    line = public.public_bytes(serialization.Encoding.OpenSSH, openssh)
    for ending, data in {
        "pem": private.private_bytes(PEM, PRIVATE.PKCS8, PLAIN),
        "locked.pem": private.private_bytes(PEM, PRIVATE.PKCS8, locked),
        "ssh": private.private_bytes(PEM, PRIVATE.OpenSSH, PLAIN),
        "pub.pem": public.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        "pub": line + b" someone@somewhere\n",
    }.items():
        (folder / f"{name}.{ending}").write_bytes(data)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys of alice, bob and carol."""
    folder = tmp_path_factory.mktemp("keys")
    for seed, name in enumerate(("alice", "bob", "carol"), start=1):
        write_keys(folder, name, seed)
    return folder


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Registries: `full` with the base `sd15`, subject@1 and subject@2, and `bare` with the base."""
    folder = tmp_path_factory.mktemp("template")
    numbers = torch.Generator().manual_seed(1)
    base = {"a.weight": torch.randn(24, 16, generator=numbers)}
    save_file(base, folder / "base.safetensors")
    for name in ("full", "bare"):
        with Registry.init(folder / name) as made:
            made.add_base("sd15", folder / "base.safetensors")
    with Registry.open(folder / "full") as made:
        for _ in range(2):
            change = 0.01 * torch.randn(24, 16, generator=numbers)
            save_file({"a.weight": base["a.weight"] + change}, folder / "tuned.safetensors")
            made.add(folder / "tuned.safetensors", base="sd15", name="subject", tau=0.8)
    return folder


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """A copy of `template`."""
    return Path(shutil.copytree(template, tmp_path / "place"))


@pytest.fixture
def registry(place: Path) -> Iterator[Registry]:
    with Registry.open(place / "full") as opened:
        yield opened


@pytest.fixture
def elsewhere(place: Path) -> Iterator[Registry]:
    with Registry.open(place / "bare") as opened:
        yield opened
