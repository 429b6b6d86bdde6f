"""The page to sign in with a token: a cookie then stands for it, as browsers send no tokens."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...errors import NotFound
from ..operations import Serving
from ..sessions import cookie, no_cookie
from ..settings import Tokens
from .forms import check_site, form_fields, owned_form
from .page import link, show


async def sign_in_page(serving: Serving, request: Request) -> Response:
    """The form that asks for a token. Raises `NotFound` if the server has none."""
    _check_tokens(serving)
    return show(request, "sign_in", to=_place(request.query_params.get("to", "/")), failed=False)


async def sign_in(serving: Serving, request: Request) -> Response:
    """Begin a session if the token is right, and go on to where one wanted to be."""
    tokens = _check_tokens(serving)
    check_site(request)
    form = await form_fields(request)
    token, to = form.text("token").strip(), _place(form.text("to"))
    if not tokens.accept(token.encode()):
        return show(request, "sign_in", status_code=403, to=to, failed=True)
    return RedirectResponse(to, 303, {"Set-Cookie": cookie(serving.sessions.begin())})


async def sign_out(serving: Serving, request: Request) -> Response:
    """End the session."""
    form = await owned_form(serving, request)
    serving.sessions.end(form.session)
    return RedirectResponse("/sign-in", 303, {"Set-Cookie": no_cookie()})


def sign_in_link(path: str, query: str) -> str:
    """The address of the form, which leads back to a page."""
    return link("/sign-in", to=path + (f"?{query}" if query else ""))


def _check_tokens(serving: Serving) -> Tokens:
    tokens = serving.settings.tokens
    if tokens is None:
        raise NotFound("this server asks for no token", "Everybody who reaches it may read.")
    return tokens


def _place(text: str) -> str:
    """A page of this server, whatever was given: never another site."""
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable()
    return text if is_ours else "/"
