"""Sign-in, changes by forms, and hostile values: what people write, and what must never run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from safetensors.numpy import save_file
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.cli import main
from dsvd_registry.server.sessions import LIFETIME, MOST, Sessions

from .browser import Watched, axe_violations, chromium, context, next_page
from .running import Answer, RunningServer, serving

TOKEN = "token-of-the-studio-0123456789"
RUN = "document.title='ran';alert(1)"
HOSTILE = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f'" onmouseover="{RUN}" x="',
    f"' autofocus onfocus='{RUN}",
    f"</title></textarea></code></pre><svg onload={RUN}>",
    f"javascript:{RUN}",
    "{{ 7 * 191 }}{% include 'layout.html' %}",
    "<!--<b>",
    "]]><iframe src=javascript:alert(1)>",
    "\u202eevil\u202c \u200b\ufeff\x1b[31m\x07",
    "<style>*{display:none}</style>",
    "a" * 3000,
    "🦊é中",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A small registry, whose tensors have hostile names too."""
    chosen = np.random.default_rng(1)
    base = {"unet.mid_block.attentions.0.to_q.weight": chosen.normal(size=(16, 16))}
    base |= {name: chosen.normal(size=(8, 8)) for name in HOSTILE if len(name) < 200}
    base = {name: value.astype(np.float32) for name, value in base.items()}
    tuned = {
        name: value + np.outer(value[0], value[1]).astype(np.float32) * 1e-3
        for name, value in base.items()
    }
    save_file(base, tmp_path / "base.safetensors")
    save_file(tuned, tmp_path / "tuned.safetensors")
    with Registry.init(tmp_path / "registry") as made:
        made.add_base("base", tmp_path / "base.safetensors")
        made.add(tmp_path / "tuned.safetensors", base="base", name="subject", tau=0.9)
        made.add(tmp_path / "tuned.safetensors", base="base", name="subject", tau=0.5)
    return tmp_path / "registry"


@pytest.fixture
def writable(registry: Path, tmp_path: Path) -> Iterator[RunningServer]:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    tokens.chmod(0o600)
    options = ("--write", "--token-file", str(tokens))
    with serving(registry, tmp_path / "run", *options) as running:
        yield running


def sign_in(page: Page, server: RunningServer, path: str = "/") -> None:
    page.goto(server.url + path)
    page.get_by_label("Token").fill(TOKEN)
    with next_page(page):
        page.get_by_role("button", name="Sign in").click()
    assert page.url == server.url + path


def test_a_token_opens_the_pages_and_forms_change_the_registry(
    browser: Browser, writable: RunningServer, registry: Path, tmp_path: Path
) -> None:
    file = tmp_path / "Rex at noon.png"
    file.write_bytes(picture(size=32))
    with context(browser, java_script_enabled=False) as plain, context(browser) as scripted:
        page = Watched(plain).page
        page.goto(f"{writable.url}/versions/subject")
        assert "/sign-in?to=/versions/subject" in page.url.replace("%2F", "/")
        page.get_by_label("Token").fill(TOKEN + "x")
        with next_page(page):
            page.get_by_role("button", name="Sign in").click()
        assert "not accepted" in page.get_by_role("alert").inner_text()
        page.get_by_label("Token").fill(TOKEN)
        with next_page(page):
            page.get_by_role("button", name="Sign in").click()
        assert page.url == f"{writable.url}/versions/subject"
        (kept,) = plain.cookies()
        assert (kept["httpOnly"], kept["sameSite"]) == (True, "Strict")
        assert TOKEN not in kept["value"]

        def sent(form: str, button: str, **fields: str) -> None:
            place = page.get_by_role("form", name=form, exact=True)
            for name, value in fields.items():
                place.locator(f"[name={name}]").fill(value)
            with next_page(page):
                place.get_by_role("button", name=button).click()
            assert page.locator("h1").inner_text() == "subject@2"

        sent("Note", "Save", note="two\nlines")
        sent("Add a tag", "Add", tag="portrait")
        sent("Add a tag", "Add", tag="old")
        sent("Remove the tag old", "Remove")
        sent("Set an alias", "Set", alias="prod")
        sent("Set metadata", "Set", key="trigger", value="sks dog")
        sent("Set metadata", "Set", key="licence", value="none")
        sent("Remove licence", "Remove")
        page.locator("[type=file]").set_input_files(file)
        sent("Attach a picture", "Attach")
        shown = page.locator(".gallery img")
        assert shown.evaluate("image => image.naturalWidth") == 32

        with Registry.open(registry) as opened:
            version = opened.version("subject@prod")
            assert (version.number, version.note, version.tags) == (2, "two\nlines", ("portrait",))
            assert dict(opened.metadata("subject")) == {"trigger": "sks dog"}
            (attached,) = opened.attachments("subject")
            assert (attached.role, attached.media_type) == ("preview", "image/png")
            assert attached.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        address = str(shown.get_attribute("src"))
        got = writable.get(address, Authorization=f"Bearer {TOKEN}")
        assert got.body == file.read_bytes()
        assert got.headers["content-type"] == "image/png"
        assert got.headers["x-content-type-options"] == "nosniff"
        sent(f"Remove {attached.name}", "Remove")
        sent("Remove the alias prod", "Remove")
        page.get_by_label("Alias for").fill("7")
        with next_page(page):
            page.get_by_role("button", name="Set the alias").click()
        assert "not a valid alias" in page.locator("h1").inner_text()

        page.goto(writable.url)
        with next_page(page):
            page.get_by_role("button", name="Sign out").click()
        page.goto(writable.url)
        assert page.get_by_label("Token").is_visible()
        watched = Watched(scripted)
        assert watched.page.goto(writable.url) is not None
        assert axe_violations(watched.page) == []
        sign_in(watched.page, writable, "/versions/subject")
        assert axe_violations(watched.page) == []
        assert watched.seen == []


