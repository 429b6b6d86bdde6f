"""Small residual files, and changes of them whose checksums are right again."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from spec.header_bytes import encode_residual
from spec.residual_building import residual_header_of

from dsvd_registry.container.frames import RESIDUAL, decompress, stored_header
from dsvd_registry.container.records import Result
from dsvd_registry.container.table import ComponentTable
from dsvd_registry.residual.ordered import FORMATS, Bits
from dsvd_registry.residual.predicted import Predicted
from dsvd_registry.residual.records import ResidualTensor
from dsvd_registry.residual.run import encode_run
from dsvd_registry.residual.writer import ResidualWriter, component_frames, run_frame

from .bits import predicted, rounded

Json = dict[str, Any]

MATRIX = ResidualTensor("matrix", "F32", (3, 2), 2)
VECTOR = ResidualTensor("vector", "BF16", (5,), 0)
A = np.array([[3, -4, 0], [-1, 2, 70]], np.int32)
B = np.array([[5, 1], [1, -300]], np.int32)
TABLE = ComponentTable(
    np.array([-9, -11]), np.array([4, 70]), np.array([5, 300]), np.array([2.0, 0.5], np.float32)
)


def prediction(tensor: ResidualTensor) -> Bits:
    return rounded(np.linspace(-1, 1, tensor.elements), tensor.dtype)


def guess(tensor: ResidualTensor) -> Predicted:
    return predicted(prediction(tensor), tensor.dtype)


def source(tensor: ResidualTensor) -> Bits:
    of = FORMATS[tensor.dtype]
    return prediction(tensor) + np.arange(tensor.elements).astype(of.unsigned)


def small_file() -> bytes:
    """One tensor with components of its own, and one without."""
    writer, out = ResidualWriter(io.BytesIO()), io.BytesIO()
    for tensor in (VECTOR, MATRIX):  # the writer sorts them
        run = run_frame(encode_run(source(tensor), guess(tensor)))
        own = component_frames(tensor, A, B, TABLE) if tensor.rank else []
        writer.add(tensor, [*own, run])
    writer.write("c" * 64, (Result("model.safetensors", "d" * 64, 1000),), out)
    return out.getvalue()


def header_and_payload(file: bytes) -> tuple[bytes, bytes]:
    stored, size = struct.unpack_from("<II", file, 12)
    return decompress(file[56 : 56 + stored], size, "the header"), file[56 + stored :]


def header_of(file: bytes) -> Json:
    return residual_header_of(file)


def sealed(header: Json, payload: bytes) -> bytes:
    return stored_header(RESIDUAL, encode_residual(header)) + payload


def with_header(change: Callable[[Json], object]) -> bytes:
    """The small file with another header."""
    file = small_file()
    header = header_of(file)
    change(header)
    return sealed(header, header_and_payload(file)[1])


def written(folder: Path, file: bytes) -> Path:
    path = folder / "residual"
    path.write_bytes(file)
    return path
