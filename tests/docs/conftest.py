"""The built site, and a folder with the checkpoints that the pages speak of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_pipeline
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from trained_pair import one_thread

from demo import checkpoints, folders
from demo.pictures import FOLDER
from demo.small_pipeline import paint

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it: a warning is an error."""
    built = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        (sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", DOCS, built),
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return built


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's checkpoints, of a smaller model that is hardly trained; a key named studio."""
    folder = tmp_path_factory.mktemp("models")
    with one_thread():
        checkpoints.train_and_save(folder, checkpoints.QUICK_RECIPE)
        for name in (checkpoints.BASE, checkpoints.FULL):
            shape = checkpoints.QUICK_RECIPE.shape
            folders.save_folder(folder / Path(name).stem, folder / name, shape)
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "studio").write_bytes(private)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (folder / "studio.pub").write_bytes(public)
    return folder


@pytest.fixture(scope="session")
def painting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline that paints, a fine-tune of it, and photographs of its subject."""
    folder = tmp_path_factory.mktemp("painting")
    with one_thread():
        tiny_pipeline.write_models(folder)
    (folder / "photographs").mkdir()
    for file in FOLDER.glob(f"{tiny_pipeline.SUBJECT}-*.jpg"):
        shutil.copy(file, folder / "photographs")
    return folder


@pytest.fixture
def desk(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of one's own with copies of these files, and a home without a registry."""
    for variable in (
        "DSVD_REGISTRY",
        "DSVD_CATALOG",
        "DSVD_CACHE",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
    ):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = Path(shutil.copytree(models, tmp_path / "home/models"))
    monkeypatch.chdir(folder)
    with one_thread():
        yield folder
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(tmp_path) in line:  # left by an example that failed
            subprocess.run(("fusermount3", "-uz", line.split(" ")[4]), check=True)


class Pictures(list[Any]):
    """What a pipeline gives: its pictures, by the name that diffusers calls them."""

    @property
    def images(self) -> list[Any]:
        return self


class SmallPipeline:
    """The demo's model behind the two things that the pages use of a diffusers pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self.components = {part: pipeline.components[part] for part in ("unet", "text_encoder")}

    def __call__(self, prompt: str) -> Pictures:
        return Pictures(paint(self._pipeline, [prompt], [1], steps=2))


@pytest.fixture
def pipe(models: Path) -> SmallPipeline:
    """A pipeline that was loaded from the base."""
    shape = checkpoints.QUICK_RECIPE.shape
    return SmallPipeline(checkpoints.load_model(models / checkpoints.BASE, shape))