def test_the_pages_say_what_verify_found(
    browser: Browser, writable: RunningServer, registry: Path
) -> None:
    with Registry.open(registry) as opened:
        container = opened.version("subject@1").container
    with context(browser) as window:
        watched = Watched(window)
        page = watched.page

        def verified() -> str:
            with next_page(page):
                page.get_by_role("button", name="Verify now").click()
            while "being verified" in page.inner_text("main"):
                page.goto(writable.url + "/findings")
            return page.inner_text("main")

        sign_in(page, writable, "/findings")
        assert "has not been verified" in page.inner_text("main")
        assert "All is well" in verified()
        (object_file,) = registry.rglob(f"{container}*")
        object_file.chmod(0o644)
        data = bytearray(object_file.read_bytes())
        data[-1] ^= 1
        object_file.write_bytes(data)
        text = verified()
        assert "subject@1" in text and "subject@2" not in text
        assert str(registry) not in text
        assert axe_violations(page) == []
        page.goto(f"{writable.url}/versions/subject@2")
        assert page.locator(".problem").count() == 0
        assert watched.seen == []


def post(server: RunningServer, path: str, fields: dict[str, str], **headers: str) -> Answer:
    body = "".join(
        f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    kind = "multipart/form-data; boundary=limit"
    return server.request(
        "POST", path, f"{body}--limit--\r\n".encode(), Content_Type=kind, **headers
    )


def test_nobody_changes_anything_without_session_and_form_token(
    writable: RunningServer, registry: Path, tmp_path: Path
) -> None:
    signed = post(writable, "/sign-in", {"token": TOKEN, "to": "//evil.example/x"})
    assert (signed.status, signed.headers["location"]) == (303, "/")
    cookie = signed.headers["set-cookie"].partition(";")[0]
    page = writable.get("/versions/subject", Cookie=cookie, Accept="text/html").body.decode()
    form_token = re.findall(r'name="form_token" value="([0-9a-f]{64})"', page)[0]
    other = post(writable, "/sign-in", {"token": TOKEN, "to": "/"})
    other_cookie = other.headers["set-cookie"].partition(";")[0]
    good = {"form_token": form_token, "note": "changed"}
    note = "/versions/subject/note"
    bearer = f"Bearer {TOKEN}"
    refused = [
        post(writable, note, good),
        post(writable, note, good, Authorization=bearer),
        post(writable, note, {"note": "changed"}, Cookie=cookie),
        post(writable, note, good | {"form_token": "0" * 64}, Cookie=cookie),
        post(writable, note, good | {"form_token": "ä"}, Cookie=cookie),
        post(writable, note, good, Cookie=other_cookie),
        post(writable, note, good, Cookie=cookie, Sec_Fetch_Site="cross-site"),
        post(writable, note, good, Cookie=cookie, Sec_Fetch_Site="same-site"),
        post(writable, "/versions/subject/rm", good, Cookie=cookie),
        writable.request("POST", note, b"note=changed", Cookie=cookie),
        writable.request("POST", note, b"", Cookie=cookie, Transfer_Encoding="chunked"),
        writable.get(note, Cookie=cookie),
    ]
    assert [answer.status for answer in refused] == [
        401, 403, 403, 403, 403, 403, 403, 403, 404, 400, 411, 405,
    ]  # fmt: skip
    with Registry.open(registry) as opened:
        assert opened.version("subject").note == ""
    assert post(writable, note, good, Cookie=cookie).status == 303
    with Registry.open(registry) as opened:
        assert opened.version("subject").note == "changed"
    assert post(writable, "/sign-out", {"form_token": form_token}, Cookie=cookie).status == 303
    assert post(writable, note, good, Cookie=cookie).status == 401
    assert TOKEN not in writable.logged()

    with serving(registry, tmp_path / "read-only") as reading:
        assert post(reading, note, good).status == 403
        assert b'<form action="/versions' not in reading.get("/versions/subject").body


def test_write_needs_a_token(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--registry", str(registry), "serve", "--write"]) == 2
    assert "--token-file" in capsys.readouterr().err


def test_sessions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    first = sessions.begin()
    assert sessions.named_by(f"a=b; dsvd_session={first}") == first
    for header in ("", f"dsvd_session={first}x", "dsvd_session", f"other={first}", "\x00=;;,"):
        assert sessions.named_by(header) is None
    assert not sessions.accept_form(first, sessions.form_token(sessions.begin()))
    now[0] = LIFETIME
    assert sessions.named_by(f"dsvd_session={first}") is None
    names = [sessions.begin() for _ in range(MOST + 1)]
    assert [sessions.named_by(f"dsvd_session={n}") is None for n in names].count(True) == 1


def test_hostile_values_stay_text_on_every_page(
    browser: Browser, registry: Path, tmp_path: Path
) -> None:
    with Registry.open(registry) as opened:
        texts = {f"k{n}": text for n, text in enumerate(HOSTILE)}
        opened.set_metadata("subject", texts | {"trigger": HOSTILE[0]})
        opened.set_metadata("subject@1", {"trigger": HOSTILE[1]})
        opened.set_note("subject", "\n".join(HOSTILE))
        for number, text in enumerate(HOSTILE):
            note = tmp_path / f"{number} <img src=x onerror=alert(1)>.txt"
            note.write_text(f"<html><script>{RUN}</script>{text}")
            opened.attach("subject", note)
        drawn = tmp_path / "a\"onerror='alert(1)'.png"
        drawn.write_bytes(picture(text=f"<script>{RUN}</script>"))
        opened.attach("subject", drawn, role="preview")
        attached = [one.name for one in opened.attachments("subject")]
    with serving(registry, tmp_path / "run") as server, context(browser) as window:
        watched = Watched(window)
        page = watched.page
        paths = ["/?every=1", "/versions/subject", "/bases", "/storage", "/sign-in"]
        paths.append("/compare?left=subject@1&right=subject@2")
        for text in (quote(text, safe="") for text in HOSTILE[:11]):
            paths += [f"/?q={text}", f"/?base={text}", f"/?since={text}", f"/versions/{text}"]
            paths += [f"/compare?left={text}&right=subject"]
        foreign = "script, iframe, style, [onerror], [onload], [onfocus]"
        elements = f"[...document.querySelectorAll('{foreign}')]"
        for path in paths:
            page.goto(server.url + path)
            assert page.title() != "ran"
            found = page.evaluate(f"{elements}.map(element => element.outerHTML)")
            assert found == ['<script src="/static/pages.js"></script>'], path
        problems = [line for line in watched.seen if "Failed to load resource" not in line]
        assert problems == []
        assert all(url.startswith(server.url) for url in watched.requests)

        page.goto(server.url + "/versions/subject")
        shown = page.locator("table code").all_text_contents()
        assert set(HOSTILE) - {HOSTILE[11]} <= set(shown)
        assert HOSTILE[0] in page.locator(".note").inner_text()
        page.locator("summary", has_text="Tensors").click()
        assert HOSTILE[1] in page.locator("table .path").all_text_contents()
        for name in attached:
            got = server.get(f"/api/v1/versions/subject/attachments/{quote(name)}")
            assert got.status == 200
            assert got.headers["content-type"].partition(";")[0] in ("text/plain", "image/png")
            assert got.headers["content-security-policy"].startswith("default-src 'none'")
