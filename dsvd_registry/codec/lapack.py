"""The staged symmetric eigensolver of LAPACK: all eigenvalues, and then as many vectors as are wanted.

numpy and SciPy give all vectors or bisect for each value; here the matrix is made tridiagonal once
(dsytrd), all eigenvalues come from that (dsterf), and the vectors of the largest few by relatively
robust representations (dstemr), brought back by the reflectors (dormqr). SciPy's own wrappers of
these routines hold Python's lock while they run; its pointers to them, made for Cython, do not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cython_lapack

Array = npt.NDArray[np.float64]

BLOCK = 64  # columns that a blocked routine takes at once; it asks for that many rows of workspace


class NotConverged(Exception):
    """LAPACK gave up on a matrix."""


def _routine(name: str) -> Callable[..., None]:
    """A Fortran routine: every argument by reference. Calling it lets other threads run."""
    capsule = cython_lapack.__pyx_capi__[name]
    python = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", python))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", python)
    )
    routine = ctypes.CFUNCTYPE(None)(pointer_of(capsule, name_of(capsule)))

    def call(*arguments: bytes | int | float | npt.NDArray[np.generic]) -> None:
        held = [_by_reference(argument) for argument in arguments]
        info = ctypes.c_int(0)
        routine(*(reference for reference, _ in held), ctypes.byref(info))
        if info.value:
            raise NotConverged(f"{name}: {info.value}")

    return call


def _by_reference(argument: object) -> tuple[ctypes.c_void_p, object]:
    """A pointer, and what must live as long as it is used."""
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


_dsytrd, _dsterf, _dstemr, _dormqr = map(_routine, ("dsytrd", "dsterf", "dstemr", "dormqr"))


@dataclass(frozen=True)
class Tridiagonal:
    """Q^T G Q of a symmetric G (n, n): its diagonal (n,), off-diagonal (n - 1,), and Q as reflectors."""

    diagonal: Array
    off_diagonal: Array
    reflectors: Array  # (n, n), Fortran order: column j below row j + 1
    scales: Array  # (n - 1,)

    def eigenvalues(self) -> Array:
        """All eigenvalues, (n,), rising. Raises `NotConverged`."""
        values, off_diagonal = self.diagonal.copy(), self.off_diagonal.copy()
        _dsterf(len(values), values, off_diagonal)
        return values

    def top_eigenvectors(self, count: int) -> Array:
        """Of the `count` largest eigenvalues, the largest first: (n, count), orthonormal columns.

        Raises `NotConverged`.
        """
        n = len(self.diagonal)
        values, found = np.empty(n), np.zeros(1, np.int32)
        vectors, support = np.zeros((n, count), order="F"), np.empty(2 * count, np.int32)
        high_accuracy = np.ones(1, np.int32)
        _dstemr(
            b"V", b"I", n,
            self.diagonal.copy(), np.append(self.off_diagonal, 0.0),
            0.0, 0.0, n - count + 1, n, found, values, vectors, n, count, support, high_accuracy,
            np.empty(18 * n), 18 * n, np.empty(10 * n, np.int32), 10 * n,
        )  # fmt: skip
        if found[0] != count:
            raise NotConverged(f"dstemr: {found[0]} of {count} vectors")
        if n > 1:
            # The first row stays; the reflectors act on the others.
            _dormqr(
                b"L", b"N", n - 1, count, n - 1,
                self.reflectors[1:, :-1], n, self.scales, vectors[1:], n,
                np.empty(BLOCK * (count + BLOCK + 1)), BLOCK * (count + BLOCK + 1),
            )  # fmt: skip
        return vectors[:, ::-1]


def tridiagonalize(symmetric: Array) -> Tridiagonal:
    """Reduce a symmetric matrix, float64 (n, n); it is overwritten. Raises `NotConverged`."""
    n = len(symmetric)
    reflectors = symmetric.T  # Fortran order, of the same matrix
    diagonal, off_diagonal, scales = np.empty(n), np.empty(max(n - 1, 1)), np.empty(max(n - 1, 1))
    _dsytrd(
        b"L", n, reflectors, n, diagonal, off_diagonal, scales, np.empty(BLOCK * n), BLOCK * n
    )  # fmt: skip
    return Tridiagonal(diagonal, off_diagonal[: n - 1], reflectors, scales[: n - 1])
