"""A disk that becomes full, at each call that takes room: the right error, and nothing is lost.

From one call on, everything that takes room is refused with ENOSPC, and so are SQLite's commits. Then
there is room again. Seen to fail with `storage_errors` taken out of `NewFile.write`.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from .faulty import GROWS
from .refusing import refuse_each
from .scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_space(tmp_path: Path, name: str) -> None:
    kinds = (*GROWS, "commit")
    hint = "ree some space"
    tried, without = refuse_each(
        SCENARIOS[name], tmp_path, kinds, errno.ENOSPC, lasts=True, hint=hint
    )
    assert tried >= 1 and not without
