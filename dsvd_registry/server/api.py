"""The JSON API, the files of versions by their refs, and what operators ask a server."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..catalog import BaseRecord, VersionRecord
from ..errors import Conflict, InvalidArgument
from ..export import DTYPES, FORMATS, Format, LoraForm
from ..reconstruction.cast import FloatDtype
from ..reconstruction.target_layout import LayoutName
from ..registry.accounts.diff import Difference
from ..registry.accounts.documents import version_document
from ..registry.accounts.report import Report
from ..registry.find import with_digest
from ..registry.results.result_pool import ResultForm
from ..registry.upkeep.usage import Usage
from ..store.names import folded
from ..tau import checked_tau
from . import schemas
from .checkpoints import ReadableFile, ServedFile
from .file_response import FileResponse, FileSource
from .hub_names import BASES, MODELS, commit_of, hub_name
from .operations import (
    LARGEST_PAGE,
    Operation,
    Parameter,
    Serving,
    from_catalog,
    from_contents,
    integer,
    looked_up,
    page_size,
)
from .schemas import COUNT, FLAG, SHA256, TEXT, TIME, array, fields, page, schema_of

OPENAPI_PATH = "/api/v1/openapi.json"
LARGEST_INDEX = 1 << 24
LARGEST_RANK = 1 << 16

_NAME = Parameter("name", "The name of a model.", TEXT, "path")
_REF = Parameter("ref", "A ref: name, name@3 or name@alias.", TEXT, "path")
_LIMIT = Parameter(
    "limit", "Entries of a page.", {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE}
)
_AFTER = Parameter("after", "`next` of the page before.", TEXT)
_AFTER_INDEX = Parameter(
    "after",
    "`next` of the page before.",
    {"type": "integer", "minimum": 0, "maximum": LARGEST_INDEX},
)
_FORM = (
    Parameter(
        "tau",
        "A tau up to the stored one.",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    ),
    Parameter("dtype", "Cast the exact result.", {"enum": list(typing.get_args(FloatDtype))}),
    Parameter("layout", "The layout.", {"enum": list(typing.get_args(LayoutName))}),
)

_LORA = (
    Parameter(
        "rank",
        "The largest rank of a module; for peft, the rank of every module.",
        {"type": "integer", "minimum": 1, "maximum": LARGEST_RANK},
    ),
    Parameter("dtype", "The dtype of the numbers.", {"enum": list(DTYPES)}),
)

_MODEL = fields(name=TEXT, hub_id=TEXT, version_count=COUNT, latest=TEXT)
_BASE = fields(
    name=TEXT,
    hub_id=TEXT,
    digest=SHA256,
    file=SHA256,
    size=COUNT,
    format=TEXT,
    linked=FLAG,
    added=TIME,
)
_DIGEST_START: dict[str, Any] = {"type": "string", "pattern": "^[0-9a-fA-F]{8,64}$"}
_NAME_OR_NULL = {"type": ["string", "null"]}
_MATCH = fields(version=_NAME_OR_NULL, base=_NAME_OR_NULL, by=TEXT, of=TEXT, path=TEXT)
_FILE = fields(path=TEXT, size=COUNT, sha256={"type": ["string", "null"]})
_VERSION = {
    "type": "object",
    "properties": {
        "ref": TEXT,
        "hub_id": TEXT,
        "commit": schemas.COMMIT,
        **{
            name: schema
            for name, schema in schema_of(VersionRecord)["properties"].items()
            if name != "settings"
        },
    },
    "required": ["ref", "hub_id", "commit", "container", "source"],
}


def operations() -> tuple[Operation, ...]:
    """Every operation but those of the hub."""
    error = {404: "error", 503: "error"}
    asked = {400: "error", **error}
    whole = "application/octet-stream"
    file_answers = {200: whole, 206: whole, 304: "", 416: "", **asked}
    return (
        Operation(
            "/api/v1/models",
            "Every model that has a version, by name.",
            from_catalog(_models),
            {200: page("models", _MODEL), 400: "error"},
            (_LIMIT, _AFTER),
        ),
        Operation(
            "/api/v1/models/{name}",
            "A model and its versions, newest first.",
            from_catalog(_model),
            {200: page("versions", _VERSION, **_MODEL["properties"]), 400: "error", 404: "error"},
            (_NAME, _LIMIT, _AFTER_INDEX),
        ),
        Operation(
            "/api/v1/versions/{ref}",
            "A version.",
            from_catalog(_version),
            {200: _VERSION, 404: "error"},
            (_REF,),
        ),
        Operation(
            "/api/v1/versions/{ref}/files",
            "The files of a version, before a byte of them is made.",
            from_contents(_files),
            {200: fields(ref=TEXT, files=array(_FILE)), **asked},
            (_REF, *_FORM),
        ),
        Operation(
            "/api/v1/versions/{ref}/report",
            "The account of a version; its tensors come in pages.",
            from_contents(_report),
            {200: _paged(schema_of(Report)), **asked},
            (_REF, _LIMIT, _AFTER_INDEX),
        ),
        Operation(
            "/api/v1/diff",
            "Two versions compared, from their factors; their tensors come in pages.",
            from_contents(_diff),
            {200: _paged(schema_of(Difference)), **asked},
            (
                dataclasses.replace(_REF, name="left", place="query", is_required=True),
                dataclasses.replace(_REF, name="right", place="query", is_required=True),
                _LIMIT,
                _AFTER_INDEX,
            ),
        ),
        Operation(
            "/api/v1/bases",
            "Every base, by name.",
            from_catalog(_bases),
            {200: page("bases", _BASE), 400: "error"},
            (_LIMIT, _AFTER),
        ),
        Operation(
            "/api/v1/usage",
            "The bytes of the store, by model and by base.",
            from_contents(_usage),
            {200: schema_of(Usage), 503: "error"},
        ),
        Operation(
            "/api/v1/find",
            "Versions and bases by a digest: SHA-256, AutoV1, AutoV2, AutoV3, BLAKE3 or CRC32.",
            from_contents(_find),
            {
                200: fields(
                    digest=_DIGEST_START,
                    matches=array(_MATCH),
                    versions=array(_VERSION),
                    bases=array(_BASE),
                ),
                **asked,
            },
            (
                Parameter(
                    "digest",
                    "The digest, or its first digits: 8 to 64.",
                    _DIGEST_START,
                    is_required=True,
                ),
            ),
        ),
        Operation(
            "/v1/materialize/{ref}",
            "The only file of a version, whole or in ranges.",
            _materialize,
            file_answers,
            (_REF, *_FORM),
        ),
        Operation(
            "/v1/materialize/{ref}/{path}",
            "A file of a version, whole or in ranges.",
            _materialize,
            file_answers,
            (
                _REF,
                Parameter("path", "The path of the file.", TEXT, "path", takes_slashes=True),
                *_FORM,
            ),
        ),
        Operation(
            "/v1/adapters/{ref}",
            "A version as a LoRA file, whole or in ranges; without a format that of most loaders.",
            _adapter,
            file_answers,
            (_REF, Parameter("format", "The format.", {"enum": list(FORMATS)}), *_LORA),
        ),
        Operation(
            "/v1/adapters/{ref}/{path}",
            "A file of a version's folders for PEFT, such as unet/adapter_config.json.",
            _adapter,
            file_answers,
            (
                _REF,
                Parameter("path", "The path of the file.", TEXT, "path", takes_slashes=True),
                Parameter("format", "The format.", {"enum": ["peft"]}),
                *_LORA,
            ),
        ),
        Operation("/metrics", "Figures for Prometheus.", _metrics, {200: "text/plain"}),
        Operation("/healthz", "Whether the server answers.", _health, {200: fields(status=TEXT)}),
    )


def _paged(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a document whose tensors come in pages."""
    properties = dict(schema["properties"])
    return page("tensors", properties.pop("tensors")["items"], **properties)


