"""The public API: `Registry` and the values that it gives.

Each name is imported when it is asked for: listing versions should not wait for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..progress import Progress as Progress
    from ..reconstruction.materializing import Materialized as Materialized
    from .adding import Addition as Addition
    from .adding_many import AddedFile as AddedFile
    from .adding_many import AddedMany as AddedMany
    from .adding_many import Refusal as Refusal
    from .adding_many import StoppedMany as StoppedMany
    from .base_candidates import Candidate as Candidate
    from .best_base import BaseMatch as BaseMatch
    from .cleaning import BaseUsage as BaseUsage
    from .cleaning import Collected as Collected
    from .cleaning import ModelUsage as ModelUsage
    from .cleaning import Usage as Usage
    from .comparing import BaseDifference as BaseDifference
    from .comparing import Difference as Difference
    from .comparing import TensorDifference as TensorDifference
    from .curve import Curve as Curve
    from .curve import Point as Point
    from .model_names import NamedFile as NamedFile
    from .portable import Exported as Exported
    from .registry import Registry as Registry
    from .repairing import Lost as Lost
    from .repairing import Repaired as Repaired
    from .repairing import Restored as Restored
    from .report import GroupRow as GroupRow
    from .report import KindRow as KindRow
    from .report import Report as Report
    from .report import TensorRow as TensorRow
    from .signed import Signed as Signed
    from .signed import Signer as Signer
    from .spectra import GroupSpectrum as GroupSpectrum
    from .verifying import Finding as Finding
    from .verifying import Verified as Verified

_HOMES = {
    "AddedFile": ".adding_many",
    "AddedMany": ".adding_many",
    "Addition": ".adding",
    "BaseDifference": ".comparing",
    "BaseMatch": ".best_base",
    "BaseUsage": ".cleaning",
    "Candidate": ".base_candidates",
    "Collected": ".cleaning",
    "Curve": ".curve",
    "Difference": ".comparing",
    "Exported": ".portable",
    "Finding": ".verifying",
    "GroupRow": ".report",
    "GroupSpectrum": ".spectra",
    "KindRow": ".report",
    "Lost": ".repairing",
    "Materialized": "..reconstruction.materializing",
    "ModelUsage": ".cleaning",
    "NamedFile": ".model_names",
    "Point": ".curve",
    "Progress": "..progress",
    "Refusal": ".adding_many",
    "Registry": ".registry",
    "Repaired": ".repairing",
    "Report": ".report",
    "Restored": ".repairing",
    "Signed": ".signed",
    "Signer": ".signed",
    "StoppedMany": ".adding_many",
    "TensorDifference": ".comparing",
    "TensorRow": ".report",
    "Usage": ".cleaning",
    "Verified": ".verifying",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
