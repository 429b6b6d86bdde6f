"""The public API: `Registry` and the values that it gives.

Each name is imported when it is asked for: listing versions should not wait for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..progress import Progress as Progress
    from ..reconstruction.materializing import Materialized as Materialized
    from .add import Addition as Addition
    from .add_many import AddedFile as AddedFile
    from .add_many import AddedMany as AddedMany
    from .add_many import Refusal as Refusal
    from .add_many import StoppedMany as StoppedMany
    from .base_candidates import Candidate as Candidate
    from .best_base import BaseMatch as BaseMatch
    from .curve import Curve as Curve
    from .curve import Point as Point
    from .diff import BaseDifference as BaseDifference
    from .diff import Difference as Difference
    from .diff import TensorDifference as TensorDifference
    from .gc import BaseUsage as BaseUsage
    from .gc import Collected as Collected
    from .gc import ModelUsage as ModelUsage
    from .gc import Usage as Usage
    from .import_export import Exported as Exported
    from .registry import Registry as Registry
    from .repair import Lost as Lost
    from .repair import Repaired as Repaired
    from .repair import Restored as Restored
    from .report import GroupRow as GroupRow
    from .report import KindRow as KindRow
    from .report import Report as Report
    from .report import TensorRow as TensorRow
    from .signing import Signed as Signed
    from .signing import Signer as Signer
    from .spectra import GroupSpectrum as GroupSpectrum
    from .verify import Finding as Finding
    from .verify import Verified as Verified

_HOMES = {
    "AddedFile": ".add_many",
    "AddedMany": ".add_many",
    "Addition": ".add",
    "BaseDifference": ".diff",
    "BaseMatch": ".best_base",
    "BaseUsage": ".gc",
    "Candidate": ".base_candidates",
    "Collected": ".gc",
    "Curve": ".curve",
    "Difference": ".diff",
    "Exported": ".import_export",
    "Finding": ".verify",
    "GroupRow": ".report",
    "GroupSpectrum": ".spectra",
    "KindRow": ".report",
    "Lost": ".repair",
    "Materialized": "..reconstruction.materializing",
    "ModelUsage": ".gc",
    "Point": ".curve",
    "Progress": "..progress",
    "Refusal": ".add_many",
    "Registry": ".registry",
    "Repaired": ".repair",
    "Report": ".report",
    "Restored": ".repair",
    "Signed": ".signing",
    "Signer": ".signing",
    "StoppedMany": ".add_many",
    "TensorDifference": ".diff",
    "TensorRow": ".report",
    "Usage": ".gc",
    "Verified": ".verify",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
