"""Each backend, by the conformance suite; and what is true of one of them alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dsvd_registry.errors import RegistryError
from dsvd_registry.store import RegistryFolder
from dsvd_registry.store import bucket_url as urls
from dsvd_registry.store.backend import Backend
from dsvd_registry.store.bucket_backend import BucketBackend
from dsvd_registry.store.folder_backend import FolderBackend

from .backend_suite import DATA, FIRST, SECOND, BackendSuite, keys, put


class TestFolder(BackendSuite):
    """A registry in a local folder."""

    @pytest.fixture
    def again(self, registry: RegistryFolder) -> Callable[[], Backend]:
        return lambda: FolderBackend(registry.root)

    @pytest.fixture
    def backend(self, again: Callable[[], Backend]) -> Backend:
        return again()

    def test_nothing_is_left_in_tmp(self, backend: Backend, registry: RegistryFolder) -> None:
        put(backend, DATA)
        backend.create(FIRST, DATA)
        with backend.new_content() as content:
            content.write(DATA)
        assert list(registry.tmp.iterdir()) == []

    def test_files_are_read_only(self, backend: Backend, registry: RegistryFolder) -> None:
        backend.create(FIRST, DATA)
        for key in (FIRST, put(backend, DATA)):
            assert (registry.root / key).stat().st_mode & 0o222 == 0

    def test_links_are_refused(
        self, backend: Backend, registry: RegistryFolder, tmp_path: Path
    ) -> None:
        """Of a file and of a folder; what they lead to stays as it is, and the listing tells them."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "000000001.json").write_bytes(DATA)
        (registry.events / "000000").mkdir()
        (registry.root / SECOND).symlink_to(outside / "000000001.json")
        (registry.events / "000001").symlink_to(outside)
        for key, said in (
            (SECOND, "not a plain file"),
            ("events/000001/000000001.json", "symbolic"),
        ):
            for call in (backend.read, backend.head, backend.delete, backend.renew):
                with pytest.raises(RegistryError, match=said):
                    call(key)
        with pytest.raises(RegistryError, match="symbolic"):
            backend.create("events/000001/000001000.json", DATA)
        listed = {entry.key: entry.is_plain for entry in backend.list("events/")}
        assert listed == {SECOND: False, "events/000001": False}
        assert [path.name for path in outside.iterdir()] == ["000000001.json"]

    def test_hidden_files_are_no_keys(self, backend: Backend, registry: RegistryFolder) -> None:
        backend.create(FIRST, DATA)
        (registry.root / FIRST).with_name(".DS_Store").write_bytes(b"")
        assert keys(backend, "events/") == [FIRST]


class TestBucket(BackendSuite):
    """A registry in a bucket, by the protocol of S3."""

    tick = 1.1
    races = 2  # the server lets writers of one key wait for each other, a second each

    @pytest.fixture
    def again(self, bucket_url: str, tmp_path: Path) -> Callable[[], Backend]:
        return lambda: BucketBackend(urls.parse(bucket_url), tmp_path / "spool")

    @pytest.fixture
    def backend(self, again: Callable[[], Backend]) -> Backend:
        return again()
