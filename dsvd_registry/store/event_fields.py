"""The types of the fields of events and changes, each with its rule.

A type is a Python type annotated with a `Check`; `events` reads the annotations, so that the same rule
applies when one is made and when it is read back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated

from .. import canonical
from ..errors import InvalidArgument, RegistryError
from ..hashing import DIGEST_DIGITS
from . import names

MAX_SEQUENCE = 999_999_999
MAX_NUMBER = 999_999_999
MAX_CHANGES = 1_000
MAX_OBJECTS = 10_000
MAX_TEXT = 65_536
MAX_SUMMARY = 64
MAX_ENTRIES = 196_608  # characters in one event, which can then be encoded whatever they are
MAX_KEY = 128
MAX_DIGESTED = 1024  # files of a source, or of a result, whose digests are recorded
MAX_PATH = 4096

BASE_FORMATS = ("safetensors", "pickle", "diffusers")
ATTACHMENT_ROLES = ("preview", "sample", "note", "sidecar", "report")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "text/plain", "application/json")

DIGESTED_PARTS = ("restored", "result", "source")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_WRITE_ID = re.compile(r"[0-9a-f]{32}")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_KEY = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:/-]{{0,{MAX_KEY - 1}}}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class Check:
    """A rule. `expected` completes "is not ..."; `accepts` tests a value of any type."""

    expected: str
    accepts: Callable[[object], bool]


def utc_now() -> str:
    """The present time, as events write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _integer(low: int, high: int) -> Callable[[object], bool]:
    # `type`, not `isinstance`, because True is an instance of int.
    return lambda value: type(value) is int and low <= value <= high


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _time(value: object) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _text(value: object, longest: int = MAX_TEXT) -> bool:
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(names.check_name("name", value))
    except InvalidArgument:
        return False


def _alias(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(names.check_alias(value))
    except InvalidArgument:
        return False


def _link(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, str) or not _text(value):
        return False
    # Either kind of path: the registry may have been written on another system.
    return PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


def _path(value: object) -> bool:
    return value is not None and _link(value)


def _settings(value: object) -> bool:
    if not isinstance(value, str) or not _text(value):
        return False
    try:
        canonical.decode_small(value.encode(), "settings")
    except RegistryError:
        return False
    return True


def _previous(value: object) -> bool:
    return value is None or _matches(_DIGEST)(value)


def _objects(value: object) -> bool:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_OBJECTS:
        return False
    return all(map(_matches(_DIGEST), value)) and value == sorted(set(value))


def _summary(value: object) -> bool:
    if not isinstance(value, dict) or len(value) > MAX_SUMMARY:
        return False
    return all(_matches(_WORD)(key) and _scalar(item) for key, item in value.items())


def _entries(value: object) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    if not all(_matches(_KEY)(key) and _text(text, MAX_ENTRIES) for key, text in value.items()):
        return False
    return sum(len(key) + len(text) for key, text in value.items()) <= MAX_ENTRIES


def _digests(value: object) -> bool:
    if not isinstance(value, dict) or not value.keys() <= set(DIGESTED_PARTS):
        return False
    return all(
        isinstance(files, dict)
        and 1 <= len(files) <= MAX_DIGESTED
        and all(_text(path, MAX_PATH) for path in files)
        and all(map(_kinds_of_digests, files.values()))
        for files in value.values()
    )


def _kinds_of_digests(value: object) -> bool:
    if not isinstance(value, dict) or not value or not value.keys() <= DIGEST_DIGITS.keys():
        return False
    return all(
        isinstance(digest, str) and re.fullmatch(f"[0-9a-f]{{{DIGEST_DIGITS[kind]}}}", digest)
        for kind, digest in value.items()
    )


def _scalar(value: object) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return _integer(-(2**63), 2**63 - 1)(value) or _text(value)


Sequence = Annotated[int, Check("a sequence number", _integer(1, MAX_SEQUENCE))]
Number = Annotated[int, Check("a version's number", _integer(1, MAX_NUMBER))]
Size = Annotated[int, Check("a size in bytes", _integer(0, 2**63 - 1))]
Time = Annotated[str, Check("a UTC time with microseconds and Z", _time)]
Digest = Annotated[str, Check("64 lower-case hexadecimal digits", _matches(_DIGEST))]
Previous = Annotated[str | None, Check("64 lower-case hexadecimal digits, or none", _previous)]
Objects = Annotated[list[str], Check(f"1 to {MAX_OBJECTS} digests, ascending, each once", _objects)]
WriteId = Annotated[str, Check("32 lower-case hexadecimal digits", _matches(_WRITE_ID))]
Name = Annotated[str, Check("a valid name", _name)]
Alias = Annotated[str, Check("a valid alias", _alias)]
Word = Annotated[str, Check("a short lower-case word", _matches(_WORD))]
BaseFormat = Annotated[
    str, Check("one of " + ", ".join(BASE_FORMATS), lambda value: value in BASE_FORMATS)
]
Text = Annotated[str, Check(f"Unicode text of at most {MAX_TEXT} characters", _text)]
Link = Annotated[str | None, Check("an absolute path in Unicode", _link)]
AbsolutePath = Annotated[str, Check("an absolute path in Unicode", _path)]
Nanoseconds = Annotated[
    int, Check("a time in nanoseconds since 1970", _integer(-(2**63), 2**63 - 1))
]
Mode = Annotated[int, Check("the permissions of a file", _integer(0, 0o7777))]
Settings = Annotated[str, Check("canonical JSON", _settings)]
Digests = Annotated[
    dict[str, dict[str, dict[str, str]]],
    Check("digests of the files of a source, or of what is made", _digests),
]
Summary = Annotated[
    dict[str, int | float | str],
    Check("a small table of numbers and texts with short lower-case keys", _summary),
]
Key = Annotated[
    str,
    Check(
        f"a key of 1 to {MAX_KEY} letters, digits and . _ : / - that starts with a letter or a digit",
        _matches(_KEY),
    ),
]
Value = Annotated[
    str,
    Check(
        f"Unicode text of at most {MAX_ENTRIES} characters, none of them NUL",
        lambda value: _text(value, MAX_ENTRIES),
    ),
]
Entries = Annotated[
    dict[str, str],
    Check(f"keys with texts, {MAX_ENTRIES} characters in all, none of them NUL", _entries),
]
AttachmentRole = Annotated[
    str, Check("one of " + ", ".join(ATTACHMENT_ROLES), lambda value: value in ATTACHMENT_ROLES)
]
MediaType = Annotated[
    str, Check("one of " + ", ".join(MEDIA_TYPES), lambda value: value in MEDIA_TYPES)
]
