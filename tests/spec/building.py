"""Containers out of hand-chosen integers, through the package's writer; no SVD, nothing measured."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from dsvd_registry.checkpoint.tensor_info import BITS, Fingerprint, weights_digest
from dsvd_registry.container.header import header_bytes
from dsvd_registry.container.quantisation import Quantisation
from dsvd_registry.container.records import (
    BaseTensor,
    CastRecord,
    DenseRecord,
    Encoding,
    FrameContent,
    Header,
    KeptFile,
    LowRankRecord,
    MergeRecipe,
    Omission,
    Part,
    QuantisedRecord,
    RawReason,
    RawRecord,
    Result,
    SameRecord,
    Source,
    TensorFile,
    TensorRecord,
    TreeFile,
    View,
)
from dsvd_registry.container.rows import Int32, Rows, Run, pack_rows
from dsvd_registry.container.table import ComponentTable, pack_table
from dsvd_registry.container.writer import PayloadWriter, write_container
from dsvd_registry.hashing import sha256

from . import exact
from .exact import Component, Json
from .header_bytes import encode
from .readers import decoder

Tensor = tuple[str, tuple[int, ...], bytes]  # dtype, shape, bytes
Runs = Sequence[tuple[int, int]]  # units of each part, and the band of the frame that it goes into


@dataclass(frozen=True)
class Built:
    """A valid container with all that a test compares it with."""

    file: bytes
    base: dict[str, Tensor]
    header: Json
    source_header: bytes | None
    data_at: Callable[[float], dict[str, bytes] | None]
    source_headers: tuple[bytes, ...] = ()  # of the files of a tree
    kept: Mapping[str, bytes] = field(default_factory=dict)  # its other files, by path
    base_files: Mapping[str, bytes] = field(default_factory=dict)  # if the base is a folder
    singles: Mapping[str, bytes] = field(
        default_factory=dict
    )  # F32, deltas before the last rounding

    @property
    def tau(self) -> float:
        return float(self.header["encoding"]["tau"] / 10**6)

    def result(self, x: float | None = None) -> bytes | None:
        """The file at x; None if it is not served."""
        tau = self.tau if x is None else x
        data = self.data_at(tau)
        if data is None:
            return None
        return exact.result_file(self.header, data, tau, self.source_header)

    def files(self, x: float | None = None) -> dict[str, bytes] | None:
        """The files of a tree at x, by path; None if it is not served."""
        tau = self.tau if x is None else x
        data = self.data_at(tau)
        if data is None:
            return None
        made = tree_results(self.header, data, tau, self.source_headers)
        return dict(sorted({**made, **self.kept}.items()))


@dataclass(frozen=True)
class _Part:
    content: FrameContent
    count: int
    runs: list[Run]
    band: int


class Recipe:
    """Records and parts, one call a tensor; `build` makes the container."""

    def __init__(self, tau: float = 0.5, source_format: str = "safetensors") -> None:
        self.tau = tau
        self.source_format = source_format
        self.source_header: bytes | None = None
        self.max_error: float | None = None
        self.budget: int | None = None
        self.merge: MergeRecipe | None = None
        self.left_out: tuple[Omission, ...] = ()
        self.base: dict[str, Tensor] = {}
        self.base_name = "base"
        self.base_files: dict[str, bytes] = {}  # with these the base is a folder
        self._tree: dict[str, TreeFile] = {}  # by path; none for a single file
        self._headers: dict[str, bytes] = {}  # of the files of tensors
        self._kept: dict[str, bytes] = {}  # the bytes of the others
        self._file_runs: dict[str, Runs] = {}
        self._records: dict[str, TensorRecord] = {}
        self._parts: dict[str, list[_Part]] = {}
        self._stored: dict[str, bytes] = {}
        self._rows_at: dict[str, Callable[[int], bytes]] = {}
        self._singles: dict[str, bytes] = {}
        self._singular: dict[str, list[float]] = {}
        self._rules: dict[str, Callable[[Sequence[str]], Quantisation]] = {}
        self._based: dict[str, tuple[Any, ...]] = {}
        self._casts: dict[str, str] = {}  # the name of the tensor that each is made of

    def hold(self, name: str, dtype: str, shape: Sequence[int], data: bytes) -> BaseTensor:
        """Put a tensor into the base."""
        self.base[name] = dtype, tuple(shape), data
        return BaseTensor(name, dtype, tuple(shape), sha256(data))

    def tensors(self, path: str, prefix: str, header: bytes) -> None:
        """A file of the tree that holds tensors. `header`: see `file_header`."""
        self._tree[path] = TensorFile(path, prefix)
        self._headers[path] = header

    def stored(self, path: str, data: bytes, runs: Runs = ()) -> None:
        """A file of the tree whose bytes stand in the payload."""
        self._tree[path] = KeptFile(path, sha256(data), len(data), of_base=False)
        self._kept[path], self._file_runs[path] = data, runs

    def of_base(self, path: str, held: str) -> None:
        """A file of the tree that is the base's file `held`."""
        data = self.base_files[held]
        self._tree[path] = KeptFile(path, sha256(data), len(data), of_base=True)
        self._kept[path] = data

    def raw(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        data: bytes,
        reason: RawReason = "new",
        runs: Runs = (),
    ) -> None:
        self._records[name] = RawRecord(name, dtype, tuple(shape), reason)
        self._rows_at[name] = lambda _: b""
        self._parts[name] = []
        self._bytes(name, data, runs)

    def same(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        base: Sequence[BaseTensor],
        view: View = View(),  # noqa: B008 - frozen
        new: tuple[int, bytes] = (0, b""),
        runs: Runs = (),
    ) -> None:
        """`new`: the number of new rows, and their bytes."""
        seen = self._viewed(base, view)
        rows = seen if base[0].dtype == dtype else exact.cast(seen, base[0].dtype, dtype)
        self._records[name] = SameRecord(name, dtype, tuple(shape), tuple(base), view, new[0])
        self._rows_at[name] = lambda _: rows
        self._parts[name] = []
        self._bytes(name, new[1], runs)

    def dense(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        base: Sequence[BaseTensor],
        exponent: int,
        values: Sequence[int],
        view: View = View(),  # noqa: B008 - frozen
        new: tuple[int, bytes] = (0, b""),
        runs: Runs = (),
        **told: Any,
    ) -> None:
        """`told`: as for `low_rank`. Raises `exact.NotFinite`."""
        maximum = max(map(abs, values))
        seen = self._viewed(base, view)
        delta = [Fraction(2) ** exponent * value for value in values]
        rows = exact.added(seen, base[0].dtype, delta, dtype)
        self._singles[name] = exact.added(seen, base[0].dtype, delta, "F32")
        based = (name, dtype, tuple(shape), tuple(base), view, new[0])
        fields = {"base_norm": 1.0, "norm": 0.5, "error": 0.01} | told
        self._records[name] = DenseRecord(*based, exponent=exponent, maximum=maximum, **fields)
        self._rows_at[name] = lambda _: rows
        whole = np.array(values, np.int64).astype(np.int32)
        self._parts[name] = [
            _Part("elements", end - first, _elements(whole[first:end], maximum), band)
            for first, end, band in _ends(runs, len(values))
        ]
        self._bytes(name, new[1], ())

    def low_rank(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        base: Sequence[BaseTensor],
        components: Sequence[Component],
        view: View = View(),  # noqa: B008 - frozen
        new: tuple[int, bytes] = (0, b""),
        tables: Runs = (),
        runs: Runs = (),
        **told: Any,
    ) -> None:
        """`told`: fields of the record that are not to follow from the rest."""
        rank, m, n = len(components), len(components[0].a), len(components[0].b)
        singular = [c.s for c in components]
        fields = {
            "rank": rank,
            "tau_rank": rank,
            "noise_rank": min(m, n),
            "nuclear_norm": float(sum(singular) * 1.25),
            "base_norm": 1.0,
            "norm": 0.5,
            "error": 0.01,
        }
        based = (name, dtype, tuple(shape), tuple(base), view, new[0])
        self._records[name] = LowRankRecord(*based, **(fields | told))
        self._singular[name] = singular
        seen, base_dtype = self._viewed(base, view), base[0].dtype
        delta_at = [exact.low_rank_delta(components[:t], m, n) for t in range(rank + 1)]
        self._rows_at[name] = lambda t: exact.added(seen, base_dtype, delta_at[t], dtype)
        self._rows_at[name](rank)  # it must be finite
        self._singles[name] = exact.added(seen, base_dtype, delta_at[rank], "F32")
        a, b = (np.array([getattr(c, side) for c in components], np.int64) for side in "ab")
        table = ComponentTable(
            np.array([c.e for c in components], np.int64),
            np.abs(a).max(axis=1),
            np.abs(b).max(axis=1),
            np.array(singular, np.float32),
        )
        a, b = a.astype(np.int32), b.astype(np.int32)
        self._parts[name] = [
            _Part("tables", end - first, [*Run.alone(pack_table(table.rows(first, end)))], band)
            for first, end, band in _ends(tables, rank)
        ]
        for first, end, band in _ends(runs, rank):
            runs_in = _components(a[first:end], b[first:end], table.rows(first, end))
            self._parts[name].append(_Part("components", end - first, runs_in, band))
        self._bytes(name, new[1], ())

    def cast(self, name: str, dtype: str, of: str) -> None:
        """The tensor `of`, which may come later, rounded. `build` raises `exact.NotFinite`."""
        self._casts[name] = of
        self._records[name] = CastRecord(name, dtype, (), 0)  # `build` has the rest
        self._parts[name] = []

    def quantised(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        base: Sequence[BaseTensor],
        rule: Callable[[Sequence[str]], Quantisation],
        codes: bytes,
        view: View = View(),  # noqa: B008 - frozen
    ) -> None:
        """Codes that are told. `rule`: makes the quantisation from the names of all records."""
        self._rules[name] = rule
        self._based[name] = name, dtype, tuple(shape), tuple(base), view, 0
        self._records[name] = RawRecord(
            name, dtype, tuple(shape), "new"
        )  # `build` has the right one
        self._rows_at[name] = lambda _: codes
        self._parts[name], self._stored[name] = [], b""

    def plain(self) -> Recipe:
        """The same tensors, and no tree."""
        other = copy.copy(self)
        other._tree, other._headers, other._kept = {}, {}, {}
        return other

    def build(self) -> Built:
        names = sorted(self._records, key=str.encode)
        for name, of in self._casts.items():
            cast, shape = self._records[name], self._records[of].shape
            self._records[name] = CastRecord(name, cast.dtype, shape, names.index(of))
        for name, rule in self._rules.items():
            self._records[name] = QuantisedRecord(*self._based[name], rule(names))
        records = [self._records[name] for name in names]
        payload = PayloadWriter(io.BytesIO())
        for number, name in enumerate(names):
            for part in self._parts[name]:
                payload.add(part.content, Part(number, part.count), part.runs, part.band)
        if self.source_header is not None:
            payload.add("source_header", None, Run.alone(self.source_header))
        paths = sorted(self._tree, key=str.encode)
        tree = tuple(self._tree[path] for path in paths) or None
        headers = tuple(self._headers[path] for path in paths if path in self._headers)
        for number, source_header in enumerate(headers):
            payload.add("source_header", None, Run.alone(source_header), band=number)
        for number, path in enumerate(paths):
            data = self._kept[path] if path in self._file_runs else b""
            for first, end, band in _ends(self._file_runs.get(path, ()), len(data)):
                payload.add("files", Part(number, end - first), Run.alone(data[first:end]), band)
        fingerprints = [Fingerprint(name, *t[:2], sha256(t[2])) for name, t in self.base.items()]
        header = Header(
            base_digest=weights_digest(fingerprints),
            base_name=self.base_name,
            encoding=Encoding(
                tau=self.tau,
                grid_noise=0.015 if self.max_error is self.budget is None else 0.0,
                max_error=self.max_error,
                budget=self.budget,
            ),
            source=Source("diffusers" if tree else self.source_format, sha256(b"source"), 6),
            left_out=self.left_out,
            tensors=tuple(records),
            frames=payload.finish(),
            results=tuple(
                Result(file.path, "0" * 64, 0)
                for file in tree or (TensorFile("model.safetensors", ""),)
                if isinstance(file, TensorFile)
            ),
            tree=tree,
            merge=self.merge,
        )
        data = self._data_at(stated(header), self.tau)
        assert data is not None
        if tree is not None:
            made = tree_results(stated(header), data, self.tau, headers)
            results = tuple(Result(path, sha256(file), len(file)) for path, file in made.items())
            return self._written(replace(header, results=results), payload, headers)
        if header.keeps_source:  # the source file is the result
            assert self.source_header is not None
            file = exact.result_file(stated(header), data, self.tau, self.source_header)
            source = Source(self.source_format, hashlib.sha256(file).hexdigest(), len(file))
            header = replace(header, source=source)
        file = exact.result_file(stated(header), data, self.tau, self.source_header)
        header = replace(
            header,
            results=(Result("model.safetensors", hashlib.sha256(file).hexdigest(), len(file)),),
        )
        return self._written(header, payload)

    def _written(
        self, header: Header, payload: PayloadWriter, source_headers: tuple[bytes, ...] = ()
    ) -> Built:
        out = io.BytesIO()
        write_container(header, payload.chunks(), out)
        told = stated(header)
        return Built(
            out.getvalue(),
            dict(self.base),
            told,
            self.source_header,
            lambda x: self._data_at(told, x),
            source_headers,
            dict(self._kept),
            dict(self.base_files),
            dict(self._singles),
        )

    def _data_at(self, header: Json, x: float) -> dict[str, bytes] | None:
        data = {}
        if not 0 < x <= self.tau:
            return None
        for record in header["tensors"]:
            name = record["name"]
            rank = 0
            if name in self._casts:
                continue
            if name in self._singular:
                found = exact.rank_at(record, self._singular[name], self.tau, x)
                if found is None:
                    return None
                rank = found
            data[name] = self._rows_at[name](rank) + self._stored[name]
        return exact.with_casts(header, data)

    def _viewed(self, base: Sequence[BaseTensor], view: View) -> bytes:
        told = {"kind": view.kind, "first": view.first, "rows": view.rows}
        return exact.viewed(told, [(b.dtype, b.shape, self.base[b.name][2]) for b in base])

    def _bytes(self, name: str, data: bytes, runs: Runs) -> None:
        self._stored[name] = data
        for first, end, band in _ends(runs, len(data)):
            part = _Part("bytes", end - first, [*Run.alone(data[first:end])], band)
            self._parts[name].append(part)


