"""The public API: `Registry`, and the types of its arguments and results.

Each name is imported on first use, so that listing versions does not wait for numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..catalog import ArchivedFile as ArchivedFile
    from ..catalog import AttachmentRecord as AttachmentRecord
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
    from .accounts.curve_points import Curve as Curve
    from .accounts.curve_points import GroupRank as GroupRank
    from .accounts.curve_points import Point as Point
    from .accounts.curve_points import TensorRank as TensorRank
    from .accounts.diff import BaseDifference as BaseDifference
    from .accounts.diff import Difference as Difference
    from .accounts.diff import TensorDifference as TensorDifference
    from .accounts.group_spectra import GroupSpectrum as GroupSpectrum
    from .accounts.report import GroupRow as GroupRow
    from .accounts.report import KindRow as KindRow
    from .accounts.report import Report as Report
    from .accounts.report import TensorRow as TensorRow
    from .adding.add_many import Planned as Planned
    from .adding.add_request import AddOptions as AddOptions
    from .adding.base_candidates import Candidate as Candidate
    from .adding.best_base import BaseMatch as BaseMatch
    from .adding.commit import Addition as Addition
    from .adding.file_outcomes import AddedFile as AddedFile
    from .adding.file_outcomes import AddedMany as AddedMany
    from .adding.file_outcomes import Refusal as Refusal
    from .adding.file_outcomes import StoppedMany as StoppedMany
    from .adding.model_names import NamedFile as NamedFile
    from .adding.ray_executor import RayExecutor as RayExecutor
    from .adding.worker_processes import WorkerProcesses as WorkerProcesses
    from .archiving.archive import Archived as Archived
    from .archiving.archive import ArchivedOriginal as ArchivedOriginal
    from .archiving.archive import StoppedArchive as StoppedArchive
    from .archiving.archive_plan import ArchiveOptions as ArchiveOptions
    from .archiving.archive_plan import ArchivePlan as ArchivePlan
    from .archiving.archive_plan import PlannedFile as PlannedFile
    from .archiving.archive_plan import Staying as Staying
    from .archiving.restore import RestoredFile as RestoredFile
    from .archiving.restore import RestoredFiles as RestoredFiles
    from .describing.attachments import AttachmentRole as AttachmentRole
    from .describing.beside import NotTaken as NotTaken
    from .describing.taken_in import TakenIn as TakenIn
    from .exchange.import_export import Exported as Exported
    from .exchange.remotes import Remote as Remote
    from .exchange.transfer import Exchanged as Exchanged
    from .exchange.transfer import ExchangedVersion as ExchangedVersion
    from .find import Found as Found
    from .find import Match as Match
    from .find import Sought as Sought
    from .merge_options import LayerWeight as LayerWeight
    from .merge_options import MergeOptions as MergeOptions
    from .registry import Registry as Registry
    from .repository import Repository as Repository
    from .results.open_result import OpenResult as OpenResult
    from .results.result_listing import ResultListings as ResultListings
    from .results.result_pool import ResultEntry as ResultEntry
    from .signing import Signed as Signed
    from .signing import Signer as Signer
    from .upkeep.findings import Finding as Finding
    from .upkeep.findings import Verified as Verified
    from .upkeep.gc import Collected as Collected
    from .upkeep.last_verified import LastVerified as LastVerified
    from .upkeep.repair import Lost as Lost
    from .upkeep.repair import Repaired as Repaired
    from .upkeep.repair import Restored as Restored
    from .upkeep.thin import Thinned as Thinned
    from .upkeep.usage import BaseUsage as BaseUsage
    from .upkeep.usage import ModelUsage as ModelUsage
    from .upkeep.usage import Usage as Usage

_HOMES = {
    "AddOptions": ".adding.add_request",
    "AddedFile": ".adding.file_outcomes",
    "AddedMany": ".adding.file_outcomes",
    "Addition": ".adding.commit",
    "ArchiveOptions": ".archiving.archive_plan",
    "ArchivePlan": ".archiving.archive_plan",
    "Archived": ".archiving.archive",
    "ArchivedFile": "..catalog",
    "ArchivedOriginal": ".archiving.archive",
    "AttachmentRole": ".describing.attachments",
    "AttachmentRecord": "..catalog",
    "BaseDifference": ".accounts.diff",
    "BaseMatch": ".adding.best_base",
    "BaseRecord": "..catalog",
    "BaseUsage": ".upkeep.usage",
    "Candidate": ".adding.base_candidates",
    "FloatDtype": "..reconstruction.cast",
    "Collected": ".upkeep.gc",
    "Curve": ".accounts.curve_points",
    "Difference": ".accounts.diff",
    "Dtype": "..export",
    "Exchanged": ".exchange.transfer",
    "ExchangedVersion": ".exchange.transfer",
    "Exported": ".exchange.import_export",
    "ExportedLora": "..export",
    "Finding": ".upkeep.findings",
    "Format": "..export",
    "Found": ".find",
    "GroupRank": ".accounts.curve_points",
    "GroupRow": ".accounts.report",
    "GroupSpectrum": ".accounts.group_spectra",
    "KindRow": ".accounts.report",
    "LastVerified": ".upkeep.last_verified",
    "LayerWeight": ".merge_options",
    "LayoutName": "..reconstruction.target_layout",
    "LazyTensors": "..reconstruction.lazy_tensors",
    "LeftOut": "..checkpoint",
    "Lost": ".upkeep.repair",
    "Match": ".find",
    "Materialized": "..reconstruction.write_result",
    "MergeOptions": ".merge_options",
    "ModelUsage": ".upkeep.usage",
    "NamedFile": ".adding.model_names",
    "NotTaken": ".describing.beside",
    "OpenResult": ".results.open_result",
    "Planned": ".adding.add_many",
    "PlannedFile": ".archiving.archive_plan",
    "Point": ".accounts.curve_points",
    "Progress": "..progress",
    "RayExecutor": ".adding.ray_executor",
    "Rebuilt": "..catalog",
    "Refusal": ".adding.file_outcomes",
    "Registry": ".registry",
    "Remote": ".exchange.remotes",
    "Repaired": ".upkeep.repair",
    "Report": ".accounts.report",
    "Repository": ".repository",
    "Restored": ".upkeep.repair",
    "ResultEntry": ".results.result_pool",
    "ResultListings": ".results.result_listing",
    "RestoredFile": ".archiving.restore",
    "RestoredFiles": ".archiving.restore",
    "Signed": ".signing",
    "Signer": ".signing",
    "Sought": ".find",
    "Staying": ".archiving.archive_plan",
    "StoppedArchive": ".archiving.archive",
    "StoppedMany": ".adding.file_outcomes",
    "TakenIn": ".describing.taken_in",
    "TensorDifference": ".accounts.diff",
    "TensorRank": ".accounts.curve_points",
    "TensorRow": ".accounts.report",
    "Thinned": ".upkeep.thin",
    "Usage": ".upkeep.usage",
    "Verified": ".upkeep.findings",
    "VersionRecord": "..catalog",
    "WorkerProcesses": ".adding.worker_processes",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
