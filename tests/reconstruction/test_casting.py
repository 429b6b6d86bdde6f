"""A result in another dtype: the exact result first, then one rounding, the same everywhere."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from registry.conftest import Pair, files_in, sha256
from safetensors.torch import load_file, save_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

TORCH = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FLOATS = set(TORCH.values())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, trained: Pair) -> Iterator[Registry]:
    """Really trained weights, some of them half precision, and a tensor that is no float."""
    folder = tmp_path_factory.mktemp("casting")
    extra = {"positions": torch.arange(7), "new": torch.randn(3, 5, dtype=torch.bfloat16)}
    halves = {
        name: tensor.to(torch.float16) if number % 3 else tensor
        for number, (name, tensor) in enumerate(trained.tuned.items())
    }
    save_file(halves | extra, folder / "subject.safetensors")
    with Registry.init(folder / "registry") as made, one_thread():
        made.add_base("sd15", trained.base_file)
        made.add(folder / "subject.safetensors", base="sd15", tau=0.5)
        yield made


def metadata_of(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    found: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return found


@pytest.mark.parametrize("dtype", TORCH)
def test_every_floating_point_tensor_is_cast(registry: Registry, tmp_path: Path, dtype) -> None:
    exact = load_file(registry.materialize("subject", tmp_path / "exact.safetensors").path)
    made = registry.materialize("subject", tmp_path / "cast.safetensors", dtype=dtype)
    assert not made.recorded
    assert made.sha256 == sha256(made.path)
    assert made.size == made.path.stat().st_size
    result = load_file(made.path)
    assert result.keys() == exact.keys()
    for name, tensor in exact.items():
        wanted = tensor.to(torch.float32).to(TORCH[dtype]) if tensor.dtype in FLOATS else tensor
        assert result[name].dtype == wanted.dtype, name
        assert torch.equal(result[name], wanted), name
    assert metadata_of(made.path)["dsvd.dtype"] == dtype
    assert (
        metadata_of(made.path)["dsvd.tau"]
        == metadata_of(tmp_path / "exact.safetensors")["dsvd.tau"]
    )


def test_a_lower_tau_is_cast_too(registry: Registry, tmp_path: Path) -> None:
    exact = load_file(registry.materialize("subject", tmp_path / "exact", tau=0.2).path)
    result = load_file(
        registry.materialize("subject", tmp_path / "cast", tau=0.2, dtype="fp16").path
    )
    for name, tensor in exact.items():
        if tensor.dtype in FLOATS:
            assert torch.equal(result[name], tensor.to(torch.float32).to(torch.float16))


@pytest.fixture
def odd(registry: Registry, trained: Pair, tmp_path: Path):
    """Adds a fine-tune of which one tensor is another."""

    def add(tensor: torch.Tensor) -> str:
        save_file({**trained.base, "odd": tensor}, tmp_path / "odd.safetensors")
        return registry.add(tmp_path / "odd.safetensors", base="sd15", name="odd").ref

    return add


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1.0, 1e5], "beyond the range of F16"),
        # An infinity beside it is no reason to let a finite number become one.
        ([float("inf"), 1.0, 1e5], "beyond the range of F16"),
        ([-float("inf"), -65520.0], "beyond the range of F16"),
        ([float("nan"), 1.0], "holds a NaN"),
        ([float("nan"), float("inf"), 1e5], "holds a NaN"),
    ],
)
def test_what_has_no_place(
    registry: Registry, odd, tmp_path: Path, numbers: list[float], message: str
) -> None:
    ref = odd(torch.tensor(numbers))
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidArgument, match=message) as caught:
        registry.materialize(ref, tmp_path / "out" / "cast.safetensors", dtype="fp16")
    assert "'odd'" in str(caught.value)
    assert caught.value.hint
    assert files_in(tmp_path / "out") == {}


@pytest.mark.parametrize("dtype", TORCH)
@pytest.mark.parametrize("of_base", [False, True])
def test_a_nan_of_that_dtype_already(
    trained: Pair, tmp_path: Path, dtype: str, of_base: bool
) -> None:
    """Kept as the base has it, or stored: no cast is needed, and yet no NaN goes out."""
    numbers = torch.tensor([[1.0, float("nan")], [2.0, 3.0]], dtype=TORCH[dtype])
    base = trained.base | ({"odd": numbers} if of_base else {})
    save_file(base, tmp_path / "base.safetensors")
    save_file(trained.tuned | {"odd": numbers}, tmp_path / "odd.safetensors")
    with Registry.init(tmp_path / "registry") as registry, one_thread():
        registry.add_base("base", tmp_path / "base.safetensors")
        registry.add(tmp_path / "odd.safetensors", base="base", lossless=True)
        (tmp_path / "out").mkdir()
        for wish in ({}, {"tau": 0.01}):
            with pytest.raises(InvalidArgument, match="'odd' holds a NaN"):
                registry.materialize("odd", tmp_path / "out" / "cast", dtype=dtype, **wish)
        assert files_in(tmp_path / "out") == {}
        exact = registry.materialize("odd", tmp_path / "exact")
        assert load_file(exact.path)["odd"].isnan().sum() == 1


def test_an_infinity_stays_one(registry: Registry, odd, tmp_path: Path) -> None:
    ref = odd(torch.tensor([float("inf"), 1.0, -float("inf"), -65519.0]))
    made = registry.materialize(ref, tmp_path / "cast.safetensors", dtype="fp16")
    assert load_file(made.path)["odd"].tolist() == [float("inf"), 1.0, -float("inf"), -65504.0]
