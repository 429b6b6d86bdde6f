"""Additions: of one checkpoint, of many, of a merge, of a container."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ...progress import Progress, silent
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from typing import Unpack

    from ..adding.add_many import Planned
    from ..adding.add_request import AddOptions
    from ..adding.commit import Addition
    from ..adding.file_outcomes import AddedMany
    from ..merge_options import MergeOptions


class AddingMethods(OpenRegistry):
    """Additions: of one checkpoint, of many, of a merge, of a container."""

    def add(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        progress: Progress = silent,
        **options: Unpack[AddOptions],
    ) -> Addition:
        """Store a fine-tune as the next version of a model.

        A version with the same source, base and settings is recognised, and nothing is computed. A
        LoRA file becomes a version too: the base with the LoRA merged in at weight 1. Its only
        fidelity is tau, which is applied to the spectrum of the LoRA and is 1 by default.

        Args:
            path: A checkpoint file, a folder of diffusers, or a LoRA file.
            name: The model's name; default: one made from the name of the file or folder.
            progress: Called as the work goes on.
            **options: See `AddOptions`: the base, the fidelity, a note, tags.

        Returns:
            The version, and whether it is new.

        Raises:
            CheckpointError: The file is damaged or not a checkpoint.
            BaseMismatch: The base is of another family, or damaged.
            UnsureBase: No base was named, and none is sure.
            InvalidArgument: An option is out of range, or two options exclude each other.
            Conflict: A model's name differs from this one in case alone.

        Example:
            >>> added = registry.add("ft.safetensors", base="sd15", name="subject-7", tau=0.5)
            >>> added.ref, added.created
            ('subject-7@1', True)
            >>> registry.add("ft.safetensors", base="sd15", name="subject-7", tau=0.5).created
            False
        """
        from ..adding.add import add_one

        return add_one(Path(path), name, options, self.repository, progress)

    def add_many(
        self,
        paths: Iterable[str | Path],
        *,
        planned: Planned | None = None,
        executor: Executor | None = None,
        batch: int = 100,
        progress: Progress = silent,
        **options: Unpack[AddOptions],
    ) -> AddedMany:
        """Store each file, and each checkpoint in a folder, as `add` does.

        A refused file does not stop the others. The same call after an interrupt continues the work.
        Versions are committed in batches: when one is full, or the last commit was 2 seconds ago.

        Args:
            paths: Checkpoints, and folders of checkpoints. Models are named after them.
            planned: Called with the model of each file before the first file is added.
            executor: Encodes the files in other processes, which must find the registry and the files
                at the same paths: `WorkerProcesses(4)`, `RayExecutor("auto")`, or any executor of
                processes. A file whose worker dies is tried again twice.
            batch: The most versions that are committed at a time.
            progress: Called as the work goes on; with an executor only as files are done.
            **options: See `AddOptions`.

        Returns:
            The outcome of each file, and the originals that are safe to delete.

        Raises:
            InvalidArgument: No file is given, or an option is out of range.

        Example:
            >>> done = registry.add_many(["ft.safetensors", "ft2.safetensors"], base="sd15")
            >>> [file.ref for file in done.added]
            ['ft@1', 'ft2@1']
        """
        from ..adding.add_many import add_many, tell_nobody
        from ..adding.add_request import add_request

        request = add_request(options, self.repository)
        return add_many(
            map(Path, paths),
            request,
            self.repository,
            progress,
            planned or tell_nobody,
            executor=executor,
            batch=batch,
        )

    def merge(
        self,
        versions: Iterable[tuple[str, float]],
        *,
        name: str,
        progress: Progress = silent,
        **options: Unpack[MergeOptions],
    ) -> Addition:
        """Store a weighted sum of versions of one base as the next version of a model.

        The result is the base plus the sum of each version's delta times its weight, made from the
        deltas alone. The first version decides the layout, the names, the dtypes and the shapes.
        A merge of the same versions by the same weights is recognised, and nothing is computed.

        Args:
            versions: Refs and weights. Weights of any sign are allowed, and need not sum to 1.
            name: The model's name.
            progress: Called as the work goes on.
            **options: See `MergeOptions`: the fidelity, factors for layers, a note, tags.

        Returns:
            The version, and whether it is new.

        Raises:
            BaseMismatch: The versions are of different bases.
            InvalidArgument: An option is out of range, a tensor cannot be added up and differs, or
                the versions are in different layouts.
            Conflict: A model's name differs from this one in case alone.

        Example:
            >>> both = [("subject-42@1", 0.6), ("subject-42@2", 0.4)]
            >>> registry.merge(both, name="between").ref
            'between@1'
        """
        from ..merge import merge_versions

        return merge_versions(list(versions), name, options, self.repository, progress)

    def import_container(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        note: str = "",
        tags: Iterable[str] = (),
        progress: Progress = silent,
    ) -> Addition:
        """Store an exported container as the next version of a model.

        Everything that a deep `verify` checks is checked first. A container that is a version already
        is recognised. The signatures (`.sig`), the residual (`.dsvdr`), the original of a LoRA
        (`.dsvdo`), and the metadata and attachments (`.dsvdm`) are imported too, if their files are in
        the same folder.

        Args:
            path: A `.dsvd` file.
            name: The model's name; default: the file's stem.
            note: A note on the version.
            tags: Tags of the version.
            progress: Called as the work goes on.

        Raises:
            ContainerError: The file is damaged, or breaks a rule of the format.
            BaseMismatch: The registry does not have its base.
            ResultMismatch: Its result does not have the recorded SHA-256.
            SignatureError: A signature is not valid, or of another container.
            MissingExtra: There are signatures, and `cryptography` is not installed.

        Example:
            >>> exported = registry.export_container("subject-42", "subject-42.dsvd")
            >>> registry.import_container("subject-42.dsvd", name="imported").ref
            'imported@1'
        """
        from ..adding.add import name_of
        from ..exchange.import_export import import_container

        model = name_of(Path(path)) if name is None else name
        return import_container(Path(path), model, note, tags, self.repository, progress)
