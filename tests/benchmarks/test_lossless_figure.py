"""The figure `lossless`: its yardsticks are lossless, and it fails if ours is not the smallest."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import lossless
from benchmarks.harness.bench import Bench
from benchmarks.harness.checks import Disagreement
from benchmarks.subjects.pair import Subject, Unsuited
from benchmarks.subjects.rounded import rounded
from benchmarks.yardsticks import lossless as yardsticks
from benchmarks.yardsticks.lossless import METHODS, ZSTD, Bytes, OverBase, Piece, sizes

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64)
BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _subject(
    folder: Path, base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor]
) -> Subject:
    paths = folder / "base.safetensors", folder / "tuned.safetensors"
    for path, tensors in zip(paths, (base, tuned), strict=True):
        save_file(tensors, path)
    return Subject("some tensors", *paths)


def _any_bits(dtype: torch.dtype, seed: int) -> torch.Tensor:
    """All patterns of the highest 16 bits: NaN, infinities, both zeros, denormals."""
    draw = torch.Generator().manual_seed(seed)
    high = torch.arange(1 << 16)[torch.randperm(1 << 16, generator=draw)]
    shift = 8 * dtype.itemsize - 16
    low = torch.randint(1 << min(shift, 62), (1 << 16,), generator=draw) if shift else 0
    bits = ((high << shift) | low).to(BITS[dtype.itemsize])
    return bits.view(dtype)


def _little_trained(folder: Path) -> Subject:
    """A pair with a delta of rank 2, in fp32."""
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(160, 240, generator=draw).mul_(0.03)
    delta = torch.randn(160, 2, generator=draw) @ torch.randn(2, 240, generator=draw)
    pair = _subject(folder, {"weight": base}, {"weight": base + 1e-4 * delta})
    return replace(pair, trained=True)


@pytest.mark.parametrize("piece", [1 << 24, 1000 * 8])
def test_each_yardstick_gives_any_bits_back(
    piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with `values ^ _highest(values)` for `~values` in `_sum`."""
    monkeypatch.setattr(yardsticks, "PIECE", piece)
    base, tuned = (
        {f"{dtype}": _any_bits(dtype, seed + i) for i, dtype in enumerate(DTYPES)}
        | {"one": torch.ones(1), "three": torch.ones(3, 1)}
        for seed in (0, 10)
    )
    with _subject(tmp_path, base, tuned).open() as pair:
        found = sizes(pair, METHODS)
        joined = list(yardsticks.pieces(pair))
        whole = sum(tensor.nbytes for tensor in tuned.values())
    assert list(found) == [method.name for method in METHODS]
    assert sum(len(part.tuned) for part in joined) == whole
    assert max(len(part.tuned) for part in joined) <= piece
    assert min(found.values()) > whole / 2


def test_numbers_that_are_near_have_small_differences() -> None:
    *_, difference = METHODS
    assert isinstance(difference, OverBase)
    values = np.array([1.0, np.nextafter(np.float32(2), np.float32(0)), 0.0, -1.0], np.float32)
    next_ones = np.nextafter(values, np.float32(np.inf))
    next_ones[2] = np.float32(-0.0)  # just below zero
    bits = next_ones.view(np.uint32), values.view(np.uint32)
    assert difference.forward(*bits, True).tolist() == [2, 2, 1, 2]
    counts = np.array([5, 3], np.uint64), np.array([3, 5], np.uint64)
    assert difference.forward(*counts, False).tolist() == [4, 3]


def test_a_yardstick_that_loses_a_bit_fails_the_run(tmp_path: Path) -> None:
    """Seen to fail with the comparison in `_checked_size` taken out."""
    subject = _little_trained(tmp_path)
    wrong = replace(METHODS[1], backward=lambda bits, base, _: bits ^ base ^ 1)
    with (
        subject.open() as pair,
        pytest.raises(Disagreement, match=r"zstd -3 \(the BitX way\) does"),
    ):
        sizes(pair, [ZSTD, wrong])


@dataclass
class _Cheat:
    """A method that keeps its input and reports a smaller size."""

    name: str = "cheat"
    held: dict[bytes, Bytes] = field(default_factory=dict)

    def pack(self, piece: Piece) -> list[bytes]:
        self.held[piece.base.tobytes()] = piece.tuned
        return [b"one byte"]

    def unpack(self, packed: list[bytes], base: Bytes, dtype: torch.dtype) -> Bytes:  # noqa: ARG002
        return self.held[base.tobytes()]


def test_the_figure_fails_where_ours_is_not_the_smallest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with the comparison in `_sizes` taken out."""
    subject = _little_trained(tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    bench = Bench(scratch, runs=1, in_process=True)
    monkeypatch.setattr(lossless, "yardsticks", lambda: METHODS)
    rows = lossless.measure(bench, subject)
    shares = {
        dtype: [row for row in rows if row.what.startswith(f"{dtype}: bytes")]
        for dtype in ("fp32", "fp16", "bf16")
    }
    for ours, *others in shares.values():
        assert 0 < ours.ours < min(row.theirs for row in others if row.theirs is not None)
        assert len(others) == len(METHODS)
    assert any(row.yardstick == "zstd -3, two threads" for row in rows)
    monkeypatch.setattr(lossless, "yardsticks", lambda: (*METHODS, _Cheat()))
    with pytest.raises(Disagreement, match=r"fp32: ours takes .* bytes, not the fewest: .*cheat 8"):
        lossless.measure(bench, subject)
    assert list(scratch.iterdir()) == []


def test_the_figure_fails_where_the_materialised_file_is_not_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail with the comparison in `_rows` taken out."""
    subject = _little_trained(tmp_path)
    monkeypatch.setattr(lossless, "yardsticks", lambda: METHODS)
    monkeypatch.setattr(lossless, "_sha256", lambda path: path.name)
    with pytest.raises(Disagreement, match="the materialised file is not the source"):
        lossless.measure(Bench(tmp_path, 1, True), subject)


def test_both_sides_are_rounded_and_integers_are_not(tmp_path: Path) -> None:
    base = {"a": torch.randn(3, 4), "b": torch.arange(5)}
    tuned = {"a": torch.randn(3, 4), "b": torch.arange(5) + (1 << 40)}
    subject = replace(_subject(tmp_path, base, tuned), trained=True)
    (folder := tmp_path / "rounded").mkdir()
    made = rounded(subject, torch.bfloat16, folder)
    assert made.trained
    for path, sources in ((made.base, base), (made.tuned, tuned)):
        found = load_file(path)
        assert torch.equal(found["a"], sources["a"].bfloat16())
        assert torch.equal(found["b"], sources["b"])


def test_a_pair_in_half_precision_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lossless, "yardsticks", lambda: METHODS)
    half = {"a": torch.randn(3, 4).half()}
    with pytest.raises(Unsuited, match="is not fp32"):
        lossless.measure(Bench(tmp_path, 1, True), _subject(tmp_path, half, half))
