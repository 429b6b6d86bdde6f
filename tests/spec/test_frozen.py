"""The golden files are frozen: none is altered or removed, whatever else changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

VECTORS = Path(__file__).parents[2] / "spec" / "vectors"


def test_no_golden_file_was_altered() -> None:
    """`SHA256SUMS` only ever grows. It is of the form that `sha256sum --check` reads."""
    lines = (VECTORS / "SHA256SUMS").read_text().splitlines()
    recorded = dict(reversed(line.split("  ")) for line in lines)
    found = {
        path.relative_to(VECTORS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("valid", "invalid")
        for path in (VECTORS / folder).rglob("*")
        if path.is_file()
    }
    assert found == recorded
