"""Many machines write to one bucket, and die: nothing that was reported is lost."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from faults.bucket_log import checked_changes
from seaweed import Seaweed

from dsvd_registry import Registry
from dsvd_registry.catalog import bucket_snapshots

from . import bucket_writer
from .conftest import Child

WRITERS = 16
SECONDS = 10.0


def test_sixteen_writers_of_which_half_are_killed(
    seaweed: Seaweed, bucket_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with a catalog of its own, so that the log alone decides who has which number.

    Half of them are killed at moments of chance; what they had reported counts as that of the others.
    """
    monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "maker"))
    monkeypatch.setattr(bucket_snapshots, "LOOKED_AFTER", 1)  # the others begin with a snapshot
    monkeypatch.setattr(bucket_snapshots, "EVERY", 1)
    with Registry.init(bucket_url) as registry:
        objects = registry.repository.objects
        file, manifest = objects.put(b"base").sha256, objects.put(b"manifest").sha256
        registry.repository.catalog.add_base(
            "sd15", digest="b" * 64, manifest=manifest, file=file, size=4, format="safetensors"
        )
    children = []
    for number in range(WRITERS):
        variables = {**seaweed.environment(), "DSVD_CACHE": str(tmp_path / f"cache-{number}")}
        arguments = (bucket_url, variables, f"writer-{number}", SECONDS)
        children.append(Child(bucket_writer.write, *arguments))
    for child in children:
        child.wait_for_report()
    chance = random.Random(5)
    moments = sorted(chance.uniform(1, SECONDS) for _ in range(WRITERS // 2))
    begun = time.monotonic()
    for child, moment in zip(children, moments, strict=False):
        time.sleep(max(0, begun + moment - time.monotonic()))
        child.kill()
    reports = [child.reports() for child in children]
    changes = checked_changes(seaweed, bucket_url)
    added = {
        f"{change['model']}@{change['number']}": change["container"]
        for change in changes
        if change["kind"] == "version-added"
    }
    assert len(added) == len(changes) - 1
    for one in reports[WRITERS // 2 :]:
        assert one[-1] == (None, None)  # it went on to the end, without an error
    done = [report for one in reports for report in one if report[1] is not None]
    assert len(done) >= WRITERS and {name.partition("@")[0] for name, _ in done} > {"shared"}
    for ref, container in done:
        assert added[ref] == container
    monkeypatch.setenv("DSVD_CACHE", str(tmp_path / "reader"))
    with Registry.open(bucket_url) as registry:
        assert {version.ref: version.container for version in registry.versions()} == added
        assert registry.repository.catalog.check_log() == len(changes)
