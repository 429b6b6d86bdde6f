"""Changes to what people know of a version: its note, tags, aliases, metadata and pictures.

Only a server started with `--write` takes them, from people who signed in, by forms of our own pages.
Each is one call of the registry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...catalog import VersionRecord
from ...errors import InvalidArgument
from ...registry.adding.model_names import ascii_name
from ...registry.describing.attached_bytes import checked_bytes
from ...registry.describing.attachments import AttachmentRole, attach_bytes
from ...registry.registry import Registry
from ..operations import Serving, looked_up
from .forms import Form, owned_form
from .page import link

PICTURE_ROLES: Mapping[str, AttachmentRole] = {"preview": "preview", "sample": "sample"}
Edit = Callable[[Registry, VersionRecord, Form], object]


def _note(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.set_note(version.ref, form.text("note"))


def _add_tag(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.add_tag(version.ref, form.text("tag").strip())


def _remove_tag(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.remove_tag(version.ref, form.text("tag"))


def _set_alias(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.set_alias(form.text("alias").strip(), version.ref)


def _remove_alias(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.remove_alias(version.model, form.text("alias"))


def _set_metadata(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.set_metadata(version.ref, {form.text("key").strip(): form.text("value")})


def _remove_metadata(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.remove_metadata(version.ref, form.text("key"))


def _attach(registry: Registry, version: VersionRecord, form: Form) -> object:
    if form.file is None:
        raise InvalidArgument("no picture was chosen", "Choose a PNG, JPEG or WebP picture.")
    role = PICTURE_ROLES.get(form.text("role"))
    if role is None:
        raise InvalidArgument("a picture is a preview or a sample")
    found = checked_bytes(form.file.data, form.file.name)
    name = ascii_name(form.file.name)
    return attach_bytes(version, found, name, role, registry.repository)


def _detach(registry: Registry, version: VersionRecord, form: Form) -> object:
    return registry.detach(version.ref, form.text("name"))


EDITS: Mapping[str, Edit] = {
    "note": _note,
    "add-tag": _add_tag,
    "remove-tag": _remove_tag,
    "set-alias": _set_alias,
    "remove-alias": _remove_alias,
    "set-metadata": _set_metadata,
    "remove-metadata": _remove_metadata,
    "attach": _attach,
    "detach": _detach,
}


async def edit(serving: Serving, request: Request) -> Response:
    """Make one change to a version, and show its page again."""
    if not serving.settings.write:
        raise HTTPException(403, "this server was started without --write")
    change = EDITS.get(request.path_params["edit"])
    if change is None:
        raise HTTPException(404, "there is no such change")
    form = await owned_form(serving, request)
    make = functools.partial(_make, serving, request.path_params["ref"], change, form)
    ref = await serving.work.begin(make)
    return RedirectResponse(link(f"/versions/{ref}"), 303)


def _make(serving: Serving, ref: str, change: Edit, form: Form) -> str:
    version: VersionRecord = looked_up("version", lambda: serving.registry.version(ref))
    change(serving.registry, version, form)
    return version.ref