def stated(header: Header) -> Json:
    """A header as plain values."""
    return plain_values(header_bytes(header))


def plain_values(data: bytes) -> Json:
    """The bytes of a header as plain values."""
    header = decoder.read_header(data, 2**53)
    del header["content_digest"]
    assert encode(header) == data
    return dict(header)


def _elements(values: Int32, maximum: int) -> list[Run]:
    return pack_rows(values[None], Rows.one(len(values), maximum))


def _components(a: Int32, b: Int32, table: ComponentTable) -> list[Run]:
    sides = ((a, table.max_a), (b, table.max_b))
    return [run for side, maxima in sides for run in pack_rows(side, Rows(side.shape[1], maxima))]


def _ends(runs: Runs, total: int) -> list[tuple[int, int, int]]:
    """First, end and band of each run; without runs, one of all there is."""
    result, first = [], 0
    for count, band in runs or ([(total, 0)] if total else []):
        result.append((first, first + count, band))
        first += count
    assert first == total
    return result


def tree_results(
    header: Json, data: Mapping[str, bytes], x: float, source_headers: Sequence[bytes]
) -> dict[str, bytes]:
    """The files of a tree that hold tensors, by path."""
    files = [file for file in header["tree"] if file["kind"] == "tensors"]
    return {
        file["path"]: exact.result_file(header, data, x, source_header, file["prefix"])
        for file, source_header in zip(files, source_headers, strict=True)
    }


def file_header(
    tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The JSON of a safetensors file that holds tensors of these dtypes and shapes, in their order."""
    document: Json = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name, (dtype, shape) in tensors.items():
        first, end = end, end + math.prod(shape) * BITS[dtype] // 8
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [first, end]}
    return json.dumps(document).encode()


def base_files(built: Built) -> dict[str, bytes]:
    """The files of the base by path: those of its folder, or one of the path "" that is all of it."""
    if not built.base_files:
        return {"": safetensors(built.base)}
    models: dict[str, dict[str, Tensor]] = {}
    for name, tensor in built.base.items():
        folder, _, own = name.rpartition("/")
        models.setdefault(f"{folder}/model.safetensors".lstrip("/"), {})[own] = tensor
    return {**built.base_files, **{path: safetensors(held) for path, held in models.items()}}


def safetensors(tensors: dict[str, Tensor]) -> bytes:
    """A safetensors file of these tensors, in their order."""
    document, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        offsets = [len(body), len(body) + len(data)]
        document[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": offsets}
        body += data
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
