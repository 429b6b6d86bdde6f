"""The few figures of a version that `ls` shows; they are kept in the catalog."""

from __future__ import annotations

from ..catalog import BaseRecord
from ..container.reader import Container
from ..store import ObjectStore
from .opening import read_manifest
from .report import report

Summary = dict[str, int | float | str]


def summary_of(sha256: str, base: BaseRecord, objects: ObjectStore) -> Summary:
    """Figures of the container `sha256`."""
    manifest = read_manifest(base, objects)
    with Container(objects.path(sha256)) as container:
        found = report(container, (tensor.name for tensor in manifest.tensors))
    summary: Summary = {row.kind: row.tensors for row in found.kinds}
    return summary | {
        "tau": found.tau,
        "tensors": found.total,
        "parameters": found.parameters,
        "error": found.error,
        "change": found.change if found.change < float("inf") else -1.0,
    }
