"""A page of the built site: its text, its links, and the places in it that links can name."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

LOADED = {"link", "script", "img", "source", "iframe"}  # elements whose address a browser fetches


@dataclass
class Page:
    """What tests look for in a page. `loaded`: the addresses that a browser fetches to show it."""

    text: str = ""
    places: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)


class Reader(HTMLParser):
    """Collects a page."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if place := found.get("id"):
            self.page.places.append(place)
        address = found.get("href") or found.get("src")
        if address and found.get("class") != "headerlink":  # from a place to itself
            self.page.links.append(address)
            if tag in LOADED:
                self.page.loaded.append(address)

    def handle_data(self, data: str) -> None:
        self.page.text += data


def read(path: Path) -> Page:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page
