"""The request of an evaluation: what is compared, painted and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidArgument
from ..tau import checked_taus
from .live_pipeline import Settings
from .models import Rounding

MARGIN = 0.05
MOST_SEED = 2**63 - 1


@dataclass(frozen=True)
class EvaluationRequest:
    """A request to evaluate, checked when it is made.

    `refs`: the versions. `pipeline`: the base's folder of diffusers. `reference`: a folder of
    photographs, or of one folder for each model. `token`, `noun`: the rare word and the class, such as
    "sks" and "dog"; None for those of the version's metadata. `prompts`: "dreambooth", a file, or None.
    `taus`: none for the versions as they are stored. `others`: further versions, as they are stored,
    by the label of their model, one for each ref. `full`: none, or one for each ref. `loras`: LoRA files
    in the same way. `roundings`: of the fine-tune. `weights`:
    extractors by path. `margin`: how much of the fine-tune's gain may be lost by what is called no
    worse.

    Raises `InvalidArgument`.
    """

    refs: tuple[str, ...]
    pipeline: Path
    reference: Path | None = None
    token: str | None = None
    noun: str | None = None
    prompts: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2, 3)
    taus: tuple[float, ...] = ()
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    full: tuple[Path, ...] = ()
    loras: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    roundings: tuple[Rounding, ...] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    device: str = "cpu"
    margin: float = MARGIN

    def __post_init__(self) -> None:
        each: dict[str, tuple[object, ...]] = {
            f"versions of {name}": refs for name, refs in self.others.items()
        }
        each |= {f"files of {name}": files for name, files in self.loras.items()}
        each |= {"files of full": self.full} if self.full else {}
        for name, given in each.items():
            if len(given) != len(self.refs):
                raise InvalidArgument(
                    f"{len(given)} {name} for {len(self.refs)} versions",
                    "Give one for each version, in their order.",
                )
        if not self.refs or len(set(self.refs)) != len(self.refs):
            raise InvalidArgument("each version is given once, and at least one")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InvalidArgument("each seed is given once, and at least one")
        if not all(0 <= seed <= MOST_SEED for seed in self.seeds):
            raise InvalidArgument(f"a seed is a whole number from 0 to {MOST_SEED}")
        if not 0 < self.margin < 1:
            raise InvalidArgument(f"a margin of {self.margin:g} is not between 0 and 1")
        if self.taus:
            object.__setattr__(self, "taus", tuple(reversed(checked_taus(self.taus))))
