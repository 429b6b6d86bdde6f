"""The invalid golden containers of the feature `merge`: the rest of `invalid_casts`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .exact import Json
from .invalid_casts import INVALID
from .invalid_vectors import EXACTLY, header, spelled

__all__ = ["INVALID"]  # with those of this module

TWO = "merge-packed-fidelity"


def merge(name: str, rule: str, change: Callable[[Json], object], /) -> None:
    """Another value of the field `merge`."""
    header(f"merge-{name}", rule, lambda value: change(value["merge"]), of=TWO)


def field(name: str, rule: str, where: str, /, **changed: Any) -> None:
    """Other fields of the last entry of `versions` or of `layers`; None takes one away."""

    def change(value: Json) -> None:
        value[where][-1].update(changed)
        for key in [key for key, held in changed.items() if held is None]:
            del value[where][-1][key]

    merge(name, rule, change)


NAMED = "`requires` MUST hold `merge` exactly if the header has the field `merge`"
header("merge-not-named", NAMED, lambda h: h["requires"].remove("merge"), of=TWO)
header("merge-not-there", NAMED, lambda h: h.pop("merge"), of=TWO)
header("merge-no-object", "`merge` is an object", lambda h: h.update(merge=[]), of=TWO)
merge("unknown-field", EXACTLY + "in `merge`", lambda m: m.update(sum=1.0))
merge("no-layers", EXACTLY + "in `merge`", lambda m: m.pop("layers"))
merge("no-versions", "`versions` is an array of at least 1", lambda m: m.update(versions=[]))
ONCE = "No `container` stands twice in `versions`"
merge("twice", ONCE, lambda m: m["versions"].append({**m["versions"][0], "name": "b"}))
ONLY = "`layers` and `take_from` name only containers of `versions`"
merge("take-from-another", ONLY, lambda m: m.update(take_from="b" * 64))
field("layers-of-another", ONLY, "layers", container="b" * 64)
field("version-unknown-field", EXACTLY + "in `versions`", "versions", base="b" * 64)
field("version-no-name", EXACTLY + "in `versions`", "versions", name=None)
field("version-empty-name", "`name` has 1 to 4096 bytes", "versions", name="")
field("layer-no-pattern", EXACTLY + "in `layers`", "layers", pattern=None)
field("layer-empty-pattern", "`pattern` has 1 to 4096 bytes", "layers", pattern="")
field("weight-integer", "An integer never stands where a real is due", "versions", weight=1)
field("weight-minus-zero", "`weight` is not -0.0", "layers", weight=-0.0)
spelled(
    "merge-weight-infinite", "Reals in the header are finite", b'"weight":-1.25}',
    b'"weight":-1e999}', of=TWO,
)  # fmt: skip
