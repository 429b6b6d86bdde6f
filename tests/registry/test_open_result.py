"""Any part of a result, read alone, is that part of the file that materialising writes."""

from __future__ import annotations

from pathlib import Path

from dsvd_registry import Registry

from .test_cache import cache  # noqa: F401


def test_first_to_last(registry: Registry, tmp_path: Path) -> None:
    registry.materialize("subject", tmp_path / "out.safetensors")
    whole = (tmp_path / "out.safetensors").read_bytes()
    with registry.open_result("subject") as result:
        assert result.read() == whole
        assert result.size == len(whole)
        for at in range(0, len(whole), 97):
            assert result.read_at(at, 131) == whole[at : at + 131]
