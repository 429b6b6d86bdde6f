"""One call of the disk fails with EIO, each in turn: the right error or none, and nothing is lost.

What is only tidying (the removal of a temporary file, an object's new time) may fail unseen: garbage
collection takes what is left. Seen to fail with the errors of the sync of a folder passed over: what a
loss of power may take away was then reported done.
"""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from .refusing import refuse_each
from .scenarios import SCENARIOS

KINDS = (
    "sync",
    "sync_folder",
    "link",
    "rename",
    "replace",
    "unlink",
    "remove_tree",
    "make_read_only",
    "renew_time",
    "set_mode",
    "set_mtime",
    "symlink",
)


# A link that is refused becomes a renaming. The others are tidying.
DONE_WITHOUT = {"link", "unlink", "remove_tree", "renew_time"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_input_output_error(tmp_path: Path, name: str) -> None:
    tried, without = refuse_each(
        SCENARIOS[name], tmp_path, KINDS, errno.EIO, lasts=False, hint="disk"
    )
    assert tried >= 2 and without <= DONE_WITHOUT
