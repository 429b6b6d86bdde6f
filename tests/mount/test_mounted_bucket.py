"""A registry in a bucket, mounted and served by its URL: the bytes are those that it materialises."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file
from server.running import serving
from trained_pair import trained_pair

from dsvd_registry import Registry

from .conftest import Mount


@pytest.fixture
def truth(bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The bytes of `subject`, which the bucket has, as this machine made them in a folder."""
    base, tuned = (tmp_path / f"{side}.safetensors" for side in ("base", "tuned"))
    for weights, path in zip(trained_pair(), (base, tuned), strict=True):
        save_file(weights, path)
    made = []
    for place in (str(tmp_path / "folder"), bucket_url):
        monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "maker"))
        with Registry.init(place) as registry:
            registry.add_base("sd15", base)
            registry.add(tuned, base="sd15", name="subject", tau=0.5)
            out = registry.materialize("subject", tmp_path / f"{len(made)}.safetensors").path
            made.append(out.read_bytes())
    assert made[0] == made[1]
    return made[0]


@pytest.fixture
def mount(bucket_url: str, tmp_path: Path) -> Iterator[Mount]:
    for name in ("mounted", "home"):
        (tmp_path / name).mkdir()
    mount = Mount(bucket_url, tmp_path / "mounted", tmp_path / "home")
    yield mount
    mount.end()


def test_mounted(mount: Mount, truth: bytes, tmp_path: Path) -> None:
    done = mount.dsvd("mount", mount.folder, DSVD_CACHE=str(tmp_path / "another"))
    assert done.returncode == 0, done.stderr
    file = mount.checkpoints / "subject.safetensors"
    assert file.stat().st_size == len(truth)
    with file.open("rb") as opened:
        opened.seek(len(truth) // 2)
        assert opened.read(1000) == truth[len(truth) // 2 :][:1000]
    assert file.read_bytes() == truth
    assert mount.dsvd("umount", mount.folder).returncode == 0
    assert not mount.is_mounted()


def test_served(bucket_url: str, truth: bytes, tmp_path: Path) -> None:
    with serving(bucket_url, tmp_path / "served", DSVD_CACHE=str(tmp_path / "another")) as server:
        found = server.request("HEAD", "/dsvd/subject/resolve/main/model.safetensors")
        assert found.headers["etag"].strip('"') == hashlib.sha256(truth).hexdigest()
        assert server.get("/dsvd/subject/resolve/main/model.safetensors").body == truth
