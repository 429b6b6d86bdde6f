"""A result in another layout: the same numbers under other names, cut or joined where that differs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from ..checkpoint import TensorInfo
from ..checkpoint.checkpoint import Copier, Memory
from ..checkpoint.dtypes import DELTA_DTYPES
from ..checkpoint.layout import canonical_layout
from ..codec.exact_product import row_tiles
from ..container.records import BaseTensor
from ..errors import InvalidArgument
from ..fs import Bytes
from ..layouts import Correspondence, map_names
from ..layouts.view import Shape, is_alike
from .base_view import ViewedBase
from .file_assembly import Run, RunsOfTensor, file_bytes, nowhere
from .reconstruction import Reconstruction
from .result_layout import Place, ResultFile
from .target_layout import Target, TargetFile
from .version_shapes import adjusted_configurations, result_shape


class RelaidResult:
    """The result of `reconstruction` as `target` has it.

    `left_out`: its tensors that `target` has no place for; `configurations`: those of the folder that
    say what is the result's own, by path. Raises `InvalidArgument` where `target` wants weights that it
    has not, or not in that shape, `BaseMismatch` for another family.
    """

    def __init__(self, reconstruction: Reconstruction, target: Target) -> None:
        self._reconstruction = reconstruction
        there = reconstruction.infos
        names = map_names(there, dict(target.tensors()))
        counterparts = [one.counterpart for one in names.unmatched]
        found = {one.tensor: one for one in (*names.correspondences, *filter(None, counterparts))}
        shapes = dict(_shapes(there, found, target))
        self.configurations = adjusted_configurations(target, shapes) if target.is_folder else {}
        self._sources = {name: found[name] for name in shapes}
        used = {name for one in self._sources.values() for name in one.base}
        self.left_out = tuple(name for name in there if name not in used)
        self._infos = {
            name: TensorInfo(name, there[one.base[0]].dtype, shapes[name])
            for name, one in self._sources.items()
        }
        self.metadata = {"dsvd.layout": target.layout, **reconstruction.metadata}
        self.files = tuple(self._files(target, {"format": "pt", **self.metadata}))

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """The tensors of all files, by their names in the whole checkpoint."""
        return self._infos

    def chunks(self, file: ResultFile, place: Place = nowhere) -> Generator[Bytes, None, None]:
        """One of `files` from first byte to last, as `Reconstruction.chunks` gives the exact one."""
        return file_bytes(file.layout, lambda name: self.result_tensor(file.prefix + name), place)

    def result_tensor(self, name: str) -> RunsOfTensor:
        """A tensor to be made in runs. Raises `KeyError` for an unknown name."""
        source = self._sources[name]
        if source.view.kind == "reshape":
            return self._reconstruction.result_tensor(source.base[0])
        return _ViewedTensor(self._reconstruction, source, self._infos[name])

    def _files(self, target: Target, metadata: Mapping[str, str]) -> Iterator[ResultFile]:
        for file in target.files:
            own = [name for name in file.tensors if file.prefix + name in self._sources]
            if not own:
                continue
            if target.is_folder:
                self._check_whole(file)
            infos = (replace(self._infos[file.prefix + name], name=name) for name in own)
            yield ResultFile(file.path, file.prefix, canonical_layout(infos, metadata))

    def _check_whole(self, file: TargetFile) -> None:
        """A sub-model is there with all its weights, or not at all; counters and such may lack."""
        for name, info in file.tensors.items():
            if file.prefix + name not in self._sources and info.dtype in DELTA_DTYPES:
                raise InvalidArgument(
                    f"the version has nothing for the tensor {name!r} of {file.path}",
                    "Name a folder that fits it with --like, or leave --layout out.",
                )


def _shapes(
    there: Mapping[str, TensorInfo], found: Mapping[str, Correspondence], target: Target
) -> Iterator[tuple[str, Shape]]:
    """The shape of each tensor of the result, in the order of `target`."""
    for file in target.files:
        for own, info in file.tensors.items():
            name = file.prefix + own
            if name not in found:
                continue
            one = found[name]
            viewed = one.view.shape([there[base].shape for base in one.base])
            # Counters and such of another shape do without, as `_check_whole` has it.
            if is_alike(viewed, info.shape) or not target.is_folder or info.dtype in DELTA_DTYPES:
                yield name, result_shape(info, own, viewed, is_folder=target.is_folder)


class _ViewedTensor:
    """A tensor that is made of others, which are made whole first."""

    def __init__(
        self, reconstruction: Reconstruction, source: Correspondence, info: TensorInfo
    ) -> None:
        self._info = info
        self._reconstruction, self._source = reconstruction, source
        self._copy: Copier | None = None

    def prepare(self) -> None:
        records = {record.name: record for record in self._reconstruction.records}
        parts = [records[name] for name in self._source.base]
        tensors = [BaseTensor(part.name, part.dtype, part.shape, "") for part in parts]
        made = _MadeTensors(self._reconstruction)
        self._copy = ViewedBase(tensors, self._source.view, made).copy

    def runs(self) -> Iterator[Run]:
        width = self._info.nbytes // max(1, self._info.elements)
        for first, end in row_tiles(self._info.elements, 1):
            yield Run(first, end, (end - first) * width)

    def fill(self, run: Run, memory: Memory) -> None:
        assert self._copy is not None
        self._copy(run.first * (run.nbytes // (run.end - run.first)), memory)

    def release(self) -> None:
        self._copy = None


class _MadeTensors:
    """Tensors of a result where those of a base are wanted."""

    def __init__(self, reconstruction: Reconstruction) -> None:
        self._reconstruction = reconstruction

    def check_suits(self, wanted: Iterable[BaseTensor], digest: str) -> None:
        """They are the result's own."""

    def read(self, tensor: BaseTensor) -> memoryview:
        return self._reconstruction.tensor_bytes(tensor.name)

    def copier(self, tensor: BaseTensor) -> Copier:
        data = np.frombuffer(self.read(tensor), np.uint8)

        def copy(first: int, memory: Memory) -> None:
            memory[:] = data[first : first + len(memory)]

        return copy

    def release(self, tensor: BaseTensor) -> None:
        """They go with who holds them."""

    def kept_file(self, sha256: str) -> None:
        """There are none."""
