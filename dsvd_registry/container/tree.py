"""The header's field for a result that is a folder (spec, section "Feature: tree")."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..checkpoint.folder_listing import check_paths
from ..errors import CheckpointError, ContainerError
from . import limits
from .json_fields import Fields
from .records import Header, KeptFile, TensorFile, TreeFile


def tree_object(tree: Iterable[TreeFile]) -> list[dict[str, Any]]:
    """The JSON of `tree`."""
    return [_file_object(file) for file in tree]


def parse_tree(fields: Fields, *, is_named: bool) -> tuple[TreeFile, ...] | None:
    """Read the field `tree` of a header; None if it is absent. Raises `ContainerError`.

    `is_named`: whether `requires` names the feature. `check_tree` checks the rules across fields.
    """
    is_present = fields.has("tree")
    if is_named and not is_present:
        raise ContainerError("requires names 'tree', and there is no field of that name")
    if is_present and not is_named:
        raise ContainerError("there is a field 'tree', and requires does not name it")
    if not is_present:
        return None
    files = fields.array("tree", limits.MAX_FILES, least=1)
    return tuple(_file(value, f"tree[{i}]") for i, value in enumerate(files))


def check_tree(header: Header) -> None:
    """Check the rules of the feature. Raises `ContainerError` for the first that `header` breaks."""
    tree = header.tree or ()
    try:
        check_paths([file.path for file in tree])
    except CheckpointError as error:
        raise ContainerError(f"tree: {error}") from error
    paths = [file.path for file in tree if isinstance(file, TensorFile)]
    if paths != [result.path for result in header.results]:
        raise ContainerError("the results are not the files of the tree that hold tensors")
    headers = sum(frame.content == "source_header" for frame in header.frames)
    if headers != len(paths):
        raise ContainerError(f"{headers} headers for {len(paths)} files that hold tensors")


def stored_files(tree: Iterable[TreeFile]) -> Iterator[tuple[int, KeptFile]]:
    """The non-empty files whose bytes are in the payload, each with its index in the tree."""
    for index, file in enumerate(tree):
        if isinstance(file, KeptFile) and not file.of_base and file.size:
            yield index, file


def _file_object(file: TreeFile) -> dict[str, Any]:
    if isinstance(file, TensorFile):
        return {"kind": "tensors", "path": file.path, "prefix": file.prefix}
    kind = "base" if file.of_base else "stored"
    return {"kind": kind, "path": file.path, "sha256": file.sha256, "size": file.size}


def _file(value: Any, where: str) -> TreeFile:
    fields = Fields(value, where)
    kind, path = fields.text("kind", 32), fields.text("path", limits.MAX_NAME_BYTES)
    file: TreeFile
    if kind == "tensors":
        file = TensorFile(path, fields.text("prefix", limits.MAX_NAME_BYTES, least_bytes=0))
    elif kind in ("stored", "base"):
        sha256, size = fields.hexadecimal("sha256", 64), fields.integer("size", 0, limits.MAX_SIZE)
        file = KeptFile(path, sha256, size, of_base=kind == "base")
    else:
        raise ContainerError(f"{where}: unknown kind {kind!r}")
    fields.end()
    return file
