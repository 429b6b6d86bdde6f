"""The invalid golden containers that say what they were merged of: the rest of `invalid_casts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .exact import Json
from .invalid_casts import INVALID
from .invalid_vectors import header

__all__ = ["INVALID"]  # with those of this module


def merge(name: str, rule: str, change: Callable[[Json], object], /) -> None:
    """Another value of the field `merge`."""
    header(f"merge-{name}", rule, lambda value: change(value["merge"]), of="merge-aim")


def field(name: str, rule: str, where: str, /, **changed: Any) -> None:
    """Other fields of the last entry of `versions` or of `layers`."""
    merge(name, rule, lambda value: value[where][-1].update(changed))


merge("twice", "H4", lambda m: m["versions"].append({**m["versions"][0], "name": "b"}))
merge("take-from-another", "H5", lambda m: m.update(take_from=3))
field("layer-of-another", "H5", "layers", version=3)
field("version-no-name", "F4", "versions", name="")
field("layer-no-pattern", "F4", "layers", pattern="")
field("layer-long-pattern", "F4", "layers", pattern="x" * 4097)
field("weight-minus-zero", "F6", "layers", weight=-0.0)
field("weight-infinite", "F6", "versions", weight=float("-inf"))
field("weight-nan", "F6", "versions", weight=float("nan"))
