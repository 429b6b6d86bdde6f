"""A tiny trained pipeline, its base and two subjects in a registry; no socket may be opened."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_pipeline
from trained_pair import one_thread

from demo.pictures import FOLDER
from dsvd_registry import Registry
from dsvd_registry.evaluation.live_pipeline import Settings
from dsvd_registry.evaluation.request import EvaluationRequest


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection to another machine, and every look-up of its name."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def checked(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and "127.0.0.1" not in str(address):
            raise AssertionError(f"a socket was used: {address}")
        connect(self, address)

    def looked_up(host: object, *args: object, **options: object) -> object:
        if host != "127.0.0.1":
            raise AssertionError(f"a name was looked up: {host}")
        return look_up(host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", checked)
    monkeypatch.setattr(socket, "getaddrinfo", looked_up)


@dataclass(frozen=True)
class Studio:
    """A registry with `subject@1` (tau 0.8, and lossless) and `other@1` (tau 0.8), and their files."""

    folder: Path
    registry: Registry

    @property
    def pipeline(self) -> Path:
        return self.folder / "base"

    def request(self, *refs: str, **options: object) -> EvaluationRequest:
        """A request of few and quick pictures."""
        few = {
            "prompts": str(self.folder / "prompts.txt"),
            "seeds": (0, 1),
            "settings": Settings(steps=3, guidance=1.5),
            "token": "sks",
            "noun": "dog",
        }
        return EvaluationRequest(refs or ("subject",), self.pipeline, **(few | options))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    folder = tmp_path_factory.mktemp("studio")
    with one_thread():
        tiny_pipeline.write_models(folder)
        registry = Registry.init(folder / "registry")
        registry.add_base("base", folder / "base")
        registry.add(folder / "subject.safetensors", base="base", tau=0.8, lossless=True)
        registry.add(folder / "other.safetensors", base="base", tau=0.8)
    (folder / "prompts.txt").write_text("# two\na photo of {}\n\na photo of {} on grass\n")
    for subject, name in ((tiny_pipeline.SUBJECT, "subject"), (tiny_pipeline.OTHER, "other")):
        (folder / "photographs" / name).mkdir(parents=True)
        for file in FOLDER.glob(f"{subject}-*.jpg"):
            shutil.copy(file, folder / "photographs" / name)
    return Studio(folder, registry)
