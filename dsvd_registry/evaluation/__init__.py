"""Evaluation: do pictures by what is stored of a fine-tune still look like those by the fine-tune?

    from dsvd_registry.evaluation import EvaluationRequest, ReportFolder, evaluate
    request = EvaluationRequest(("subject-42",), Path("sd15"), token="sks", noun="dog")
    report = ReportFolder(Path("report"))
    report.prepare()
    report.write(evaluate(request, registry, report.pictures))

Importing this imports torch. Pictures need the extra `evaluate`.
"""

from .evaluate import evaluate
from .goal import Goal, goal_of
from .live_pipeline import Settings
from .report.write import ReportFolder
from .request import EvaluationRequest
from .results import Evaluation
from .until import FoundTau, tau_until
from .until_request import UntilRequest

__all__ = [
    "Evaluation",
    "EvaluationRequest",
    "FoundTau",
    "Goal",
    "ReportFolder",
    "Settings",
    "UntilRequest",
    "evaluate",
    "goal_of",
    "tau_until",
]
