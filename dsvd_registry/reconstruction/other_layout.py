"""Conversion of a result to another layout: tensors are renamed, split or joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..checkpoint import TensorInfo
from ..checkpoint.checkpoint import Copier, Memory
from ..checkpoint.layout import canonical_layout
from ..checkpoint.tensor_info import DELTA_DTYPES
from ..codec.exact_product import row_tiles
from ..container.records import BaseTensor
from ..errors import InvalidArgument
from ..layouts import Correspondence, ViewedTensors, map_names
from ..layouts.view import Shape, is_alike
from .base_view import ViewedBase
from .file_plan import Run, RunsOfTensor
from .reconstruction import Reconstruction
from .result_layout import ResultFile
from .target_layout import TargetFile, TargetLayout
from .version_shapes import adjusted_configurations, result_shape


class RelaidResult:
    """The result of `reconstruction` in the layout of `target`.

    `left_out`: the tensors that `target` has no place for. `configurations`: the folder's adjusted
    configurations, by path. Raises `InvalidArgument` if `target` needs weights that the result
    lacks or has in another shape, `BaseMismatch` for another family.
    """

    def __init__(self, reconstruction: Reconstruction, target: TargetLayout) -> None:
        self._reconstruction = reconstruction
        available = reconstruction.infos
        names = map_names(available, dict(target.tensors()))
        other_shapes = filter(None, (unmatched.counterpart for unmatched in names.unmatched))
        matches = {match.tensor: match for match in (*names.correspondences, *other_shapes)}
        shapes = dict(_shapes(available, matches, target))
        self.configurations = adjusted_configurations(target, shapes) if target.is_folder else {}
        self._sources = {name: matches[name].base for name in shapes}
        used = {name for one in self._sources.values() for name in one.tensors}
        self.left_out = tuple(name for name in available if name not in used)
        self._infos = {
            name: TensorInfo(name, available[one.tensors[0]].dtype, shapes[name])
            for name, one in self._sources.items()
        }
        self.metadata = {"dsvd.layout": target.layout, **reconstruction.metadata}
        self.files = tuple(self._files(target, {"format": "pt", **self.metadata}))

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """The tensors of all files, by their names in the whole checkpoint."""
        return self._infos

    def result_tensor(self, name: str) -> RunsOfTensor:
        """A tensor that is computed in runs. Raises `KeyError` for an unknown name."""
        source = self._sources[name]
        if source.view.kind == "reshape":
            return self._reconstruction.result_tensor(source.tensors[0])
        return _ViewedTensor(self._reconstruction, source, self._infos[name])

    def _files(self, target: TargetLayout, metadata: Mapping[str, str]) -> Iterator[ResultFile]:
        for file in target.files:
            own = [name for name in file.tensors if file.prefix + name in self._sources]
            if not own:
                continue
            if target.is_folder:
                self._check_whole(file)
            infos = (replace(self._infos[file.prefix + name], name=name) for name in own)
            yield ResultFile(file.path, file.prefix, canonical_layout(infos, metadata))

    def _check_whole(self, file: TargetFile) -> None:
        """Check that a sub-model has all its weights; tensors that are not weights may be missing."""
        for name, info in file.tensors.items():
            if file.prefix + name not in self._sources and info.dtype in DELTA_DTYPES:
                raise InvalidArgument(
                    f"the version has nothing for the tensor {name!r} of {file.path}",
                    "Name a folder that fits it with --like, or leave --layout out.",
                )


def _shapes(
    available: Mapping[str, TensorInfo], matches: Mapping[str, Correspondence], target: TargetLayout
) -> Iterator[tuple[str, Shape]]:
    """The shape of each tensor of the result, in the order of `target`."""
    for file in target.files:
        for own, info in file.tensors.items():
            name = file.prefix + own
            if name not in matches:
                continue
            viewed = matches[name].base.resolve(available).shape
            # Counters and such of another shape do without, as `_check_whole` has it.
            if is_alike(viewed, info.shape) or not target.is_folder or info.dtype in DELTA_DTYPES:
                yield name, result_shape(info, own, viewed, is_folder=target.is_folder)


class _ViewedTensor:
    """A tensor that is made from other tensors, which are computed completely first."""

    def __init__(
        self, reconstruction: Reconstruction, source: ViewedTensors[str], info: TensorInfo
    ) -> None:
        self._info = info
        self._reconstruction, self._source = reconstruction, source
        self._copy: Copier | None = None

    def prepare(self) -> None:
        tensors = {
            record.name: BaseTensor(record.name, record.dtype, record.shape, "")
            for record in self._reconstruction.records
        }
        computed = _ComputedTensors(self._reconstruction)
        self._copy = ViewedBase(self._source.resolve(tensors), computed).copy

    @property
    def prepared_bytes(self) -> int:
        return sum(self._reconstruction.infos[name].nbytes for name in self._source.tensors)

    def runs(self) -> Iterator[Run]:
        width = self._info.nbytes // max(1, self._info.elements)
        for first, end in row_tiles(self._info.elements, 1):
            yield Run(first, end, (end - first) * width)

    def fill(self, run: Run, memory: Memory) -> None:
        assert self._copy is not None
        self._copy(run.first * (run.nbytes // (run.end - run.first)), memory)

    def release(self) -> None:
        self._copy = None


class _ComputedTensors:
    """A result's tensors, with the interface of a base."""

    def __init__(self, reconstruction: Reconstruction) -> None:
        self._reconstruction = reconstruction

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        """Accept any tensors: they are the result's own."""

    def read(self, tensor: BaseTensor) -> memoryview:
        return self._reconstruction.tensor_bytes(tensor.name)

    def copier(self, tensor: BaseTensor) -> Copier:
        data = np.frombuffer(self.read(tensor), np.uint8)

        def copy(first: int, memory: Memory) -> None:
            memory[:] = data[first : first + len(memory)]

        return copy

    def release(self, tensor: BaseTensor) -> None:
        """Do nothing: memory is freed with the last reference."""

    def kept_file(self, sha256: str) -> None:
        """None: a result's tensors come without other files."""
