"""Documents in the form of the hub's API: a repository, its tree, its refs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ..catalog import VersionRecord
from ..registry.accounts.documents import plain
from .checkpoints import ServedFile
from .hub_names import Revision

Document = dict[str, Any]


def repository_document(
    revision: Revision, files: Iterable[ServedFile], *, blobs: bool
) -> Document:
    """A repository at a revision, as `GET /api/models/ID` gives it; with `blobs` also sizes."""
    checkpoint, files = revision.checkpoint, tuple(files)
    added = plain(checkpoint.added)
    siblings = [
        {"rfilename": file.path} | (_blob(file, "sha256") if blobs else {}) for file in files
    ]
    is_pipeline = any(file.path == "model_index.json" for file in files)
    return {
        "_id": revision.commit[:24],
        "id": revision.id,
        "modelId": revision.id,
        "author": revision.id.partition("/")[0],
        "sha": revision.commit,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": list(checkpoint.tags) if isinstance(checkpoint, VersionRecord) else [],
        "createdAt": added,
        "lastModified": added,
        "siblings": siblings,
    } | ({"library_name": "diffusers"} if is_pipeline else {})


def tree_entries(revision: Revision, files: Iterable[ServedFile]) -> list[Document]:
    """Every file and folder of a revision, by path, as entries of a tree."""
    commit = {"id": revision.commit, "title": revision.id, "date": plain(revision.checkpoint.added)}
    entries: dict[str, Document] = {}
    contents: dict[str, list[str]] = {}
    for file in files:
        blob = _blob(file, "oid")
        oid = blob.pop("blobId")
        entries[file.path] = {"type": "file", "path": file.path, "oid": oid} | blob
        parts = file.path.split("/")
        for count in range(1, len(parts)):
            contents.setdefault("/".join(parts[:count]), []).append(f"{file.path} {oid}")
    for path, lines in contents.items():
        oid = hashlib.sha1("\n".join(lines).encode(), usedforsecurity=False).hexdigest()
        entries[path] = {"type": "directory", "path": path, "oid": oid, "size": 0}
    return [entries[path] | {"lastCommit": commit} for path in sorted(entries)]


def refs_document(branches: dict[str, str], tags: dict[str, str]) -> Document:
    """The refs of a repository, from the commits of its branches and tags by name."""
    return {
        "branches": _refs("refs/heads/", branches),
        "tags": _refs("refs/tags/", tags),
        "converts": [],
        "pullRequests": [],
    }


def _refs(prefix: str, commits: dict[str, str]) -> list[Document]:
    return [
        {"name": name, "ref": prefix + name, "targetCommit": commit}
        for name, commit in commits.items()
    ]


def _blob(file: ServedFile, digest_field: str) -> Document:
    """A file as Git LFS knows it: its id in Git is that of the pointer, which needs no byte of it."""
    if file.sha256 is None:
        return {"blobId": file.tag[:40], "size": file.size}
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}\n"
    ).encode()
    blob = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer, usedforsecurity=False).hexdigest()
    lfs = {digest_field: file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {"blobId": blob, "size": file.size, "lfs": lfs}
