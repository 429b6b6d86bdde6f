"""A crash at any moment of what changes names alone, takes garbage away, or makes the catalog anew.

Seen to fail, each taken out of a copy of the tree: the sync of a file and that of its folder in
`NewFile.publish`, the catching up when a catalog is opened; and with the rows committed before the
event had its name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .crashes import try_all
from .scenarios import NAMES_CHANGE, SCENARIOS, STATES


@pytest.mark.parametrize("name", NAMES_CHANGE)
def test_crash(tmp_path: Path, name: str) -> None:
    assert try_all(SCENARIOS[name], tmp_path).states >= STATES[name]
