"""The public API: `Registry`, and the types of its arguments and results.

Each name is imported on first use, so that listing versions does not wait for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..catalog import ArchivedFile as ArchivedFile
    from ..catalog import BaseRecord as BaseRecord
    from ..catalog import Rebuilt as Rebuilt
    from ..catalog import VersionRecord as VersionRecord
    from ..checkpoint import LeftOut as LeftOut
    from ..export import Dtype as Dtype
    from ..export import ExportedLora as ExportedLora
    from ..export import Format as Format
    from ..progress import Progress as Progress
    from ..reconstruction.cast import FloatDtype as FloatDtype
    from ..reconstruction.lazy_tensors import LazyTensors as LazyTensors
    from ..reconstruction.target_layout import LayoutName as LayoutName
    from ..reconstruction.write_result import Materialized as Materialized
    from .add import Addition as Addition
    from .add_many import AddedFile as AddedFile
    from .add_many import AddedMany as AddedMany
    from .add_many import Planned as Planned
    from .add_many import Refusal as Refusal
    from .add_many import StoppedMany as StoppedMany
    from .add_request import AddOptions as AddOptions
    from .archive import Archived as Archived
    from .archive import ArchivedOriginal as ArchivedOriginal
    from .archive import StoppedArchive as StoppedArchive
    from .archive_plan import ArchiveOptions as ArchiveOptions
    from .archive_plan import ArchivePlan as ArchivePlan
    from .archive_plan import PlannedFile as PlannedFile
    from .archive_plan import Staying as Staying
    from .base_candidates import Candidate as Candidate
    from .best_base import BaseMatch as BaseMatch
    from .curve_points import Curve as Curve
    from .curve_points import GroupRank as GroupRank
    from .curve_points import Point as Point
    from .curve_points import TensorRank as TensorRank
    from .diff import BaseDifference as BaseDifference
    from .diff import Difference as Difference
    from .diff import TensorDifference as TensorDifference
    from .findings import Finding as Finding
    from .findings import Verified as Verified
    from .gc import Collected as Collected
    from .group_spectra import GroupSpectrum as GroupSpectrum
    from .import_export import Exported as Exported
    from .merge_options import LayerWeight as LayerWeight
    from .merge_options import MergeOptions as MergeOptions
    from .model_names import NamedFile as NamedFile
    from .open_result import OpenResult as OpenResult
    from .registry import Registry as Registry
    from .repair import Lost as Lost
    from .repair import Repaired as Repaired
    from .repair import Restored as Restored
    from .report import GroupRow as GroupRow
    from .report import KindRow as KindRow
    from .report import Report as Report
    from .report import TensorRow as TensorRow
    from .repository import Repository as Repository
    from .restore import RestoredFile as RestoredFile
    from .restore import RestoredFiles as RestoredFiles
    from .result_pool import ResultEntry as ResultEntry
    from .signing import Signed as Signed
    from .signing import Signer as Signer
    from .thin import Thinned as Thinned
    from .usage import BaseUsage as BaseUsage
    from .usage import ModelUsage as ModelUsage
    from .usage import Usage as Usage

_HOMES = {
    "AddOptions": ".add_request",
    "AddedFile": ".add_many",
    "AddedMany": ".add_many",
    "Addition": ".add",
    "ArchiveOptions": ".archive_plan",
    "ArchivePlan": ".archive_plan",
    "Archived": ".archive",
    "ArchivedFile": "..catalog",
    "ArchivedOriginal": ".archive",
    "BaseDifference": ".diff",
    "BaseMatch": ".best_base",
    "BaseRecord": "..catalog",
    "BaseUsage": ".usage",
    "Candidate": ".base_candidates",
    "FloatDtype": "..reconstruction.cast",
    "Collected": ".gc",
    "Curve": ".curve_points",
    "Difference": ".diff",
    "Dtype": "..export",
    "Exported": ".import_export",
    "ExportedLora": "..export",
    "Finding": ".findings",
    "Format": "..export",
    "GroupRank": ".curve_points",
    "GroupRow": ".report",
    "GroupSpectrum": ".group_spectra",
    "KindRow": ".report",
    "LayerWeight": ".merge_options",
    "LayoutName": "..reconstruction.target_layout",
    "LazyTensors": "..reconstruction.lazy_tensors",
    "LeftOut": "..checkpoint",
    "Lost": ".repair",
    "Materialized": "..reconstruction.write_result",
    "MergeOptions": ".merge_options",
    "ModelUsage": ".usage",
    "NamedFile": ".model_names",
    "OpenResult": ".open_result",
    "Planned": ".add_many",
    "PlannedFile": ".archive_plan",
    "Point": ".curve_points",
    "Progress": "..progress",
    "Rebuilt": "..catalog",
    "Refusal": ".add_many",
    "Registry": ".registry",
    "Repaired": ".repair",
    "Report": ".report",
    "Repository": ".repository",
    "Restored": ".repair",
    "ResultEntry": ".result_pool",
    "RestoredFile": ".restore",
    "RestoredFiles": ".restore",
    "Signed": ".signing",
    "Signer": ".signing",
    "Staying": ".archive_plan",
    "StoppedArchive": ".archive",
    "StoppedMany": ".add_many",
    "TensorDifference": ".diff",
    "TensorRank": ".curve_points",
    "TensorRow": ".report",
    "Thinned": ".thin",
    "Usage": ".usage",
    "Verified": ".findings",
    "VersionRecord": "..catalog",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
