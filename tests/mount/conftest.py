"""Really mounted registries, each unmounted in the end whatever a test did to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from layouts.pipelines import models, randomised, single_file
from layouts.training import trained
from lora.pipelines import LAYERS, PIPELINES
from safetensors.torch import save_file
from trained_pair import one_thread

from dsvd_registry import Registry

ROOT = Path(__file__).parents[2]
TAU = 0.9


@dataclass(frozen=True)
class Sources:
    """A pipeline before and after training: as folders of diffusers and as original files.

    `later_file` is trained further.
    """

    base: Path
    tuned: Path
    base_file: Path
    tuned_file: Path
    later_file: Path


@dataclass
class Mount:
    """A registry, the folder that it is mounted on, and the home folder of the programs."""

    registry: Path | str
    folder: Path
    home: Path
    _foreground: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "DSVD_REGISTRY": str(self.registry),
            **more,
        }

    def dsvd(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `dsvd` to its end in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "dsvd_registry.cli", *map(str, words)],
            env=self.environment(**more),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )

    def start(self, *words: str) -> None:
        done = self.dsvd("mount", self.folder, *words)
        assert done.returncode == 0, done.stderr

    def start_in_foreground(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dsvd_registry.cli", "mount", str(self.folder), "--foreground"],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._foreground.append(process)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("mounted ")
        return process

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def log(self) -> str:
        """What the program in the background had to say."""
        (path,) = (self.home / "state" / "dsvd" / "mounts").iterdir()
        return path.read_text()

    def is_mounted(self) -> bool:
        """Whether the system, not we, says so."""
        return f" {self.folder} " in Path("/proc/self/mountinfo").read_text()

    def servers(self) -> list[int]:
        """The processes in the background that serve this registry."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                environment = (process / "environ").read_bytes()
                if b"dsvd_registry.mount" in words and os.fsencode(self.registry) in environment:
                    found.append(int(process.name))
        return found

    def end(self) -> None:
        if self.is_mounted():
            subprocess.run(["fusermount3", "-uz", str(self.folder)], check=True)
        for number in self.servers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        for process in self._foreground:
            process.kill()
            process.communicate()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """A small Stable Diffusion, and two states of its fine-tuning."""
    place = tmp_path_factory.mktemp("sources")
    with one_thread():
        pipeline = randomised(PIPELINES["sd1"]())
        with torch.no_grad():
            for model in models(pipeline).values():
                for parameter in model.parameters():
                    parameter.mul_(0.05)
        for name in ("base", "tuned", "later"):
            if name != "base":
                trained(pipeline)
            pipeline.save_pretrained(place / name)
            states = {part: model.state_dict() for part, model in models(pipeline).items()}
            whole = single_file("sd1", states, LAYERS)
            whole = {key: tensor.detach().clone() for key, tensor in whole.items()}
            save_file(whole, place / f"{name}.safetensors", {"title": name})
    files = [place / f"{name}.safetensors" for name in ("base", "tuned", "later")]
    return Sources(place / "base", place / "tuned", *files)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, sources: Sources) -> Path:
    """A registry with the versions dog@1 (tau), exact@1 (lossless) and pipe@1 (lossless folder)."""
    path = tmp_path_factory.mktemp("template") / "registry"
    with one_thread(), Registry.init(path) as made:
        made.add_base("sd15", sources.base_file)
        made.add_base("sd15-folder", sources.base)
        made.add(sources.tuned_file, base="sd15", name="dog", tau=TAU)
        made.add(sources.tuned_file, base="sd15", name="exact", lossless=True)
        made.add(sources.tuned, base="sd15-folder", name="pipe", lossless=True)
    return path


@pytest.fixture
def unmounted(template: Path, tmp_path: Path) -> Iterator[Mount]:
    """A registry of the test's own, and an empty folder to mount it on."""
    with prepared(template, tmp_path) as mount:
        yield mount


@pytest.fixture
def mounted(unmounted: Mount) -> Mount:
    """A registry of the test's own, mounted."""
    unmounted.start()
    return unmounted


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount for tests that change nothing."""
    with prepared(template, tmp_path_factory.mktemp("shared")) as mount:
        mount.start()
        yield mount


@contextlib.contextmanager
def prepared(template: Path, place: Path) -> Iterator[Mount]:
    registry = Path(shutil.copytree(template, place / "registry"))
    for name in ("mnt", "home"):
        (place / name).mkdir()
    mount = Mount(registry, (place / "mnt").resolve(), place / "home")
    try:
        yield mount
    finally:
        mount.end()


def error_of(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The error that a command with --json printed."""
    error: dict[str, str] = json.loads(done.stderr)["error"]
    return error
