"""A registry in a bucket, by the commands: each says and makes what it does in a folder."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from seaweed import Seaweed
from small_pictures import picture

from dsvd_registry import Registry
from dsvd_registry.registry.repository import found_home
from dsvd_registry.store import bucket_registry
from dsvd_registry.store.bucket_url import parse
from dsvd_registry.store.folder_backend import FolderBackend

from .conftest import Dsvd

TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d\.\d{6}Z)?")

COMMANDS = [
    "base add sd15 {base}", "base ls", "base show sd15", "add {ft} --base sd15 --name dog --tau 0.8",
    "add {ft} --base sd15 --name dog --tau 0.8", "add {other} --base sd15 --name cat --lossless",
    "ls", "ls d* --json", "show dog", "show cat --json", "log dog", "find {ft}", "diff dog cat",
    "materialize dog -o {out}/dog.safetensors", "materialize dog --tau 0.2 -o {out}/less.safetensors",
    "materialize cat -o {out}/cat.safetensors", "cat dog --offset 100 --size 50", "alias set prod dog@1",
    "tag add dog@1 brown", "note dog ears", "meta set dog trigger=sks", "meta get dog",
    "attach dog {picture}", "attachments dog", "export dog --format dsvd -o {out}/dog.dsvd",
    "rm dog@1 --yes", "alias rm dog@prod", "rm dog@1 --yes", "ls", "import {out}/dog.dsvd --name dog",
    "merge dog:0.5 cat:0.5 --take-from cat --name both", "show both", "detach dog dog.preview.png",
    "thin cat --yes",
    "verify --all --deep", "gc --grace 0", "gc --grace 0", "du", "base rm sd15", "catalog rebuild",
    "verify --all --json", "show none", "materialize cat -o {out}/cat.safetensors",
]  # fmt: skip


@pytest.fixture
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes this process another machine, as far as a bucket knows."""
    return lambda name: monkeypatch.setenv("DSVD_CACHE", str(tmp_path / name))


def test_every_command(
    dsvd: Dsvd, here: Path, checkpoints: Path, bucket_url: str, caches: Callable[[str], None]
) -> None:
    caches("cache")
    (here / "dog.preview.png").write_bytes(picture())
    said: list[tuple[list[tuple[str, int, str, str]], dict[str, bytes]]] = []
    for registry in (str(here / "registry"), bucket_url):
        out = here / f"out-{len(said)}"
        out.mkdir()
        places = {
            "base": checkpoints / "base.safetensors", "ft": checkpoints / "ft.safetensors",
            "other": checkpoints / "other.ckpt", "out": out, "picture": here / "dog.preview.png",
        }  # fmt: skip
        assert dsvd("init", registry).out.startswith(f"made a registry in {registry}\n")
        answers = []
        for command in COMMANDS:
            found = dsvd("--registry", registry, *command.format(**places).split())
            out_err = [
                TIME.sub("T", text.replace(registry, "R").replace(str(out), "O"))
                for text in (found.out, found.err)
            ]
            answers.append((command, found.code, *out_err))
        made = {path.name: path.read_bytes() for path in out.iterdir()}
        said.append((answers, made))
    assert said[0][0] == said[1][0]
    assert said[0][1] == said[1][1] and len(said[0][1]) == 5
    refused = [command.split()[0] for command, code, _, _ in said[1][0] if code]
    assert refused == ["rm", "base", "show", "materialize"]
    folder, bucket = FolderBackend(here / "registry"), found_home(bucket_url).backend
    for prefix in ("objects/", "events/"):
        keys = [[entry.key for entry in one.list(prefix)] for one in (folder, bucket)]
        assert keys[0] == keys[1]
    for entry in folder.list("objects/"):
        assert folder.read(entry.key) == bucket.read(entry.key)


def refused(dsvd: Dsvd, *words: str) -> tuple[int, str]:
    """The exit code and the error of a command that does nothing else."""
    found = dsvd(*words)
    assert found.out == "" and "Traceback" not in found.err
    return found.code, found.err


