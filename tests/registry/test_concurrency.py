"""Several processes at one registry: every addition succeeds, every number is given once."""

from __future__ import annotations

from pathlib import Path

from dsvd_registry import Registry

from . import child
from .conftest import Child, Pair, sha256, write_safetensors


def test_two_processes_add_to_one_model(root: Path, pair: Pair, tmp_path: Path) -> None:
    sources = []
    for number in range(2):
        weights = dict(pair.tuned)
        weights["raw_new"] = weights["raw_new"] + number + 1
        sources.append(write_safetensors(weights, tmp_path / f"{number}.safetensors"))
    taus = (0.7, 0.5, 0.3)
    children = [
        Child(
            child.add,
            root,
            [(source, {"base": "sd15", "name": "subject", "tau": tau}) for tau in taus],
        )
        for source in sources
    ]
    # A reader meanwhile, over and over.
    shas = set()
    with Registry.open(root) as registry:
        while any(process.process.is_alive() for process in children):
            made = registry.materialize("subject@1", tmp_path / "out", replace=True)
            shas.add(made.sha256)
            listed = [version.number for version in registry.versions()]
            assert listed == list(range(1, len(listed) + 1))
    assert shas == {sha256(tmp_path / "out")}

    reports = [process.reports() for process in children]
    assert [[kind for kind, _ in some] for some in reports] == [["added"] * 3 + [None]] * 2
    refs = [[ref for _, ref in some[:-1]] for some in reports]
    assert sorted(refs[0] + refs[1]) == [f"subject@{number}" for number in range(2, 8)]
    with Registry.open(root) as registry:
        for source, given in zip(sources, refs, strict=True):
            for ref, tau in zip(given, taus, strict=True):
                version = registry.version(ref)
                assert (version.source.sha256, version.summary["tau"]) == (sha256(source), tau)
        assert registry.version("subject").number == 7
        assert registry.verify(deep=True).is_well


def test_two_processes_add_the_same(root: Path, pair: Pair) -> None:
    addition = (pair.tuned_file, {"base": "sd15", "name": "twin", "tau": 0.4})
    children = [Child(child.add, root, [addition]) for _ in range(2)]
    reports = [process.reports() for process in children]
    assert [kind for some in reports for kind, _ in some] == ["added", None] * 2
    with Registry.open(root) as registry:
        # The slower one recognises the version or makes a second one; neither is lost.
        refs = {ref for some in reports for kind, ref in some if kind}
        assert refs == {version.ref for version in registry.versions("twin")}
        assert registry.verify(deep=True).is_well


def test_gc_beside_a_process_that_adds(root: Path, pair: Pair) -> None:
    additions = [
        (pair.tuned_file, {"base": "sd15", "name": f"model-{i}", "tau": 0.2 + 0.1 * i})
        for i in range(4)
    ]
    process = Child(child.add, root, additions)
    with Registry.open(root) as registry:
        while process.process.is_alive():
            registry.collect_garbage()  # the grace time protects what is not in the catalog yet
        assert [kind for kind, _ in process.reports()] == ["added"] * 4 + [None]
        assert len(registry.versions()) == 5
        assert registry.verify(deep=True).is_well
