"""Reading a residual: what it holds comes back, and what breaks a rule is refused on opening.

These tests were seen to fail with the checks taken out of `header.py` and `reader.py`, one by one:
a file was opened that should not be, or refused with another message, or stayed open.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from spec.header_bytes import encode_residual

from dsvd_registry.container import limits
from dsvd_registry.container.frames import RESIDUAL, stored_header
from dsvd_registry.errors import ContainerError, StorageError, UnsupportedFeature
from dsvd_registry.residual.header import header_bytes, parse_header
from dsvd_registry.residual.reader import Residual
from dsvd_registry.residual.records import ResidualFrame

from .bits import predicted
from .files import (
    MATRIX,
    TABLE,
    VECTOR,
    A,
    B,
    Json,
    guess,
    header_and_payload,
    header_of,
    prediction,
    sealed,
    small_file,
    source,
    with_header,
    written,
)

Change = Callable[[Json], object]


def test_what_was_written(tmp_path: Path) -> None:
    file = small_file()
    with Residual(written(tmp_path, file)) as residual:
        assert residual.size == len(file)
        assert residual.header.tensors == (MATRIX, VECTOR)
        a, b, exponents = residual.components(MATRIX)
        assert (a == A).all() and (b == B).all() and (exponents == TABLE.exponents).all()
        for tensor in (MATRIX, VECTOR):
            assert (residual.run(tensor, 0, guess(tensor)) == source(tensor)).all()
        residual.check_frames()
        assert header_bytes(residual.header) == header_and_payload(file)[0]


def test_runs_in_any_order(tmp_path: Path) -> None:
    with Residual(written(tmp_path, small_file())) as residual:
        for tensor in (VECTOR, MATRIX, VECTOR):
            assert (residual.run(tensor, 0, guess(tensor)) == source(tensor)).all()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        Residual(tmp_path / "none")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 55, 56, 100, -1])
def test_cut(size: int, tmp_path: Path) -> None:
    with pytest.raises(ContainerError):
        Residual(written(tmp_path, small_file()[:size]))


def test_each_bit(tmp_path: Path) -> None:
    """A bit that is another one anywhere is seen, on opening or by the frames' checksums."""
    file = small_file()
    for position in range(len(file)):
        damaged = bytearray(file)
        damaged[position] ^= 1 << position % 8
        with (
            pytest.raises(ContainerError),
            Residual(written(tmp_path, bytes(damaged))) as residual,
        ):
            residual.check_frames()


@pytest.mark.parametrize("frame", range(4))
def test_damaged_frame_is_named(frame: int, tmp_path: Path) -> None:
    """The frame and its tensor; what else the file has can still be read."""
    file = bytearray(small_file())
    stored = [told["stored"] for told in header_of(bytes(file))["frames"]]
    file[len(file) - sum(stored) + sum(stored[:frame])] ^= 1
    tensor, other = (VECTOR, MATRIX) if frame == 3 else (MATRIX, VECTOR)
    with Residual(written(tmp_path, bytes(file))) as residual:
        with pytest.raises(ContainerError, match=rf"frames\[{frame}\].*{tensor.name}"):
            residual.check_frames()
        assert (residual.run(other, 0, guess(other)) == source(other)).all()


def _set(*path: str | int, to: object) -> Change:
    def change(header: Json) -> None:
        value: object = header
        for step in path[:-1]:
            value = value[step]  # type: ignore[index]
        value[path[-1]] = to  # type: ignore[index]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("results", to=[]), "results is"),
        (_set("results", 0, "path", to=""), "length of the path is 0"),
        (_set("tensors", 0, "dtype", to="F64"), "no differences of F64"),
        (_set("tensors", 0, "name", to="wector"), "not sorted"),
        (_set("tensors", 0, "name", to="vector"), "not sorted, or|not sorted by name, or"),
        (_set("tensors", 0, "name", to=""), "length of the name is"),
        (_set("tensors", 0, "name", to="m" * 4097), "length of the name is"),
        (_set("tensors", 0, "rank", to=3), "rank is over"),
        (_set("tensors", 0, "rank", to=2**22 + 1), "rank is .* outside"),
        (_set("tensors", 1, "rank", to=1), "rank is over"),
        (_set("tensors", 0, "rank", to=0), "not as many frames"),
        (_set("tensors", 0, "shape", to=[3, 0]), "no elements"),
        (_set("tensors", 0, "shape", to=[1] * 33), "number of dimensions is 33"),
        (_set("tensors", 0, "shape", to=[2**49, 2]), "too many elements"),
        (_set("tensors", 0, "shape", to=[2**20, 2]), "not as many frames"),
        (_set("tensors", 1, "shape", to=[2**48]), "not as many frames"),
        (_set("frames", to=[]), "not as many frames"),
        (_set("frames", 0, "raw", to=27), r"frames\[0\] declares 27 bytes for 26"),
        (_set("frames", 0, "raw", to=25), r"frames\[0\] declares 25 bytes for 26"),
        (_set("frames", 1, "raw", to=41), r"frames\[1\] declares 41 bytes for 40"),
        (_set("frames", 2, "raw", to=1080), r"frames\[2\] declares 1080 bytes for 1079"),
        (_set("frames", 3, "raw", to=1051), r"frames\[3\] declares 1051 bytes for 1050"),
        (_set("frames", 0, "raw", to=0), "raw is 0"),
        (_set("frames", 0, "stored", to=0), "stored is 0"),
        (_set("frames", 0, "stored", to=2**27), "stored is .* outside"),
        (_set("frames", 0, "stored", to=1), "where its header says"),
    ],
)
def test_header_refused(change: Change, message: str, tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=message) as caught:
        Residual(written(tmp_path, with_header(change)))
    assert str(tmp_path) in str(caught.value)


