"""The columns of measures: what each measures, by which network, or why it is empty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from .extractors.judges import Judge, Judges

Kind = Literal["paired", "reference", "text", "set"]

SSIM, PSNR = "ssim", "psnr"
NO_PHOTOGRAPHS = "no --reference with photographs was given"


@dataclass(frozen=True)
class Column:
    """One measure. `key` names its values.

    `kind`: paired, against the fine-tune's own picture of the same prompt and seed; reference, against
    the photographs; text, against the prompt; set, all pictures against all photographs. `extractor`,
    `weights`: the network and the SHA-256 of its weights, empty for a measure of pixels. `is_higher`:
    whether more is more alike. `reason`: why the column is empty; empty if it is not.
    """

    key: str
    kind: Kind
    title: str
    is_higher: bool
    extractor: str = ""
    weights: str = ""
    reason: str = ""


def columns(judges: Judges, has_photographs: bool) -> tuple[Column, ...]:
    """All columns, paired ones first."""
    by_judge = [list(_of_judge(judge, has_photographs)) for judge in judges.loaded]
    missing = [_missing(name, reason) for name, reason in judges.missing.items()]
    found = [
        Column(SSIM, "paired", "SSIM", is_higher=True),
        Column(PSNR, "paired", "PSNR, dB", is_higher=True),
        *(one for ones in (*by_judge, *missing) for one in ones),
    ]
    order: tuple[Kind, ...] = ("paired", "reference", "text", "set")
    return tuple(sorted(found, key=lambda column: order.index(column.kind)))


def distance_key(name: str) -> str:
    """The key of the feature distance by an extractor."""
    return f"distance {name}"


def cosine_key(name: str) -> str:
    """The key of the feature cosine by an extractor."""
    return f"cosine {name}"


def similarity_key(name: str) -> str:
    """The key of the similarity to the photographs by an extractor."""
    return f"similarity {name}"


def text_key(name: str) -> str:
    """The key of the similarity to the prompt by an extractor."""
    return f"text {name}"


def kid_key(name: str) -> str:
    """The key of KID by an extractor."""
    return f"kid {name}"


def fid_key(name: str) -> str:
    """The key of FID by an extractor."""
    return f"fid {name}"


def _of_judge(judge: Judge, has_photographs: bool) -> Iterator[Column]:
    name, weights = judge.extractor.name, judge.extractor.weights
    reason = "" if has_photographs else NO_PHOTOGRAPHS
    if judge.has_maps:
        title = "distance"
        yield Column(distance_key(name), "paired", title, False, name, weights)
    if not judge.has_vector:
        return
    yield Column(cosine_key(name), "paired", "cosine", True, name, weights)
    title = "similarity to photographs"
    yield Column(similarity_key(name), "reference", title, True, name, weights, reason)
    yield Column(kid_key(name), "set", "KID", False, name, weights, reason)
    yield Column(fid_key(name), "set", "FID", False, name, weights, reason)
    if judge.texts is not None:
        yield Column(text_key(name), "text", "similarity to the prompt", True, name, weights)


def _missing(name: str, reason: str) -> Iterator[Column]:
    """The columns that a network which is not there would fill."""
    if name == "lpips":
        yield Column(distance_key(name), "paired", "distance", False, name, reason=reason)
        return
    if name == "inception":
        yield Column(kid_key(name), "set", "KID", False, name, reason=reason)
        yield Column(fid_key(name), "set", "FID", False, name, reason=reason)
        return
    title = "similarity to photographs"
    yield Column(similarity_key(name), "reference", title, True, name, reason=reason)
    if name == "clip":
        yield Column(text_key(name), "text", "similarity to the prompt", True, name, reason=reason)
