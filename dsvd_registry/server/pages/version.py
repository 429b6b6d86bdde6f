"""The page of a version: its pictures, its account, its spectra, its lineage, its files, commands."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from ...catalog import AttachmentRecord, VersionRecord
from ...errors import DsvdError
from ...registry.accounts.documents import settings
from ...registry.accounts.report import Report
from ...registry.describing.attachments import preview_of
from ..checkpoints import ServedFile
from ..hub_names import MODELS, hub_name
from ..operations import Serving, looked_up
from .charts import curve_chart, group_bars, served_points, spectra_chart
from .page import link, show

TENSORS, VERSIONS, FILES, PICTURES = 60, 30, 100, 24  # shown at most
_LOG = logging.getLogger("dsvd_registry.server")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Command:
    """Lines to copy, and the tool that they are for."""

    tool: str
    lines: str


@dataclass(frozen=True)
class Parent:
    """A version that a merge was made of; `exists`: whether it is still there."""

    name: str
    weight: float
    exists: bool


def version_page(serving: Serving, request: Request) -> Response:
    """The page of the version that a ref means. What is damaged is left out, and said."""
    version: VersionRecord = looked_up(
        "version", lambda: serving.registry.version(request.path_params["ref"])
    )
    registry = serving.registry
    report = readable(lambda: registry.report(version.ref), version)
    curve = readable(lambda: registry.curve(version.ref), version)
    files = readable(lambda: serving.checkpoints.files(version), version) or ()
    attached = registry.attachments(version.ref)
    metadata = registry.metadata(version.ref)
    others = registry.versions(version.model)
    return show(
        request,
        "version",
        version=version,
        trigger=metadata.get("trigger", ""),
        metadata=list(metadata.items()),
        pictures=_pictures(attached),
        texts=[one for one in attached if not one.is_picture and one.role != "report"],
        reports=[one for one in attached if one.role == "report"],
        attached=attached,
        report=report,
        bars=group_bars(report.groups) if report else [],
        tensors=_most_bytes(report) if report else [],
        spectra=spectra_chart(curve.groups) if curve else None,
        curve=curve_chart(curve) if curve else None,
        points=served_points(curve) if curve else [],
        files=[(file, file_link(version, file)) for file in files[:FILES]],
        file_count=len(files),
        parents=_parents(serving, version),
        others=list(reversed(others))[:VERSIONS],
        other_count=len(others),
        commands=_commands(serving, version, files, str(request.base_url).rstrip("/")),
        signers=registry.signers(version.ref),
    )


def _pictures(attached: Sequence[AttachmentRecord]) -> list[AttachmentRecord]:
    """The pictures to show, the newest preview first."""
    preview = preview_of(attached)
    others = [one for one in attached if one.is_picture and one is not preview]
    return ([] if preview is None else [preview]) + others[-PICTURES:]


def readable(read: Callable[[], Found], version: VersionRecord) -> Found | None:
    """The result of `read`; None if the version is damaged, which the log says."""
    try:
        return read()
    except DsvdError as error:
        _LOG.error("%s: %s: %s", version.ref, type(error).__name__, error)
        return None


def file_link(version: VersionRecord, file: ServedFile) -> str:
    """The address of the bytes of a file."""
    return link(f"/v1/materialize/{version.ref}/{file.path}")


def _most_bytes(report: Report) -> list[Any]:
    """The tensors with the most stored bytes, first those with most."""
    return sorted(report.tensors, key=lambda row: -row.stored_bytes)[:TENSORS]


def _parents(serving: Serving, version: VersionRecord) -> list[Parent]:
    recipe = settings(version).get("merge") or {}
    found = []
    for one in recipe.get("versions", ()):
        known = serving.registry.repository.catalog.find_digest(one["container"])
        name = known[-1].version.ref if known else str(one["name"])
        found.append(Parent(name, float(one["weight"]), bool(known)))
    return found


def _commands(
    serving: Serving, version: VersionRecord, files: tuple[ServedFile, ...], server: str
) -> list[Command]:
    """Commands that give this very version to each tool."""
    ref, model, number = version.ref, version.model, version.number
    hub_id = f"{MODELS}/{hub_name(model)}"
    is_folder = len(files) != 1
    load = (
        "from diffusers import DiffusionPipeline\n\n"
        f'pipeline = DiffusionPipeline.from_pretrained("{hub_id}", revision="{number}")'
        if is_folder
        else "from diffusers import StableDiffusionPipeline\n"
        "from huggingface_hub import hf_hub_download\n\n"
        f'file = hf_hub_download("{hub_id}", "{files[0].path}", revision="{number}")\n'
        "pipeline = StableDiffusionPipeline.from_single_file(file)"
    )
    mounted = f"diffusers/{ref}" if is_folder else f"checkpoints/{ref}.safetensors"
    path = files[0].path if files else "model.safetensors"
    address = server + link(f"/v1/materialize/{ref}/{path}")
    token = '-H "Authorization: Bearer $DSVD_TOKEN" ' if serving.settings.tokens else ""
    name = path.rpartition("/")[2] if is_folder else f"{model}.safetensors"
    return [
        Command(
            "Command line",
            f"dsvd materialize {ref}\n"
            f"dsvd export {ref} --format kohya -o {shlex.quote(model)}-lora.safetensors",
        ),
        Command("diffusers", f'import os\n\nos.environ["HF_ENDPOINT"] = "{server}"\n\n{load}'),
        Command("ComfyUI", f"dsvd mount ~/models\n# Load Checkpoint: {mounted}"),
        Command("curl", f"curl -C - {token}-o {shlex.quote(name)} \\\n  {shlex.quote(address)}"),
    ]
