"""The results of the reader in C for the golden files; for random ones see test_random_containers.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trained_pair import one_thread

from .c_reader import STATUS, CReader
from .make_vectors import VECTORS
from .readers import decoder_gives, valid_files

LISTING = json.loads((VECTORS / "vectors.json").read_bytes())

Vector = dict[str, Any]


@pytest.mark.parametrize("vector", LISTING["valid"], ids=lambda vector: vector["name"])
def test_valid(c_reader: CReader, vector: Vector, tmp_path: Path) -> None:
    file, base = valid_files(vector["name"])
    with one_thread():
        for tau in (None, vector["tau"], *(lower["tau"] for lower in vector["lower"])):
            made = c_reader.gives(file, base, tmp_path / f"{tau}", tau)
            assert made == decoder_gives(file, base, tau)
    for tau in vector["not_served"]:
        refused = c_reader.ask(file, base, tmp_path / "refused", tau)
        assert refused.returncode == STATUS["container"] and refused.stderr.startswith("N4: ")


@pytest.mark.parametrize("vector", LISTING["invalid"], ids=lambda vector: vector["name"])
def test_invalid(c_reader: CReader, vector: Vector, tmp_path: Path) -> None:
    """It names the rule that the file breaks, and leaves nothing behind."""
    file, (_, base) = VECTORS / "invalid" / f"{vector['name']}.dsvd", valid_files(vector["base"])
    refused = c_reader.ask(file, base, tmp_path / "output")
    assert refused.returncode == STATUS[vector["error"]]
    assert refused.stderr.split(":")[0] == vector["rule"]
    assert not any(tmp_path.iterdir())