def test_how_a_bucket_is_named(
    dsvd: Dsvd, bucket_url: str, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    """By --registry, before and after the command, and by DSVD_REGISTRY; --registry goes first."""
    assert dsvd("--registry", bucket_url, "init", "--json").document == {"path": bucket_url}
    assert dsvd("ls", "--registry", f"{bucket_url}/").code == 0
    monkeypatch.setenv("DSVD_REGISTRY", bucket_url)
    assert dsvd("ls").code == 0 and not list(here.iterdir())
    assert dsvd("init", "a").code == 0 and dsvd("--registry", "a", "verify", "--all").code == 0
    assert refused(dsvd, "init") == (
        4, f"error: {bucket_url} is a registry already\nhint: Use it as it is.\n"
    )  # fmt: skip


def test_what_cannot_be_opened(
    dsvd: Dsvd, bucket_url: str, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence each, its exit code, and no secret."""
    code, said = refused(dsvd, "--registry", bucket_url, "ls")
    assert (code, said.split("\n")[0]) == (
        3, f"error: {bucket_url} is not a registry: it has no registry.json"
    )  # fmt: skip
    code, said = refused(dsvd, "--registry", "s3://nowhere/a", "ls")
    assert (code, "the bucket of s3://nowhere/a does not exist" in said) == (3, True)
    code, said = refused(dsvd, "init", "s3://nowhere/a")
    assert (code, "the bucket of s3://nowhere/a does not exist" in said) == (3, True)
    code, said = refused(dsvd, "--registry", "s3://me:secret@studio/a", "ls")
    assert (code, "credential" in said, "secret" in said) == (2, True, False)
    code, said = refused(dsvd, "--registry", "ftp://studio/a", "ls")
    assert code == 2 and "begins with s3://, gs:// or az://" in said
    assert dsvd("init", bucket_url).code == 0
    backend = found_home(bucket_url).backend
    backend.create("events/000000/000000001.json", b"{}")
    assert refused(dsvd, "--registry", bucket_url, "ls")[0] == 8
    backend.delete("registry.json")
    code, said = refused(dsvd, "init", bucket_url)
    assert code == 4 and "is not empty: it has keys below events/" in said
    backend.create("registry.json", b'{"format":"dsvd-registry","version":3}')
    code, said = refused(dsvd, "--registry", bucket_url, "ls")
    assert code == 8 and "made by a newer version" in said
    monkeypatch.setitem(sys.modules, "obstore", None)
    code, said = refused(dsvd, "--registry", bucket_url, "ls")
    assert code == 2 and "pip install 'dsvd-registry[cloud]'" in said


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("reader", "this credential may not write in"),
        ("nolist", "this credential may not list in"),
        ("nobody", "is not accepted (403 InvalidAccessKeyId)"),
    ],
)
def test_who_may_not(
    dsvd: Dsvd,
    checkpoints: Path,
    bucket_url: str,
    seaweed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
    caches: Callable[[str], None],
    user: str,
    said: str,
) -> None:
    """Whoever may only read can read everything; a write leaves nothing."""
    caches("first")
    base = str(checkpoints / "base.safetensors")
    monkeypatch.setenv("DSVD_REGISTRY", bucket_url)
    assert dsvd("init").code == 0 and dsvd("base", "add", "sd15", base).code == 0
    caches("second")
    for name, value in seaweed.environment(user).items():
        monkeypatch.setenv(name, value)
    if user == "reader":
        assert dsvd("base", "ls").code == dsvd("verify", "--all", "--deep").code == 0
    code, error = refused(dsvd, "base", "add", "other", str(checkpoints / "ft.safetensors"))
    assert code == 9 and said in error and f"{user}-secret" not in error
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    assert dsvd("verify", "--all").out == "0 versions, 1 base: all is well\n"


def test_a_folder_copied_into_a_bucket_is_a_registry(
    dsvd: Dsvd, filled: Path, bucket_url: str, caches: Callable[[str], None], tmp_path: Path
) -> None:
    """And the other way round: the keys are the files."""
    caches("cache")
    url = parse(bucket_url)
    there = bucket_registry._home(url, {"DSVD_CACHE": str(tmp_path / "copier")}).backend
    for path in sorted(filled.rglob("*")):
        key = path.relative_to(filled).as_posix()
        if path.is_file() and key.startswith(("objects/", "events/", "registry.json")):
            there.create(key, path.read_bytes())
    here = json.loads(dsvd("--registry", str(filled), "ls", "--json").out)
    assert json.loads(dsvd("--registry", bucket_url, "ls", "--json").out) == here and len(here) == 2
    assert dsvd("--registry", bucket_url, "tag", "add", "subject-42@1", "seen").code == 0
    back = tmp_path / "back"
    for key in ["registry.json", *(e.key for p in ("events/", "objects/") for e in there.list(p))]:
        (back / key).parent.mkdir(parents=True, exist_ok=True)
        (back / key).write_bytes(there.read(key))
    (back / "tmp").mkdir()
    with Registry.open(back) as registry:
        assert registry.version("subject-42@1").tags == ("seen",)
        assert registry.verify(deep=True).is_well
