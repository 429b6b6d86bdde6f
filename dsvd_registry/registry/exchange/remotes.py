"""The remotes of a registry: names for other registries, kept in `remotes.json`.

They are a setting of this registry's folder, or of what this machine has of a registry in a bucket; no
event tells of them. A URL is shown and kept as it is, so one with a user, a password or a query, where
keys may stand, is refused.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ... import canonical, fs
from ...errors import Conflict, InvalidArgument, NotFound, RegistryError
from ...store import Home, bucket_url
from ...store.names import check_name
from ..repository import Repository, found_home, opened

ORIGIN = "origin"


@dataclass(frozen=True)
class Remote:
    """Another registry, by the name that it has here. `url`: the path of its folder, or a bucket."""

    name: str
    url: str


def remotes(home: Home) -> tuple[Remote, ...]:
    """The remotes of a registry, by name. Raises `RegistryError` for a damaged file, `StorageError`."""
    return tuple(Remote(name, url) for name, url in sorted(_read(home).items()))


def add_remote(home: Home, name: str, url: str) -> Remote:
    """Name another registry, which need not be there yet.

    Raises `InvalidArgument` for a bad name or URL, `Conflict` for a name that is taken.
    """
    remote = Remote(check_name("remote", name), checked_url(url))
    known = _read(home)
    if known.get(name, remote.url) != remote.url:
        raise Conflict(
            f"the remote {name} is {known[name]} already",
            f"Remove it first with `dsvd remote rm {name}`, or choose another name.",
        )
    _write(home, {**known, name: remote.url})
    return remote


def remove_remote(home: Home, name: str) -> Remote:
    """Forget a remote; the registry that it names stays. Raises `NotFound`."""
    found = remote_named(home, name)
    _write(home, {other: url for other, url in _read(home).items() if other != name})
    return found


def remote_named(home: Home, name: str) -> Remote:
    """The remote of this name. Raises `NotFound`."""
    known = _read(home)
    if name not in known:
        names = ", ".join(sorted(known))
        raise NotFound(
            f"there is no remote {name!r}",
            f"There is {names}." if names else "Name one with `dsvd remote add NAME URL`.",
        )
    return Remote(name, known[name])


@contextlib.contextmanager
def opened_remote(url: str) -> Iterator[Repository]:
    """The registry at a URL that `checked_url` gave, closed on leaving.

    Its catalog is the one in its folder, or for a bucket this machine's own, whatever DSVD_CATALOG says
    of this registry's. Raises `NotFound` if there is no registry, and as `Registry.open`.
    """
    repository = opened(found_home(url), None)
    try:
        yield repository
    finally:
        repository.catalog.close()


def checked_url(url: str) -> str:
    """The URL as it is kept: of a bucket, or the absolute path of a folder.

    Raises `InvalidArgument` for a URL of another kind, or one that may have a secret in it.
    """
    if not bucket_url.is_url(url):
        return os.path.abspath(url)  # noqa: PTH100 - also folds `..`, follows no link
    parts = urlsplit(url)
    if parts.scheme != "file":
        return str(bucket_url.parse(url))
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
        raise InvalidArgument(
            "the file:// URL of a registry is not that of a folder on this machine",
            "Give the path of the folder, or file:///PATH.",
        )
    return os.path.abspath(unquote(parts.path))  # noqa: PTH100


def _read(home: Home) -> Mapping[str, str]:
    path = home.remotes
    with fs.storage_errors(path):
        try:
            with path.open("rb") as file:
                data = file.read(canonical.MAX_SMALL + 1)
        except FileNotFoundError:
            return {}
    value = canonical.decode_small(data, str(path))
    known = value.get("remotes") if isinstance(value, dict) else None
    if not isinstance(known, dict) or not all(isinstance(url, str) for url in known.values()):
        raise RegistryError(
            f"{path} does not list remotes", "Remove it, and name the remotes again."
        )
    return known


def _write(home: Home, known: Mapping[str, str]) -> None:
    data = canonical.encode_small({"remotes": dict(known)})
    fs.write_file(home.remotes, data, replace=True)
