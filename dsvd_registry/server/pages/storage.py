"""The page of the store's bytes: a tree map of bases and models, and the same as a table."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...registry.upkeep.usage import Usage
from ..operations import Serving
from .page import link, show
from .tree_map import Share, tree_map

TILES, ROWS = 60, 200


def storage(serving: Serving, request: Request) -> Response:
    """The page of the bytes that bases and models take."""
    usage = serving.registry.usage()
    models = sorted(usage.models, key=lambda model: -model.bytes)
    return show(
        request,
        "storage",
        usage=usage,
        models=models[:ROWS],
        source_bytes=sum(model.source_bytes for model in models),
        model_bytes=sum(model.bytes for model in models),
        tiles=tree_map(_shares(usage)),
    )


def _shares(usage: Usage) -> list[Share]:
    """The bases and the largest models; the others are one share."""
    shares = [Share(b.name, b.bytes, "base", "/bases") for b in usage.bases]
    models = sorted(usage.models, key=lambda model: -model.bytes)
    shares += [Share(m.name, m.bytes, "model", link(f"/versions/{m.name}")) for m in models[:TILES]]
    others = sum(model.bytes for model in models[TILES:])
    if others:
        shares.append(Share(f"{len(models) - TILES} other models", others, "others", "/?every=1"))
    if usage.reclaimable:
        shares.append(Share("not needed", usage.reclaimable, "spare", ""))
    return shares
