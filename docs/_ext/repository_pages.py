"""Pages whose text is a file of the repository, and links between such files and the site's pages.

A page that `repository_pages` of `conf.py` names is replaced by that file. In every page, a link to
one of these files, written as it works in the repository, becomes a link to its page.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path

from sphinx.application import Sphinx

LINK = re.compile(r"(?<=\]\()(?!https?:)([^)#\s]+)(#[^)\s]*)?(?=\))")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("repository_pages", {}, "env", types=(dict,))
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the file's text in the place of the page's, and turn links to files into links to pages."""
    docs = Path(app.srcdir)
    pages: dict[str, str] = app.config.repository_pages
    place = docs / f"{docname}.md"
    if docname in pages:
        place = docs.parent / pages[docname]
        app.env.note_dependency(str(place))
        source[0] = place.read_text(encoding="utf-8")
    homes = {docs.parent / file: docs / f"{page}.md" for page, file in pages.items()}
    here = (docs / docname).parent

    def rewritten(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(place.parent / link[1]))
        page = homes.get(target, target)
        if page.suffix == ".md" and docs not in page.parents:
            raise ValueError(f"{place}: {link[1]} has no page; name it in backticks instead")
        return os.path.relpath(page, here) + (link[2] or "")

    source[0] = LINK.sub(rewritten, source[0])
