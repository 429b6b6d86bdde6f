"""The read side of the Hugging Face hub: what its clients ask, answered from the registry."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..errors import InvalidArgument, NotFound
from .body import whole_body
from .checkpoints import ServedFile
from .file_response import FileResponse, FileSource
from .hub_documents import refs_document, repository_document, tree_entries
from .hub_names import BASES, MAIN, MODELS, EntryNotFound, Revision
from .operations import Operation, Parameter, Schema, Serving, from_catalog, from_contents, integer
from .schemas import COMMIT, COUNT, FLAG, SHA256, TEXT, TIME, array, fields

TREE_PAGE = 1000

_NAME = Parameter("name", "The name of a model or base.", TEXT, "path")
_REVISION = Parameter("revision", "main, an alias, a number or a commit.", TEXT, "path")
_PATH = Parameter("path", "The path of a folder.", TEXT, "path", takes_slashes=True)
_FILE = Parameter("path", "The path of a file.", TEXT, "path", takes_slashes=True)
_FLAG = {"enum": ["true", "false", "True", "False", "1", "0"]}
_RECURSIVE = Parameter("recursive", "List folders in folders, too.", _FLAG)
_EXPAND = Parameter("expand", "Give the commit of each entry.", _FLAG)
_BLOBS = Parameter("blobs", "Give the size and SHA-256 of each file.", _FLAG)
_LIMIT = Parameter(
    "limit", "Entries of a page.", {"type": "integer", "minimum": 1, "maximum": TREE_PAGE}
)
_CURSOR = Parameter("cursor", "The last path of the page before.", TEXT)

_LFS = fields(oid=SHA256, size=COUNT, pointerSize=COUNT)
_ENTRY = {
    "type": "object",
    "properties": {
        "type": {"enum": ["file", "directory"]},
        "path": TEXT,
        "oid": COMMIT,
        "size": COUNT,
        "lfs": _LFS,
        "lastCommit": fields(id=COMMIT, title=TEXT, date=TIME),
    },
    "required": ["type", "path", "oid", "size"],
    "additionalProperties": False,
}
_REPOSITORY = {
    "type": "object",
    "properties": {
        "id": TEXT,
        "sha": COMMIT,
        "lastModified": TIME,
        "siblings": array({"type": "object", "required": ["rfilename"]}),
    },
    "required": ["id", "sha", "lastModified", "siblings"],
}
_REF = fields(name=TEXT, ref=TEXT, targetCommit=COMMIT)
_REFS = fields(
    branches=array(_REF), tags=array(_REF), converts=array(_REF), pullRequests=array(_REF)
)


def operations() -> tuple[Operation, ...]:
    """The operations for models, for bases, and for models whose organisation is left out."""
    return tuple(
        operation
        for organisation in (MODELS, BASES, "")
        for operation in _operations(organisation, f"{organisation}/{{name}}".lstrip("/"))
    )


def _operations(organisation: str, id: str) -> tuple[Operation, ...]:
    api = f"/api/models/{id}"
    at = functools.partial(_asked_revision, organisation)

    def info(serving: Serving, request: Request) -> object:
        revision = at(serving, request)
        files = serving.checkpoints.files(revision.checkpoint)
        return repository_document(revision, files, blobs=_flag(request, "blobs"))

    def refs(serving: Serving, request: Request) -> object:
        found = serving.hub.branches_and_tags(organisation, request.path_params["name"])
        return refs_document(*found)

    def tree(serving: Serving, request: Request) -> Response:
        return _tree_page(at(serving, request), serving, request)

    async def paths_info(serving: Serving, request: Request) -> Response:
        paths, expand = _asked_paths(
            await whole_body(request), request.headers.get("content-type", "")
        )

        def answer() -> list[dict[str, Any]]:
            revision = at(serving, request)
            entries = tree_entries(revision, serving.checkpoints.files(revision.checkpoint))
            wanted = {path.strip("/") for path in paths}
            return [_shown(entry, expand) for entry in entries if entry["path"] in wanted]

        return JSONResponse(await serving.work.begin(answer))

    async def resolve(serving: Serving, request: Request) -> Response:
        return await _resolve(functools.partial(at, serving, request), serving, request)  # type: ignore[return-value]

    page = (_RECURSIVE, _EXPAND, _LIMIT, _CURSOR)
    error = {404: "error", 503: "error"}
    tree_answers: Mapping[int, Schema | str] = {200: array(_ENTRY), 400: "error", **error}
    bytes_answers = {200: "application/octet-stream", **error}
    return (
        Operation(
            api,
            "A repository at its main revision.",
            from_contents(info),
            {200: _REPOSITORY, 400: "error", **error},
            (_NAME, _BLOBS),
        ),
        Operation(
            f"{api}/revision/{{revision}}",
            "A repository at a revision.",
            from_contents(info),
            {200: _REPOSITORY, 400: "error", **error},
            (_NAME, _REVISION, _BLOBS),
        ),
        Operation(
            f"{api}/refs",
            "The aliases of a model as branches, and its numbers as tags.",
            from_catalog(refs),
            {200: _REFS, **error},
            (_NAME,),
        ),
        Operation(
            f"{api}/tree/{{revision}}",
            "The files of a revision.",
            from_contents(tree),
            tree_answers,
            (_NAME, _REVISION, *page),
        ),
        Operation(
            f"{api}/tree/{{revision}}/{{path}}",
            "The files of a folder of a revision.",
            from_contents(tree),
            tree_answers,
            (_NAME, _REVISION, _PATH, *page),
        ),
        Operation(
            f"{api}/paths-info/{{revision}}",
            "The entries of the paths that are given, of those that are there.",
            paths_info,
            {200: array(_ENTRY), 400: "error", 408: "error", 413: "error", **error},
            (_NAME, _REVISION),
            method="POST",
            body={
                "type": "object",
                "properties": {"paths": array(TEXT), "expand": FLAG},
                "required": ["paths"],
            },
        ),
        Operation(
            f"/{id}/resolve/{{revision}}/{{path}}",
            "A file of a revision, whole or in ranges.",
            resolve,
            {206: "application/octet-stream", 304: "", 416: "", **bytes_answers},
            (_NAME, _REVISION, _FILE),
        ),
        Operation(
            f"/{id}/resolve/{{revision}}/{{path}}",
            "The size and the tag of a file, before a byte of it is made.",
            resolve,
            {304: "", **bytes_answers},
            (_NAME, _REVISION, _FILE),
            method="HEAD",
        ),
    )


def _asked_revision(organisation: str, serving: Serving, request: Request) -> Revision:
    parameters = request.path_params
    return serving.hub.revision(organisation, parameters["name"], parameters.get("revision", MAIN))


async def _resolve(
    find: Callable[[], Revision], serving: Serving, request: Request
) -> FileResponse:
    path = request.path_params["path"]

    def look_up() -> tuple[Revision, ServedFile]:
        revision = find()
        try:
            return revision, serving.checkpoints.file(revision.checkpoint, path)
        except NotFound as error:
            raise EntryNotFound(str(error), error.hint) from None

    revision, file = await serving.work.begin(look_up)
    source = FileSource(
        serving.work,
        serving.metrics,
        f"{revision.id} at {revision.commit[:12]}",
        lambda: serving.checkpoints.opened(revision.checkpoint, file.path),
    )
    headers = {
        "X-Repo-Commit": revision.commit,
        "X-Linked-Size": str(file.size),
        "X-Linked-Etag": f'"{file.tag}"',
    }
    return FileResponse(source, file, headers)


def _tree_page(revision: Revision, serving: Serving, request: Request) -> Response:
    entries = tree_entries(revision, serving.checkpoints.files(revision.checkpoint))
    folder = request.path_params.get("path", "").strip("/")
    if folder and not any(
        entry["path"] == folder and entry["type"] == "directory" for entry in entries
    ):
        raise EntryNotFound("the revision has no such folder", "Its tree lists its files.")
    start = f"{folder}/" if folder else ""
    inside = [entry for entry in entries if entry["path"].startswith(start)]
    if not _flag(request, "recursive"):
        inside = [entry for entry in inside if "/" not in entry["path"].removeprefix(start)]
    limit = integer(request, "limit", TREE_PAGE, 1, TREE_PAGE)
    after = request.query_params.get("cursor", "")
    left = [entry for entry in inside if entry["path"] > after]
    expand = _flag(request, "expand")
    response = JSONResponse([_shown(entry, expand) for entry in left[:limit]])
    if len(left) > limit:
        query = dict(request.query_params) | {"cursor": left[limit - 1]["path"]}
        url = request.url.replace(query=urlencode(query))
        response.headers["Link"] = f'<{url}>; rel="next"'
    return response


def _shown(entry: dict[str, Any], expand: bool) -> dict[str, Any]:
    return entry if expand else {k: v for k, v in entry.items() if k != "lastCommit"}


def _flag(request: Request, name: str) -> bool:
    return _truth(request.query_params.get(name, "false"), name)


def _truth(text: object, name: str) -> bool:
    """A yes or no, as text in any of the ways that clients write it. Raises `InvalidArgument`."""
    if isinstance(text, bool):
        return text
    if text not in _FLAG["enum"]:
        raise InvalidArgument(f"{name} is neither true nor false")
    return text in ("true", "True", "1")


def _asked_paths(body: bytes, content_type: str) -> tuple[list[str], bool]:
    """The paths of a form, as huggingface_hub sends it, or of JSON. Raises `InvalidArgument`."""
    try:
        if content_type.partition(";")[0].strip().lower() == "application/json":
            document = json.loads(body)
            if not isinstance(document, dict):
                raise ValueError
            paths, expand = document.get("paths"), document.get("expand", False)
        else:
            pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict")
            paths = [value for name, value in pairs if name == "paths"]
            expand = dict(pairs).get("expand", "false")
    except (ValueError, RecursionError):
        raise InvalidArgument("the body is neither a form nor JSON") from None
    if not isinstance(paths, list) or not paths or not all(isinstance(p, str) for p in paths):
        raise InvalidArgument("the body names no paths", "Give a list of texts as `paths`.")
    return paths, _truth(expand, "expand")
