"""The tensors of a pipeline that a version changes, found from its header alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..checkpoint.tensor_info import DELTA_DTYPES
from ..container.records import Header, SameRecord, TensorRecord
from ..errors import InvalidArgument
from ..layouts import ViewedTensors
from .content import Content, composed
from .pipeline_base import PipelineBase
from .pipeline_fit import check_taken
from .pipeline_sources import find_sources


@dataclass(frozen=True)
class Changes:
    """The changes of a pipeline by a version.

    `changed`: the version's tensors that a tensor of the pipeline becomes, by the latter's name.
    `named`: all of the pipeline's tensors that the version has, changed or not.
    """

    changed: Mapping[str, ViewedTensors[str]]
    named: Collection[str]


def find_changes(ref: str, header: Header, base: PipelineBase) -> Changes:
    """Compare the content of each of the pipeline's tensors in the version and in the base.

    Raises:
        InvalidArgument: if the pipeline lacks a tensor that the version changes, or the base lacks
            one that would have to be restored.
        BaseMismatch: for a version of another family.
    """
    records = {record.name: record for record in header.tensors}
    sources = find_sources(records, base.pipeline, ref)
    check_taken(ref, header, {name for one in sources.values() for name in one.tensors})
    changed = {}
    for name, source in sources.items():
        content = base.content(name)
        if content is None:
            raise InvalidArgument(
                f"{ref} has {name!r}, which its base {base.weights.name!r} lacks, so that it could "
                "not be restored",
                "Materialise the version and load the file.",
            )
        if not _is_kept(source.resolve(records), content, base.pipeline[name].dtype):
            changed[name] = source
    return Changes(changed, sources.keys())


def _is_kept(source: ViewedTensors[TensorRecord], content: Content, dtype: str) -> bool:
    """Return whether a tensor of `dtype` has the same bits in the version and in the base."""
    record = source.tensors[0]
    if len(source.tensors) > 1 or not isinstance(record, SameRecord):
        return False
    return composed(record, source.view) == content and _is_lossless(
        record.base[0].dtype, record.dtype, dtype
    )


def _is_lossless(base: str, result: str, pipeline: str) -> bool:
    """Return whether casting from `base` to `result` to `pipeline` equals casting directly."""
    return result in (base, pipeline) or (result == "F32" and base in DELTA_DTYPES)
