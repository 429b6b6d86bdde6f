from __future__ import annotations

from pathlib import Path

import pytest

from dsvd_registry.store import RegistryFolder, registry_folder


@pytest.fixture
def registry(tmp_path: Path) -> RegistryFolder:
    return registry_folder.create(tmp_path / "registry")
