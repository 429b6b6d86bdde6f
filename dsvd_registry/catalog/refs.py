"""Refs, such as `subject-42`, `subject-42@3`, `subject-42@prod` and `subject-42@latest`."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidArgument
from ..store.event_fields import MAX_NUMBER
from ..store.names import LATEST, check_alias, check_name

_FORMS = "Write it as name, name@3, name@alias or name@latest."


@dataclass(frozen=True)
class Ref:
    """A model and one of its versions: by number, by alias, or the latest if both are None."""

    model: str
    number: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{self.model}@{self.number or self.alias or LATEST}"


def parse(text: str) -> Ref:
    """The ref that `text` spells. Raises `InvalidArgument`."""
    name, at, which = text.partition("@")
    model = check_name("model", name)
    if not at or which == LATEST:
        return Ref(model)
    if not which:
        raise InvalidArgument(f"the ref {text!r} ends with @", _FORMS)
    if not (which.isascii() and which.isdigit()):
        return Ref(model, alias=check_alias(which))
    if which.startswith("0") or len(which) > len(str(MAX_NUMBER)):
        raise InvalidArgument(
            f"{which[:20]} is not a version number: versions count from 1", _FORMS
        )
    return Ref(model, number=int(which))
