"""Small pipelines with trained LoRAs, and registries with their bases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trained_pair import one_thread

from dsvd_registry import Registry

from .training import Base, Trained, made_base, trained_lora


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Base]:
    made: dict[str, Base] = {}

    def get(family: str) -> Base:
        if family not in made:
            made[family] = made_base(family, tmp_path_factory.mktemp(f"base-{family}"))
        return made[family]

    return get


@pytest.fixture(scope="session")
def lora_of(
    tmp_path_factory: pytest.TempPathFactory, base_of: Callable[[str], Base]
) -> Callable[[str], Trained]:
    """A LoRA of the U-Net and of every text encoder, of mixed ranks and alphas, by family."""
    made: dict[str, Trained] = {}

    def get(family: str) -> Trained:
        if family not in made:
            with one_thread():
                made[family] = trained_lora(
                    base_of(family), tmp_path_factory.mktemp(f"lora-{family}")
                )
        return made[family]

    return get


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        yield opened
