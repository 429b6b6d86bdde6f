"""The OpenAPI 3.1 document of the server, made from its operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .. import __version__
from .operations import Operation, Parameter
from .schemas import TEXT, fields

ERROR = fields(error=TEXT, type=TEXT, hint=TEXT)
_MEANINGS = {
    200: "What was asked for.",
    206: "The ranges that were asked for.",
    304: "The client has these bytes already.",
    400: "A parameter is not allowed.",
    404: "There is no such thing.",
    408: "The body did not come.",
    413: "The body is too large.",
    416: "No range lies in the file, or there are too many.",
    503: "Too many requests make bytes; Retry-After says when to try again.",
}


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document, with every operation under its path."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dsvd-registry",
            "version": __version__,
            "description": "A registry of fine-tuned diffusion checkpoints, read only.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{operation.method.lower()}{operation.path}").strip(
            "_"
        ),
        "summary": operation.summary,
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {
            str(status): _answer(status, body) for status, body in operation.answers.items()
        },
    }
    if operation.body is not None:
        kinds = ("application/x-www-form-urlencoded", "application/json")
        content = {kind: {"schema": operation.body} for kind in kinds}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required or parameter.place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }


def _answer(status: int, body: Any) -> dict[str, Any]:
    described: dict[str, Any] = {"description": _MEANINGS[status]}
    if body == "error":
        schema = {"$ref": "#/components/schemas/Error"}
        described["content"] = {"application/json": {"schema": schema}}
    elif isinstance(body, str) and body:
        described["content"] = {body: {}}
    elif body:
        described["content"] = {"application/json": {"schema": dict(body)}}
    return described
