"""The JSON API against what the registry itself says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry import Registry

from .conftest import Shelf
from .running import RunningServer, serving


def document(server: RunningServer, path: str, status: int = 200) -> Any:
    found = server.get(path)
    assert found.status == status, found.body
    assert found.headers["content-type"] == "application/json"
    return found.document


def pages(server: RunningServer, path: str, name: str, size: int) -> list[Any]:
    """Every entry of a list, from pages of this size."""
    found: list[Any] = []
    sign = "&" if "?" in path else "?"
    after = ""
    while True:
        page = document(server, f"{path}{sign}limit={size}{after}")
        found += page[name]
        if page["next"] is None:
            return found
        assert len(page[name]) == size
        after = f"&after={page['next']}"


def test_models(server: RunningServer) -> None:
    found = document(server, "/api/v1/models")
    assert found["next"] is None
    assert [(m["name"], m["version_count"], m["latest"]) for m in found["models"]] == [
        ("exact", 1, "exact@1"),
        ("odd--name.git", 1, "odd--name.git@1"),
        ("single", 1, "single@1"),
        ("subject", 2, "subject@2"),
    ]
    assert pages(server, "/api/v1/models", "models", 1) == found["models"]
    assert pages(server, "/api/v1/models", "models", 3) == found["models"]


def test_a_model_and_its_versions(server: RunningServer, shelf: Shelf) -> None:
    found = document(server, "/api/v1/models/subject")
    assert [version["ref"] for version in found["versions"]] == ["subject@2", "subject@1"]
    assert pages(server, "/api/v1/models/subject", "versions", 1) == found["versions"]
    with Registry.open(shelf.registry) as registry:
        first = registry.version("subject@1")
    shown = document(server, "/api/v1/versions/subject@prod")
    assert shown == found["versions"][1]
    assert (shown["container"], shown["size"]) == (first.container, first.size)
    assert (shown["tau"], shown["aliases"], shown["base_name"]) == (0.5, ["prod"], "pipeline")


def test_the_commit_and_the_id_are_those_of_the_hub(server: RunningServer) -> None:
    for ref in ("subject@1", "odd--name.git"):
        version = document(server, f"/api/v1/versions/{ref}")
        hub = document(server, f"/api/models/{version['hub_id']}/revision/{version['commit']}")
        assert (hub["sha"], hub["id"]) == (version["commit"], version["hub_id"])
    assert version["hub_id"] not in ("dsvd/odd--name.git", "odd--name.git")


def test_files(server: RunningServer, shelf: Shelf) -> None:
    found = document(server, "/api/v1/versions/exact/files")
    assert {file["path"]: (file["size"], file["sha256"]) for file in found["files"]} == {
        path.relative_to(shelf.tuned).as_posix(): (
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in shelf.tuned.rglob("*")
        if path.is_file()
    }
    cast = document(server, "/api/v1/versions/single/files?dtype=fp16")["files"]
    got = server.get("/v1/materialize/single?dtype=fp16").body
    assert cast == [{"path": "model.safetensors", "size": len(got), "sha256": None}]


def test_a_report(server: RunningServer, shelf: Shelf) -> None:
    whole = document(server, "/api/v1/versions/subject/report?limit=200")
    with Registry.open(shelf.registry) as registry:
        report = registry.report("subject")
    assert whole["total"] == report.total > 200
    tensors = pages(server, "/api/v1/versions/subject/report", "tensors", 150)
    assert [row["name"] for row in tensors] == [row.name for row in report.tensors]
    assert sum(row["stored_bytes"] for row in tensors) == sum(
        row.stored_bytes for row in report.tensors
    )


def test_a_difference(server: RunningServer, shelf: Shelf) -> None:
    path = "/api/v1/diff?left=subject@1&right=subject@2"
    found = document(server, path)
    with Registry.open(shelf.registry) as registry:
        difference = registry.diff("subject@1", "subject@2")
    assert (found["distance"], found["cosine"]) == (difference.distance, difference.cosine)
    assert len(pages(server, path, "tensors", 200)) == len(difference.tensors)
    assert document(server, "/api/v1/diff?left=subject@1", 400)["type"] == "InvalidArgument"
    assert document(server, "/api/v1/diff?left=none&right=subject", 404)["type"] == "NotFound"


def test_bases_and_usage(server: RunningServer, shelf: Shelf) -> None:
    (base,) = document(server, "/api/v1/bases")["bases"]
    with Registry.open(shelf.registry) as registry:
        known, usage = registry.base("pipeline"), registry.usage()
    assert (base["name"], base["digest"], base["size"]) == ("pipeline", known.digest, known.size)
    found = document(server, "/api/v1/usage")
    assert (found["total"], found["reclaimable"]) == (usage.total, usage.reclaimable)
    assert [m["name"] for m in found["models"]] == [m.name for m in usage.models]


def test_find(server: RunningServer, shelf: Shelf) -> None:
    sha256 = hashlib.sha256(shelf.tuned_file.read_bytes()).hexdigest()
    with Registry.open(shelf.registry) as registry:
        single, base = registry.version("single"), registry.base("pipeline")
    assert single.residual is not None

    def found(digest: str) -> tuple[list[str], list[str]]:
        answer = document(server, f"/api/v1/find?digest={digest}")
        assert {m["version"] for m in answer["matches"] if m["version"]} == {
            v["ref"] for v in answer["versions"]
        }
        whole = [m["version"] for m in answer["matches"] if m["version"] and not m["path"]]
        return list(dict.fromkeys(whole)), [b["name"] for b in answer["bases"]]

    assert found(sha256) == (["odd--name.git@1", "single@1"], [])
    # It is also a file of the folder that others were made of.
    inside = document(server, f"/api/v1/find?digest={sha256}")["matches"]
    path = str(shelf.tuned_file.relative_to(shelf.tuned))
    in_folders = {(m["version"], m["of"]) for m in inside if m["path"] == path}
    assert in_folders >= {("exact@1", "source"), ("subject@1", "source"), ("subject@2", "source")}
    assert found(single.container) == (["single@1"], [])
    assert found(single.residual.sha256) == (["single@1"], [])
    assert found(base.digest) == found(base.file) == ([], ["pipeline"])
    assert found("0" * 64) == ([], [])
    assert found(sha256.upper()) == found(sha256[:10]) == found(sha256)
    body = shelf.tuned_file.read_bytes()
    data = body[8 + int.from_bytes(body[:8], "little") :]
    answer = document(server, f"/api/v1/find?digest={hashlib.sha256(data).hexdigest()[:12]}")
    assert {m["by"] for m in answer["matches"]} == {"AutoV3"}
    assert "single@1" in [m["version"] for m in answer["matches"]]
    for bad in ("", "0" * 7, "0" * 65, sha256 + "%0a", "%25", "0000000g"):
        document(server, f"/api/v1/find?digest={bad}", 400)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "limit=-1", "limit=", "limit=9999999999999999999"]
)
def test_a_page_has_a_largest_size(server: RunningServer, query: str) -> None:
    found = document(server, f"/api/v1/models?{query}", 400)
    assert found["type"] == "InvalidArgument"
    assert found["error"].startswith("limit is not")


def test_what_is_not_there(server: RunningServer) -> None:
    for path in ("models/none", "versions/none", "versions/subject@9", "versions/con/report"):
        assert document(server, f"/api/v1/{path}", 404)["type"] == "NotFound"
    for path in ("single/none", "exact", "exact/unet", "none", "subject@9/model.safetensors"):
        assert document(server, f"/v1/materialize/{path}", 404)["type"] == "NotFound"
    found = document(server, "/v1/materialize/subject@1/model_index.json?tau=0.9", 404)
    assert found["type"] == "TauNotServed"


def test_versions_that_are_added_and_removed_while_it_runs(shelf: Shelf, tmp_path: Path) -> None:
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", shelf.base_file)
        with serving(tmp_path / "registry", tmp_path / "run") as server:
            assert document(server, "/api/v1/models")["models"] == []
            registry.add(shelf.tuned_file, base="base", name="new", lossless=True)
            assert server.get("/v1/materialize/new").body == shelf.tuned_file.read_bytes()
            first = document(server, "/api/models/dsvd/new")["sha"]
            registry.thin("new")
            assert document(server, "/api/models/dsvd/new")["sha"] != first
            assert server.get("/v1/materialize/new").body != shelf.tuned_file.read_bytes()
            registry.remove_version("new@1")
            assert document(server, "/api/v1/models")["models"] == []
            assert server.get("/v1/materialize/new").status == 404
            assert server.get(f"/dsvd/new/resolve/{first}/model.safetensors").status == 404


def test_the_tree_comes_in_pages(server: RunningServer, shelf: Shelf) -> None:
    path = "/api/models/dsvd/exact/tree/main?recursive=true"
    whole = document(server, path)
    found, following = [], f"{path}&limit=4"
    while following:
        answer = server.get(following)
        found += json.loads(answer.body)
        link = answer.headers.get("link", "")
        assert link == "" or link.startswith(f"<{server.url}/api/models/")
        following = link.partition(">")[0].removeprefix(f"<{server.url}")
    assert found == whole
    assert len({entry["path"] for entry in whole}) == len(whole) > 8
