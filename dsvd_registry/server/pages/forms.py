"""Forms that people send: their fields, bounded, and the proof that our own page sent them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import anyio
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from ..body import BodyTooLarge, BodyTooSlow
from ..operations import Serving

LARGEST_FORM = 40 << 20  # a picture has at most 32 MiB
MOST_FIELDS, LARGEST_FIELD = 16, 1 << 20
FORM_SECONDS = 120.0
FORM_TOKEN = "form_token"


@dataclass(frozen=True)
class SentFile:
    """A file of a form: the name that its sender gave it, and its bytes."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Form:
    """The fields of a form. `session`: that of its sender; empty for the form that begins one."""

    texts: Mapping[str, str]
    file: SentFile | None
    session: str = ""

    def text(self, name: str) -> str:
        """The text of a field, with the line ends of this machine; empty without it."""
        return self.texts.get(name, "").replace("\r\n", "\n")


async def form_fields(request: Request, session: str = "") -> Form:
    """The fields of a form, which stay in memory. Raises `BodyTooLarge`, `BodyTooSlow`; HTTP's 400."""
    length = request.headers.get("content-length", "")
    if not length.isdigit() or len(length) > 12:
        raise HTTPException(411, "a form says how long it is")
    if int(length) > LARGEST_FORM:
        raise BodyTooLarge
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(400, "the body is no form of these pages")
    parser = MultiPartParser(
        request.headers,
        request.stream(),
        max_files=1,
        max_fields=MOST_FIELDS,
        max_part_size=LARGEST_FIELD,
    )
    parser.spool_max_size = LARGEST_FORM  # no file of Starlette's on the disk
    try:
        with anyio.fail_after(FORM_SECONDS):
            data = await parser.parse()
    except TimeoutError:
        raise BodyTooSlow from None
    except MultiPartException as error:
        raise HTTPException(400, error.message) from None
    texts = {name: value for name, value in data.multi_items() if isinstance(value, str)}
    files = [value for value in data.values() if isinstance(value, UploadFile) and value.filename]
    try:
        sent = [SentFile(file.filename or "", await file.read()) for file in files[:1]]
    finally:
        await data.close()
    return Form(texts, sent[0] if sent else None, session)


async def owned_form(serving: Serving, request: Request) -> Form:
    """The fields of a form of somebody who signed in, sent by our own page. Else HTTP's 403."""
    check_site(request)
    session = serving.sessions.named_by(request.headers.get("cookie", ""))
    if session is None:
        raise HTTPException(403, "sign in first")
    form = await form_fields(request, session)
    if not serving.sessions.accept_form(session, form.text(FORM_TOKEN)):
        raise HTTPException(403, "the form is not of this session; load its page again")
    return form


def check_site(request: Request) -> None:
    """Refuse a form that another site sent, as every browser of today says. Else HTTP's 403."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "another site sent this form")
