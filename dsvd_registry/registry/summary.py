"""The few figures of a version that `ls` shows; they are kept in the catalog."""

from __future__ import annotations

from ..catalog import BaseRecord
from ..container.reader import Container
from .report import report
from .repository import Repository

Summary = dict[str, int | float | str]


def summary_of(sha256: str, base: BaseRecord, repository: Repository) -> Summary:
    """Figures of the container `sha256`."""
    with Container(repository.objects.path(sha256)) as container:
        return summary_of_open(container, base, repository)


def summary_of_open(container: Container, base: BaseRecord, repository: Repository) -> Summary:
    """Figures of an open container, in the store or not."""
    found = report(container, (tensor.name for tensor in repository.manifest(base).tensors))
    summary: Summary = {row.kind: row.tensors for row in found.kinds}
    return summary | {
        "tau": found.tau,
        "tensors": found.total,
        "parameters": found.parameters,
        "error": found.error,
        "change": found.change if found.change < float("inf") else -1.0,
    }
