"""Seconds of commands that need no tensor, in registries of 10,000 and of 100,000 versions."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch
from safetensors.torch import save_file

from dsvd_registry import Registry, __version__, mount
from dsvd_registry.catalog import VersionRecord
from dsvd_registry.catalog.migrate import SCHEMA_SHA256
from dsvd_registry.mount import MountOptions
from dsvd_registry.store import AliasSet, Change, EventLog, TagAdded, VersionAdded, registry_folder
from dsvd_registry.store.description import VERSION

from .startup import DSVD, in_turns
from .subjects.cache import default_folder

MODELS, MANY_MODELS = 500, 5000
ROUNDS = 20  # versions of each model
STARTED = datetime(2025, 1, 1, tzinfo=UTC)
INTERVAL = timedelta(minutes=45)  # between two events: a year for all of them
AIM, AIM_OF_MANY = 0.4, 0.3  # seconds
LISTED, AIM_LISTED = "ls -l of all, mounted", 2.0
READS = {
    "ls": "ls",
    "ls PATTERN": "ls subject-12*",
    "ls --base": "ls --base base",
    "ls --tag": "ls --tag published",
    "ls --since": "ls --since 2025-11-01",
    "show": "show subject-123",
    "log": "log subject-123",
    "du": "du",
}
READS_OF_MANY = {
    "ls NAME": "ls subject-123",
    "ls PATTERN": "ls subject-123*",  # 220 versions
    "show": "show subject-123",
    "log": "log subject-123",
}
OTHERS = {  # measured without an aim: 8 MB of text, and writes that wait for the disk
    "ls --json": "ls --json",
    "tag add": "tag add subject-123 tried",
    "tag rm": "tag rm subject-123 tried",
}


def measure() -> list[dict[str, object]]:
    """One row per command: median seconds of whole processes, in turns, and the ratio to `python`."""
    with tempfile.TemporaryDirectory() as made:
        # A copy, because some of the commands write.
        root = shutil.copytree(large_registry(), Path(made) / "registry")
        commands = {
            f"dsvd {name}": [DSVD, "--registry", str(root), *words.split()]
            for name, words in (READS | OTHERS).items()
        }
        aims = {f"dsvd {name}": AIM for name in READS} | {LISTED: AIM_LISTED}
        place = Path(made) / "mounted"
        place.mkdir()
        mount.start(MountOptions(str(root), None, str(place), None, None, None))
        try:
            commands[LISTED] = ["ls", "-l", str(place / "checkpoints")]
            return in_turns(commands, aims) + _of_many()
        finally:
            mount.unmount(place)


def _of_many() -> list[dict[str, object]]:
    root = large_registry(MANY_MODELS)
    commands = {
        f"dsvd {name}, 100,000 versions": [DSVD, "--registry", str(root), *words.split()]
        for name, words in READS_OF_MANY.items()
    }
    return in_turns(commands, dict.fromkeys(commands, AIM_OF_MANY))


def large_registry(models: int = MODELS) -> Path:
    """A registry to measure, which is made once, in a minute for 500 models, and kept in the cache."""
    cache = default_folder()
    place = (
        cache
        / f"catalog-of-one-source-{__version__}-{SCHEMA_SHA256[:8]}-log-{VERSION}-{models * ROUNDS}"
    )
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as made:
            _make(Path(made), models)
            (Path(made) / "registry").rename(place)
    return place


def _make(place: Path, models: int) -> None:
    """Make one tiny container, and versions that share it, as additions under other names do."""
    torch.manual_seed(0)
    base = {"weight": torch.randn(16, 16)}
    save_file(base, place / "base.safetensors")
    save_file({"weight": base["weight"] + 1e-3 * torch.randn(16, 16)}, place / "ft.safetensors")
    with Registry.init(place / "registry") as registry:
        registry.add_base("base", place / "base.safetensors")
        added = registry.add(place / "ft.safetensors", base="base", name="first").version
    log = EventLog(registry_folder.open(place / "registry"))
    *_, (last, _) = log.after()
    for changes in _additions(added, models):
        time = STARTED + last.sequence * INTERVAL * MODELS / models
        last = log.append(last, time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), changes)
    Registry.open(place / "registry").close()  # the catalog catches up with the log


def _additions(like: VersionRecord, models: int) -> Iterator[list[Change]]:
    """Versions like `like`, of its container and source, some with a tag, a note or an alias."""
    for number, index in itertools.product(range(1, ROUNDS + 1), range(models)):
        model = f"subject-{index}"
        version = VersionAdded(
            model=model,
            number=number,
            container=like.container,
            size=like.size,
            base=like.base,
            source_format=like.source.format,
            source_sha256=like.source.sha256,
            source_size=like.source.size + index * 1000,
            settings=like.settings,
            summary={**like.summary, "error": 0.1 + number / 100 + index / 10_000},
            note=f"light set {index % 7}" if number % 10 == 0 else "",
        )
        yield [version]
        if index % 10 == 0:
            yield [TagAdded(model=model, number=number, tag="published")]
        if number == ROUNDS // 2:
            yield [AliasSet(model=model, alias="prod", number=number)]