def test_newer(tmp_path: Path) -> None:
    """A feature of a later version is named in the error, whatever else the header has."""
    file = with_header(lambda header: header.update(requires=["faster"], container=""))
    with pytest.raises(UnsupportedFeature, match="'faster'"):
        Residual(written(tmp_path, file))


def test_files_are_closed(tmp_path: Path) -> None:
    """A file that is refused is closed, too: what is left open is warned of, which fails a test."""
    Residual(written(tmp_path, small_file())).close()
    for file in (small_file()[:-1], with_header(_set("tensors", 0, "rank", to=3))):
        with pytest.raises(ContainerError):
            Residual(written(tmp_path, file))
        gc.collect()


# Limits, of headers that are not written to a file


def _parse(header: Json) -> None:
    parse_header(encode_residual(header), 0, 2**40)


def _big(**fields: object) -> Json:
    return {**header_of(small_file()), **fields}


def _tensor(number: int, *shape: int, rank: int = 0) -> Json:
    return {"dtype": "F16", "name": f"{number:06}", "rank": rank, "shape": list(shape)}


FRAME = {"raw": 1, "stored": 1, "sha256": "0" * 64}


def test_most_results() -> None:
    result = {"path": "a", "sha256": "0" * 64, "size": 0}
    _parse(_big(results=[result] * limits.MAX_FILES))
    with pytest.raises(ContainerError, match="results is"):
        _parse(_big(results=[result] * (limits.MAX_FILES + 1)))


def test_most_components() -> None:
    """2^22 in all; a file of so few bytes could not have a part of them ("components" below)."""
    side = 1 << 11
    table = {**FRAME, "raw": 13 * side}
    own = [table, *[FRAME] * 2, *[FRAME] * 4]
    tensors = [_tensor(number, side, side, rank=side) for number in range(side)]
    _parse(_big(tensors=tensors, frames=own * side))
    tensors.append(_tensor(side, 1, 1, rank=1))
    frames = [*own * side, {**FRAME, "raw": 13}, FRAME, FRAME]
    with pytest.raises(ContainerError, match="components"):
        _parse(_big(tensors=tensors, frames=frames))


def test_components_of_a_small_file(tmp_path: Path) -> None:
    """Equal tables take next to nothing, so their number is bounded by the file's size."""
    side = 256
    own = [{**FRAME, "raw": 13 * side}, FRAME, FRAME]

    def file(count: int) -> bytes:
        tensors = [_tensor(number, side, side, rank=side) for number in range(count)]
        return sealed(_big(tensors=tensors, frames=own * count), bytes(3 * count))

    Residual(written(tmp_path, file(256))).close()
    with pytest.raises(ContainerError, match="components are too many"):
        Residual(written(tmp_path, file(259)))


def test_frame_that_becomes_too_much() -> None:
    """Over 20 MiB of a frame take a sixteenth of it in the file."""
    columns = limits.FREE_FRAME_RAW // 4
    tensors = [_tensor(0, 1, columns, rank=1)]
    frames = [{**FRAME, "raw": 13}, {**FRAME, "raw": 4 * (columns + 1)}, *[FRAME] * 5]
    stored = -(-4 * (columns + 1) // limits.MAX_RAW_OF_STORED)
    _parse(_big(tensors=tensors, frames=[frames[0], {**frames[1], "stored": stored}, *frames[2:]]))
    with pytest.raises(ContainerError, match=r"frames\[1\] declares"):
        _parse(_big(tensors=tensors, frames=frames))


def test_entries_of_a_small_file(tmp_path: Path) -> None:
    """What a header lists is bounded by the file's size before memory is taken for it."""
    result = {"path": "a", "sha256": "0" * 64, "size": 0}
    tensors = [_tensor(number, 1) for number in range(60_000)]
    header = _big(tensors=tensors, frames=[FRAME] * 60_000, results=[result])
    with pytest.raises(ContainerError, match="too much for the size of the file"):
        Residual(written(tmp_path, sealed(header, bytes(60_000))))
    _parse(header)


def test_large_header() -> None:
    """More than a reader takes is not written."""
    with pytest.raises(ContainerError, match="over the limit"):
        stored_header(RESIDUAL, b"1" * (limits.FREE_HEADER + 1))


# What a table or a frame may not say


def test_checksum_of_a_frame_that_lies(tmp_path: Path) -> None:
    """A frame has the right checksum, but not the declared number of bytes."""
    file = with_header(
        lambda header: header["frames"][2].update(raw=header["frames"][2]["raw"] + 1)
    )
    with (
        Residual(written(tmp_path, file)) as residual,
        pytest.raises(ContainerError, match="does not hold the"),
    ):
        residual.run(MATRIX, 0, guess(MATRIX))


def test_prediction_of_another_length(tmp_path: Path) -> None:
    """A run is of as many elements as are predicted, or refused."""
    with (
        Residual(written(tmp_path, small_file())) as residual,
        pytest.raises(ContainerError),
    ):
        residual.run(MATRIX, 0, predicted(np.resize(prediction(MATRIX), 100), MATRIX.dtype))


def test_frames_in_the_header_are_in_order() -> None:
    """`offset` follows from the sizes."""
    data, _ = header_and_payload(small_file())
    header = parse_header(data, 1000, 2**40)
    places = [frame.offset for frame in header.frames]
    told_of = header_of(small_file())["frames"]
    stored = [told["stored"] for told in told_of]
    assert places == [1000 + sum(stored[:i]) for i in range(len(stored))]
    assert [replace(frame, offset=0) for frame in header.frames] == [
        ResidualFrame(told["raw"], told["stored"], told["sha256"]) for told in told_of
    ]
