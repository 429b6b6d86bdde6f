"""Versions and bases by what the world knows them by: digests, files, and pictures made with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..catalog import BaseRecord, FileState, VersionRecord
from ..errors import InvalidArgument, NotFound
from ..fs import storage_errors
from ..hashing import all_digests_of_file
from ..pictures import Mention, is_picture, mentions_in, picture_texts
from ..progress import Meter, Progress
from .adding.fingerprint import cached_digests
from .adding.model_names import ascii_name
from .repository import Repository

LEAST_DIGITS = 8
_DIGEST = re.compile(rf"[0-9a-f]{{{LEAST_DIGITS},64}}")
_SHORT = {"sha256": (10, "AutoV2"), "autov3": (12, "AutoV3")}
_NAMES = {
    "sha256": "SHA-256",
    "blake3": "BLAKE3",
    "crc32": "CRC32",
    "autov1": "AutoV1",
    "autov3": "AutoV3",
    "sshs_model_hash": "sshs_model_hash",
}


@dataclass(frozen=True)
class Match:
    """A version, or a base, that was found.

    `by`: the digest that it has ("SHA-256", "AutoV2", "AutoV3", ...), or "name". `of`: what has the
    digest ("source", "result", "restored", "container", "residual", or "file" and "weights" of a base),
    or what has the name ("model", "base", "archived file"). `path`: the file in a folder; otherwise "".
    """

    version: VersionRecord | None
    base: BaseRecord | None
    by: str
    of: str
    path: str = ""

    @property
    def name(self) -> str:
        """The ref of the version, or the name of the base."""
        return self.version.ref if self.version is not None else self.base.name if self.base else ""


@dataclass(frozen=True)
class Sought:
    """One thing that was looked for, and what was found: versions, the newest first, then bases.

    `role`: "checkpoint" or "lora" in a picture; otherwise "digest" or "file". `name`, `digest`: what is
    known of it.
    """

    role: str
    name: str | None
    digest: str | None
    matches: tuple[Match, ...]


@dataclass(frozen=True)
class Found:
    """The answer of `find`. `kind`: "digest", "file" or "picture". `sought`: several in a picture."""

    what: str
    kind: str
    sought: tuple[Sought, ...]

    @property
    def matches(self) -> tuple[Match, ...]:
        """All that was found."""
        return tuple(match for one in self.sought for match in one.matches)


def find(what: str | Path, repository: Repository, progress: Progress) -> Found:
    """Find what a digest, a file or a picture belongs to; see `Registry.find`."""
    path = Path(what)
    with storage_errors(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        raise InvalidArgument(f"{path} is a folder", "Give one of its files.")
    if is_file:
        with storage_errors(path), path.open("rb") as file:
            start = file.read(16)
        found = _of_picture if is_picture(start) else _of_file
        return found(path, repository, progress)
    digest = str(what).strip().lower().removeprefix("0x")
    if not _DIGEST.fullmatch(digest):
        raise InvalidArgument(
            f"{str(what)!r} is neither a file nor a digest of {LEAST_DIGITS} to 64 hexadecimal digits",
            "Give a file, or a digest such as A1111 and model sites show.",
        )
    sought = Sought("digest", None, digest, with_digest(digest, repository))
    return Found(str(what), "digest", (sought,))


def with_digest(start: str, repository: Repository) -> tuple[Match, ...]:
    """All that has a digest beginning with these digits: versions, the newest first, then bases."""
    digits = len(start)
    versions = [
        Match(one.version, None, _shown_as(one.kind, digits), one.part, one.path)
        for one in reversed(repository.catalog.find_digest(start))
    ]
    bases = [
        Match(None, base, _shown_as("sha256", digits) if of == "file" else "SHA-256", of)
        for base in repository.catalog.bases()
        for of, digest in (("file", base.file), ("weights", base.digest))
        if digest.startswith(start)
    ]
    return (*versions, *bases)


def _shown_as(kind: str, digits: int) -> str:
    """The name of a digest, of which so many digits were given."""
    short, name = _SHORT.get(kind, (0, ""))
    return name if digits == short else _NAMES[kind]


def _of_file(path: Path, repository: Repository, progress: Progress) -> Found:
    state = FileState.of(path)
    digests: Mapping[str, str] | None = cached_digests(state, repository.catalog)
    if digests is None:
        digests = all_digests_of_file(path, Meter(progress, "hashing", state.size).advance)
    matches = with_digest(digests["sha256"], repository)
    if not matches and "autov3" in digests:  # the same tensors below another header
        matches = with_digest(digests["autov3"], repository)
    return Found(str(path), "file", (Sought("file", path.name, digests["sha256"], matches),))


def _of_picture(path: Path, repository: Repository, _progress: Progress) -> Found:
    mentions = mentions_in(picture_texts(path))
    if not mentions:
        raise InvalidArgument(
            f"{path} does not say what it was made with",
            "A1111, Forge and ComfyUI write it into the files that they save; copies often lose it.",
        )
    sought = [
        Sought(one.role, one.name, one.digest, _of_mention(one, repository)) for one in mentions
    ]
    return Found(str(path), "picture", tuple(sought))


def _of_mention(mention: Mention, repository: Repository) -> tuple[Match, ...]:
    """All that has the digest; if there is nothing, all that has the name."""
    if mention.digest and (matches := with_digest(mention.digest, repository)):
        return matches
    return tuple(_with_name(mention.name, repository)) if mention.name else ()


def _with_name(name: str, repository: Repository) -> Iterator[Match]:
    """All that has this name in a mount or the registry, or had it before it was archived."""
    for file in repository.catalog.archived_files():
        if file.path.stem == name and (version := _version(file.ref, repository)):
            yield Match(version, None, "name", "archived file", str(file.path))
    model, at, which = name.partition("@")
    for ref in dict.fromkeys((name, ascii_name(model) + at + which)):
        if (version := _version(ref, repository)) is not None:
            yield Match(version, None, "name", "model")
            break
    for base in repository.catalog.bases():
        if base.name == name or (base.link is not None and base.link.stem == name):
            yield Match(None, base, "name", "base")


def _version(ref: str, repository: Repository) -> VersionRecord | None:
    try:
        return repository.catalog.version(ref)
    except (InvalidArgument, NotFound):
        return None
