"""A registry on a disk that takes nothing: mounted read-only, or with no permission to write.

Every call of `fs.disk` is refused, and so are SQLite's commits: the permissions of a folder do not
bind who runs the tests as root. Seen to fail with `storage_errors` taken out of `_temporary`.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import StorageError

from .faulty import Faults, injected
from .recording import CALLS
from .scenarios import SCENARIOS, prepare, run
from .whole import opened, shown, tree_of

HINTS = {errno.EROFS: "read-only", errno.EACCES: "permissions"}


@pytest.mark.parametrize(
    ("name", "code"),
    [*((name, errno.EROFS) for name in SCENARIOS), ("add", errno.EACCES), ("export", errno.EACCES)],
)
def test_nothing_can_be_written(tmp_path: Path, name: str, code: int) -> None:
    """An error with exit code 9 and a hint; all is as it was, and the command works when it may."""
    at = tmp_path / "at"
    at.mkdir()
    prepare(SCENARIOS[name], at)
    kinds = tuple(call for call in CALLS if call != "renew_time")
    faults = Faults((*kinds, "commit"), 0, code, lasts=True, sqlite_code=sqlite3.SQLITE_READONLY)
    before = truth(at)
    with injected(faults), pytest.raises(StorageError) as raised:
        run(SCENARIOS[name], at)
    assert faults.hit and raised.value.exit_code == 9
    hints = {HINTS[code], "Check the permissions of the file and folder."}
    assert any(hint in raised.value.hint for hint in hints), raised.value.hint
    assert truth(at) == before
    run(SCENARIOS[name], at)
    with Registry.open(at / "registry") as registry:
        assert registry.verify(deep=True).is_well


@pytest.mark.parametrize("name", ["materialize", "export"])
def test_what_only_reads_the_registry(tmp_path: Path, name: str) -> None:
    """It looks, verifies and writes outside, though nothing in the registry can be written."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    prepare(SCENARIOS[name], before)
    after.mkdir()
    with opened(before / "registry") as registry:
        told = shown(registry)
        faults = Faults(
            ("commit",), 0, errno.EROFS, lasts=True, sqlite_code=sqlite3.SQLITE_READONLY
        )
        with injected(faults):
            assert registry.verify(deep=True).is_well
            assert shown(registry) == told
            SCENARIOS[name].do(registry, after)
    assert (after / "X").is_file()


def truth(at: Path) -> dict[str, bytes | None]:
    """All but the catalog's own files, which SQLite opens and closes."""
    return {path: data for path, data in tree_of(at).items() if "catalog.sqlite" not in path}
