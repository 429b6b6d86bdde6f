"""The registry, the public API: one method for each thing that can be done.

A method calls the module of its verb, which it imports as it runs: listing versions loads no numpy,
and a method that needs no tensor loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from ..catalog import rebuild
from ..closing import Closing, MadeOnce
from ..progress import Progress, silent
from .opening import made_repository, no_passphrase, opened_repository, result_pool
from .repository import Repository, catalog_url, found_home
from .upkeep.gc import DEFAULT_GRACE_DAYS

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from typing import Unpack

    from ..catalog import AttachmentRecord, BaseRecord, Rebuilt, VersionRecord
    from ..checkpoint import LeftOut
    from ..export import Dtype, ExportedLora, Format
    from ..reconstruction.cast import FloatDtype
    from ..reconstruction.lazy_tensors import LazyTensors
    from ..reconstruction.target_layout import LayoutName
    from ..reconstruction.write_result import Materialized
    from .accounts.curve_points import Curve
    from .accounts.diff import BaseDifference, Difference
    from .accounts.report import Report
    from .adding.add_many import Planned
    from .adding.add_request import AddOptions
    from .adding.best_base import BaseMatch
    from .adding.commit import Addition
    from .adding.file_outcomes import AddedMany
    from .archiving.archive import Archived
    from .archiving.archive_plan import ArchiveOptions, ArchivePlan
    from .archiving.restore import RestoredFiles
    from .describing.attachments import AttachmentRole
    from .exchange.import_export import Exported
    from .exchange.remotes import Remote
    from .exchange.transfer import Exchanged
    from .find import Found
    from .merge_options import MergeOptions
    from .results.open_result import OpenResult
    from .results.result_listing import ResultListings
    from .results.result_pool import ResultEntry
    from .signing import Signed, Signer
    from .upkeep.findings import Verified
    from .upkeep.gc import Collected
    from .upkeep.last_verified import LastVerified
    from .upkeep.repair import Repaired
    from .upkeep.thin import Thinned
    from .upkeep.usage import Usage


class Registry(Closing):
    """An open registry of bases, models and their versions.

    Use it as a context manager, or call `close`. A *ref* names a version: `name` (its newest
    version), `name@3`, `name@alias` or `name@latest`.

    Besides the errors named at each method, all raise `RegistryError` (the registry is damaged),
    `StorageError` (the operating system refused) and `NotFound` (a ref or base does not exist).

    Example:
        >>> with Registry.open() as registry:
        ...     registry.version("subject-42").ref
        'subject-42@2'
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        """Its folder, catalog and objects, for packages that are built on a registry."""
        self._pool = MadeOnce(lambda: result_pool(repository))

    # Opening

    @classmethod
    def init(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """Make a registry and open it.

        Args:
            path: The folder to make it in, or a bucket as in `open`; default: DSVD_REGISTRY, or the
                user's data folder.
            catalog: As in `open`.

        Raises:
            Conflict: The folder, or the place in the bucket, is not empty.
            NotFound: The bucket does not exist.
            InvalidArgument: A URL cannot be used.

        Example:
            >>> with Registry.init("studio") as registry:
            ...     registry.folder.name
            'studio'
        """
        return cls(made_repository(path, catalog))

    @classmethod
    def open(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """Open the registry at `path`, or the one found from the environment and the current folder.

        A read-only folder can be opened; then every method that writes raises `StorageError`.

        Args:
            path: Its folder, or its place in a bucket as a URL: "s3://bucket/prefix", "gs://..." or
                "az://..." (extra `cloud`); default: DSVD_REGISTRY, a folder `.dsvd` here or above, or
                the user's data folder.
            catalog: URL of the database with its catalog, as SQLAlchemy writes it; default:
                DSVD_CATALOG, or SQLite in the registry's folder. All writers must give the same.

        Raises:
            NotFound: There is no registry.
            InvalidArgument: A URL cannot be used.

        Example:
            >>> with Registry.open() as registry:
            ...     [base.name for base in registry.bases()]
            ['sd15']
        """
        return cls(opened_repository(path, catalog))

    @classmethod
    def clone(
        cls,
        url: str | Path,
        path: str | Path,
        *,
        catalog: str | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Make a registry with the versions, the bases and the history of another, and open it.

        The other one is its remote `origin`. A base that is linked there is copied. If a clone was
        stopped, the same call goes on with it.

        Args:
            url: The folder of the other registry, as a path or as file:///PATH, or its place in a
                bucket as in `open`.
            path: The folder to make, new or empty.
            catalog: As in `open`, for the new registry.
            progress: Called as the work goes on.

        Raises:
            Conflict: The folder is a registry, or has other files in it.
            InvalidArgument: A URL cannot be used.
            NotFound: There is no registry at `url`.
            BaseMismatch: The file of a linked base is gone or was changed.

        Example:
            >>> with Registry.clone(".dsvd", "copy") as copy:
            ...     copy.version("subject-42").ref
            'subject-42@2'
        """
        from .exchange.clone import clone

        return cls(clone(str(url), path, catalog_url(catalog), progress))

    @staticmethod
    def rebuild_catalog(path: str | Path | None = None, *, catalog: str | None = None) -> Rebuilt:
        """Rebuild the catalog from the events of the store, even if it cannot be opened.

        Args:
            path: As in `open`.
            catalog: As in `open`.

        Returns:
            The number of events, and the path of the old catalog if it was set aside.

        Raises:
            RegistryError: The event log cannot be read.

        Example:
            >>> Registry.rebuild_catalog().events > 0
            True
        """
        return rebuild(found_home(path), catalog_url(catalog))

    @staticmethod
    def repair(
        path: str | Path | None = None,
        *,
        sources: Iterable[str | Path] = (),
        deep: bool = False,
        signer: str | Path | None = None,
        catalog: str | None = None,
        progress: Progress = silent,
    ) -> Repaired:
        """Restore damaged files from good copies, and set aside and report the lost ones.

        Args:
            path: As in `open`; the catalog need not be readable.
            sources: Files, and folders of files, that may have good bytes. A file is used for an
                object, or an event, only if it has its SHA-256.
            deep: As in `verify`, which runs at the end.
            signer: As in `verify`.
            catalog: As in `open`.
            progress: Called as the work goes on.

        Returns:
            The restored objects, the lost objects, and the findings of `verify` afterwards.

        Raises:
            InvalidArgument: A source does not exist.
            RegistryError: Neither the catalog nor the event log can be read.

        Example:
            >>> Registry.repair(sources=["backup"]).is_well
            True
        """
        from .signing import public_key_at
        from .upkeep.repair import repair
        from .upkeep.repair_sources import checked_sources

        return repair(
            found_home(path),
            catalog_url(catalog),
            checked_sources(sources),
            deep=deep,
            signer=public_key_at(signer),
            progress=progress,
        )

    @property
    def folder(self) -> Path:
        """The folder of the registry; of one in a bucket, what this machine has of it."""
        return self.repository.home.root

    @property
    def name(self) -> str:
        """The path of the registry's folder, or its URL, which opens it again.

        Example:
            >>> registry.name == str(registry.folder)
            True
        """
        return self.repository.home.name

    def close(self) -> None:
        """Close the catalog and the open results. Closing twice is fine."""
        self._pool.close()
        self.repository.catalog.close()

    # Bases

    def add_base(
        self,
        name: str,
        path: str | Path,
        *,
        link: bool = False,
        weights: str | None = None,
        keep_extras: bool = False,
        progress: Progress = silent,
    ) -> BaseRecord:
        """Register a full checkpoint as a base, to which versions are stored as deltas.

        Args:
            name: Its name for people; the weights digest identifies it.
            path: A checkpoint file, or a folder of diffusers.
            link: Leave the file where it is, instead of copying it into the registry.
            weights: The entry to use of a torch file, such as "ema"; it is stored alone.
            keep_extras: Keep the files of a folder that do not belong to its model (see `left_out`).
            progress: Called as the work goes on.

        Raises:
            CheckpointError: The file is damaged or not a checkpoint.
            InvalidArgument: Two options exclude each other.
            Conflict: The name is taken, or the weights are a base already.

        Example:
            >>> registry.add_base("sd15-copy", "other.safetensors").name
            'sd15-copy'
        """
        from .adding.add_base import add_base

        return add_base(
            Path(path),
            name,
            link,
            self.repository,
            progress,
            weights=weights,
            keep_extras=keep_extras,
        )

    def left_out(self, path: str | Path, *, keep_extras: bool = False) -> tuple[LeftOut, ...]:
        """List the files of a folder that an addition leaves out, with the reasons; none for a file.

        They are weights that `model_index.json` does not name, exports, and the state of a training.

        Args:
            path: A folder of diffusers, or a checkpoint file.
            keep_extras: As in `AddOptions`.

        Raises:
            CheckpointError: The folder is not whole.

        Example:
            >>> registry.left_out("ft.safetensors")
            ()
        """
        from .adding.input_files import left_out

        return left_out(Path(path), keep_extras=keep_extras)

    def bases(self) -> list[BaseRecord]:
        """List every base, by name.

        Example:
            >>> [base.name for base in registry.bases()]
            ['sd15']
        """
        return self.repository.catalog.bases()

    def base(self, name: str) -> BaseRecord:
        """Find a base by its name, its digest or a unique prefix of that.

        Example:
            >>> registry.base("sd15").format
            'safetensors'
        """
        return self.repository.catalog.base(name)

    def base_tensors(self, name: str) -> tuple[tuple[str, str, tuple[int, ...], str], ...]:
        """List the name, dtype, shape and SHA-256 of each tensor of a base.

        Example:
            >>> name, dtype, shape, sha256 = registry.base_tensors("sd15")[0]
            >>> dtype, len(sha256)
            ('F32', 64)
        """
        manifest = self.repository.manifest(self.base(name))
        return tuple((t.name, t.dtype, t.shape, t.sha256) for t in manifest.tensors)

    def best_base(self, path: str | Path, *, weights: str | None = None) -> BaseMatch:
        """Find the base that a checkpoint was probably fine-tuned from, and how sure that is.

        Names and shapes select the possible bases, then a sample of weights decides.

        Args:
            path: A checkpoint file, a folder of diffusers, or a LoRA file.
            weights: The entry to use of a torch file.

        Raises:
            CheckpointError: The file is damaged or not a checkpoint.
            BaseMismatch: No base fits.

        Example:
            >>> match = registry.best_base("ft.safetensors")
            >>> match.best.name, match.is_sure
            ('sd15', True)
        """
        from .adding.best_base import best_base

        return best_base(Path(path), self.bases(), self.repository, weights)

    def remove_base(self, name: str) -> BaseRecord:
        """Forget a base.

        Raises:
            Conflict: A version needs it.

        Example:
            >>> registry.remove_base("sd15")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.Conflict: ...
        """
        return self.repository.catalog.remove_base(name)

    # Adding versions

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
        from .adding.add import add_one

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
        from .adding.add_many import add_many, tell_nobody
        from .adding.add_request import add_request

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
        from .merge import merge_versions

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
        from .adding.add import name_of
        from .exchange.import_export import import_container

        model = name_of(Path(path)) if name is None else name
        return import_container(Path(path), model, note, tags, self.repository, progress)

    # Finding and comparing versions

    def version(self, ref: str) -> VersionRecord:
        """Find the version that a ref means.

        Example:
            >>> registry.version("subject-42@prod").number
            1
        """
        return self.repository.catalog.version(ref)

    def versions(
        self,
        pattern: str | None = None,
        *,
        base: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
    ) -> list[VersionRecord]:
        """List versions, newest last.

        Args:
            pattern: A shell pattern that the model's name matches, as `subject-*`.
            base: Only versions of this base, a name or digest.
            tag: Only versions with this tag.
            since: Only versions added at or after this time.

        Example:
            >>> [version.ref for version in registry.versions("subject-*")]
            ['subject-42@1', 'subject-42@2']
        """
        return self.repository.catalog.versions(pattern, base=base, tag=tag, since=since)

    def find(self, what: str | Path, *, progress: Progress = silent) -> Found:
        """Find what a digest, a file, or a picture belongs to.

        A digest is a SHA-256, AutoV1, AutoV2, AutoV3, BLAKE3 or CRC32, or its first digits. A picture
        names the models that it was made with, if A1111, Forge or ComfyUI saved it: by digests where it
        has them, otherwise by the names of files.

        Args:
            what: 8 to 64 hexadecimal digits, or the path of a checkpoint, a LoRA file or a picture.
            progress: Called as a file is hashed.

        Returns:
            The versions and bases, and by what they were found; none if nothing is known.

        Raises:
            InvalidArgument: It is neither a digest nor a file, or a picture that names no model.

        Example:
            >>> digest = registry.version("subject-42@1").source.sha256
            >>> registry.find(digest[:10]).matches[0].name
            'subject-42@1'
        """
        from .find import find

        return find(what, self.repository, progress)

    def history(self, model: str) -> list[VersionRecord]:
        """List every version that a model ever had, removed ones too, newest last.

        Example:
            >>> [version.number for version in registry.history("subject-42")]
            [1, 2]
        """
        return self.repository.catalog.history(model)

    def report(self, ref: str) -> Report:
        """Account for every tensor of a version: its kind, rank, error and bytes. No tensor is read.

        Raises:
            ContainerError: The container is damaged.

        Example:
            >>> report = registry.report("subject-42")
            >>> report.total == sum(row.tensors for row in report.kinds)
            True
        """
        from .accounts.report import report_of_version

        version = self.version(ref)
        return report_of_version(version, self.repository.base_of(version), self.repository)

    def diff(self, left: str, right: str, *, progress: Progress = silent) -> Difference:
        """Compare the deltas of two versions, from their factors.

        Args:
            left: A ref.
            right: Another ref.
            progress: Called as the work goes on.

        Raises:
            ContainerError: A container is damaged.

        Example:
            >>> registry.diff("subject-42@1", "subject-42@1").distance
            0.0
        """
        from .accounts.diff import difference_of_versions

        versions = self.version(left), self.version(right)
        return difference_of_versions(*versions, self.repository, progress)

    def diff_base(self, ref: str, *, progress: Progress = silent) -> list[BaseDifference]:
        """Compare each tensor of a version with its base; a lossless version gives its exact source.

        Raises:
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> max(row.change for row in registry.diff_base("subject-42")) > 0
            True
        """
        from .accounts.diff import differences_from_base

        return differences_from_base(self.version(ref), self.repository, progress)

    def curve(
        self,
        source: str | Path,
        *,
        base: str | None = None,
        taus: Sequence[float] | None = None,
        keep_noise: bool = False,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> Curve:
        """Find bytes, error and ranks at several taus, as a help to choose one. Nothing is stored.

        Args:
            source: A checkpoint or a ref. Each tensor of a checkpoint is decomposed once, and encoded
                at each tau as `add` would. For a ref, the container alone gives the bytes that its
                own and lower taus read, with estimated errors.
            base: The base of a checkpoint.
            taus: The taus; default: eight of them.
            keep_noise: As in `AddOptions`, for a checkpoint.
            device: As in `AddOptions`, for a checkpoint.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: `source` may be a file or a ref, or an option is not for it.
            CheckpointError: The checkpoint is damaged.
            BaseMismatch: The base is of another family, or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> [point.tau for point in registry.curve("subject-42", taus=[0.2, 0.5]).points]
            [0.2, 0.5]
        """
        from .accounts.curve import curve

        return curve(source, base, taus, keep_noise, device, self.repository, progress)

    # Changing versions and their labels

    def set_alias(self, alias: str, ref: str) -> VersionRecord:
        """Set an alias for a version, or move it from another version of the model.

        Example:
            >>> registry.set_alias("prod", "subject-42@2").ref
            'subject-42@2'
        """
        version = self.version(ref)
        return self.repository.catalog.set_alias(version.model, alias, version.number)

    def remove_alias(self, model: str, alias: str) -> VersionRecord:
        """Remove an alias; returns the version that it stood for.

        Example:
            >>> registry.remove_alias("subject-42", "prod").ref
            'subject-42@1'
        """
        return self.repository.catalog.remove_alias(model, alias)

    def add_tag(self, ref: str, tag: str) -> VersionRecord:
        """Tag a version.

        Example:
            >>> registry.add_tag("subject-42", "portrait").tags
            ('portrait',)
        """
        version = self.version(ref)
        return self.repository.catalog.add_tag(version.model, version.number, tag)

    def remove_tag(self, ref: str, tag: str) -> VersionRecord:
        """Remove a tag from a version.

        Example:
            >>> registry.remove_tag("subject-42@1", "dog").tags
            ()
        """
        version = self.version(ref)
        return self.repository.catalog.remove_tag(version.model, version.number, tag)

    def set_note(self, ref: str, text: str) -> VersionRecord:
        """Replace a version's note.

        Example:
            >>> registry.set_note("subject-42", "trained on 5 photographs").note
            'trained on 5 photographs'
        """
        version = self.version(ref)
        return self.repository.catalog.set_note(version.model, version.number, text)

    # Metadata and attachments

    def metadata(self, ref: str) -> Mapping[str, str]:
        """The metadata of a version: keys and values, sorted by key.

        Example:
            >>> dict(registry.metadata("subject-42"))
            {}
        """
        from types import MappingProxyType

        return MappingProxyType(dict(self.repository.catalog.metadata(ref)))

    def set_metadata(self, ref: str, entries: Mapping[str, str]) -> Mapping[str, str]:
        """Set keys of a version's metadata, and return all of it; other keys stay.

        Args:
            ref: The version.
            entries: Keys (letters, digits and `. _ : / -`, at most 128) with their values, texts
                without NUL.

        Raises:
            InvalidArgument: A key or value breaks its rule, or there would be more than 1,024 keys or
                196,608 characters of keys and values.

        Example:
            >>> dict(registry.set_metadata("subject-42", {"trigger": "sks dog"}))
            {'trigger': 'sks dog'}
        """
        from types import MappingProxyType

        version = self.version(ref)
        catalog = self.repository.catalog
        return MappingProxyType(
            dict(catalog.set_metadata(version.model, version.number, dict(entries)))
        )

    def remove_metadata(self, ref: str, key: str) -> Mapping[str, str]:
        """Remove a key of a version's metadata, and return what is left.

        Raises:
            NotFound: The version does not have that key.

        Example:
            >>> registry.set_metadata("subject-42", {"licence": "CC0"})["licence"]
            'CC0'
            >>> dict(registry.remove_metadata("subject-42", "licence"))
            {}
        """
        from types import MappingProxyType

        version = self.version(ref)
        catalog = self.repository.catalog
        return MappingProxyType(dict(catalog.remove_metadata(version.model, version.number, key)))

    def attachments(self, ref: str) -> tuple[AttachmentRecord, ...]:
        """The attachments of a version, oldest first: pictures and texts that tell people of it.

        Example:
            >>> registry.attachments("subject-42")
            ()
        """
        return tuple(self.repository.catalog.attachments(ref))

    def attach(
        self, ref: str, path: str | Path, *, role: AttachmentRole | None = None
    ) -> AttachmentRecord:
        """Attach a picture or a text to a version, under the name of its file.

        A picture is decoded once, to see that it is one. The same file again changes nothing.

        Args:
            ref: The version.
            path: A PNG, JPEG or WebP picture of at most 32 MiB and 67,108,864 pixels, or a text in
                UTF-8 of at most 4 MiB.
            role: "preview", "sample" or "note"; "sidecar" for a file that a tool reads beside the
                checkpoint, "report" for the page of an evaluation. Default: the preview for the first
                picture, a sample for every other, a report for a page, a note for another text.

        Raises:
            InvalidArgument: The file is neither, is too large, or does not fit the role; or the
                version would have more than 64 attachments or 256 MiB of them.
            Conflict: The version has another attachment of that name.

        Example:
            >>> registry.attach("subject-42", "notes.txt").role
            'note'
        """
        from .describing.attachments import attach

        return attach(self.version(ref), Path(path), role, self.repository)

    def detach(self, ref: str, name: str) -> AttachmentRecord:
        """Remove an attachment of a version; `collect_garbage` removes its bytes later.

        Raises:
            NotFound: The version has no attachment of that name.

        Example:
            >>> registry.attach("subject-42", "notes.txt").name
            'notes.txt'
            >>> registry.detach("subject-42", "notes.txt").size
            21
        """
        version = self.version(ref)
        return self.repository.catalog.remove_attachment(version.model, version.number, name)

    def open_attachment(self, ref: str, name: str) -> BinaryIO:
        """Open the bytes of an attachment, after they were compared with their SHA-256.

        Args:
            ref: The version.
            name: The name of the attachment.

        Raises:
            NotFound: The version has no attachment of that name.

        Example:
            >>> registry.attach("subject-42", "notes.txt").name
            'notes.txt'
            >>> with registry.open_attachment("subject-42", "notes.txt") as file:
            ...     file.read()
            b'5 photographs of Rex\\n'
        """
        from .describing.attachments import attachment_named, open_attachment

        record = attachment_named(self.version(ref), name, self.repository)
        return open_attachment(record, self.repository)

    def write_beside(
        self, ref: str, path: str | Path, *, replace: bool = False
    ) -> tuple[Path, ...]:
        """Write a version's preview and sidecars beside a checkpoint, under the names tools look for.

        For `models/rex.safetensors` they are `models/rex.preview.png`, `models/rex.civitai.info` and so
        on. The checkpoint itself need not be there.

        Args:
            ref: The version.
            path: The path of a checkpoint or LoRA file.
            replace: Replace files that are there. Without it they stay as they are.

        Returns:
            The paths of the files that were written.

        Example:
            >>> registry.attach("subject-42", "notes.txt", role="sidecar").role
            'sidecar'
            >>> [path.name for path in registry.write_beside("subject-42", "rex.safetensors")]
            ['rex.txt']
        """
        from .describing.beside import write_beside
        from .results.output import check_output

        check_output(Path(path), self.repository)
        attachments = self.repository.catalog.attachments(ref)
        return write_beside(Path(path), attachments, self.repository, replace=replace)

    def thin(self, ref: str) -> Thinned:
        """Drop the residual of a version, or the original of a LoRA; its container stays.

        The version is lossy from then on.

        Raises:
            NotFound: The version is lossy already.
            Conflict: An archived file can be restored from it alone.

        Example:
            >>> registry.add("ft2.safetensors", base="sd15", name="kept", lossless=True).ref
            'kept@1'
            >>> registry.thin("kept").version.residual is None
            True
        """
        from .upkeep.thin import thin

        return thin(self.version(ref), self.repository)

    def remove_version(self, ref: str) -> VersionRecord:
        """Remove a version; its number is not used again.

        Raises:
            Conflict: An alias stands for it, or an archived file can be restored from it alone.

        Example:
            >>> registry.remove_version("subject-42@2").ref
            'subject-42@2'
        """
        version = self.version(ref)
        return self.repository.catalog.remove_version(version.model, version.number)

    def plan_archive(self, folder: str | Path, **options: Unpack[ArchiveOptions]) -> ArchivePlan:
        """Find the checkpoints below a folder that versions can give back.

        Nothing is changed. They are added losslessly, unless a tau, an error or a budget is given. LoRA
        files take more room in a registry than outside; with `loras=False` they stay, unless it has
        their bytes already.

        Args:
            folder: The folder; folders in it are searched too.
            **options: Those of `ArchiveOptions`: the options of `add`, `progress`, `loras`, and
                `link_to`, a mounted registry: links into it will take the places of the files.

        Returns:
            The files that `archive` will delete, those that stay with the reasons, and an estimate of
            the room that this frees.

        Raises:
            InvalidArgument: `folder` is not a folder, `link_to` is not a mounted registry, or an
                option is not valid.

        Example:
            >>> plan = registry.plan_archive("models", base="sd15")
            >>> [file.path.name for file in plan.files]
            ['subject-7.safetensors']
        """
        from .archiving.archive_search import plan_archive

        return plan_archive(Path(folder), options, self.repository)

    def archive(self, plan: ArchivePlan, *, progress: Progress = silent) -> Archived:
        """Add the files of a plan, and delete each once its version was seen to give it back.

        A file is deleted only if everything that gives it back was verified (`verify`, deep), its
        SHA-256 was computed again right before, and its path, times and permissions are recorded for
        `restore`. Any other stays, and the outcome says why.

        Args:
            plan: What `plan_archive` found.
            progress: Called as the work goes on.

        Raises:
            StoppedArchive: The work was interrupted; the same plan may be made and archived again.

        Example:
            >>> archived = registry.archive(registry.plan_archive("models", base="sd15"))
            >>> [file.ref for file in archived.files]
            ['subject-7@1']
        """
        from .archiving.archive import archive

        return archive(plan, self.repository, progress)

    def restore(
        self,
        where: str | Path,
        output: str | Path | None = None,
        *,
        replace: bool = False,
        progress: Progress = silent,
    ) -> RestoredFiles:
        """Put archived files back, byte for byte, with their times and permissions.

        A file takes the place of nothing, or of the link that `archive` left.

        Args:
            where: The path of an archived file, of a folder above some, or a ref.
            output: Another path for the file, if it is one. It may be given for a version of which no
                file was archived, too.
            replace: Replace files that are there and differ.
            progress: Called as the work goes on.

        Returns:
            The outcome of each file; a refused one does not stop the others.

        Raises:
            NotFound: Nothing is archived there.
            InvalidArgument: `output` is given for several files.

        Example:
            >>> archived = registry.archive(registry.plan_archive("models", base="sd15"))
            >>> [file.outcome for file in registry.restore("models").files]
            ['restored']
        """
        from .archiving.restore import restore

        return restore(where, output, self.repository, self._pool.get(), replace, progress)

    # Signatures

    def sign(
        self, ref: str, key: str | Path, *, passphrase: Callable[[], str] = no_passphrase
    ) -> Signed:
        """Sign a version: the signature covers its container, base, source and results, not its name.

        Args:
            ref: The version.
            key: The file of an Ed25519 private key, in PEM (PKCS8) or as OpenSSH writes it.
            passphrase: Called if the key is encrypted.

        Raises:
            InvalidArgument: The file is not such a key.
            MissingExtra: `cryptography` is not installed.
            ContainerError: The container is damaged.

        Example:
            >>> registry.sign("subject-42", "key.pem").created
            True
        """
        from ..signing.keys import read_private_key
        from .signing import sign

        return sign(self.version(ref), read_private_key(Path(key), passphrase), self.repository)

    def signers(self, ref: str) -> list[Signer]:
        """List the signers of a version, oldest signature first; `verify` checks the signatures.

        Example:
            >>> registry.signers("subject-42")
            []
        """
        from .signing import signers

        return signers(self.repository.catalog.signatures(ref))

    # Writing versions out

    def materialize(
        self,
        ref: str,
        output: str | Path,
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
        replace: bool = False,
        progress: Progress = silent,
    ) -> Materialized:
        """Write the full checkpoint of a version, a file or a folder, after its digest was checked.

        A lossless version gives its source again: a safetensors file or a folder to the byte, from
        other formats a safetensors file with every tensor to the bit.

        Args:
            ref: The version.
            output: The path to write to.
            tau: At most the stored tau; the result is then that of the container alone.
            dtype: "fp32", "fp16" or "bf16", to which the exact result is cast.
            layout: "diffusers" (a folder) or "single-file" (the original layout); default: as added.
            like: The base whose folder gives the configurations; default: the base of the version.
            replace: Replace `output` if it exists.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: A number is too large for `dtype`, or the layout is not possible.
            Conflict: `output` exists and `replace` is false.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.
            ResultMismatch: The result does not have the recorded SHA-256.

        Example:
            >>> done = registry.materialize("subject-42", "out.safetensors")
            >>> done.recorded, done.size == os.path.getsize("out.safetensors")
            (True, True)
        """
        from .results.materialize import materialize

        return materialize(
            self.version(ref),
            Path(output),
            self.repository,
            tau=tau,
            dtype=dtype,
            layout=layout,
            like=like,
            replace=replace,
            progress=progress,
        )

    def check_output(self, output: str | Path) -> None:
        """Check, before the work, that a result may be written to `output`.

        Raises:
            InvalidArgument: It is standard output.
            Conflict: It is in the registry's folder or in a linked base, or would replace their files.

        Example:
            >>> registry.check_output(".dsvd/registry.json")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.Conflict: ...
        """
        from .results.output import check_output

        check_output(Path(output), self.repository)

    def default_output(self, ref: str, layout: LayoutName | None = None) -> Path:
        """Find the default output of `dsvd materialize`: the model's name, with an ending for a file.

        Example:
            >>> str(registry.default_output("subject-42"))
            'subject-42.safetensors'
        """
        from .results.materialize import default_output

        return default_output(self.version(ref), layout, self.repository)

    def tensors(self, ref: str, *, tau: float | None = None) -> LazyTensors:
        """Open the full checkpoint as a lazy mapping: each tensor is made when it is looked up.

        With no `tau`, a lossless version gives the tensors of its source. The mapping is a context
        manager, and keeps files open until it is closed.

        Raises:
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.

        Example:
            >>> with registry.tensors("subject-42") as tensors:
            ...     tensors["unet.weight"].shape
            torch.Size([16, 16])
        """
        from .results.materialize import lazy_tensors

        return lazy_tensors(self.version(ref), tau, self.repository)

    def result_files(
        self,
        ref: str,
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
    ) -> tuple[ResultEntry, ...]:
        """List the files of the full checkpoint, with their sizes, before any of their bytes is made.

        Args:
            ref: The version.
            tau: As in `materialize`.
            dtype: As in `materialize`.
            layout: As in `materialize`.
            like: As in `materialize`.

        Returns:
            The files by path; a single file is `model.safetensors`.

        Example:
            >>> [file.path for file in registry.result_files("subject-42")]
            ['model.safetensors']
        """
        from .results.result_listing import result_files
        from .results.result_pool import ResultForm

        form = ResultForm(tau, dtype, layout, like)
        return result_files(self.version(ref), self.repository, self._pool.get(), form)

    def result_listings(
        self,
        versions: Iterable[VersionRecord],
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
    ) -> ResultListings:
        """List the files of many full checkpoints, as `result_files` does for one.

        Thousands of versions take one query of the catalog, which remembers the listings.

        Args:
            versions: The versions.
            tau: As in `materialize`.
            dtype: As in `materialize`.
            layout: As in `materialize`.
            like: As in `materialize`.

        Returns:
            `files`: those of each version by path, by its ref. `failures`: by ref, the errors of the
            versions that are damaged or do not have the form.

        Example:
            >>> listings = registry.result_listings(registry.versions())
            >>> [file.path for file in listings.files["subject-42@2"]]
            ['model.safetensors']
        """
        from .results.result_listing import result_listings
        from .results.result_pool import ResultForm

        form = ResultForm(tau, dtype, layout, like)
        return result_listings(versions, self.repository, self._pool.get(), form)

    def open_result(
        self,
        ref: str,
        path: str | None = None,
        *,
        tau: float | None = None,
        dtype: FloatDtype | None = None,
        layout: LayoutName | None = None,
        like: str | None = None,
    ) -> OpenResult:
        """Open a file of the full checkpoint without writing it: only the bytes read are made.

        Args:
            ref: The version.
            path: The path of the file in `result_files`; it may be left out if there is only one.
            tau: As in `materialize`.
            dtype: As in `materialize`.
            layout: As in `materialize`.
            like: As in `materialize`.

        Returns:
            A read-only binary file that can be sought. Close it, or use it as a context manager. All
            that a process has open share a cache of 256 MiB, or DSVD_RESULT_CACHE bytes.

        Raises:
            NotFound: The full checkpoint has no such file.
            InvalidArgument: There are several files and none was named, or the form is not possible.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.

        Example:
            >>> with registry.open_result("subject-42") as file:
            ...     int.from_bytes(file.read(8), "little") < file.size
            True
        """
        from .results.open_result import open_result
        from .results.result_pool import ResultForm

        form = ResultForm(tau, dtype, layout, like)
        return open_result(self.version(ref), path, self.repository, self._pool.get(), form)

    def open_original(self, ref: str) -> BinaryIO:
        """Open the file that a lossless version was made from: the same bytes, also of a LoRA.

        Args:
            ref: The version.

        Returns:
            A read-only binary file that can be sought. Close it, or use it as a context manager.

        Raises:
            InvalidArgument: The version does not have all bytes of its source, or is a folder.

        Example:
            >>> registry.add("ft2.safetensors", base="sd15", name="kept", lossless=True).ref
            'kept@1'
            >>> with registry.open_original("kept") as file, open("ft2.safetensors", "rb") as source:
            ...     file.read() == source.read()
            True
        """
        from .upkeep.originals import open_original

        return open_original(self.version(ref), self.repository, self._pool.get())

    def path(
        self,
        ref: str,
        *,
        tau: float | None = None,
        cache: str | Path | None = None,
        limit: int | None = None,
        progress: Progress = silent,
    ) -> Path:
        """Find a version as a read-only safetensors file in a cache; the file is made if missing.

        When the cache is full, the least recently used files are removed, never this one; copy a file
        that must stay. Any number of processes may share a cache.

        Args:
            ref: The version.
            tau: As in `materialize`.
            cache: The folder; default: DSVD_CACHE, or a folder in the user's cache.
            limit: The largest total size of its files in bytes; default: DSVD_CACHE_LIMIT, or 50 GB.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: The version is a folder.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.
            ResultMismatch: The result does not have the recorded SHA-256.

        Example:
            >>> registry.path("subject-42", cache="cache").suffix
            '.safetensors'
        """
        from ..cache import find_cache
        from .results.cached_file import cached_file

        found = find_cache(cache, limit, os.environ)
        return cached_file(self.version(ref), tau, found, self.repository, progress)

    def export_lora(
        self,
        ref: str,
        output: str | Path,
        *,
        format: Format,
        rank_limit: int | None = None,
        dtype: Dtype = "fp16",
        replace: bool = False,
        progress: Progress = silent,
    ) -> ExportedLora:
        """Write the delta of a version as a LoRA file, or as folders for PEFT.

        Args:
            ref: The version.
            output: The path to write to. For the format "peft" a name that ends with `.safetensors`
                is a file for diffusers; another one is a folder, with a folder for each sub-model in
                it: `unet/adapter_config.json` and `unet/adapter_model.safetensors`.
            format: "kohya", "peft" or "comfyui".
            rank_limit: The largest rank of a module; default: the stored ranks. For the format "peft"
                every module has this rank, filled up with zeros, so that programs can swap the
                adapters of a base's versions in memory.
            dtype: "fp32" or "fp16", of the factors.
            replace: Replace `output` if it exists; of folders only one that an export wrote.
            progress: Called as the work goes on.

        Returns:
            The file that was written, the tensors that the format cannot represent, and the errors
            that these, cut ranks and rounding cause.

        Raises:
            InvalidArgument: The family cannot be exported, or no tensor of the version can be.
            Conflict: `output` exists and `replace` is false.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> registry.export_lora("subject-42", "lora.safetensors", format="kohya")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.InvalidArgument: ...
        """
        from .results.lora_export import export_version_as_lora

        return export_version_as_lora(
            self.version(ref),
            self.repository,
            Path(output),
            format=format,
            rank_limit=rank_limit,
            dtype=dtype,
            replace=replace,
            progress=progress,
        )

    def export_container(
        self,
        ref: str,
        output: str | Path,
        *,
        replace: bool = False,
        progress: Progress = silent,
    ) -> Exported:
        """Write a version's container as a file of its own, for `import_container` elsewhere.

        Its signatures are written to a second file in the same folder, whose name ends with `.sig`;
        its residual to a third, whose name ends with `.dsvdr` instead of `.dsvd`; the original of a
        LoRA to one that ends with `.dsvdo`; its metadata and attachments to one that ends with `.dsvdm`.

        Args:
            ref: The version.
            output: The path to write to, such as `subject-42.dsvd`.
            replace: Replace the files if they exist.
            progress: Called as the work goes on.

        Raises:
            Conflict: A file exists and `replace` is false.
            InvalidArgument: `output` is not a plain file, or ends like another kind of file.

        Example:
            >>> exported = registry.export_container("subject-42", "subject-42.dsvd")
            >>> exported.sha256 == registry.version("subject-42").container
            True
        """
        from .exchange.import_export import export_container

        return export_container(
            self.version(ref), self.repository, Path(output), replace=replace, progress=progress
        )

    # Exchange with other registries

    def remotes(self) -> tuple[Remote, ...]:
        """List the names that other registries have here.

        Example:
            >>> registry.remotes()
            ()
        """
        from .exchange.remotes import remotes

        return remotes(self.repository.home)

    def add_remote(self, name: str, url: str | Path) -> Remote:
        """Give another registry a name, for `push` and `pull`. It need not be there yet.

        Args:
            name: The name that it has here.
            url: Its folder, as a path or as file:///PATH, or its place in a bucket as in `open`.

        Raises:
            InvalidArgument: The URL is of another kind, or may have a secret in it.
            Conflict: The name is that of another registry.

        Example:
            >>> registry.add_remote("studio", "/srv/studio").url
            '/srv/studio'
        """
        from .exchange.remotes import add_remote

        return add_remote(self.repository.home, name, str(url))

    def remove_remote(self, name: str) -> Remote:
        """Forget a name of another registry, which stays as it is.

        Example:
            >>> registry.remove_remote("studio")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.NotFound: ...
        """
        from .exchange.remotes import remove_remote

        return remove_remote(self.repository.home, name)

    def push(
        self,
        remote: str,
        refs: Iterable[str] | None = None,
        *,
        dry_run: bool = False,
        progress: Progress = silent,
    ) -> Exchanged:
        """Copy versions to a remote, with all that belongs to them and the bases that they need.

        Only objects that it lacks are copied. A version is recognised by its container, among the
        versions of the model of that name; if it is there, it keeps what it has and gets what it lacks.
        Otherwise it becomes the next version there. Many versions are one event. If it is
        stopped, the same call goes on.

        Args:
            remote: The name of the remote.
            refs: The versions; default: all.
            dry_run: Copy nothing, and tell what would be copied.
            progress: Called as the work goes on.

        Raises:
            Conflict: A model there has a name that differs in case alone.
            BaseMismatch: The file of a linked base is gone or was changed.
            ContainerError: A container is damaged.
            SignatureError: A signature is not valid.
            MissingExtra: There are signatures, and `cryptography` is not installed.

        Example:
            >>> Registry.init("studio").close()
            >>> remote = registry.add_remote("studio", "studio")
            >>> [version.arrived for version in registry.push("studio", ["subject-42@2"]).versions]
            ['subject-42@1']
        """
        from .exchange.push_pull import push

        return push(remote, refs, self.repository, progress, dry_run=dry_run)

    def pull(
        self,
        remote: str,
        refs: Iterable[str] | None = None,
        *,
        dry_run: bool = False,
        progress: Progress = silent,
    ) -> Exchanged:
        """Copy versions from a remote, as `push` does to it.

        Args:
            remote: The name of the remote.
            refs: Versions of the remote; default: all.
            dry_run: As in `push`.
            progress: Called as the work goes on.

        Raises:
            Conflict: As in `push`.
            BaseMismatch: As in `push`.
            ContainerError: As in `push`.
            SignatureError: As in `push`.
            MissingExtra: As in `push`.

        Example:
            >>> with Registry.clone(".dsvd", "copy") as copy:
            ...     copy.pull("origin").changed
            ()
        """
        from .exchange.push_pull import pull

        return pull(remote, refs, self.repository, progress, dry_run=dry_run)

    # Upkeep

    def verify(
        self,
        ref: str | None = None,
        *,
        deep: bool = False,
        signer: str | Path | None = None,
        progress: Progress = silent,
    ) -> Verified:
        """Look for damage. Damage raises no error here: it is reported in the findings.

        Args:
            ref: The version to check, with its base; default: all versions and bases, the event log
                and the catalog.
            deep: Also make the result of each version in memory, and compare its SHA-256.
            signer: The file of an Ed25519 public key; each version must have a signature by it.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: `signer` is not such a key.
            MissingExtra: `signer` is given, and `cryptography` is not installed.
            StorageError: The machine refuses, by too many open files for instance. That is no finding.

        Example:
            >>> registry.verify(deep=True).is_well
            True
        """
        from .signing import public_key_at
        from .upkeep.verify import verify

        return verify(
            self.repository, ref, deep=deep, signer=public_key_at(signer), progress=progress
        )

    def keep_verified(self, verified: Verified) -> None:
        """Keep the findings of a verification of the whole registry, which people then see later.

        The last one is kept. Nothing happens where the registry may only be read.

        Example:
            >>> registry.keep_verified(registry.verify())
            >>> registry.last_verified().found
            0
        """
        from .upkeep.last_verified import keep_verified

        keep_verified(self.repository.home, verified)

    def last_verified(self) -> LastVerified | None:
        """The verification that was kept last, by `dsvd verify --all` for instance; None without one.

        Example:
            >>> registry.last_verified() is None
            True
        """
        from .upkeep.last_verified import last_verified

        return last_verified(self.repository.home)

    def backup_catalog(self, output: str | Path | None = None, *, replace: bool = False) -> Path:
        """Copy the catalog while it is in use, by SQLite's online backup.

        Args:
            output: The path to write to; default: `catalog.sqlite.backup` in the registry's folder,
                which replaces the previous copy.
            replace: Replace `output` if it exists.

        Raises:
            Conflict: `output` exists and `replace` is false.

        Example:
            >>> registry.backup_catalog().name
            'catalog.sqlite.backup'
        """
        if output is None:
            copy, replace = self.folder / "catalog.sqlite.backup", True
        else:
            copy = Path(output)
            self.check_output(copy)
        self.repository.catalog.backup(copy, replace=replace)
        return copy

    def usage(self) -> Usage:
        """Count the bytes of the store by model and by base, the shared and the reclaimable ones.

        Example:
            >>> [model.name for model in registry.usage().models]
            ['subject-42']
        """
        from .upkeep.usage import usage

        return usage(self.repository)

    def collect_garbage(
        self, *, grace_days: float = DEFAULT_GRACE_DAYS, dry_run: bool = False
    ) -> Collected:
        """Remove unneeded objects and temporary files that are older than the grace time.

        Args:
            grace_days: The grace time in days; it protects objects that another process has written
                and not yet recorded.
            dry_run: Only count the objects, remove nothing.

        Example:
            >>> registry.collect_garbage().objects
            0
        """
        from .upkeep.gc import collect_garbage

        return collect_garbage(self.repository, grace_days=grace_days, dry_run=dry_run)
