"""A crash at any moment of what writes beside the registry: `materialize`, `export`, and `--force`.

The name has nothing, or the former file or folder, or the new one whole; a former folder that is not
in its place is whole under its telling name. Seen to fail, each taken out of a copy of the tree: the
sync of a file and that of its folder in `NewFile.publish`; the sync of the folder before the former
folder is removed, in `NewFolder.publish`; and with the former folder removed under its telling name.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .crashes import try_all
from .scenarios import FILES_GO_OUT, SCENARIOS, STATES


@pytest.mark.parametrize("name", FILES_GO_OUT)
def test_crash(tmp_path: Path, name: str) -> None:
    assert try_all(SCENARIOS[name], tmp_path).states >= STATES[name]
