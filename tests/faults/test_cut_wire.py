"""Commands on a registry in a bucket, over a wire that is cut: at each request, once and for good.

Every run ends with the same look at the bucket, by a client that is not ours: the chain of events is
whole, nothing that was reported done is missing, and no version lacks an object.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from seaweed import Seaweed
from wire import FAULTS, Fault, Wire, wire

from dsvd_registry import Registry
from dsvd_registry.errors import DsvdError, StorageError
from dsvd_registry.store import bucket_registry
from dsvd_registry.store.bucket_url import Patience

from .bucket_log import checked_changes

PERIOD = 7  # of the requests that fail, so that those which are sent again come through
EACH = 6  # of the requests, after which the wire is cut for good

Reported = list[tuple[str, ...]]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a fine-tune as a container, and another fine-tune as a file."""
    at = tmp_path_factory.mktemp("sources")
    numbers = torch.Generator().manual_seed(3)
    base = {"w": torch.randn(24, 16, generator=numbers), "b": torch.randn(9, generator=numbers)}
    save_file(base, at / "base.safetensors")
    for name in ("dog", "cat"):
        tuned = {n: w + 0.01 * torch.randn(w.shape, generator=numbers) for n, w in base.items()}
        save_file(tuned, at / f"{name}.safetensors")
    with Registry.init(at / "registry") as registry:
        registry.add_base("sd15", at / "base.safetensors")
        registry.add(at / "dog.safetensors", base="sd15", name="dog")
        registry.export_container("dog", at / "dog.dsvd")
        registry.materialize("dog", at / "dog-result.safetensors")
    return at


@pytest.fixture
def cut(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, bucket_url: str) -> Iterator[Wire]:
    short = Patience(connect=2, read=5, request=20, retries=1, pause=0.005)
    monkeypatch.setattr(bucket_registry, "PATIENCE", short)
    with wire(seaweed.port) as one:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{one.port}")
        yield one


def commands(url: str, sources: Path, out: Path, done: Reported) -> None:
    """One after another, each of them as a program of its own; `done` gets what was reported."""
    Registry.init(url).close()
    opened = lambda: Registry.open(url)  # noqa: E731
    with opened() as registry:
        registry.add_base("sd15", sources / "base.safetensors")
        done.append(("base-added", "sd15"))
    with opened() as registry:
        ref = registry.import_container(sources / "dog.dsvd", name="dog").ref
        done.append(("version-added", *ref.split("@")))
    with opened() as registry:
        ref = registry.add(sources / "cat.safetensors", base="sd15", name="cat", lossless=True).ref
        done.append(("version-added", *ref.split("@")))
    with opened() as registry:
        registry.set_alias("prod", "dog@1")
        done.append(("alias-set", "dog"))
        registry.materialize("dog@prod", out / "dog.safetensors", replace=True)
        assert _digest(out / "dog.safetensors") == _digest(sources / "dog-result.safetensors")
    with opened() as registry:
        registry.remove_version("cat@1")
        done.append(("version-removed", "cat", "1"))
        registry.collect_garbage(grace_days=-1)
        assert registry.verify(deep=True).is_well


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check(seaweed: Seaweed, url: str, done: Reported) -> list[dict[str, Any]]:
    changes = checked_changes(seaweed, url)
    told = [
        tuple(str(c[name]) for name in ("kind", "name", "model", "number") if name in c)
        for c in changes
    ]
    for one in done:
        assert any(one == short[: len(one)] for short in told), (one, told)
    return changes


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], Path]:
    """Makes this process a machine that has read nothing yet; gives a folder of it."""
    numbers = itertools.count()

    def fresh() -> Path:
        at = tmp_path / f"machine-{next(numbers)}"
        at.mkdir()
        monkeypatch.setenv("DSVD_CACHE", str(at / "cache"))
        return at

    return fresh


@pytest.mark.parametrize("fault", FAULTS[:4])
def test_each_request_fails_once(
    cut: Wire,
    seaweed: Seaweed,
    bucket_url: str,
    sources: Path,
    machine: Callable[[], Path],
    fault: Fault,
) -> None:
    """All commands end well: what failed was sent again, and nothing happened twice."""
    for first in range(PERIOD):
        url, done = f"{bucket_url}/{first}", Reported()
        cut.requests.clear()
        cut.fault = lambda number, _, first=first: fault if number % PERIOD == first else None
        commands(url, sources, machine(), done)
        kinds = [change["kind"] for change in _check(seaweed, url, done)]
        assert sorted(set(kinds)) == [
            "alias-set", "base-added", "objects-condemned", "residual-added", "version-added",
            "version-removed",
        ]  # fmt: skip
        assert [kinds.count(kind) for kind in ("version-added", "version-removed")] == [2, 1]
    assert len(cut.done) > 100


def test_the_wire_is_cut_for_good(
    cut: Wire, seaweed: Seaweed, bucket_url: str, sources: Path, machine: Callable[[], Path]
) -> None:
    """From a request on nothing gets through: a typed error, and all goes on from there later."""
    cut.fault = lambda *_: None
    commands(f"{bucket_url}/all", sources, machine(), [])
    requests = len(cut.requests)
    assert requests > 100
    kinds = itertools.cycle(FAULTS[:4])
    for first in range(1, requests, EACH):
        url, done, fault = f"{bucket_url}/{first}", Reported(), next(kinds)
        cut.requests.clear()
        cut.fault = lambda number, _, first=first, fault=fault: fault if number >= first else None
        here = machine()
        with pytest.raises(DsvdError) as caught:
            commands(url, sources, here, done)
        assert isinstance(caught.value, StorageError) or "is missing" in str(caught.value), first
        cut.fault = lambda *_: None
        _check(seaweed, url, done)
        if not done:
            continue
        with Registry.open(url) as registry:  # the same machine, with what it has kept
            registry.add_base("sd15", sources / "base.safetensors")
            ref = registry.import_container(sources / "dog.dsvd", name="dog").ref
            assert ref == "dog@1" and registry.verify(deep=True).is_well
        _check(seaweed, url, [*done, ("version-added", "dog", "1")])
