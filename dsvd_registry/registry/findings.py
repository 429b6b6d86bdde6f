"""The findings of `verify`: the extent of the check, and every problem that it found."""

from __future__ import annotations

from dataclasses import dataclass


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
