"""The site is built without a warning, and leads nowhere that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .conftest import DOCS, ROOT
from .pages import Page, read

SOURCES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md"))
PATH = re.compile(r"`((?:dsvd_registry|spec|tests|benchmarks|migrations|fuzz|demo|docs)/[\w./-]+)`")


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Page]:
    return {path: read(path) for path in site.rglob("*.html")}


def test_every_page_is_there(pages: dict[Path, Page], site: Path) -> None:
    written = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    assert written <= {path.relative_to(site).with_suffix("") for path in pages}


def test_every_link_leads_somewhere(pages: dict[Path, Page]) -> None:
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file() or (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].places
            ):
                lost.append((path.name, link))
    assert len(pages) > 20
    assert lost == []


def test_nothing_is_loaded_from_a_network(pages: dict[Path, Page], site: Path) -> None:
    assert [address for page in pages.values() for address in page.loaded if "//" in address] == []
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert [
        found for style in styles for found in re.findall(r"url\(.?(?:https?:)?//", style)
    ] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_work_in_the_repository_too(source: Path) -> None:
    """Who reads the Markdown itself gets to the same places."""
    text = re.sub(r"^```.*?^```$", "", source.read_text(encoding="utf-8"), flags=re.M | re.S)
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    assert [target for target in targets if not (source.parent / target).exists()] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_are_there(source: Path) -> None:
    named = PATH.findall(source.read_text(encoding="utf-8"))
    named = [path for path in named if not re.search("[A-Z]{4}", path)]  # a word in capitals varies
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_is_short() -> None:
    readme = (ROOT / "README.md").read_bytes()
    assert len(readme) <= 8000
    assert b"dsvd add ft.ckpt --base sd15" in readme
    assert b"dsvd materialize subject-42" in readme


def test_the_glossary_is_sorted_and_every_term_is_linked(
    pages: dict[Path, Page], site: Path
) -> None:
    source = (DOCS / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(\S.*)\n  \S", source, re.MULTILINE)
    assert len(terms) > 50
    assert terms == sorted(terms, key=str.lower)
    glossary = pages[site / "glossary.html"]
    places = {term: f"term-{term.replace(' ', '-')}" for term in terms}
    assert set(places.values()) <= set(glossary.places)
    written = [page for path, page in pages.items() if path.name != "genindex.html"]
    linked = {urlsplit(link).fragment for page in written for link in page.links}
    assert [term for term, place in places.items() if place not in linked] == []
