"""Names of models, made from the names of files and folders: in ASCII, unique and repeatable.

The rule:

1. The name of a file without its ending, or the full name of a folder. A generic name, such as
   `pytorch_lora_weights`, is replaced by the name of the folder around it. A pattern can be given
   instead.
2. Accents are dropped, letters of other alphabets become Latin letters or their code point, and every
   other character that a model's name cannot have becomes a hyphen (`ascii_name`). A valid name is
   kept as it is.
3. If several files would get the same name, or names that differ in case alone, the file that the
   registry has under that name keeps it, otherwise the first file. The others get the name of their
   folder, or a number, at the end.
"""

from __future__ import annotations

import itertools
import os
import re
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import InvalidArgument
from ...fs import storage_errors
from ...store import names
from .transliteration import in_ascii

LONGEST = 100  # of the 128 characters of a name: the rest is for a folder's name or a number
GENERIC = frozenset(
    {
        "adapter_model",
        "diffusion_pytorch_model",
        "last",
        "model",
        "open_clip_pytorch_model",
        "pytorch_lora_weights",
        "pytorch_model",
    }
)
_VARIANT = re.compile(r"(\.(fp16|bf16|fp32|non_ema|ema))+$")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]+")
FIELDS = ("stem", "parent", "parent2")


@dataclass(frozen=True)
class NamedFile:
    """A file, and the model that it becomes a version of. `own_name`: the name of the file itself."""

    path: Path
    model: str
    own_name: str

    @property
    def is_renamed(self) -> bool:
        """True if the name of the model differs from that of the file."""
        return self.model != self.own_name


@dataclass(frozen=True)
class NameRule:
    """The source of names. `pattern`: text with fields in braces; None for step 1 of the rule."""

    pattern: str | None = None

    def raw_name(self, path: Path) -> str:
        """The name before it is made valid and unique. Raises `StorageError`."""
        words = _words(path)
        if self.pattern is not None:
            return self.pattern.format_map(words)
        generic = _VARIANT.sub("", words["stem"]).lower() in GENERIC
        return words["parent"] if generic and words["parent"] else words["stem"]


USUAL_NAMES = NameRule()


def name_rule(name_from: str | None) -> NameRule:
    """The rule for `--name-from`: parent, stem, or a pattern such as {parent}-{stem}.

    Raises `InvalidArgument` for a pattern without a field, or with an unknown field.
    """
    if name_from is None:
        return USUAL_NAMES
    pattern = f"{{{name_from}}}" if name_from in FIELDS else name_from
    try:
        parsed = [part for part in string.Formatter().parse(pattern) if part[1] is not None]
    except ValueError as error:
        raise InvalidArgument(
            f"the pattern {name_from!r} is not valid: {error}", _FIELDS
        ) from error
    if not parsed:
        raise InvalidArgument(
            f"{name_from!r} has no field, so all models would have the same name", _FIELDS
        )
    for _, field, format_spec, conversion in parsed:
        if field not in FIELDS or format_spec or conversion:
            raise InvalidArgument(f"the pattern {name_from!r} has an unknown field", _FIELDS)
    return NameRule(pattern)


_FIELDS = (
    "Give parent, stem, or a pattern of {stem}, {parent} and {parent2}, such as {parent}-{stem}."
)


def own_name(path: Path) -> str:
    """The name of a path: of a file without its ending, of a folder in full. Raises `StorageError`."""
    with storage_errors(path):
        return path.resolve().name if path.is_dir() else path.stem


def ascii_name(text: str) -> str:
    """A valid model name made from any text; a valid name is kept as it is."""
    if _is_valid(text):
        return text
    name = _NOT_ALLOWED.sub("-", in_ascii(text))
    name = re.sub(r"-{2,}", "-", name)[:LONGEST].strip("-._")
    if not name:
        return "model"
    return name if _is_valid(name) else f"model-{name}"  # Windows reserves the names of devices


def unique_names(
    paths: Sequence[Path],
    rule: NameRule,
    taken: Iterable[str],
    known: Callable[[Path], frozenset[str]],
) -> list[NamedFile]:
    """A model for each path, none of them twice, in the order of the paths.

    `taken`: names of models that there are, of which a new one may not differ in case alone; `known`:
    the models that have a version of a file already. Raises `StorageError`.
    """
    spelled = {names.folded(name): name for name in taken}
    plain = {path: ascii_name(rule.raw_name(path)) for path in paths}
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(names.folded(plain[path]), []).append(path)
    found: dict[Path, str] = {}
    used: set[str] = set()

    def give(path: Path, name: str) -> None:
        if path not in found and names.folded(name) not in used:
            found[path] = name
            used.add(names.folded(name))

    for path in paths:  # those that the registry has keep what it calls them
        may_be = [name for name in known(path) if _may_be(name, path, plain[path])]
        for name in sorted(may_be, key=lambda name: (len(name), name)):
            give(path, name)
    for path in paths:  # the first of each group, unless a model differs from it in case alone
        if spelled.get(names.folded(plain[path])) in (None, plain[path]):
            give(path, plain[path])
    for path in paths:
        group = groups[names.folded(plain[path])]
        tells = len({_folder_beside(other, plain[other]) for other in group}) > 1
        for name in _others(path, plain[path], with_parent=tells):
            if path in found:
                break
            if names.folded(name) not in spelled:
                give(path, name)
    return [NamedFile(path, found[path], own_name(path)) for path in paths]


def _may_be(name: str, path: Path, plain: str) -> bool:
    """True if the rule can give this name to the path, so that the model is probably this file's."""
    rest = name.removeprefix(_room(plain))
    is_numbered = name != rest and re.fullmatch(r"-[0-9]+", rest) is not None
    return name in (plain, _with_parent(path, plain)) or is_numbered


def _others(path: Path, plain: str, *, with_parent: bool) -> Iterator[str]:
    if with_parent:
        yield _with_parent(path, plain)
    for number in itertools.count(2):
        yield f"{_room(plain)}-{number}"


def _with_parent(path: Path, plain: str) -> str:
    return ascii_name(f"{_room(plain)}-{ascii_name(_folder_beside(path, plain))}")


def _folder_beside(path: Path, plain: str) -> str:
    """The name of the nearest folder from which the model's name was not made."""
    words = _words(path)
    made_from_parent = names.folded(ascii_name(words["parent"])) == names.folded(plain)
    return words["parent2" if made_from_parent else "parent"]


def _room(plain: str) -> str:
    return plain[:LONGEST].rstrip("-._")


def _words(path: Path) -> dict[str, str]:
    """The values of the fields; the name of a folder above the root is empty."""
    # Links are not resolved: their names are the ones that a user sees in a folder of downloads.
    place = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
    return {
        "stem": own_name(path),
        "parent": place.parent.name,
        "parent2": place.parent.parent.name,
    }


def _is_valid(text: str) -> bool:
    try:
        names.check_name("model", text)
    except InvalidArgument:
        return False
    return True
