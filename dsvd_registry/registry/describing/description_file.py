"""The description of an exported version: its metadata and attachments, a file beside the container.

Its bytes: `DSVDMETA`, the length of the header in eight bytes, little-endian, the header in canonical
JSON, then the bytes of the attachments, one after another. Source: spec/dsvd-store-v2.md, section
"Descriptions". A file that comes in is checked whole before anything of it is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, get_args, get_type_hints

from ... import canonical, fs
from ...catalog import AttachmentRecord, VersionRecord
from ...catalog.metadata_edits import MAX_ATTACHED_BYTES, MAX_ATTACHMENTS, MAX_KEYS
from ...errors import ContainerError, InvalidArgument
from ...hashing import sha256
from ...store import AttachmentAdded, event_fields
from ...store.names import folded
from ..exchange.exported_residual import CONTAINER_SUFFIX
from ..repository import Repository
from .attached_bytes import MAX_PICTURE, AttachedBytes
from .attachments import attach_bytes, checked_attachment, open_attachment, role_of
from .taken_in import TakenIn

SUFFIX = ".dsvdm"
MAGIC = b"DSVDMETA"
LENGTH_BYTES = 8
HINT = (
    "Get the file again from where it came from. Without it the container can be imported too, without "
    "metadata and attachments."
)
_FIELDS = ("media_type", "name", "role", "sha256", "size")


@dataclass(frozen=True)
class _Listed:
    """An attachment as the header lists it."""

    media_type: str
    name: str
    role: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Description:
    """A description file that was checked whole."""

    path: Path
    metadata: Mapping[str, str]
    attachments: tuple[_Listed, ...]

    def give_to(self, version: VersionRecord, repository: Repository) -> TakenIn:
        """Set and attach what the version lacks.

        Raises `ContainerError` if the file was changed after the check, `InvalidArgument` beyond the
        limits of a version.
        """
        kept = repository.catalog.metadata(version.ref)
        lacking = {key: value for key, value in self.metadata.items() if key not in kept}
        if lacking:
            repository.catalog.set_metadata(version.model, version.number, lacking)
        known = {folded(one.name) for one in repository.catalog.attachments(version.ref)}
        attached: list[AttachmentRecord] = []
        with fs.storage_errors(self.path), self.path.open("rb") as file:
            for one, found in _attachments(file, self.path, self.attachments):
                if folded(one.name) not in known:
                    role = role_of(one.role)
                    attached.append(attach_bytes(version, found, one.name, role, repository))
        return TakenIn(tuple(lacking), tuple(attached))


def description_path(file: Path) -> Path:
    """The path of the description that belongs to the container `file`."""
    return file.with_name(file.name.removesuffix(CONTAINER_SUFFIX) + SUFFIX)


def export_description(
    version: VersionRecord, repository: Repository, file: Path, *, replace: bool
) -> Path | None:
    """Write the description of a version beside its container `file`; gives its path.

    A version without metadata and attachments has none, and with `replace` an older one is removed.
    Raises `Conflict` if it exists and `replace` is false, `RegistryError` for a damaged attachment,
    `StorageError`.
    """
    path = description_path(file)
    metadata = repository.catalog.metadata(version.ref)
    attachments = repository.catalog.attachments(version.ref)
    if not metadata and not attachments:
        if replace:
            fs.remove_file(path)
        return None
    listed = [{name: getattr(one, name) for name in _FIELDS} for one in attachments]
    header = canonical.encode_small(
        {"attachments": listed, "container": version.container, "metadata": dict(metadata)}
    )
    with fs.new_file(path.parent) as written:
        written.write(MAGIC + len(header).to_bytes(LENGTH_BYTES, "little") + header)
        for one in attachments:
            with open_attachment(one, repository) as opened:
                written.write(opened.read())
        written.publish(path, replace=replace)
    return path


def read_description(file: Path, container: str) -> Description | None:
    """Find and check the description of the container `file` with this SHA-256; None without one.

    Every attachment is read, and pictures are decoded. Raises `ContainerError` for a file that is
    damaged, breaks a rule or belongs to another container, `StorageError`.
    """
    path = description_path(file)
    with fs.storage_errors(path):
        if not path.exists():
            return None
        with path.open("rb") as opened:
            metadata, listed = _header(opened, path, container)
            for _ in _attachments(opened, path, listed, from_start=False):
                pass
            if opened.read(1):
                raise _wrong(path, "it has bytes behind its last attachment")
    return Description(path, metadata, listed)


def _header(
    file: BinaryIO, path: Path, container: str
) -> tuple[Mapping[str, str], tuple[_Listed, ...]]:
    start = file.read(len(MAGIC) + LENGTH_BYTES)
    length = int.from_bytes(start[len(MAGIC) :], "little")
    if start[: len(MAGIC)] != MAGIC or len(start) < len(MAGIC) + LENGTH_BYTES:
        raise _wrong(path, "it is no description of a version")
    if length > canonical.MAX_SMALL:
        raise _wrong(path, f"its header has {length} bytes, more than {canonical.MAX_SMALL}")
    try:
        header = canonical.decode(file.read(length))
    except canonical.NotCanonical as error:
        raise _wrong(path, f"its header is {error}") from error
    if not isinstance(header, dict) or header.keys() != {"attachments", "container", "metadata"}:
        raise _wrong(path, "its header has other fields than attachments, container and metadata")
    if header["container"] != container:
        raise _wrong(path, "it describes another container")
    return _metadata(header["metadata"], path), tuple(_listed(header["attachments"], path))


def _metadata(value: object, path: Path) -> Mapping[str, str]:
    _, rule = get_args(event_fields.Entries)
    if value != {} and not rule.accepts(value):
        raise _wrong(path, f"its metadata are not {rule.expected}")
    assert isinstance(value, dict)
    if len(value) > MAX_KEYS:
        raise _wrong(path, f"its metadata have more than {MAX_KEYS} keys")
    return value


def _listed(value: object, path: Path) -> Iterator[_Listed]:
    if not isinstance(value, list) or len(value) > MAX_ATTACHMENTS:
        raise _wrong(path, f"it does not list at most {MAX_ATTACHMENTS} attachments")
    hints = get_type_hints(AttachmentAdded, include_extras=True)
    hints["sha256"] = hints["attachment"]
    total, names = 0, set()
    for entry in value:
        if not isinstance(entry, dict) or entry.keys() != set(_FIELDS):
            raise _wrong(path, f"an attachment has other fields than {', '.join(_FIELDS)}")
        for name in _FIELDS:
            _, rule = get_args(hints[name])
            if not rule.accepts(entry[name]):
                raise _wrong(path, f"the {name} of an attachment is not {rule.expected}")
        if entry["size"] > MAX_PICTURE:
            raise _wrong(path, f"an attachment has more than {MAX_PICTURE} bytes")
        total += entry["size"]
        names.add(folded(entry["name"]))
        yield _Listed(**entry)
    if total > MAX_ATTACHED_BYTES or len(names) < len(value):
        raise _wrong(path, "its attachments are too large together, or two have one name")


def _attachments(
    file: BinaryIO, path: Path, listed: tuple[_Listed, ...], *, from_start: bool = True
) -> Iterator[tuple[_Listed, AttachedBytes]]:
    """Each attachment with its bytes, which were checked; from the start the header is passed over."""
    if from_start:
        start = file.read(len(MAGIC) + LENGTH_BYTES)
        file.seek(int.from_bytes(start[len(MAGIC) :], "little"), 1)
    for one in listed:
        data = file.read(one.size)
        if sha256(data) != one.sha256:
            raise _wrong(path, f"the bytes of {one.name} are not those of its SHA-256")
        try:
            yield one, checked_attachment(data, one.name, one.role, one.media_type)
        except InvalidArgument as error:
            raise _wrong(path, str(error)) from error


def _wrong(path: Path, what: str) -> ContainerError:
    return ContainerError(f"{path}: {what}", HINT)
