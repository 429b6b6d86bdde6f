"""The pages of a server in a real Chromium: what they show, how they are used, that all can use them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from safetensors.numpy import load_file

from dsvd_registry import Registry

from .browser import Watched, axe_violations, chromium, context, next_page
from .gallery import Gallery, make_gallery
from .running import RunningServer, serving

PAGES = (
    "/",
    "/?every=1&tag=portrait",
    "/?q=nothing-of-that-name",
    "/versions/rex",
    "/versions/rex-in-the-meadow",
    "/compare",
    "/compare?left=rex@1&right=rex@2",
    "/bases",
    "/storage",
    "/findings",
)
CARDS = "count => document.querySelectorAll('.card').length === count"
BLOCK = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return make_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def site(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(gallery.registry, tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.mark.parametrize(("scheme", "size"), [("light", "wide"), ("dark", "phone")])
def test_axe_finds_nothing_on_any_page(
    browser: Browser, site: RunningServer, scheme: str, size: str
) -> None:
    with context(browser, scheme, size) as window:
        watched = Watched(window)
        for path in PAGES:
            answer = watched.page.goto(site.url + path)
            assert answer is not None and answer.status == 200
            for fold in watched.page.locator("summary").all():
                if fold.locator("xpath=..").get_attribute("open") is None:
                    fold.click()
            assert axe_violations(watched.page) == [], path
            wide = watched.page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path} is {wide} pixels wider than the window"
        assert watched.seen == []
        assert all(url.startswith(site.url) for url in watched.requests)


def test_search_as_one_types_finds_what_the_form_finds(
    browser: Browser, site: RunningServer
) -> None:
    def names(page: Page) -> list[str]:
        return page.locator(".card h2").all_inner_texts()

    with context(browser) as window, context(browser, java_script_enabled=False) as plain:
        typed, form = Watched(window).page, Watched(plain).page
        typed.goto(site.url)
        form.goto(site.url)
        assert names(typed) == names(form)
        assert sorted(names(typed)) == [
            "charcoal@1",
            "meadow-light@1",
            "paper-cut@1",
            "rex-in-the-meadow@1",
            "rex@3",
        ]
        for text, found in {
            "MEADOW": ["rex-in-the-meadow@1", "meadow-light@1"],
            "rex dreambooth": ["rex@3"],
            "100%": [],
            "SKS dog": ["rex@3"],
            "_": [],
        }.items():
            with typed.expect_response(lambda response: "q=" in response.url):
                typed.get_by_label("Search", exact=True).fill(text)
            typed.wait_for_function(CARDS, arg=len(found))
            form.get_by_label("Search", exact=True).fill(text)
            with next_page(form):
                form.get_by_role("button", name="Search").click()
            assert names(typed) == names(form) == found
        typed.wait_for_url("**q=_")
        assert "q=_" in form.url

        form.goto(site.url)
        form.get_by_label("Tag").select_option("portrait")
        form.get_by_label("Every version").check()
        with next_page(form):
            form.get_by_role("button", name="Search").click()
        assert names(form) == ["rex-in-the-meadow@1", "rex@3", "rex@2"]
        assert "3 versions found" in form.locator(".found").inner_text()
        form.goto(site.url + "/?base=tiny-sd&since=2000-01-01")
        assert len(names(form)) == 5
        form.goto(site.url + "/?since=2999-01-01")
        assert names(form) == []


def test_a_version_is_shown_with_its_true_figures(
    browser: Browser, site: RunningServer, gallery: Gallery
) -> None:
    with context(browser) as window:
        page = Watched(window).page
        page.goto(f"{site.url}/versions/rex@1")
        assert page.locator("h1").inner_text() == "rex@1"
        facts = dict(
            zip(
                page.locator(".side > .facts dt").all_inner_texts(),
                page.locator(
                    ".side > .facts dd code, .side > .facts dd:not(:has(code))"
                ).all_inner_texts(),
                strict=True,
            )
        )
        source = hashlib.sha256(gallery.tuned.read_bytes()).hexdigest()
        assert facts["SHA-256 of the source"] == source
        assert facts["AutoV2"] == source[:10].upper()
        container = gallery.registry / "objects" / facts["Container"][:2] / facts["Container"]
        stored = container.stat().st_size
        assert facts["Stored"].startswith(f"{stored / 1000:.1f} kB")

        # The ranks and the errors, from the weights that the version gives and numpy's own SVD.
        base, tuned = load_file(gallery.base), load_file(gallery.tuned)
        rows = page.get_by_role("region", name="Layer groups").locator("tbody tr")
        groups = {
            row.locator("th").inner_text(): row.locator("td").all_inner_texts()
            for row in rows.all()
        }
        down = [name for name in tuned if name.startswith("unet.down_blocks.")]
        with Registry.open(gallery.registry) as registry, registry.tensors("rex@1") as given:
            apart = [np.linalg.norm(given[name].numpy() - tuned[name]) for name in down]
            change = [np.linalg.norm(tuned[name] - base[name]) for name in down]
        assert groups["down"][0] == str(len(down))
        assert float(groups["down"][4]) == pytest.approx(
            np.linalg.norm(apart) / np.linalg.norm(change), rel=5e-3
        )

        # A file is what `materialize` writes.
        (link,) = page.locator(".files a").all()
        got = site.get(str(link.get_attribute("href")))
        shown = page.locator(".files code").inner_text()
        assert hashlib.sha256(got.body).hexdigest() == shown

        commands = {
            fold.locator("summary").inner_text(): fold.locator("code").text_content() or ""
            for fold in page.locator("details.command").all()
        }
        assert commands["Command line"].splitlines()[0] == "dsvd materialize rex@1"
        assert f'"HF_ENDPOINT"] = "{site.url}"' in commands["diffusers"]
        assert commands["ComfyUI"].splitlines()[0].startswith("dsvd mount")
        address = re.search(r"http\S+", commands["curl"])
        assert address is not None
        assert site.get(address[0].removeprefix(site.url)).body == got.body


def test_the_lineage_of_a_merge_leads_to_its_versions(
    browser: Browser, site: RunningServer
) -> None:
    with context(browser) as window:
        page = Watched(window).page
        page.goto(f"{site.url}/versions/rex-in-the-meadow")
        steps = page.locator(".lineage li").all_inner_texts()
        assert steps == [
            "base tiny-sd",
            "0.7 × rex@2",
            "0.3 × meadow-light@1",
            "rex-in-the-meadow@1",
        ]
        with next_page(page):
            page.locator(".lineage").get_by_role("link", name="rex@2").click()
        assert page.locator("h1").inner_text() == "rex@2"
        with next_page(page):
            page.get_by_role("link", name="compare with @1").click()
        assert page.locator(".sides h2").all_inner_texts() == ["rex@1", "rex@2"]


def test_the_heat_map_has_the_distances_of_the_weights(
    browser: Browser, site: RunningServer, gallery: Gallery
) -> None:
    base = load_file(gallery.base)[BLOCK]
    with Registry.open(gallery.registry) as registry:
        deltas = []
        for ref in ("rex@1", "charcoal"):
            with registry.tensors(ref) as tensors:
                deltas.append(tensors[BLOCK].numpy().astype(np.float64) - base)
    norms = [np.linalg.norm(delta) for delta in deltas]
    distance = np.linalg.norm(deltas[0] - deltas[1]) / max(norms)
    with context(browser) as window:
        page = Watched(window).page
        page.goto(f"{site.url}/compare?left=rex@1&right=charcoal")
        titles = page.locator("svg.map g title").all_text_contents()
        (cell,) = [title for title in titles if title.startswith("mid, cross-attn k: ")]
        shown = float(cell.split(": ")[1].split()[0])
        assert shown == pytest.approx(distance, rel=2e-2)
        assert "(1 tensor)" in cell
        counted = sum(int(re.findall(r"\((\d+) tensor", title)[0]) for title in titles)
        of_the_unet = [name for name in load_file(gallery.base) if name.startswith("unet.")]
        assert counted == len(of_the_unet)


def test_the_keyboard_is_enough_and_the_theme_stays(browser: Browser, site: RunningServer) -> None:
    with context(browser) as window:
        page = Watched(window).page
        page.goto(site.url)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.name") == "q"
        page.keyboard.type("charcoal")
        page.wait_for_url("**q=charcoal")
        page.evaluate("document.querySelector('.card').className += ' typed'")
        page.keyboard.press("Enter")
        page.wait_for_selector(".card:not(.typed)")
        assert page.locator(".card").count() == 1
        for _ in range(6):
            page.keyboard.press("Tab")
        # Of a date, a button inside may have the focus, which the browser itself marks.
        outline = "document.activeElement.type === 'date' || "
        outline += "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        reached = []
        while "/versions/charcoal@1" not in str(page.evaluate("document.activeElement.href")):
            assert page.evaluate(outline)
            reached.append(page.evaluate("document.activeElement.outerHTML"))
            assert len(reached) < 20, reached
            page.keyboard.press("Tab")
        with next_page(page):
            page.keyboard.press("Enter")
        assert page.locator("h1").inner_text() == "charcoal@1"

        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        page.get_by_role("button", name="Dark").press("Enter")
        dark = page.evaluate(ground)
        assert dark != light
        page.goto(site.url + "/bases")
        assert page.evaluate(ground) == dark
        page.get_by_role("button", name="Light").press("Space")
        assert page.evaluate(ground) == light


def test_every_page_is_whole_without_script(browser: Browser, site: RunningServer) -> None:
    with context(browser) as window, context(browser, java_script_enabled=False) as plain:
        scripted, bare = Watched(window).page, Watched(plain).page
        for path in PAGES:
            scripted.goto(site.url + path)
            bare.goto(site.url + path)
            buttons = ("Copy", "Dark")  # what the script adds
            texts = [
                [
                    line
                    for line in page.locator("body").inner_text().splitlines()
                    if line and line not in buttons
                ]
                for page in (scripted, bare)
            ]
            assert texts[0] == texts[1]


def test_headers_let_nothing_foreign_run(site: RunningServer) -> None:
    for path in (*PAGES, "/static/pages.js", "/nothing"):
        answer = site.get(path, Accept="text/html")
        policy = dict(
            part.strip().split(" ", 1)
            for part in answer.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert "unsafe" not in str(policy)
        assert answer.headers["x-content-type-options"] == "nosniff"
        if answer.headers["content-type"].startswith("text/html"):
            text = answer.body.decode()
            assert policy["script-src"] == policy["style-src"] == "'self'"
            assert not re.search(r"<[^>]+\s(style|on\w+)\s*=", text)
            assert not re.search(r"<script(?! src=\"/static/pages.js\"></script>)", text)
            assert not re.search(r"<style", text)


def test_what_is_not_there_is_a_page_for_people_and_json_for_programs(site: RunningServer) -> None:
    for path, status in {
        "/versions/nobody": 404,
        "/versions/-x": 404,
        "/nothing": 404,
        "/?page=0": 400,
        "/?since=tomorrow": 400,
        "/?base=none": 404,
        "/?q=" + "x" * 300: 400,
        "/marks/../../etc/passwd.svg": 404,
        "/marks/xyz.svg": 404,
        "/static/layout.html": 404,
        "/static/%2e%2e%2fpage.py": 404,
    }.items():
        person = site.get(path, Accept="text/html,*/*")
        program = site.get(path)
        assert (person.status, program.status) == (status, status), path
        assert person.headers["content-type"].startswith("text/html")
        assert program.document["error"]
