"""Rules across fields of the features `fidelity`, `merge` and `tree` (spec, sections of these names)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..checkpoint.folder_listing import check_paths
from ..errors import CheckpointError, ContainerError
from .records import Header, KeptFile, LowRankRecord, TensorFile, TreeFile

_FIDELITY = "encoding.fidelity"


def check_fidelity(header: Header) -> None:
    """Check the rules of the feature. Raises `ContainerError` for the first that `header` breaks."""
    fidelity = header.encoding.fidelity
    if fidelity is None:
        return
    if fidelity.max_error is None and fidelity.budget is None:
        raise ContainerError(f"{_FIDELITY} has neither max_error nor budget")
    if fidelity.max_error is not None and fidelity.budget is not None:
        raise ContainerError(f"{_FIDELITY} has max_error and budget, but may have only one of them")
    if fidelity.max_error is not None:
        if not 0 < fidelity.max_error < 1:
            raise ContainerError(f"{_FIDELITY}: max_error is outside (0, 1)")
        if fidelity.error > fidelity.max_error:
            raise ContainerError(f"{_FIDELITY}: error is over max_error")
    if header.encoding.grid_noise != 0:
        raise ContainerError("encoding: grid_noise is not 0.0, as fidelity requires")
    for tensor in header.tensors:
        if isinstance(tensor, LowRankRecord) and tensor.tau_rank > tensor.rank:
            raise ContainerError(
                f"tensor {tensor.name!r}: tau_rank is over rank, and fidelity promises encoding.tau"
            )


def check_budget(header: Header, size: int) -> None:
    """Check a container's size against its budget, if it has one. Raises `ContainerError`."""
    fidelity = header.encoding.fidelity
    if fidelity is not None and fidelity.budget is not None and size > fidelity.budget:
        raise ContainerError(f"{size} bytes are over the budget of {fidelity.budget} bytes")


def check_merge(header: Header) -> None:
    """Check the rules of the feature. Raises `ContainerError` for the first that `header` breaks."""
    if header.merge is None:
        return
    containers = [version.container for version in header.merge.versions]
    if len(set(containers)) < len(containers):
        raise ContainerError("merge: a container stands twice in versions")
    named = {header.merge.take_from, *(rule.container for rule in header.merge.layers)} - {None}
    if not named <= set(containers):
        raise ContainerError("merge names a container that is none of its versions")


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
