"""The home page: versions as cards, searched and filtered by the catalog, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from ...catalog import Wanted
from ...errors import InvalidArgument
from ..operations import Serving, integer
from .page import link, show

CARDS = 24
MOST_PAGES = 1 << 20
LONGEST_TEXT = 200


@dataclass(frozen=True)
class Filters:
    """The values of the search form as they were given."""

    text: str
    base: str
    tag: str
    since: str
    every: bool

    @classmethod
    def of(cls, request: Request) -> Filters:
        """The filters of a request. Raises `InvalidArgument` for a text that is too long."""
        asked = request.query_params
        given = [asked.get(name, "").strip() for name in ("q", "base", "tag", "since")]
        if max(map(len, given)) > LONGEST_TEXT:
            raise InvalidArgument(f"a search has at most {LONGEST_TEXT} characters")
        text, base, tag, since = given
        return cls(text, base, tag, since, asked.get("every") == "1")

    @property
    def wanted(self) -> Wanted:
        """The query of the catalog that they stand for. Raises `InvalidArgument` for what is no date."""
        words = tuple(self.text.split())
        return Wanted(words, self.base or None, self.tag or None, _date(self.since), not self.every)

    def link(self, page: int) -> str:
        """The address of a page of what they find."""
        return link(
            "/",
            q=self.text,
            base=self.base,
            tag=self.tag,
            since=self.since,
            every="1" if self.every else "",
            page=page if page > 1 else "",
        )

    @property
    def are_set(self) -> bool:
        """True if anything is filtered."""
        return bool(self.text or self.base or self.tag or self.since)


def home(serving: Serving, request: Request) -> Response:
    """The page of cards that a search finds."""
    filters = Filters.of(request)
    number = integer(request, "page", 1, 1, MOST_PAGES)
    catalog = serving.registry.repository.catalog
    found = catalog.page(filters.wanted, (number - 1) * CARDS, CARDS)
    return show(
        request,
        "home",
        filters=filters,
        found=found,
        number=number,
        pages=max(1, -(-found.total // CARDS)),
        bases=[base.name for base in serving.registry.bases()],
        tags=catalog.tags(),
    )


def _date(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidArgument("since is not a date", "Write it as 2026-01-31.") from None
