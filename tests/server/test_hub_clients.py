"""Unmodified clients of the hub, each in a process of its own, with HF_ENDPOINT set to a server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Shelf
from .running import SECONDS, RunningServer, environment


def run_client(server: RunningServer, home: Path, code: str, *arguments: object) -> Any:
    """What a program prints at last, as JSON, with nothing of the hub but the server's address."""
    done = subprocess.run(
        (sys.executable, "-c", code, *map(str, arguments)),
        env=environment(
            HF_ENDPOINT=server.url, HF_HOME=str(home), HF_HUB_DISABLE_PROGRESS_BARS="1"
        ),
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


DOWNLOAD = """
import json, sys
from huggingface_hub import HfApi, snapshot_download
from pathlib import Path
id, revision = sys.argv[1], sys.argv[2] or None
folder = Path(snapshot_download(id, revision=revision))
files = {p.relative_to(folder).as_posix(): str(p.resolve()) for p in folder.rglob("*") if p.is_file()}
listed = HfApi().list_repo_files(id, revision=revision)
print(json.dumps({"files": files, "listed": listed, "commit": folder.name}))
"""


@pytest.mark.parametrize(
    ("id", "revision", "what"),
    [
        ("dsvd/exact", "", "tuned"),
        ("exact", "1", "tuned"),
        ("dsvd/subject", "prod", "subject@1"),
        ("dsvd/subject", "latest", "subject@2"),
        ("bases/pipeline", "", "base"),
        ("dsvd/single", "", "tuned.safetensors"),
    ],
)
def test_snapshot_download(
    server: RunningServer, shelf: Shelf, tmp_path: Path, id: str, revision: str, what: str
) -> None:
    found = run_client(server, tmp_path, DOWNLOAD, id, revision)
    here = {"tuned": shelf.tuned, "base": shelf.base, "tuned.safetensors": shelf.tuned_file}
    place = here[what] if what in here else shelf.truth(what)
    truth = contents(place) if place.is_dir() else {"model.safetensors": place.read_bytes()}
    assert {path: Path(at).read_bytes() for path, at in found["files"].items()} == truth
    assert sorted(found["listed"]) == sorted(truth)


ONE_BY_ONE = """
import json, sys
from huggingface_hub import HfApi, HfFileSystem, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub import utils
api, fs, path = HfApi(), HfFileSystem(), "unet/diffusion_pytorch_model.safetensors"
whole = open(hf_hub_download("dsvd/exact", path), "rb").read()
with fs.open(f"dsvd/exact/{path}") as file:
    start, middle = file.read(100), file.seek(1000) and file.read(5000)
assert (start, middle) == (whole[:100], whole[1000:6000])
with fs.open(f"dsvd/exact@1/{path}", block_size=1000) as file:
    assert file.read() == whole
assert fs.cat_file(f"dsvd/exact/{path}", 7, 77) == whole[7:77]
metadata = get_hf_file_metadata(hf_hub_url("dsvd/exact", path))
infos = api.get_paths_info("dsvd/exact", [path, "unet", "no such file"], expand=True)
blobs = api.model_info("dsvd/exact", files_metadata=True)
refs = api.list_repo_refs("dsvd/subject")
errors = []
for call in (
    lambda: api.model_info("dsvd/none"),
    lambda: api.model_info("dsvd/exact", revision="none"),
    lambda: hf_hub_download("dsvd/exact", "none.json"),
    lambda: list(api.list_repo_tree("dsvd/exact", "none")),
):
    try:
        call()
    except Exception as error:
        errors.append(type(error).__name__)
print(json.dumps({
    "size": metadata.size, "etag": metadata.etag, "commit": metadata.commit_hash,
    "infos": [(i.path, type(i).__name__, i.last_commit.oid) for i in infos],
    "lfs": [i.lfs.sha256 for i in infos if hasattr(i, "lfs")],
    "blobs": {s.rfilename: (s.size, s.lfs.sha256) for s in blobs.siblings},
    "sha": blobs.sha, "library": blobs.library_name,
    "refs": {b.name: b.target_commit for b in [*refs.branches, *refs.tags]},
    "globbed": fs.glob("dsvd/exact/**/*.json"), "exists": fs.exists("dsvd/exact/none"),
    "errors": errors, "is_dir": fs.isdir("dsvd/exact/unet"),
}))
"""


def test_files_one_by_one(server: RunningServer, shelf: Shelf, tmp_path: Path) -> None:
    import hashlib

    found = run_client(server, tmp_path, ONE_BY_ONE)
    truth = contents(shelf.tuned)
    unet = truth["unet/diffusion_pytorch_model.safetensors"]
    sha256 = hashlib.sha256(unet).hexdigest()
    assert (found["size"], found["etag"]) == (len(unet), sha256)
    commit = found["commit"]
    assert found["infos"] == [
        ["unet", "RepoFolder", commit],
        ["unet/diffusion_pytorch_model.safetensors", "RepoFile", commit],
    ]
    assert found["lfs"] == [sha256]
    assert found["blobs"] == {
        path: [len(data), hashlib.sha256(data).hexdigest()] for path, data in truth.items()
    }
    assert (found["sha"], found["library"]) == (commit, "diffusers")
    refs = found["refs"]
    assert refs.keys() == {"main", "latest", "prod", "1", "2"}
    assert refs["main"] == refs["latest"] == refs["2"] != refs["prod"] == refs["1"]
    assert found["globbed"] == [
        f"dsvd/exact/{path}" for path in sorted(truth) if path.endswith(".json")
    ]
    assert found["errors"] == [
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "RemoteEntryNotFoundError",
    ]
    assert (found["exists"], found["is_dir"]) == (False, True)


LOADED = """
import json, sys, torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel
from safetensors.torch import load_file, save_file
from pathlib import Path

def parts(id, revision):
    more = {"revision": revision, "tokenizer": None, "safety_checker": None, "feature_extractor": None}
    pipeline = DiffusionPipeline.from_pretrained(id, **more)
    yield "pipeline unet", pipeline.unet.state_dict(), "unet/diffusion_pytorch_model.safetensors"
    yield "pipeline vae", pipeline.vae.state_dict(), "vae/diffusion_pytorch_model.safetensors"
    text = pipeline.text_encoder.state_dict()
    yield "pipeline text", text, "text_encoder/model.safetensors"
    unet = UNet2DConditionModel.from_pretrained(id, subfolder="unet", revision=revision)
    yield "unet", unet.state_dict(), "unet/diffusion_pytorch_model.safetensors"
    text = CLIPTextModel.from_pretrained(id, subfolder="text_encoder", revision=revision)
    yield "text", text.state_dict(), "text_encoder/model.safetensors"

same = {}
for id, revision, folder in (("dsvd/exact", "main", sys.argv[1]), ("dsvd/subject", "1", sys.argv[2])):
    for what, loaded, path in parts(id, revision):
        truth = load_file(Path(folder) / path)
        def bits(t):
            return t.contiguous().reshape(-1).view(torch.uint8)
        named = {n: t for n, t in loaded.items() if n in truth}
        same[f"{id} {what}"] = len(named) == len(truth) > 0 and all(
            torch.equal(bits(named[n]), bits(truth[n])) for n in truth
        )
print(json.dumps(same))
"""


def test_diffusers_and_transformers_load_the_same_bits(
    server: RunningServer, shelf: Shelf, tmp_path: Path
) -> None:
    same = run_client(server, tmp_path, LOADED, shelf.tuned, shelf.truth("subject@1"))
    assert len(same) == 10
    assert all(same.values()), same


def test_curl_reads_ranges(server: RunningServer, shelf: Shelf, tmp_path: Path) -> None:
    truth = shelf.tuned_file.read_bytes()
    url = f"{server.url}/v1/materialize/single"

    def curl(*words: str) -> bytes:
        command = ("curl", "--silent", "--show-error", "--fail", "--noproxy", "*", *words)
        return subprocess.run(command, check=True, capture_output=True, timeout=SECONDS).stdout

    assert curl("-r", "100-299", url) == truth[100:300]
    assert curl("-r", "-64", url) == truth[-64:]
    part = tmp_path / "part"
    part.write_bytes(truth[:12345])
    curl("-C", "-", "-o", str(part), url)  # goes on where an earlier download stopped
    assert part.read_bytes() == truth
    assert curl("-r", "0-9,20-29", url).count(b"Content-Range: bytes ") == 2


SAFETENSORS = """
import json, sys, urllib.request
from safetensors import safe_open
urllib.request.urlretrieve(sys.argv[1], sys.argv[2])
same = []
with safe_open(sys.argv[2], "pt") as got, safe_open(sys.argv[3], "pt") as truth:
    assert set(got.keys()) == set(truth.keys())
    same = [bool((got.get_tensor(n) == truth.get_tensor(n)).all()) for n in truth.keys()]
print(json.dumps(same))
"""


def test_safetensors_opens_what_is_served(
    server: RunningServer, shelf: Shelf, tmp_path: Path
) -> None:
    url = f"{server.url}/v1/materialize/single"
    same = run_client(server, tmp_path, SAFETENSORS, url, tmp_path / "got", shelf.tuned_file)
    assert same and all(same)
