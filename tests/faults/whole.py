"""The conditions that a registry must meet after a crash or a fault of any command."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from dsvd_registry import Registry
from dsvd_registry.catalog.errors import DamagedCatalogError
from dsvd_registry.errors import NotFound
from dsvd_registry.fs import TEMPORARY_PREFIX

from .lost_power import SymbolicLink, Tree
from .scenarios import Scenario, run

_EVENT = re.compile(r"registry/events/\d{6}/(\d{9})\.json")
_FORMER = re.compile(r"(.*)\.former-[0-9a-f]{16}")

Shown = tuple[object, ...]


def tree_of(at: Path) -> Tree:
    return {path.relative_to(at).as_posix(): _content(path) for path in sorted(at.rglob("*"))}


def _content(path: Path) -> bytes | SymbolicLink | None:
    if path.is_symlink():
        return SymbolicLink(str(path.readlink()))
    return path.read_bytes() if path.is_file() else None


def events_in(tree: Tree) -> int:
    return sum(_EVENT.fullmatch(path) is not None for path in tree)


def shown(registry: Registry) -> Shown:
    """All that the registry knows, times and numbers included."""
    versions = registry.versions()
    signers = tuple(tuple(registry.signers(version.ref)) for version in versions)
    metadata = tuple(tuple(registry.metadata(version.ref).items()) for version in versions)
    attachments = tuple(registry.attachments(version.ref) for version in versions)
    return (*versions, *registry.bases(), *signers, *metadata, *attachments)


def outside(tree: Tree) -> dict[str, Tree]:
    """The files next to the registry, by name, without temporary ones."""
    found: dict[str, Tree] = {}
    for path, data in tree.items():
        top = path.split("/")[0]
        is_temporary = path.rpartition("/")[2].startswith(TEMPORARY_PREFIX)
        if top != "registry" and not top.startswith(TEMPORARY_PREFIX) and not is_temporary:
            found.setdefault(top, {})[path[len(top) :]] = data
    return found


class Whole:
    """Judges what a scenario left. `before` and `after`: folders, without and with what it does."""

    def __init__(self, scenario: Scenario, before: Path, after: Path, scratch: Path) -> None:
        self._scenario = scenario
        self._before, self._after = outside(tree_of(before)), outside(tree_of(after))
        self.first, self.last = events_in(tree_of(before)), events_in(tree_of(after))
        was, becomes = tree_of(before), tree_of(after)
        self._originals = {name: was.get(name) or becomes[name] for name in scenario.originals}
        self._history: dict[int, Shown] = {}
        self._objects: dict[int, frozenset[str]] = {}
        for number in range(self.first, self.last + 1):
            copy = scratch / f"history-{number}"
            self._history[number] = _at_event(before, after, number, copy)
            self._objects[number] = _objects(tree_of(copy))

    def check(self, at: Path, *, returned: bool, again: bool, same_run: bool = True) -> None:
        """The registry in `at` is whole, and garbage collection takes what was left in it.

        `returned`: the command had ended well. `again`: it is run once more, and does what it did.
        `same_run`: it is the run that `after` is of, so that times are equal too.
        """
        tree = tree_of(at)
        happened = events_in(tree)
        assert self.first <= happened <= self.last
        assert not returned or happened == self.last
        self._check_outside(outside(tree), returned)
        with opened(at / "registry") as registry:
            found, expected = shown(registry), self._history[happened]
            assert (
                found == expected if same_run else without_times(found) == without_times(expected)
            )
            assert registry.verify().findings == ()
            registry.collect_garbage(grace_days=-1)
            for name, data in self._originals.items():
                there = tree.get(name)
                if not isinstance(there, bytes):
                    there = restorable(registry, Path(name).name)
                assert isinstance(data, bytes) and there == data, name
        left = tree_of(at / "registry")
        assert _objects(left) == self._objects[happened]
        assert not [path for path in left if path.startswith("tmp/")]
        if again:
            try:
                run(self._scenario, at)
            except NotFound:  # removed already
                words = self._scenario.name.split()
                assert happened == self.last and {"rm", "thin", "detach"} & set(words)
            with Registry.open(at / "registry") as registry:
                assert without_times(shown(registry)) == without_times(self._history[self.last])
                assert registry.verify(deep=True).findings == ()
            left = {
                name: tree for name, tree in outside(tree_of(at)).items() if ".former-" not in name
            }
            assert left == self._after

    def _check_outside(self, there: dict[str, Tree], returned: bool) -> None:
        """Each name has what it had or what it gets; a former folder is whole under its telling name."""
        for name in self._before.keys() | self._after.keys():
            was, becomes, found = (
                self._before.get(name),
                self._after.get(name),
                there.pop(name, None),
            )
            if found is None and was is not None and becomes is not None and None in was.values():
                assert was in [there[other] for other in there if _former(other) == name]
            else:
                assert found in ((becomes,) if returned else (was, becomes)), name
        for name, found in there.items():
            assert found == self._before[_former(name)], name


def restorable(registry: Registry, name: str) -> bytes:
    """The bytes that an archived file of this name, or that is to be restored to X, comes back with."""
    (ref,) = {
        f.ref for f in registry.repository.catalog.archived_files() if name in (f.path.name, "X")
    }
    with registry.open_original(ref) as file:
        return file.read()


def opened(root: Path) -> Registry:
    """The registry; of a catalog that cannot be read, with one made anew, as its error says."""
    try:
        return Registry.open(root)
    except DamagedCatalogError as error:
        assert "dsvd catalog rebuild" in error.hint
        Registry.rebuild_catalog(root)
        return Registry.open(root)


def _former(name: str) -> str:
    found = _FORMER.fullmatch(name)
    return found[1] if found else ""


def without_times(told: Shown) -> str:
    """Nor the place of what is linked, which is another for each copy."""
    return re.sub(
        r"datetime\.datetime\([^)]*\)|link=\w*Path\('[^']*'\)|link='[^']*'", "", repr(told)
    )


def _objects(tree: Tree) -> frozenset[str]:
    return frozenset(path for path, data in tree.items() if "objects/" in path and data is not None)


def _at_event(before: Path, after: Path, number: int, copy: Path) -> Shown:
    """The content of a registry after this many events. `copy` gets the objects that it needed."""
    for source in (after, before):
        ignored = shutil.ignore_patterns(
            "catalog.*", "tmp", *(["events"] if source is before else [])
        )
        shutil.copytree(source / "registry", copy, ignore=ignored, dirs_exist_ok=True)
    for path in (copy / "events").rglob("*.json"):
        if int(path.name[:9]) > number:
            path.unlink()
    with Registry.open(copy) as registry:
        registry.collect_garbage(grace_days=-1)
        assert registry.verify(deep=True).findings == ()
        return shown(registry)
