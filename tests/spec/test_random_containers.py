"""Random containers: the package, the decoder, the reader in C and exact fractions agree."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trained_pair import one_thread

from dsvd_registry.errors import ContainerError, TauNotServed

from .building import Built, safetensors
from .c_reader import CReader
from .exact import NotFinite
from .random_recipes import containers
from .readers import decoder, decoder_gives, package_gives_files


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(built=containers(), lower=st.floats(0.001, 1.0))
def test_readers_agree(c_reader: CReader, tmp_path: Path, built: Built, lower: float) -> None:
    file, base = tmp_path / "random.dsvd", tmp_path / "base.safetensors"
    file.write_bytes(built.file)
    base.write_bytes(safetensors(built.base))
    if built.base_files:
        base = folder_of(built, tmp_path / "base")
    with one_thread():
        for tau in (built.tau, max(1, int(lower * built.tau * 10**6)) / 10**6):
            try:
                expected = built.files(tau) if built.header["tree"] else built.result(tau)
            except NotFinite:  # a cast of what is larger at a lower tau
                with pytest.raises(ContainerError):
                    package_gives_files(file, base, tau)
                with pytest.raises(decoder.InvalidContainer):
                    decoder_gives(file, base, tau)
                continue
            if expected is None:
                with pytest.raises(TauNotServed):
                    package_gives_files(file, base, tau)
                with pytest.raises(decoder.InvalidContainer):
                    decoder_gives(file, base, tau)
            else:
                assert decoder_gives(file, base, tau) == expected
                assert written_in_c(c_reader, file, base, tau) == expected
                made = package_gives_files(file, base, tau)
                assert (made if built.header["tree"] else made["model.safetensors"]) == expected


def written_in_c(c_reader: CReader, file: Path, base: Path, tau: float) -> bytes | dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return c_reader.gives(file, base, Path(folder, "output"), tau)


def folder_of(built: Built, folder: Path) -> Path:
    """The base as a folder, whatever another example left there."""
    shutil.rmtree(folder, ignore_errors=True)
    files = {"model_index.json": b"{}", "x.safetensors": safetensors(built.base)}
    for path, data in {**files, **built.base_files}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder
