"""The public API: `Registry` and the values that it takes and gives."""

from __future__ import annotations

from .cleaning import BaseUsage, Collected, ModelUsage, Usage
from .progress import Progress
from .registry import Addition, Registry
from .report import GroupRow, KindRow, Report, TensorRow
from .verifying import Finding, Verified

__all__ = [
    "Addition",
    "BaseUsage",
    "Collected",
    "Finding",
    "GroupRow",
    "KindRow",
    "ModelUsage",
    "Progress",
    "Registry",
    "Report",
    "TensorRow",
    "Usage",
    "Verified",
]
