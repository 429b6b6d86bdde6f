"""The attachments of a version: made, opened, removed, and looked through for damage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, cast

from ...catalog import AttachmentRecord, NewAttachment, VersionRecord
from ...errors import DsvdError, InvalidArgument, NotFound
from ...hashing import sha256
from ...ranged_file import as_stream
from ..repository import Repository
from ..upkeep.findings import Finding, problem_of
from .attached_bytes import AttachedBytes, checked_bytes, read_attached
from .beside import attachment_name

AttachmentRole = Literal["preview", "sample", "note", "sidecar", "report"]
PREVIEW: AttachmentRole = "preview"
_SHOWN = (PREVIEW, "sample")  # the roles of pictures
PAGES = (".html", ".htm")
OF_TOOLS = (".civitai.info", ".cm-info.json", ".metadata.json")


def attach(
    version: VersionRecord,
    file: Path,
    role: AttachmentRole | None,
    repository: Repository,
) -> AttachmentRecord:
    """Attach a file under its own name, in ASCII; see `Registry.attach`."""
    found, name = read_attached(file), attachment_name(file)
    if role is None:
        role = _usual_role(version, found, name, repository)
    return attach_bytes(version, found, name, role, repository)


def attach_bytes(
    version: VersionRecord,
    found: AttachedBytes,
    name: str,
    role: AttachmentRole,
    repository: Repository,
) -> AttachmentRecord:
    """Store checked bytes as an object, and record them as an attachment.

    Raises `InvalidArgument` for a picture as a note or a text as a picture, and as
    `Catalog.add_attachment`.
    """
    stored = put_attachment(found, name, role, repository)
    return repository.catalog.add_attachment(
        version.model,
        version.number,
        name=name,
        role=role,
        media_type=stored.media_type,
        attachment=stored.sha256,
        size=stored.size,
        confirm=lambda: repository.objects.require(stored.sha256),
    )


def put_attachment(
    found: AttachedBytes, name: str, role: AttachmentRole, repository: Repository
) -> NewAttachment:
    """Store checked bytes as an object, and record nothing yet.

    Raises `InvalidArgument` for a picture as a note or a text as a picture, `StorageError`.
    """
    if found.is_picture != (role in _SHOWN):
        what = "picture" if found.is_picture else "text"
        raise InvalidArgument(
            f"{name} is a {what}, and cannot be a {role}",
            "Previews and samples are pictures, notes, sidecars and reports are texts.",
        )
    stored = repository.objects.put(found.data)
    return NewAttachment(name, role, found.media_type, stored.sha256, stored.size)


def preview_of(attachments: Iterable[AttachmentRecord]) -> AttachmentRecord | None:
    """The preview among the attachments of one version, the newest of several; None without one."""
    previews = [one for one in attachments if one.role == PREVIEW]
    return previews[-1] if previews else None


def checked_attachment(data: bytes, name: str, role: str, media_type: str) -> AttachedBytes:
    """The bytes of an attachment that comes from elsewhere, which must be what it is listed as.

    Raises `InvalidArgument` otherwise, and as `checked_bytes`.
    """
    found = checked_bytes(data, name)
    if found.media_type != media_type or found.is_picture != (role in _SHOWN):
        raise InvalidArgument(f"{name} is {found.media_type}, not what it is listed as")
    return found


def attachment_named(version: VersionRecord, name: str, repository: Repository) -> AttachmentRecord:
    """The attachment of that name. Raises `NotFound`."""
    attached = repository.catalog.attachments(version.ref)
    for one in attached:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in attached)
    raise NotFound(
        f"{version.ref} has no attachment {name!r}",
        f"It has {names}." if names else "It has none.",
    )


def open_attachment(record: AttachmentRecord, repository: Repository) -> BinaryIO:
    """The bytes of an attachment, which are compared with their SHA-256 first.

    Raises `RegistryError` if they are damaged or missing, `StorageError`.
    """
    return as_stream(repository.objects.open_checked(record.sha256))


def attachment_findings(
    records: Iterable[AttachmentRecord], repository: Repository
) -> Iterator[Finding]:
    """The problems of attachments: objects that are damaged or missing."""
    for record in records:
        try:
            repository.objects.check(record.sha256)
        except DsvdError as error:
            subject = f"{record.model}@{record.number}"
            yield Finding((subject,), f"the attachment {record.name}: {problem_of(error)}")


def role_of_picture(attached: Iterable[AttachmentRecord | NewAttachment]) -> AttachmentRole:
    """The usual role of a further picture: the preview if the version has none yet, else a sample."""
    return "sample" if any(one.role == PREVIEW for one in attached) else PREVIEW


def role_of(word: str) -> AttachmentRole:
    """The role that an event names, which its rule has checked."""
    return cast(AttachmentRole, word)


def _usual_role(
    version: VersionRecord, found: AttachedBytes, name: str, repository: Repository
) -> AttachmentRole:
    """The role that it has already, else a note for a text, the preview for the first picture.

    A text that only a tool writes is a sidecar, a page a report.
    """
    attached = repository.catalog.attachments(version.ref)
    digest = sha256(found.data)
    for one in attached:
        if (one.name, one.sha256) == (name, digest):
            return role_of(one.role)
    if not found.is_picture:
        if name.lower().endswith(PAGES):
            return "report"
        return "sidecar" if name.endswith(OF_TOOLS) else "note"
    return role_of_picture(attached)
