"""Push, pull and clone with a registry in a bucket, on a real SeaweedFS."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import scenarios
from seaweed import Seaweed

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument, NotFound, StorageError

from .exchanging import belongings, files_of, make_studio


def test_desks_meet_in_a_bucket(
    tmp_path: Path, bucket_url: str, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One desk pushes, another clones, adds and pushes, and the first pulls that."""
    monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "cache"))
    make_studio(tmp_path)
    with Registry.open(tmp_path / "registry") as studio:
        studio.add_base("sd15", tmp_path / "base.safetensors", link=True)
        assert studio.add_remote("bucket", bucket_url).url == bucket_url
        with pytest.raises(NotFound, match=r"s3://\S* is not a registry"):
            studio.push("bucket")
        Registry.init(bucket_url).close()
        assert [one.change for one in studio.push("bucket").versions] == ["added"] * 3
        assert not studio.push("bucket").changed and not studio.pull("bucket").changed
    monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "cache-of-another"))
    with Registry.open(bucket_url) as bucket:
        assert bucket.verify(deep=True).findings == ()
    with pytest.raises(InvalidArgument, match="in a folder of this machine"):
        Registry.clone(tmp_path / "registry", f"{bucket_url}-copy")
    with (
        Registry.clone(bucket_url, tmp_path / "desk") as desk,
        Registry.open(tmp_path / "registry") as studio,
    ):
        assert [(one.name, one.url) for one in desk.remotes()] == [("origin", bucket_url)]
        for there, here in (("one@2", "one@1"), ("lora@1", "lora@1"), ("folder@1", "folder@1")):
            assert belongings(desk, here) == belongings(studio, there)
            desk.materialize(here, tmp_path / f"desk-{here}")
            studio.materialize(there, tmp_path / f"studio-{here}")
            assert files_of(tmp_path / f"desk-{here}") == files_of(tmp_path / f"studio-{here}")
        scenarios.other_version(desk, tmp_path)
        assert [one.arrived for one in desk.push("origin").changed] == ["one@2"]
        assert [one.arrived for one in studio.pull("bucket").changed] == ["one@3"]
        for registry in (desk, studio):
            assert registry.verify(deep=True).findings == ()
    for name, value in seaweed.environment("reader").items():
        monkeypatch.setenv(name, value)
    with Registry.open(tmp_path / "desk") as desk:
        scenarios.other_version(desk, tmp_path)
        desk.add(tmp_path / "other.safetensors", base="sd15", name="late", tau=0.5)
        assert not desk.pull("origin").changed
        with pytest.raises(StorageError, match=r"^this credential may not write in s3://\S+$"):
            desk.push("origin")
