"""Facts of a version as text for people, in the words of every listing."""

from __future__ import annotations

from typing import Any

from ... import number_format
from ...catalog.records import VersionRecord
from .documents import settings

DIGEST_SHOWN = 12
SHORT_FORM = 10  # digits


def base_name(version: VersionRecord) -> str:
    """The name of a version's base, or the start of its digest if the base was removed."""
    return version.base_name or f"{version.base[:DIGEST_SHOWN]}, removed"


def fidelity(version: VersionRecord) -> str:
    """The requested fidelity: "tau 0.5", "error 0.3", "20.0 MB"; empty for an unknown one."""
    request = settings(version)
    if "lossless" in request or version.original is not None:
        return "lossless"
    if "tau" in request:
        return f"tau {request['tau']:g}"
    if "max_error" in request:
        return f"error {request['max_error']:g}"
    return number_format.size(request["budget"]) if "budget" in request else ""


def error(version: VersionRecord) -> str:
    """The relative error of the whole delta; empty if it is not known."""
    if version.residual is not None:
        return number_format.relative(0.0)
    known = version.summary.get("error")
    return number_format.relative(float(known)) if known is not None else ""


def merged_from(version: VersionRecord) -> str:
    """The versions and weights of a merge: "0.6 x subject-42@1, 0.4 x style@2"; empty for others."""
    recipe = settings(version).get("merge")
    if recipe is None:
        return ""
    terms = [f"{one['weight']:g} x {one['name']}" for one in recipe["versions"]]
    rules = [
        f"{rule['weight']:g} x in {rule['pattern']}{_of_version(rule, recipe)}"
        for rule in recipe["layers"]
    ]
    return "; ".join(filter(None, (", ".join(terms), ", ".join(rules))))


def _of_version(rule: dict[str, Any], recipe: dict[str, Any]) -> str:
    names = {one["container"]: one["name"] for one in recipe["versions"]}
    return f" of {names[rule['container']]}" if "container" in rule else ""


def short_form(sha256: str) -> str:
    """The short digest that model sites and user interfaces show, called AutoV2."""
    return sha256[:SHORT_FORM].upper()
