"""The findings of `verify`: the extent of the check, and every problem that it found."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import DsvdError, StorageError
from ...fs import is_of_the_file


@dataclass(frozen=True)
class Finding:
    """One problem. `subjects`: the versions and the base that it affects."""

    subjects: tuple[str, ...]
    problem: str


@dataclass(frozen=True)
class Verified:
    """The result of `verify`: the number of objects checked, and every problem found."""

    versions: int
    bases: int
    bytes_read: int
    deep: bool
    findings: tuple[Finding, ...]

    @property
    def is_well(self) -> bool:
        return not self.findings


def problem_of(error: DsvdError) -> str:
    """The problem that an error tells of.

    Raises the error again if it is a refusal by the machine, such as a full disk or too many open files:
    that is no damage.
    """
    if isinstance(error, StorageError) and not is_of_the_file(error):
        raise error
    return str(error)
