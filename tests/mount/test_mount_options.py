"""What `dsvd mount` is asked for: a tau, a dtype, some models only."""

from __future__ import annotations

import filecmp
from pathlib import Path

import pytest

from dsvd_registry import Registry

from .conftest import Mount, error_of


@pytest.mark.parametrize("asked", [{"tau": 0.3}, {"dtype": "bf16"}, {"tau": 0.5, "dtype": "fp16"}])
def test_files_at_a_tau_and_in_a_dtype(unmounted: Mount, tmp_path: Path, asked) -> None:
    unmounted.start(*(f"--{name}={value}" for name, value in asked.items()))
    with Registry.open(unmounted.registry) as registry:
        registry.materialize("dog", tmp_path / "dog.safetensors", **asked)
    path = unmounted.checkpoints / "dog.safetensors"
    assert path.stat().st_size == (tmp_path / "dog.safetensors").stat().st_size
    assert filecmp.cmp(path, tmp_path / "dog.safetensors", shallow=False)


def test_a_version_without_the_tau_is_left_out_and_named(unmounted: Mount) -> None:
    """A lossless version stores few components: the rest is in its residual, which has no tau."""
    unmounted.start("--tau=0.85")
    assert (unmounted.checkpoints / "dog.safetensors").exists()
    assert not (unmounted.checkpoints / "exact.safetensors").exists()
    assert "exact@1 is left out: " in unmounted.log


def test_only_some_models(unmounted: Mount) -> None:
    unmounted.start("--only", "d*")
    names = {path.name for path in unmounted.checkpoints.iterdir()}
    assert names == {"dog.safetensors", "dog@1.safetensors"}
    assert list((unmounted.folder / "diffusers").iterdir()) == []


@pytest.mark.parametrize("words", [["--tau=2"], ["--tau=x"], ["--dtype=int4"]])
def test_what_cannot_be_asked(unmounted: Mount, words: list[str]) -> None:
    done = unmounted.dsvd("mount", unmounted.folder, "--json", *words)
    assert (done.returncode, error_of(done)["type"]) == (2, "InvalidArgument")
    assert not unmounted.is_mounted()
