"""The files that a version is written as: those that were added, or those of another layout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..catalog import BaseRecord
from ..container.reader import Container
from ..errors import InvalidArgument
from ..layouts import describe
from ..reconstruction.base_weights import BaseWeights
from ..reconstruction.target_layout import LayoutName, Target, file_like, folder_like, original_file
from .repository import Repository


@contextlib.contextmanager
def open_target(
    layout: LayoutName | None,
    container: Container,
    base: BaseWeights,
    pattern: BaseRecord | None,
    repository: Repository,
) -> Iterator[Target | None]:
    """The target files of a version in `layout`; None for the files that were added.

    A folder gets the files and configurations of `pattern`, or else of the base. A single file gets
    the tensor names of the base if that is a file in the original layout. Raises `InvalidArgument` if
    no base has configurations, `BaseMismatch`, `CheckpointError`.
    """
    is_folder = container.header.tree is not None
    if layout == "diffusers" and pattern is not None:
        with repository.open_base_checkpoint(pattern, repository.manifest(pattern)) as checkpoint:
            if checkpoint.tree is None:
                raise InvalidArgument(
                    f"the base {pattern.name!r} is a single file, without configurations",
                    "Name a base that was added as a folder of diffusers.",
                )
            yield folder_like(checkpoint)
        return
    if layout is None or (layout == "diffusers" and is_folder):
        yield None
        return
    if layout == "diffusers":
        if base.checkpoint.tree is None:
            raise InvalidArgument(
                f"a folder of diffusers has configurations, and the base {base.name!r} has none",
                "Add a folder of the family with `dsvd base add NAME FOLDER`, and name it with --like.",
            )
        yield folder_like(base.checkpoint)
        return
    records = container.header.tensors
    own = {record.name: record for record in records}
    if not is_folder and describe(own).layout != "diffusers":
        yield None
    elif describe(base.checkpoint.tensors).layout == "ldm" and base.checkpoint.tree is None:
        yield file_like(base.checkpoint.tensors)
    else:
        yield original_file(own)
