"""Adapters on demand: the bytes that `dsvd export` writes, in ranges, from a bounded cache."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from dsvd_registry import Registry

from .conftest import Shelf
from .running import SECONDS, RunningServer, serving


@pytest.fixture(scope="module")
def exported(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `dsvd export` writes of subject@2: a file of each format, a cut one, and a folder."""
    folder = tmp_path_factory.mktemp("exported")
    with Registry.open(shelf.registry) as registry:
        for form in ("kohya", "peft", "comfyui"):
            registry.export_lora("subject@2", folder / f"{form}.safetensors", format=form)
        registry.export_lora(
            "subject@2", folder / "cut.safetensors", format="kohya", rank_limit=2, dtype="fp32"
        )
        registry.export_lora("subject@2", folder / "peft", format="peft")
    return folder


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?format=kohya", "kohya"),
        ("?format=peft", "peft"),
        ("?format=comfyui", "comfyui"),
        ("?rank=2&dtype=fp32", "cut"),  # kohya is the default of this family
    ],
)
def test_it_is_what_export_writes(
    server: RunningServer, exported: Path, query: str, name: str
) -> None:
    expected = (exported / f"{name}.safetensors").read_bytes()
    found = server.get(f"/v1/adapters/subject@2{query}")
    assert (found.status, found.body) == (200, expected)
    assert found.headers["etag"] == f'"{hashlib.sha256(expected).hexdigest()}"'
    if name == "cut":
        with safe_open(exported / "cut.safetensors", "pt") as opened:
            ranks = {
                opened.get_slice(key).get_shape()[0]
                for key in opened.keys()  # noqa: SIM118
                if key.endswith("lora_down.weight")
            }
        assert max(ranks) == 2


def test_the_folders_of_peft_are_those_of_export(server: RunningServer, exported: Path) -> None:
    files = sorted(path for path in (exported / "peft").rglob("*") if path.is_file())
    assert {path.name for path in files} == {"adapter_config.json", "adapter_model.safetensors"}
    tags = set()
    for path in files:
        place = f"/v1/adapters/subject@2/{path.relative_to(exported / 'peft')}"
        expected = path.read_bytes()
        found = server.get(place)
        assert (found.status, found.body) == (200, expected)
        middle = len(expected) // 2
        part = server.get(place, Range=f"bytes=5-{middle}", If_Range=found.headers["etag"])
        assert (part.status, part.body) == (206, expected[5 : middle + 1])
        assert server.get(place, If_None_Match=found.headers["etag"]).status == 304
        assert server.request("HEAD", place).headers["content-length"] == str(len(expected))
        tags.add(found.headers["etag"])
    assert len(tags) == len(files)
    other = server.get("/v1/adapters/subject@2/vae/adapter_config.json")
    assert other.status == 404
    assert all(str(path.relative_to(exported / "peft")) in other.document["hint"] for path in files)


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("subject@2?format=safetensors", 400, "format"),
        ("subject@2?rank=0", 400, "rank"),
        ("subject@2?dtype=bf16", 400, "dtype"),
        ("subject@2/unet/adapter_config.json?format=kohya", 400, "format"),
        ("nobody", 404, "no model"),
        ("subject@2/../../catalog.sqlite", 404, "for PEFT"),
    ],
)
def test_what_is_refused(server: RunningServer, path: str, status: int, word: str) -> None:
    found = server.get(f"/v1/adapters/{path}")
    assert found.status == status
    assert word in found.document["error"]


def test_the_cache_is_bounded_and_the_process_ends(
    shelf: Shelf, tmp_path: Path, exported: Path
) -> None:
    """A file that was pushed out of the cache is given on by whoever has it open, and made again."""
    limit = (exported / "kohya.safetensors").stat().st_size * 3 // 2
    cache = tmp_path / "server/cache"
    with serving(shelf.registry, tmp_path / "server", DSVD_CACHE_LIMIT=str(limit)) as running:
        asked = ("kohya", "peft", "kohya", "peft")
        for form in asked:
            found = running.get(f"/v1/adapters/subject@2?format={form}")
            assert found.body == (exported / f"{form}.safetensors").read_bytes()
            assert sum(path.stat().st_size for path in cache.iterdir()) <= limit
        (maker,) = children(running.process.pid, "spawn_main")
    assert not Path(f"/proc/{maker}").exists()


def test_damage_and_killed_processes(shelf: Shelf, tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError),  # it did not end by itself
        serving(shelf.registry, tmp_path) as running,
    ):
        assert running.get("/v1/adapters/subject@2?rank=1").status == 200
        (cached,) = (tmp_path / "cache").glob("*.safetensors")
        with cached.open("r+b") as opened:  # the file that the server has open
            opened.seek(-1, os.SEEK_END)
            last = opened.read(1)[0]
            opened.seek(-1, os.SEEK_END)
            opened.write(bytes([last ^ 1]))
        assert running.get("/v1/adapters/subject@2?rank=1").status == 500
        assert f"{cached}, is damaged" in running.logged()
        (maker,) = children(running.process.pid, "spawn_main")
        # What the process was killed by is told, and the next request begins another.
        os.kill(maker, signal.SIGKILL)
        assert running.get("/v1/adapters/subject@2?rank=2").status == 500
        assert "the process that makes LoRA files was ended" in running.logged()
        assert running.get("/v1/adapters/subject@2?rank=2").status == 200
        (maker,) = children(running.process.pid, "spawn_main")
        running.process.kill()
    end = time.monotonic() + SECONDS
    while Path(f"/proc/{maker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{maker}").exists()


def children(process: int, word: str) -> list[int]:
    """The child processes of a process whose command has a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == process and word in command:
            found.append(int(path.name))
    return found