def _models(serving: Serving, request: Request) -> object:
    after = folded(request.query_params.get("after", ""))
    found = serving.registry.repository.catalog.models()
    left = (m for m in found if m.latest is not None and folded(m.name) > after)
    shown, more = _first(left, page_size(request))
    models = [_model_document(m.name, m.versions, m.latest) for m in shown]
    return {"models": models, "next": shown[-1].name if more else None}


def _model(serving: Serving, request: Request) -> object:
    name = request.path_params["name"]
    newest = looked_up("model", lambda: serving.registry.version(name))
    versions = serving.registry.versions(newest.model)
    before = integer(request, "after", newest.number + 1, 0, LARGEST_INDEX)
    left = (version for version in reversed(versions) if version.number < before)
    shown, more = _first(left, page_size(request))
    return _model_document(newest.model, len(versions), newest.number) | {
        "versions": [_version_document(version) for version in shown],
        "next": str(shown[-1].number) if more else None,
    }


def _version(serving: Serving, request: Request) -> object:
    return _version_document(_asked_version(serving, request.path_params["ref"]))


def _files(serving: Serving, request: Request) -> object:
    version = _asked_version(serving, request.path_params["ref"])
    files = serving.checkpoints.files(version, _asked_form(request))
    listed = [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in files]
    return {"ref": version.ref, "files": listed}


