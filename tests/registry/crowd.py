"""One of many processes that do anything at all with one registry, for a while."""

from __future__ import annotations

import random
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, DsvdError, NotFound

READS = ("materialize", "read")
MODELS = ("subject", "style", "pose")
# How often each is done; what takes long, less so.
CHANCES = {
    "add": 6,
    "materialize": 3,
    "read": 2,
    "remove": 3,
    "alias": 2,
    "tag": 2,
    "gc": 1,
    "gc 0": 2,
}


class Member:
    """The operations of one process, and those that were reported to it as done."""

    def __init__(self, registry: Registry, sources: list[Path], out: Path, seed: int) -> None:
        self._registry = registry
        self._sources = sources
        self._out = out
        self._name = f"p{seed}"
        self._chance = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.added: list[str] = []
        self.removed: list[str] = []
        self.tags: list[tuple[str, str]] = []
        self.wrong: list[str] = []

    def do(self, what: str) -> None:
        """One operation on a version that may be gone by then, or against what another one does."""
        ref = self._any_version()
        outcome = "done"
        try:
            self._do(what, ref)
        except (NotFound, Conflict):
            outcome = "refused"  # removed, named or tagged by another one meanwhile
        except DsvdError as error:
            # gc without a grace time takes what is not named yet, and what has been removed since.
            taken = "is missing from" in str(error) or "No such file" in str(error)
            if taken and (what == "add" or (what in READS and not self._is_live(ref))):
                outcome = "refused"
            else:
                outcome = "wrong"
                self.wrong.append(f"{what} {ref}: {error!r}")
        self.done[f"{what} {outcome}"] += 1

    def _do(self, what: str, ref: str) -> None:
        registry, chance = self._registry, self._chance
        if what == "add":
            model = chance.choice(MODELS)
            tau = round(chance.uniform(0.1, 1), 6)
            addition = registry.add(chance.choice(self._sources), base="sd15", name=model, tau=tau)
            if addition.created:
                self.added.append(addition.ref)
        elif what == "materialize":
            registry.materialize(ref, self._out / self._name, replace=True)
        elif what == "read":
            registry.report(ref)
            registry.history(ref.partition("@")[0])
        elif what == "remove":
            registry.remove_version(ref)
            self.removed.append(ref)
        elif what == "alias":
            alias = chance.choice(("prod", "beta"))
            if chance.random() < 0.5:
                registry.set_alias(alias, ref)
            else:
                registry.remove_alias(ref.partition("@")[0], alias)
        elif what == "tag":
            tag = f"{self._name}-{len(self.tags)}"
            registry.add_tag(ref, tag)
            self.tags.append((ref, tag))
        elif what == "gc":
            registry.collect_garbage()
        else:
            registry.collect_garbage(grace_days=0)

    def _any_version(self) -> str:
        versions = self._registry.versions()
        return self._chance.choice(versions).ref if versions else "subject@1"

    def _is_live(self, ref: str) -> bool:
        return ref in {version.ref for version in self._registry.versions()}


def take_part(
    reports: Connection, root: Path, sources: list[Path], out: Path, seed: int, seconds: float
) -> None:
    """Do what chance says until the time is over, and send what came of it."""
    torch.set_num_threads(1)
    chance = random.Random(f"what {seed}")
    with Registry.open(root) as registry:
        member = Member(registry, sources, out, seed)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            member.do(chance.choices(list(CHANCES), list(CHANCES.values()))[0])
        reports.send(("done", member.done))
        reports.send(("added", member.added))
        reports.send(("removed", member.removed))
        reports.send(("tags", member.tags))
        reports.send(("wrong", member.wrong))
