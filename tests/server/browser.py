"""A real headless Chromium, and axe-core's checks in it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
SIZES = {"wide": (1280, 900), "phone": (360, 740)}


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A Chromium of this machine. Where there is none, the tests that need it fail and say so."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail("the pages are tested in Chromium, which is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox needs rights that a container of a CI often lacks.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def context(
    browser: Browser, scheme: str = "light", size: str = "wide", **more: Any
) -> Iterator[BrowserContext]:
    """A window of its own, with nothing kept from another."""
    width, height = SIZES[size]
    made = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": height},
        **more,
    )
    yield made
    made.close()


@contextlib.contextmanager
def next_page(page: Page) -> Iterator[None]:
    """What is done inside leads to another page; after it, that page is there.

    A click by itself returns before its link or form is followed, and what is read then may be
    of either page.
    """
    with page.expect_navigation():
        yield


class Watched:
    """A page of the browser, with everything that must not happen on it."""

    def __init__(self, context: BrowserContext) -> None:
        self.page: Page = context.new_page()
        self.seen: list[str] = []
        self.page.on("console", lambda message: self.seen.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self._requested(request.url))
        self.requests: list[str] = []

    def _dialog(self, dialog: Any) -> None:
        self.seen.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, url: str) -> None:
        self.requests.append(url)


def axe_violations(page: Page) -> list[str]:
    """What axe-core finds of WCAG 2.2, A and AA, and of its best practices; each with its elements."""
    # Through the debugger's own world, which is not bound by the page's policy.
    page.evaluate(AXE.read_text(encoding="utf-8") + "\n;undefined")
    found = page.evaluate(
        "axe.run({runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']})"
    )
    assert len(found["passes"]) > 10
    return [
        f"{violation['id']}: {json.dumps([node['html'][:160] for node in violation['nodes']])}"
        for violation in found["violations"]
    ]