def _report(serving: Serving, request: Request) -> object:
    version = _asked_version(serving, request.path_params["ref"])
    return _with_page_of_tensors(serving.registry.report(version.ref), request)


def _diff(serving: Serving, request: Request) -> object:
    refs = []
    for side in ("left", "right"):
        ref = request.query_params.get(side)
        if ref is None:
            raise InvalidArgument(f"{side} is not given", "Give two refs, left and right.")
        refs.append(_asked_version(serving, ref).ref)
    return _with_page_of_tensors(serving.registry.diff(*refs), request)


def _with_page_of_tensors(found: Report | Difference, request: Request) -> dict[str, Any]:
    start = integer(request, "after", 0, 0, LARGEST_INDEX)
    end = start + page_size(request)
    more = end < len(found.tensors)
    shown = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return shown | {"tensors": found.tensors[start:end], "next": str(end) if more else None}


def _bases(serving: Serving, request: Request) -> object:
    after = folded(request.query_params.get("after", ""))
    left = (base for base in serving.registry.bases() if folded(base.name) > after)
    shown, more = _first(left, page_size(request))
    bases = [_base_document(base) for base in shown]
    return {"bases": bases, "next": shown[-1].name if more else None}


def _usage(serving: Serving, _request: Request) -> object:
    return serving.registry.usage()


def _find(serving: Serving, request: Request) -> object:
    digest = request.query_params.get("digest", "").lower()
    if not re.fullmatch(_DIGEST_START["pattern"], digest):
        raise InvalidArgument("digest is not 8 to 64 hexadecimal digits")
    matches = with_digest(digest, serving.registry.repository)[:LARGEST_PAGE]
    versions = {match.name: match.version for match in matches if match.version is not None}
    bases = {match.name: match.base for match in matches if match.base is not None}
    return {
        "digest": digest,
        "matches": [
            {
                "version": None if match.version is None else match.name,
                "base": None if match.base is None else match.name,
                "by": match.by,
                "of": match.of,
                "path": match.path,
            }
            for match in matches
        ],
        "versions": [_version_document(version) for version in versions.values()],
        "bases": [_base_document(base) for base in bases.values()],
    }


async def _materialize(serving: Serving, request: Request) -> Response:
    form, path = _asked_form(request), request.path_params.get("path")

    def look_up() -> tuple[VersionRecord, ServedFile]:
        version = _asked_version(serving, request.path_params["ref"])
        return version, serving.checkpoints.file(version, path, form)

    version, file = await serving.work.begin(look_up)
    source = FileSource(
        serving.work,
        serving.metrics,
        version.ref,
        lambda: serving.checkpoints.opened(version, file.path, form),
    )
    return FileResponse(source, file, {})  # type: ignore[return-value]


