"""Metadata and attachments over HTTP: pictures and texts, with the type that was checked."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from urllib.parse import quote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from ..catalog import AttachmentRecord, VersionRecord
from ..errors import NotFound
from ..registry.describing.attachments import attachment_named, open_attachment, preview_of
from .operations import Operation, Parameter, Serving, from_catalog, looked_up
from .schemas import COUNT, SHA256, TEXT, TIME, array, fields

REPORT_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The rights of a report: to be read. It is a stranger's page, of no origin, script or form."""

_REF = Parameter("ref", "A ref: name, name@3 or name@alias.", TEXT, "path")
_ATTACHMENT = fields(name=TEXT, role=TEXT, media_type=TEXT, sha256=SHA256, size=COUNT, added=TIME)
_BYTES = {200: "application/octet-stream", 304: "", 404: "error"}


def operations() -> tuple[Operation, ...]:
    """The operations on what people know of a version."""
    name = Parameter("name", "The name of an attachment.", TEXT, "path")
    entries = {"type": "object", "additionalProperties": TEXT}
    return (
        Operation(
            "/api/v1/versions/{ref}/metadata",
            "The metadata of a version.",
            from_catalog(_metadata),
            {200: fields(ref=TEXT, metadata=entries), 404: "error"},
            (_REF,),
        ),
        Operation(
            "/api/v1/versions/{ref}/attachments",
            "The attachments of a version, oldest first.",
            from_catalog(_attachments),
            {200: fields(ref=TEXT, attachments=array(_ATTACHMENT)), 404: "error"},
            (_REF,),
        ),
        Operation(
            "/api/v1/versions/{ref}/attachments/{name}",
            "The bytes of an attachment, a picture or a text.",
            _attachment,
            _BYTES,
            (_REF, name),
        ),
        Operation(
            "/api/v1/versions/{ref}/preview",
            "The bytes of the preview of a version, a picture.",
            _preview,
            _BYTES,
            (_REF,),
        ),
    )


def _metadata(serving: Serving, request: Request) -> object:
    version = _version(serving, request)
    return {"ref": version.ref, "metadata": serving.registry.metadata(version.ref)}


def _attachments(serving: Serving, request: Request) -> object:
    version = _version(serving, request)
    shown = ("name", "role", "media_type", "sha256", "size", "added")
    found = serving.registry.attachments(version.ref)
    listed = [{name: getattr(one, name) for name in shown} for one in found]
    return {"ref": version.ref, "attachments": listed}


async def _attachment(serving: Serving, request: Request) -> Response:
    name = request.path_params["name"]

    def find() -> AttachmentRecord:
        return attachment_named(_version(serving, request), name, serving.registry.repository)

    return await _answer(serving, request, await anyio.to_thread.run_sync(find))


async def _preview(serving: Serving, request: Request) -> Response:
    def find() -> AttachmentRecord:
        version = _version(serving, request)
        return _preview_among(serving.registry.attachments(version.ref), version)

    return await _answer(serving, request, await anyio.to_thread.run_sync(find))


def _preview_among(
    attached: Iterable[AttachmentRecord], version: VersionRecord
) -> AttachmentRecord:
    found = preview_of(attached)
    if found is None:
        raise NotFound(f"{version.ref} has no preview", "`dsvd attach` gives it one.")
    return found


async def _answer(serving: Serving, request: Request, found: AttachmentRecord) -> Response:
    """The bytes of an attachment. A text is given as a file; a report is shown, without what runs."""
    is_report = found.role == "report"
    kind = found.media_type if found.is_picture else "text/html" if is_report else "text/plain"
    place = "inline" if found.is_picture or is_report else "attachment"
    headers = {
        **({"Content-Security-Policy": REPORT_POLICY} if is_report else {}),
        "ETag": f'"{found.sha256}"',
        "Cache-Control": "private, no-cache",
        "Content-Disposition": f"{place}; filename*=UTF-8''{quote(found.name)}",
    }
    if f'"{found.sha256}"' in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    data = await serving.work.begin(functools.partial(_bytes, serving, found))
    return Response(data, headers=headers, media_type=kind)


def _bytes(serving: Serving, found: AttachmentRecord) -> bytes:
    with open_attachment(found, serving.registry.repository) as file:
        return file.read()


def _version(serving: Serving, request: Request) -> VersionRecord:
    ref = request.path_params["ref"]
    version = looked_up("version", lambda: serving.registry.version(ref))
    assert isinstance(version, VersionRecord)
    return version
