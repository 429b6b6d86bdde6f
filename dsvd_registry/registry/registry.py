"""The registry, the public API: one method for each thing that can be done.

A method calls the module of its verb, which it imports as it runs: listing versions loads no numpy,
and a method that needs no tensor loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from .. import store
from ..catalog import BaseRecord, Catalog, Rebuilt, VersionRecord, check_database, rebuild
from ..closing import Closing
from ..errors import InvalidArgument
from ..progress import Meter, Progress, silent
from ..store import ObjectStore, RegistryFolder
from .gc import DEFAULT_GRACE_DAYS
from .repository import Repository

if TYPE_CHECKING:
    from typing import Unpack

    from ..checkpoint import LeftOut
    from ..export import Dtype, ExportedLora, Format
    from ..reconstruction.cast import FloatDtype
    from ..reconstruction.lazy_tensors import LazyTensors
    from ..reconstruction.target_layout import LayoutName
    from ..reconstruction.write_result import Materialized
    from ..signing import PublicKey
    from .add import Addition
    from .add_many import AddedMany, Planned
    from .add_request import AddOptions
    from .best_base import BaseMatch
    from .curve_points import Curve
    from .diff import BaseDifference, Difference
    from .findings import Verified
    from .gc import Collected
    from .import_export import Exported
    from .repair import Repaired
    from .report import Report
    from .residuals import Thinned
    from .signing import Signed, Signer
    from .usage import Usage

CATALOG_VARIABLE = "DSVD_CATALOG"


def _no_passphrase() -> str:
    raise InvalidArgument("the key is encrypted, and no passphrase was given", "Give it.")


class Registry(Closing):
    """An open registry of bases, models and their versions.

    Use it as a context manager, or call `close`. A *ref* names a version: `name` (its newest
    version), `name@3`, `name@alias` or `name@latest`.

    Besides what each method names, all raise `RegistryError` (the registry is damaged),
    `StorageError` (the operating system refused) and `NotFound` (for a ref or base that is not there).

    Example:
        >>> with Registry.open() as registry:
        ...     registry.version("subject-42").ref
        'subject-42@2'
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        """Its folder, catalog and objects, for packages that stand on a registry."""

    # Opening

    @classmethod
    def init(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """Make a registry and open it.

        Args:
            path: The folder to make it in; default: DSVD_REGISTRY, or the user's data folder.
            catalog: As in `open`.

        Raises:
            Conflict: The folder holds something already.
            InvalidArgument: The URL of the catalog cannot be used.

        Example:
            >>> with Registry.init("studio") as registry:
            ...     registry.folder.name
            'studio'
        """
        explicit = None if path is None else Path(path)
        place = store.registry_folder.place_to_create(explicit, os.environ, Path.cwd())
        url = _catalog_url(catalog)
        check_database(RegistryFolder(place).catalog, url)
        return cls(_repository(store.registry_folder.create(place), url))

    @classmethod
    def open(cls, path: str | Path | None = None, *, catalog: str | None = None) -> Self:
        """Open the registry at `path`, or the one found from the environment and the current folder.

        A folder that may only be read can be opened; then what writes raises `StorageError`.

        Args:
            path: Its folder; default: DSVD_REGISTRY, a folder `.dsvd` here or above, or the user's
                data folder.
            catalog: URL of the database that holds its catalog, as SQLAlchemy writes it; default:
                DSVD_CATALOG, or SQLite in the registry's folder. All who write must give the same.

        Raises:
            NotFound: There is no registry.
            InvalidArgument: The URL of the catalog cannot be used.

        Example:
            >>> with Registry.open() as registry:
            ...     [base.name for base in registry.bases()]
            ['sd15']
        """
        return cls(_repository(_found_folder(path), _catalog_url(catalog)))

    @staticmethod
    def rebuild_catalog(path: str | Path | None = None, *, catalog: str | None = None) -> Rebuilt:
        """Make the catalog anew from the store's events, also where the old one cannot be opened.

        Args:
            path: As in `open`.
            catalog: As in `open`.

        Returns:
            The number of events, and what became of the old catalog.

        Raises:
            RegistryError: The event log cannot be read.

        Example:
            >>> Registry.rebuild_catalog().events > 0
            True
        """
        return rebuild(_found_folder(path), _catalog_url(catalog))

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
        """Put damage right where that can be done, and set aside and name what is lost.

        Args:
            path: As in `open`; the catalog need not be readable.
            sources: Files, and folders of files, that may have good bytes. A file is taken for an
                object, or an event, only if it has its SHA-256.
            deep: As in `verify`, which tells what remains.
            signer: As in `verify`.
            catalog: As in `open`.
            progress: Called as the work goes on.

        Returns:
            What was restored, what is lost, and what `verify` finds after that.

        Raises:
            InvalidArgument: A source is not there.
            RegistryError: Neither the catalog nor the event log can be read.

        Example:
            >>> Registry.repair(sources=["backup"]).is_well
            True
        """
        from .repair import repair
        from .repair_sources import checked_sources

        return repair(
            _found_folder(path),
            _catalog_url(catalog),
            checked_sources(sources),
            deep=deep,
            signer=_public_key(signer),
            progress=progress,
        )

    @property
    def folder(self) -> Path:
        """The folder that the registry lies in."""
        return self.repository.home.root

    def close(self) -> None:
        """Close the catalog. Closing twice is fine."""
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
        """Register a full checkpoint as a base, which versions are deltas to.

        Args:
            name: Its name here; what identifies it is the digest of its tensors.
            path: A checkpoint file, or a folder of diffusers.
            link: Leave the file where it lies, where it would be copied into the registry.
            weights: The entry of a torch file that is meant, such as "ema"; it is stored alone.
            keep_extras: Keep, as files, what of a folder is none of its model's (see `left_out`).
            progress: Called as the work goes on.

        Raises:
            CheckpointError: The file is damaged or no checkpoint.
            InvalidArgument: An option does not go with another.
            Conflict: The name is taken, or the weights are a base already.

        Example:
            >>> registry.add_base("sd15-copy", "other.safetensors").name
            'sd15-copy'
        """
        from .add_base import add_base

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
        """List what is left out of a folder that is added, and why; nothing of a file.

        Weights that `model_index.json` does not name, exports and the state of a training are left
        out.

        Args:
            path: A folder of diffusers, or a checkpoint file.
            keep_extras: As in `AddOptions`.

        Raises:
            CheckpointError: The folder is not whole.

        Example:
            >>> registry.left_out("ft.safetensors")
            ()
        """
        from ..checkpoint.folder import files_below, is_checkpoint_folder

        folder = Path(path)
        if not is_checkpoint_folder(folder):
            return ()
        return files_below(folder, keep_extras=keep_extras).left_out

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
        """Find the base that a checkpoint fits best, and how sure that is.

        Names and shapes tell which bases it may be, then a sample of weights decides.

        Args:
            path: A checkpoint file, a folder of diffusers, or a LoRA file.
            weights: The entry of a torch file that is meant.

        Raises:
            CheckpointError: The file is damaged or no checkpoint.
            BaseMismatch: No base fits.

        Example:
            >>> match = registry.best_base("ft.safetensors")
            >>> match.best.name, match.is_sure
            ('sd15', True)
        """
        from .best_base import best_base

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

        The same source, base and settings again are recognised, and nothing is computed. A LoRA file
        becomes a version too, of the base with the LoRA merged in at weight 1; it takes tau alone,
        of its own spectrum and 1 by default.

        Args:
            path: A checkpoint file, a folder of diffusers, or a LoRA file.
            name: The model's name; default: one made from the name of the file or folder.
            progress: Called as the work goes on.
            **options: See `AddOptions`: the base, the fidelity, a note, tags.

        Returns:
            The version, and whether it is new.

        Raises:
            CheckpointError: The file is damaged or no checkpoint.
            BaseMismatch: The base is of another family, or damaged.
            UnsureBase: No base was named, and none is sure.
            InvalidArgument: An option is out of range, or does not go with another.
            Conflict: A model's name differs from this one in case alone.

        Example:
            >>> added = registry.add("ft.safetensors", base="sd15", name="subject-7", tau=0.5)
            >>> added.ref, added.created
            ('subject-7@1', True)
            >>> registry.add("ft.safetensors", base="sd15", name="subject-7", tau=0.5).created
            False
        """
        from .add import add_version
        from .add_request import add_request
        from .known_models import named_files

        path = Path(path)
        if name is not None and options.get("name_from") is not None:
            raise InvalidArgument(
                "a name is given, and where to take one from", "Give one of them."
            )
        request = add_request(options, self.repository)
        base = request.base
        if base is None:
            base = self.base(self.best_base(path, weights=request.weights).sure())
        model = name or named_files([path], request.names, self.repository)[0].model
        return add_version(path, model, base, request, self.repository, progress)

    def add_many(
        self,
        paths: Iterable[str | Path],
        *,
        planned: Planned | None = None,
        progress: Progress = silent,
        **options: Unpack[AddOptions],
    ) -> AddedMany:
        """Store each file, and each checkpoint that lies in a folder, as `add` does with one.

        A file that is refused does not stop the others. The same again after a stop goes on where it
        was.

        Args:
            paths: Checkpoints, and folders of checkpoints. Models are named after them.
            planned: Told the model of each file before the first is added.
            progress: Called as the work goes on.
            **options: See `AddOptions`.

        Returns:
            What became of each file, and which originals are safe to delete.

        Raises:
            InvalidArgument: No file is given, or an option is out of range.

        Example:
            >>> done = registry.add_many(["ft.safetensors", "ft2.safetensors"], base="sd15")
            >>> [file.ref for file in done.added]
            ['ft@1', 'ft2@1']
        """
        from .add_many import add_many, tell_nobody
        from .add_request import add_request

        request = add_request(options, self.repository)
        planned = planned or tell_nobody
        return add_many(map(Path, paths), request, self.repository, progress, planned)

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

        All that a deep `verify` looks at is checked before. The same container again is recognised.
        Signatures (`.sig`) and a residual (`.dsvdr`) in files beside it are taken in with it.

        Args:
            path: A `.dsvd` file.
            name: The model's name; default: the file's stem.
            note: A note on the version.
            tags: Tags of the version.
            progress: Called as the work goes on.

        Raises:
            ContainerError: The file is damaged, or breaks a rule of the format.
            BaseMismatch: Its base is not here.
            ResultMismatch: It does not give the result that it names.
            SignatureError: A signature is not valid, or of another container.
            MissingExtra: There are signatures, and `cryptography` is not installed.

        Example:
            >>> exported = registry.export_container("subject-42", "subject-42.dsvd")
            >>> registry.import_container("subject-42.dsvd", name="imported").ref
            'imported@1'
        """
        from .add import name_of
        from .import_export import import_container

        path = Path(path)
        model = name_of(path) if name is None else name
        return import_container(path, model, note, tags, self.repository, progress)

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
            base: The name or digest of their base.
            tag: A tag that they have.
            since: The time from which on they were added.

        Example:
            >>> [version.ref for version in registry.versions("subject-*")]
            ['subject-42@1', 'subject-42@2']
        """
        return self.repository.catalog.versions(pattern, base=base, tag=tag, since=since)

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
        from .report import report

        version = self.version(ref)
        manifest = self.repository.manifest(self.repository.base_of(version))
        with self.repository.open_container(version) as container:
            return report(container, (tensor.name for tensor in manifest.tensors))

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
        from .diff import difference

        open_container = self.repository.open_container
        with (
            open_container(self.version(left)) as one,
            open_container(self.version(right)) as other,
        ):
            return difference(one, other, progress)

    def diff_base(self, ref: str, *, progress: Progress = silent) -> list[BaseDifference]:
        """Compare each tensor of a version with its base; of a lossless one, as it was added.

        Raises:
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> max(row.change for row in registry.diff_base("subject-42")) > 0
            True
        """
        from .diff import differences_from_base

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
        """Tell bytes, error and ranks at each of several taus, to choose one by. Nothing is stored.

        Args:
            source: A checkpoint, of which each tensor is decomposed once and encoded as `add` would
                at each tau; or a ref, whose container alone tells what its own and lower taus read,
                with estimated errors.
            base: The base of a checkpoint.
            taus: The taus; default: a row of eight.
            keep_noise: As in `AddOptions`, for a checkpoint.
            device: As in `AddOptions`, for a checkpoint.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: `source` may be either, or an option does not go with it.
            CheckpointError: The checkpoint is damaged.
            BaseMismatch: The base is of another family, or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> [point.tau for point in registry.curve("subject-42", taus=[0.2, 0.5]).points]
            [0.2, 0.5]
        """
        from .curve import curve

        return curve(source, base, taus, keep_noise, device, self.repository, progress)

    # Changing versions and their labels

    def set_alias(self, alias: str, ref: str) -> VersionRecord:
        """Let an alias stand for a version; one that stands elsewhere moves.

        Example:
            >>> registry.set_alias("prod", "subject-42@2").ref
            'subject-42@2'
        """
        version = self.version(ref)
        return self.repository.catalog.set_alias(version.model, alias, version.number)

    def remove_alias(self, model: str, alias: str) -> VersionRecord:
        """Remove an alias; gives the version that it stood for.

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
        """Take a tag off a version.

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

    def thin(self, ref: str) -> Thinned:
        """Drop what makes a version lossless; what its container alone gives remains for good.

        Raises:
            NotFound: The version is lossy already.

        Example:
            >>> registry.add("ft2.safetensors", base="sd15", name="kept", lossless=True).ref
            'kept@1'
            >>> registry.thin("kept").version.residual is None
            True
        """
        from .residuals import thin

        return thin(self.version(ref), self.repository)

    def remove_version(self, ref: str) -> VersionRecord:
        """Remove a version; its number is not used again.

        Raises:
            Conflict: An alias stands for it.

        Example:
            >>> registry.remove_version("subject-42@2").ref
            'subject-42@2'
        """
        version = self.version(ref)
        return self.repository.catalog.remove_version(version.model, version.number)

    # Signatures

    def sign(
        self, ref: str, key: str | Path, *, passphrase: Callable[[], str] = _no_passphrase
    ) -> Signed:
        """Sign a version: its container with base, source and results, but not its name.

        Args:
            ref: The version.
            key: The file of an Ed25519 private key, in PEM (PKCS8) or as OpenSSH writes it.
            passphrase: Called if the key is encrypted.

        Raises:
            InvalidArgument: The file is no such key.
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
        """List whose signatures a version has on record, oldest first; `verify` checks them.

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
        """Write the full checkpoint of a version, a file or a folder, checked before it has its name.

        Of a lossless version it is the source again: a safetensors file or a folder to the byte, of
        others every tensor to the bit.

        Args:
            ref: The version.
            output: Where to write it.
            tau: At most the stored one: what the container alone gives at that tau.
            dtype: "fp32", "fp16" or "bf16", to which the exact result is cast.
            layout: "diffusers", a folder, or "single-file", in the original layout; default: as added.
            like: The base whose folder has the configurations for that; default: the version's own.
            replace: Write over `output` if it is there.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: A number has no room in `dtype`, or the layout cannot be had.
            Conflict: `output` exists and `replace` is false.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.
            ResultMismatch: The bytes made are not those on record.

        Example:
            >>> done = registry.materialize("subject-42", "out.safetensors")
            >>> done.recorded, done.size == os.path.getsize("out.safetensors")
            (True, True)
        """
        from .materialize import materialize

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
            Conflict: It is in the place of the registry's own files, or of a linked base's, or among
                them.

        Example:
            >>> registry.check_output(".dsvd/registry.json")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.Conflict: ...
        """
        from .output_path import check_output

        check_output(Path(output), self.repository)

    def default_output(self, ref: str, layout: LayoutName | None = None) -> Path:
        """Tell where `dsvd materialize` writes: the model's name, with its ending for a single file.

        Example:
            >>> str(registry.default_output("subject-42"))
            'subject-42.safetensors'
        """
        from .materialize import default_output

        return default_output(self.version(ref), layout, self.repository)

    def tensors(self, ref: str, *, tau: float | None = None) -> LazyTensors:
        """Give the full checkpoint as a lazy mapping: each tensor is made when it is looked up.

        Of a lossless version they are the source's, unless a `tau` is given. The mapping is a context
        manager too, and holds files open until it is closed.

        Raises:
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.

        Example:
            >>> with registry.tensors("subject-42") as tensors:
            ...     tensors["unet.weight"].shape
            torch.Size([16, 16])
        """
        from .materialize import lazy_tensors

        return lazy_tensors(self.version(ref), tau, self.repository)

    def path(
        self,
        ref: str,
        *,
        tau: float | None = None,
        cache: str | Path | None = None,
        limit: int | None = None,
        progress: Progress = silent,
    ) -> Path:
        """Give a version as a read-only safetensors file in a cache, made unless it is there.

        The least recently asked for files go first when the cache is full, never this one; copy a
        file that is to stay. Any number of processes may share a cache.

        Args:
            ref: The version.
            tau: As in `materialize`.
            cache: The folder; default: DSVD_CACHE, or a folder in the user's cache.
            limit: Bytes that its files add up to; default: DSVD_CACHE_LIMIT, or 50 GB.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: The version is a folder.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.
            TauNotServed: The container does not store that tau.
            ResultMismatch: The bytes made are not those on record.

        Example:
            >>> registry.path("subject-42", cache="cache").suffix
            '.safetensors'
        """
        from ..encoding.request import checked_tau
        from .cache import find_cache
        from .cached_file import cached_file

        place = find_cache(cache, limit, os.environ)
        tau = None if tau is None else checked_tau(tau)
        return cached_file(self.version(ref), tau, place, self.repository, progress)

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
        """Write the delta of a version as a LoRA file.

        Args:
            ref: The version.
            output: Where to write it.
            format: "kohya", "peft" or "comfyui".
            rank_limit: The most components of a module; default: as many as are stored.
            dtype: "fp32", "fp16" or "bf16", of the factors.
            replace: Write over `output` if it is there.
            progress: Called as the work goes on.

        Returns:
            What was written, what the format cannot hold, and the error that this, cut ranks and
            rounding cost.

        Raises:
            InvalidArgument: The family is not exported, or nothing of the version can be.
            Conflict: `output` exists and `replace` is false.
            BaseMismatch: The base is gone or damaged.
            ContainerError: The container is damaged.

        Example:
            >>> registry.export_lora("subject-42", "lora.safetensors", format="kohya")
            Traceback (most recent call last):
            ...
            dsvd_registry.errors.InvalidArgument: ...
        """
        from ..export.export_lora import export_lora
        from .output_path import check_kind

        with self.repository.open_version(self.version(ref)) as (container, weights):
            self.check_output(output)
            check_kind(Path(output), "a safetensors file")
            total = sum(tensor.nbytes for tensor in container.header.tensors)
            return export_lora(
                container,
                weights,
                Path(output),
                format=format,
                rank_limit=rank_limit,
                dtype=dtype,
                replace=replace,
                advance=Meter(progress, "exporting", total).advance,
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

        Its signatures go into a file beside it, whose name ends with `.sig`; what makes it lossless,
        into one whose name ends with `.dsvdr` in place of `.dsvd`.

        Args:
            ref: The version.
            output: Where to write it, such as `subject-42.dsvd`.
            replace: Write over the files if they are there.
            progress: Called as the work goes on.

        Raises:
            Conflict: A file exists and `replace` is false.
            InvalidArgument: `output` is no plain file.

        Example:
            >>> exported = registry.export_container("subject-42", "subject-42.dsvd")
            >>> exported.sha256 == registry.version("subject-42").container
            True
        """
        from .import_export import export_container
        from .output_path import check_kind

        self.check_output(output)
        check_kind(Path(output), "a .dsvd file")
        return export_container(
            self.version(ref), self.repository, Path(output), replace=replace, progress=progress
        )

    # Upkeep

    def verify(
        self,
        ref: str | None = None,
        *,
        deep: bool = False,
        signer: str | Path | None = None,
        progress: Progress = silent,
    ) -> Verified:
        """Look for damage. Damage is no exception here: it stands in the findings.

        Args:
            ref: The version to look at, with its base; default: all versions and bases, the event
                log and the catalog.
            deep: Also make in memory what each version gives, and compare its SHA-256.
            signer: The file of an Ed25519 public key, of which each version must have a signature.
            progress: Called as the work goes on.

        Raises:
            InvalidArgument: `signer` is no such key.
            MissingExtra: `signer` is given, and `cryptography` is not installed.

        Example:
            >>> registry.verify(deep=True).is_well
            True
        """
        from .verify import verify

        return verify(
            self.repository, ref, deep=deep, signer=_public_key(signer), progress=progress
        )

    def backup_catalog(self, output: str | Path | None = None, *, replace: bool = False) -> Path:
        """Copy the catalog while it is used, by SQLite's online backup.

        Args:
            output: Where to; default: `catalog.sqlite.backup` in the registry's folder, where it
                takes the place of the one before.
            replace: Write over `output` if it is there.

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
        """Count bytes by model and by base, shared and reclaimable.

        Example:
            >>> [model.name for model in registry.usage().models]
            ['subject-42']
        """
        from .usage import usage

        return usage(self.repository)

    def collect_garbage(
        self, *, grace_days: float = DEFAULT_GRACE_DAYS, dry_run: bool = False
    ) -> Collected:
        """Remove objects that nothing needs and temporary files, older than the grace time.

        Args:
            grace_days: Days that protect what another process has written and not yet named.
            dry_run: Only tell what would go.

        Example:
            >>> registry.collect_garbage().objects
            0
        """
        from .gc import collect_garbage

        return collect_garbage(self.repository, grace_days=grace_days, dry_run=dry_run)


def _repository(folder: RegistryFolder, url: str | None) -> Repository:
    return Repository(folder, Catalog.open(folder, url), ObjectStore(folder))


def _found_folder(path: str | Path | None) -> RegistryFolder:
    explicit = None if path is None else Path(path)
    return store.registry_folder.open(store.registry_folder.find(explicit, os.environ, Path.cwd()))


def _catalog_url(given: str | None) -> str | None:
    """The URL of the catalog, None for the registry's folder."""
    return given or os.environ.get(CATALOG_VARIABLE) or None


def _public_key(path: str | Path | None) -> PublicKey | None:
    if path is None:
        return None
    from ..signing.keys import read_public_key

    return read_public_key(Path(path))