async def _adapter(serving: Serving, request: Request) -> Response:
    path = request.path_params.get("path")
    form = _asked_lora(request, None if path is None else "peft")

    def look_up() -> tuple[VersionRecord, ServedFile]:
        version = _asked_version(serving, request.path_params["ref"])
        with serving.adapters.opened(version, form, path) as adapter:
            return version, adapter.served

    version, served = await serving.work.begin(look_up)

    @contextlib.contextmanager
    def opened() -> Iterator[ReadableFile]:
        with serving.adapters.opened(version, form, path) as adapter:
            if adapter.served != served:  # it left the cache, and another machine's was made
                raise Conflict(f"the adapter of {version.ref} was made anew meanwhile")
            yield adapter.reader

    source = FileSource(serving.work, serving.metrics, f"the adapter of {version.ref}", opened)
    return FileResponse(source, served, {})  # type: ignore[return-value]


async def _metrics(serving: Serving, _request: Request) -> Response:
    return Response(serving.metrics.text(), media_type=serving.metrics.content_type)


async def _health(_serving: Serving, _request: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _asked_version(serving: Serving, ref: str) -> VersionRecord:
    found = looked_up("version", lambda: serving.registry.version(ref))
    assert isinstance(found, VersionRecord)
    return found


def _asked_form(request: Request) -> ResultForm:
    asked = request.query_params
    dtype, layout = asked.get("dtype"), asked.get("layout")
    if dtype is not None and dtype not in typing.get_args(FloatDtype):
        raise InvalidArgument("dtype is not fp32, fp16 or bf16")
    if layout is not None and layout not in typing.get_args(LayoutName):
        raise InvalidArgument("layout is not diffusers or single-file")
    return ResultForm(_asked_tau(asked.get("tau")), dtype, layout)  # type: ignore[arg-type]


def _asked_lora(request: Request, only: Format | None) -> LoraForm:
    """The form of an adapter that the query asks for. `only`: the one format that there is."""
    asked = request.query_params
    format, dtype = asked.get("format", only), asked.get("dtype", DTYPES[0])
    known = FORMATS if only is None else (only,)
    if format is not None and format not in known:
        raise InvalidArgument(f"format is not {' or '.join(known)}")
    if dtype not in DTYPES:
        raise InvalidArgument(f"dtype is not {' or '.join(DTYPES)}")
    rank = integer(request, "rank", 0, 1, LARGEST_RANK) or None
    return LoraForm(format, rank, dtype)


def _asked_tau(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return checked_tau(float(text))
    except ValueError as error:
        raise InvalidArgument("tau is not a number") from error


def _first(left: Iterable[Any], limit: int) -> tuple[list[Any], bool]:
    """The first entries, at most `limit`, and whether there are more."""
    found = list(itertools.islice(left, limit + 1))
    return found[:limit], len(found) > limit


def _model_document(name: str, versions: int, latest: int | None) -> dict[str, Any]:
    hub_id = f"{MODELS}/{hub_name(name)}"
    return {"name": name, "hub_id": hub_id, "version_count": versions, "latest": f"{name}@{latest}"}


def _version_document(version: VersionRecord) -> dict[str, Any]:
    hub = {"hub_id": f"{MODELS}/{hub_name(version.model)}", "commit": commit_of(version)}
    return version_document(version) | hub


def _base_document(base: BaseRecord) -> dict[str, Any]:
    """A base without the path of a linked file, which is of this machine alone."""
    return {
        "name": base.name,
        "hub_id": f"{BASES}/{hub_name(base.name)}",
        "digest": base.digest,
        "file": base.file,
        "size": base.size,
        "format": base.format,
        "linked": base.link is not None,
        "added": base.added,
    }
