"""Lossless reconstruction: the source to the bit, from a container, its base and its residual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..codec.components import Components
from ..codec.weights import Memory
from ..container.reader import Container
from ..container.records import Result
from ..errors import ContainerError
from ..residual.header import check_goes_with
from ..residual.reader import Residual
from ..residual.records import ResidualTensor
from .base_weights import BaseReader
from .file_plan import Run
from .prediction import Prediction
from .reconstruction import Reconstruction, ResultTensor
from .result_layout import source_files


@dataclass(frozen=True)
class Lossless:
    """An open residual, and the SHA-256 of the container that it must belong to."""

    residual: Residual
    container: str

    @property
    def results(self) -> tuple[Result, ...]:
        """The recorded digests and sizes of the source's files."""
        return self.residual.header.results


class LosslessReconstruction(Reconstruction):
    """The source of `container`, restored over `base` with a residual.

    Safetensors files are restored to the byte; of other sources, every tensor is restored to the
    bit. Raises as `Reconstruction`, and `ContainerError` for a residual of another container.
    """

    def __init__(self, container: Container, base: BaseReader, lossless: Lossless) -> None:
        super().__init__(container, base, container.header.encoding.tau)
        residual = lossless.residual
        try:
            check_goes_with(residual.header, container.header, lossless.container)
        except ContainerError as error:
            raise ContainerError(f"{residual.name}: {error}") from error
        self.files = source_files(container.header, container.source_headers())
        for file, result in zip(self.files, residual.header.results, strict=True):
            if file.size != result.size:
                raise ContainerError(
                    f"{residual.name}: the source has {file.size} bytes, where {result.size} are "
                    "recorded"
                )
        self._residual = residual
        self._lacking = {tensor.name: tensor for tensor in residual.header.tensors}

    def expect_all(self) -> None:
        super().expect_all()
        self._residual.expect_all()

    @property
    def metadata(self) -> Mapping[str, str]:
        """The metadata on its origin for another form of the source."""
        return {"dsvd.base": self.header.base_digest, "dsvd.source": self.header.source.sha256}

    def stored_tensor(self, name: str) -> ResultTensor:
        lacking = self._lacking.get(name)
        if lacking is None:
            return super().stored_tensor(name)
        index = self._index[name]
        return LosslessTensor(self._container, self._base, index, self.tau, lacking, self._residual)


class LosslessTensor(ResultTensor):
    """One tensor of the source, computed in the runs of its residual."""

    _prediction: Prediction

    def __init__(
        self,
        container: Container,
        base: BaseReader,
        index: int,
        tau: float,
        lacking: ResidualTensor,
        residual: Residual,
    ) -> None:
        super().__init__(container, base, index, tau)
        self._lacking, self._residual = lacking, residual
        self._predicted = ResultTensor(container, base, index, tau)

    def prepare(self) -> None:
        self._predicted.prepare()
        self.viewed = self._predicted.viewed
        own = None
        if self._lacking.rank:
            own = Components(*self._residual.components(self._lacking))
        kernels = self._residual.kernels(self._lacking.dtype)
        self._prediction = Prediction(self._predicted, self._lacking, own, kernels)

    @property
    def prepared_bytes(self) -> int:
        return self._predicted.prepared_bytes + self._prediction.prepared_bytes

    def runs(self) -> Iterator[Run]:
        for number in range(self._lacking.runs):
            nbytes = self._lacking.source_bytes(self._lacking.run_elements(number))
            yield Run(number, number + 1, nbytes)
        yield from (run for run in self._predicted.runs() if run.is_stored)

    def fill(self, run: Run, memory: Memory) -> None:
        if run.is_stored:
            self._predicted.fill(run, memory)
            return
        predicted = self._prediction.run(run.first)
        if self._predicted.quantiser is not None:
            codes = self._residual.run(self._lacking, run.first, predicted)
            memory[:] = self._predicted.quantiser.bytes_of(codes)
            return
        out = memory.view(self._lacking.of.unsigned)
        self._residual.run(self._lacking, run.first, predicted, out)
