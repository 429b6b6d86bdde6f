"""The summary of a version: the few figures that `ls` shows, which the catalog stores."""

from __future__ import annotations

from ..catalog import BaseRecord
from ..container.reader import Container
from .report import report
from .repository import Repository

Summary = dict[str, int | float | str]


def summary_of(sha256: str, base: BaseRecord, repository: Repository) -> Summary:
    """The summary of the stored container with this SHA-256."""
    with Container(repository.objects.path(sha256)) as container:
        return summary_of_open(container, base, repository)


def summary_of_open(container: Container, base: BaseRecord, repository: Repository) -> Summary:
    """The summary of an open container, stored or not."""
    account = report(container, (tensor.name for tensor in repository.manifest(base).tensors))
    summary: Summary = {row.kind: row.tensors for row in account.kinds}
    return summary | {
        "tau": account.tau,
        "tensors": account.total,
        "parameters": account.parameters,
        "error": account.error,
        "change": account.change if account.change < float("inf") else -1.0,
    }
