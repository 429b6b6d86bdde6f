"""Rules for the names of models, bases, aliases and tags: each is a valid file name on any system."""

from __future__ import annotations

import re

from ..errors import InvalidArgument

LATEST = "latest"

_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))]
)
_RULE = (
    "Use 1 to 128 letters, digits, dots, hyphens and underscores, "
    "starting with a letter or a digit and not ending with a dot."
)


def check_name(kind: str, text: str) -> str:
    """Return `text` if it is a valid name of a `kind` ("model", "base", "tag").

    Raises `InvalidArgument` otherwise.
    """
    if not _PATTERN.fullmatch(text) or text.endswith("."):
        raise InvalidArgument(f"{_shown(text)} is not a valid {kind} name", _RULE)
    if text.partition(".")[0].lower() in _WINDOWS_DEVICES:
        raise InvalidArgument(
            f"{_shown(text)} is not a valid {kind} name: Windows reserves it for a device",
            "Choose another name, or put something before it.",
        )
    return text


def check_alias(text: str) -> str:
    """Return `text` if it is a valid alias. Raises `InvalidArgument` otherwise."""
    check_name("alias", text)
    if text.isdigit():
        raise InvalidArgument(
            f"{_shown(text)} is not a valid alias: it would be taken for a version's number",
            "Put a letter in it, such as v1.",
        )
    if folded(text) == LATEST:
        raise InvalidArgument(
            f"{_shown(text)} is not a valid alias: it always stands for the newest version",
            "Choose another name.",
        )
    return text


def folded(text: str) -> str:
    """The form in which two names must differ, because some filesystems ignore case; names are ASCII."""
    return text.lower()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 140 else text[:140] + "...")
