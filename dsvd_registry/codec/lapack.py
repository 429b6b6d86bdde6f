"""LAPACK's symmetric eigensolver in stages: all eigenvalues first, then some of the eigenvectors.

numpy and SciPy compute all eigenvectors, or bisect for each eigenvalue. Here the matrix is reduced
to a tridiagonal one once (dsytrd), which gives all eigenvalues (dsterf). The eigenvectors of the
largest ones follow by relatively robust representations (dstemr) and are transformed back by the
reflectors (dormqr). All but the eigenvalues can be had in single precision as well: half of the
reduction is bound by memory, and takes half the time.

The routines are called through the pointers that SciPy provides for Cython, because SciPy's own
wrappers do not release Python's lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cython_lapack

Array = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.floating[Any]]
Precision = type[np.float32 | np.float64]

BLOCK = 64  # columns that a blocked routine processes at once; its workspace needs as many rows


class NotConverged(Exception):
    """LAPACK did not converge for a matrix."""


def _routine(name: str) -> Callable[..., None]:
    """A Fortran routine of LAPACK, called with every argument by reference, without Python's lock."""
    capsule = cython_lapack.__pyx_capi__[name]
    python = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", python))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", python)
    )
    routine = ctypes.CFUNCTYPE(None)(pointer_of(capsule, name_of(capsule)))

    def call(*arguments: bytes | int | float | npt.NDArray[np.generic]) -> None:
        referenced = list(map(_by_reference, arguments))
        info = ctypes.c_int(0)
        routine(*(reference for reference, _ in referenced), ctypes.byref(info))
        if info.value:
            raise NotConverged(f"{name}: {info.value}")

    return call


def _by_reference(argument: object) -> tuple[ctypes.c_void_p, object]:
    """A pointer to the argument, and the object that must live as long as the pointer is used."""
    match argument:
        case np.ndarray():
            return ctypes.c_void_p(argument.ctypes.data), argument
        case bytes():
            text = ctypes.c_char(argument)
            return ctypes.cast(ctypes.pointer(text), ctypes.c_void_p), text
        case int():
            integer = ctypes.c_int(argument)
            return ctypes.cast(ctypes.pointer(integer), ctypes.c_void_p), integer
        case _:
            real = ctypes.c_double(argument)  # type: ignore[arg-type]
            return ctypes.cast(ctypes.pointer(real), ctypes.c_void_p), real


_dsterf = _routine("dsterf")
_SYTRD = {np.float32: _routine("ssytrd"), np.float64: _routine("dsytrd")}
_STEMR = {np.float32: _routine("sstemr"), np.float64: _routine("dstemr")}
_ORMQR = {np.float32: _routine("sormqr"), np.float64: _routine("dormqr")}


@dataclass(frozen=True)
class Tridiagonal:
    """Q^T G Q of a symmetric G (n, n): its diagonal (n,) and off-diagonal (n - 1,); Q as reflectors.

    `dtype`: the precision of the reduction, which the reflectors have, too.
    """

    diagonal: Array
    off_diagonal: Array
    reflectors: Vectors  # (n, n), Fortran order: column j below row j + 1
    scales: Vectors  # (n - 1,)

    @property
    def dtype(self) -> Precision:
        return np.float32 if self.reflectors.dtype == np.float32 else np.float64

    def eigenvalues(self) -> Array:
        """All eigenvalues, float64 (n,), rising. Raises `NotConverged`."""
        values, off_diagonal = self.diagonal.copy(), self.off_diagonal.copy()
        _dsterf(len(values), values, off_diagonal)
        return values

    def top_eigenvectors(self, count: int, dtype: Precision = np.float64) -> Vectors:
        """The eigenvectors of the `count` largest eigenvalues, the largest first.

        They are orthonormal columns, (n, count), computed in and of `dtype`, but no more precise than
        the reduction. Raises `NotConverged`.
        """
        n = len(self.diagonal)
        nothing, values, found = np.zeros(1, dtype), np.empty(n, dtype), np.zeros(1, np.int32)
        vectors, support = np.zeros((n, count), dtype, order="F"), np.empty(2 * count, np.int32)
        high_accuracy = np.ones(1, np.int32)
        _STEMR[dtype](
            b"V", b"I", n,
            self.diagonal.astype(dtype), np.append(self.off_diagonal, 0.0).astype(dtype),
            nothing, nothing, n - count + 1, n, found, values,
            vectors, n, count, support, high_accuracy,
            np.empty(18 * n, dtype), 18 * n, np.empty(10 * n, np.int32), 10 * n,
        )  # fmt: skip
        if found[0] != count:
            raise NotConverged(f"stemr: {found[0]} of {count} vectors")
        if n > 1:
            # The reflectors leave the first row as it is.
            reflectors = self.reflectors.astype(dtype, order="F", copy=False)
            workspace = BLOCK * (count + BLOCK + 1)
            _ORMQR[dtype](
                b"L", b"N", n - 1, count, n - 1,
                reflectors[1:, :-1], n, self.scales.astype(dtype), vectors[1:], n,
                np.empty(workspace, dtype), workspace,
            )  # fmt: skip
        return vectors[:, ::-1]


def tridiagonalize(symmetric: Vectors) -> Tridiagonal:
    """Reduce a symmetric matrix (n, n), float64 or float32, in its precision; it is overwritten.

    Only its upper triangle is read. Raises `NotConverged`.
    """
    n, dtype = len(symmetric), symmetric.dtype.type
    reflectors = symmetric.T  # the same matrix in Fortran order
    diagonal, off_diagonal, scales, workspace = (
        np.empty(size, dtype) for size in (n, max(n - 1, 1), max(n - 1, 1), BLOCK * n)
    )
    _SYTRD[dtype](
        b"L", n, reflectors, n, diagonal, off_diagonal, scales, workspace, BLOCK * n
    )  # fmt: skip
    return Tridiagonal(
        diagonal.astype(np.float64),
        off_diagonal[: n - 1].astype(np.float64),
        reflectors,
        scales[: n - 1],
    )
