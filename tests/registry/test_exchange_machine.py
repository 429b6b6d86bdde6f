"""Three registries that add, remove, push and pull in any order, beside a model of what each has.

The model is a list of files for each name of a model: it knows nothing of containers, events or objects.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from faults import scenarios
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from safetensors.torch import save_file

from dsvd_registry import Registry

from .conftest import sha256

DESKS = ("a", "b", "c")
MODELS = ("one", "two")
FILES = 3
TAGS = ("dog", "cat")

desks = st.sampled_from(DESKS)
models = st.sampled_from(MODELS)


@dataclass
class Entry:
    """A version: the number of its file, whether it is there still, its tags."""

    file: int
    is_live: bool = True
    tags: set[str] = field(default_factory=set)


class Exchange(RuleBasedStateMachine):
    """The registries are those of a template, so that what is tried is the exchange."""

    @initialize()
    def begin(self) -> None:
        self.at = Path(tempfile.mkdtemp())
        scenarios.write_sources(self.at)
        for number in range(FILES):
            save_file(scenarios.weights(number + 1, 0.01), self.at / f"{number}.safetensors")
        self.digests = [sha256(self.at / f"{number}.safetensors") for number in range(FILES)]
        self.registries = {name: Registry.init(self.at / name) for name in DESKS}
        for name, registry in self.registries.items():
            registry.add_base("sd15", self.at / "base.safetensors")
            for other in DESKS:
                if other != name:
                    registry.add_remote(other, self.at / other)
        self.has: dict[str, dict[str, list[Entry]]] = {
            name: {model: [] for model in MODELS} for name in DESKS
        }

    def live(self, desk: str, model: str) -> dict[int, Entry]:
        """The live versions of a model, by number."""
        return {n: one for n, one in enumerate(self.has[desk][model], 1) if one.is_live}

    @rule(desk=desks, model=models, file=st.integers(0, FILES - 1))
    def add(self, desk: str, model: str, file: int) -> None:
        self.registries[desk].add(self.at / f"{file}.safetensors", base="sd15", name=model, tau=0.5)
        if all(one.file != file for one in self.live(desk, model).values()):
            self.has[desk][model].append(Entry(file))

    @precondition(lambda self: any(self.live(d, m) for d in DESKS for m in MODELS))
    @rule(data=st.data(), tag=st.sampled_from(TAGS), remove=st.booleans())
    def change(self, data: st.DataObject, tag: str, remove: bool) -> None:
        """Remove a version, or tag it."""
        there = [(d, m, n) for d in DESKS for m in MODELS for n in self.live(d, m)]
        desk, model, number = data.draw(st.sampled_from(there))
        entry, ref = self.has[desk][model][number - 1], f"{model}@{number}"
        if remove:
            self.registries[desk].remove_version(ref)
            entry.is_live = False
        else:
            self.registries[desk].add_tag(ref, tag)
            entry.tags.add(tag)

    @rule(data=st.data(), here=desks, there=desks, pulls=st.booleans(), model=st.none() | models)
    def exchange(
        self, data: st.DataObject, here: str, there: str, pulls: bool, model: str | None
    ) -> None:
        """Push or pull everything, or one version of a model."""
        if here == there:
            return
        source, target = (there, here) if pulls else (here, there)
        chosen: list[tuple[str, int]] | None = None
        if model is not None:
            if not self.live(source, model):
                return
            number = data.draw(st.sampled_from(sorted(self.live(source, model))))
            chosen = [(model, number)]
        do = self.registries[here].pull if pulls else self.registries[here].push
        refs = None if chosen is None else [f"{name}@{number}" for name, number in chosen]
        for expected in (None, ()):  # the second time there is nothing to do
            done = do(there, refs)
            assert expected is None or (done.changed == expected and done.bytes == 0)
        if chosen is None:
            chosen = [(name, number) for name in MODELS for number in self.live(source, name)]
        for name, number in chosen:
            self.arrive(self.has[source][name][number - 1], target, name)

    def arrive(self, entry: Entry, target: str, model: str) -> None:
        known = [one for one in self.live(target, model).values() if one.file == entry.file]
        if not known:
            known = [Entry(entry.file)]
            self.has[target][model].append(known[0])
        known[-1].tags |= entry.tags

    def teardown(self) -> None:
        if not hasattr(self, "at"):
            return
        for desk, registry in self.registries.items():
            found = {v.ref: (v.source.sha256, set(v.tags)) for v in registry.versions()}
            assert found == {
                f"{model}@{number}": (self.digests[one.file], one.tags)
                for model in MODELS
                for number, one in self.live(desk, model).items()
            }
            assert registry.verify(deep=True).findings == ()
        made: dict[str, bytes] = {}
        for registry in self.registries.values():
            for version in registry.versions():
                out = self.at / "out.safetensors"
                registry.materialize(version.ref, out, replace=True)
                assert made.setdefault(version.source.sha256, out.read_bytes()) == out.read_bytes()
            registry.close()
        shutil.rmtree(self.at)


TestExchange = Exchange.TestCase
TestExchange.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)
