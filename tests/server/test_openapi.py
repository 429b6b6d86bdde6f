"""The OpenAPI document against the routes, and a fuzz of every operation that it describes."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from .running import RunningServer

OF_A_REPOSITORY = (
    ("GET", "/api/models/{id}"),
    ("GET", "/api/models/{id}/revision/{{revision}}"),
    ("GET", "/api/models/{id}/refs"),
    ("GET", "/api/models/{id}/tree/{{revision}}"),
    ("GET", "/api/models/{id}/tree/{{revision}}/{{path}}"),
    ("POST", "/api/models/{id}/paths-info/{{revision}}"),
    ("GET", "/{id}/resolve/{{revision}}/{{path}}"),
    ("HEAD", "/{id}/resolve/{{revision}}/{{path}}"),
)
OPERATIONS = [
    *(
        (method, path.format(id=id))
        for id in ("dsvd/{name}", "bases/{name}", "{name}")
        for method, path in OF_A_REPOSITORY
    ),
    ("GET", "/api/v1/models"),
    ("GET", "/api/v1/models/{name}"),
    ("GET", "/api/v1/versions/{ref}"),
    ("GET", "/api/v1/versions/{ref}/files"),
    ("GET", "/api/v1/versions/{ref}/report"),
    ("GET", "/api/v1/versions/{ref}/metadata"),
    ("GET", "/api/v1/versions/{ref}/attachments"),
    ("GET", "/api/v1/versions/{ref}/attachments/{name}"),
    ("GET", "/api/v1/versions/{ref}/preview"),
    ("GET", "/api/v1/diff"),
    ("GET", "/api/v1/bases"),
    ("GET", "/api/v1/usage"),
    ("GET", "/api/v1/find"),
    ("GET", "/v1/materialize/{ref}"),
    ("GET", "/v1/materialize/{ref}/{path}"),
    ("GET", "/v1/adapters/{ref}"),
    ("GET", "/v1/adapters/{ref}/{path}"),
    ("GET", "/metrics"),
    ("GET", "/healthz"),
]
"""Every operation that the server is to have, written down here a second time."""
UNET, CONFIGURATION = "unet/diffusion_pytorch_model.safetensors", "unet/adapter_config.json"
REAL = {
    "name": ["exact", "subject", "pipeline", "single", "preview.png"],
    "ref": ["exact", "subject@1", "subject@prod", "single"],
    "left": ["subject@1", "exact"],
    "right": ["subject@2"],
    "revision": ["main", "1", "prod", "latest"],
    "path": [UNET, "unet", "model_index.json", "model.safetensors", CONFIGURATION],
    "rank": [1],
}
"""Values that mean something in the tests' registry, so that the fuzz finds more than missing things."""


@pytest.fixture(scope="module")
def document(server: RunningServer) -> dict[str, Any]:
    found: dict[str, Any] = server.get("/api/v1/openapi.json").document
    return found


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, found in document["paths"].items() for method in found}


def test_the_document_describes_every_operation(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert described(document) == set(OPERATIONS)


def names(path: str) -> str:
    if "attachments" in path:
        return "preview.png"
    return "pipeline" if "bases/" in path else "exact"


def real(path: str) -> str:
    """The path with names of things that there are, and a query that every operation takes."""
    values = {
        "name": names(path),
        "ref": "single" if path == "/v1/materialize/{ref}" else "exact",
        "revision": "main",
        "path": "unet" if "/tree/" in path else UNET,
    }
    if path.startswith("/v1/adapters"):
        values["path"] = CONFIGURATION
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    return path + "?left=subject@1&right=subject@2&digest=" + "0" * 64


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_is_described_is_routed(server: RunningServer, method: str, path: str) -> None:
    """By this method, HEAD beside GET, and no other."""
    body = b'{"paths": ["unet"]}' if method == "POST" else None
    found = server.request(method, real(path), body, Content_Type="application/json")
    assert found.status == 200
    for other in ("PUT", "DELETE", "PATCH"):
        assert server.request(other, real(path)).status == 405


def test_nothing_else_is_routed(server: RunningServer) -> None:
    for path in ("/api", "/api/v1", "/v1/materialize", "/docs", "/api/models"):
        found = server.get(path)
        assert (found.status, found.document["type"]) == (404, "HTTPException")


@pytest.fixture(scope="module")
def fuzzed(server: RunningServer, document: dict[str, Any]) -> Any:
    """The document as schemathesis reads it, with real names among the values that it tries."""
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in REAL:
                    real = {"enum": REAL[parameter["name"]]}
                    parameter["schema"] = {"anyOf": [real, real, parameter["schema"]]}
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=server.url)
    return schema


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_any_request_gets_a_described_answer(fuzzed: Any, method: str, path: str) -> None:
    """Values that fit the document and values that do not: no error of the server, no undescribed
    status, and bodies as described. That a valid request succeeds is not asked: names may be of
    nothing, and whether a tau or a layout is served is the version's own.
    """
    operation = fuzzed[path][method]
    modes = [schemathesis.GenerationMode.POSITIVE]
    if operation.query or operation.body:
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    for mode in modes:

        @settings(
            max_examples=12,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def fuzz(case: Any) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=60)

        fuzz()
