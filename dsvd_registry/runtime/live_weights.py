"""A pipeline's weights in memory: the record of which are the base's, and writing in place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch

from ..codec.tensor_order import in_order
from ..codec.torch_tensors import same_bits
from ..errors import BaseMismatch
from .content import Content
from .pipeline import check_in_memory, overwrite
from .pipeline_base import PipelineBase

Tensors = Mapping[str, torch.Tensor]
Bits = Callable[[str], torch.Tensor]
"""A function that makes the new values of a tensor, by its name, in any thread."""


class LiveWeights:
    """The state of a pipeline's weights. `touched`: the tensors that may differ from the base's."""

    def __init__(self) -> None:
        self.touched: set[str] = set()
        self._proven: dict[str, tuple[Content | None, torch.dtype]] = {}

    def check_restores(self, base: PipelineBase, needed_by: str) -> None:
        """Raise `BaseMismatch` if `base` cannot restore the touched tensors."""
        for name in self.touched:
            if base.content(name) != self._proven[name][0]:
                raise _mismatch(name, base, needed_by)

    def prove(
        self, names: Collection[str], base: PipelineBase, tensors: Tensors, needed_by: str
    ) -> None:
        """Compare tensors with the base, bit for bit, unless they were compared before.

        Raises `BaseMismatch` for the first that differs, `InvalidArgument` for one without memory.
        """

        def compare(name: str) -> tuple[str, bool]:
            check_in_memory(name, tensors[name])
            live = tensors[name].detach()
            return name, same_bits(base.bits(name, live), live)

        unproven = [
            name
            for name in names
            if name not in self.touched
            and self._proven.get(name) != (base.content(name), tensors[name].dtype)
        ]
        with in_order(compare, unproven, lambda name: tensors[name].numel()) as compared:
            for name, is_same in compared:
                if not is_same:
                    raise _mismatch(name, base, needed_by)
                self._proven[name] = base.content(name), tensors[name].dtype

    def put(self, names: Collection[str], bits: Bits, tensors: Tensors) -> None:
        """Overwrite the tensors of these names with `bits`, each as soon as it is made."""
        for name in names:
            check_in_memory(name, tensors[name])

        def make(name: str) -> tuple[str, torch.Tensor]:
            return name, bits(name)

        with in_order(make, names, lambda name: tensors[name].numel()) as made:
            for name, values in made:
                self.touched.add(name)
                overwrite(tensors[name], values)

    def put_back(self, names: Collection[str], base: PipelineBase, tensors: Tensors) -> None:
        """Overwrite tensors with the base's bits. Raises `BaseMismatch` for a damaged base."""
        self.put(names, lambda name: base.bits(name, tensors[name]), tensors)
        for name in names:
            self._proven[name] = base.content(name), tensors[name].dtype
            self.touched.discard(name)


def _mismatch(name: str, base: PipelineBase, needed_by: str) -> BaseMismatch:
    weights = base.weights
    return BaseMismatch(
        f"the pipeline's {name!r} is not that of the base {weights.name!r} ({weights.digest}), "
        f"which {needed_by} needs",
        "Load the whole pipeline from that base, in any dtype, with nothing on top of it.",
    )
