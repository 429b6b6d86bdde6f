"""The backend of a registry in a local folder: each key is a read-only file.

No symbolic link is followed: one in the place of a file or of a folder is refused.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from .. import fs
from ..errors import NotFound, RegistryError, StorageError
from ..fs import Bytes
from .backend import Entry, LocalContent, checked_key


class FolderBackend:
    """The files below the folder of a registry."""

    def __init__(self, root: Path) -> None:
        self._root, self._tmp = root, root / "tmp"

    def create(self, key: str, data: Bytes) -> None:
        target = self.place(key)
        fs.make_folder(target.parent)
        with fs.storage_errors(target.parent), os.scandir(target.parent) as entries:
            is_first = next(entries, None) is None
        if is_first:  # the maker of the folder may have crashed before it was durable
            self._sync(target.parent.parent)
        fs.make_folder(self._tmp)
        with fs.new_file(self._tmp, memoryview(data).nbytes) as file:
            file.write(data)
            file.publish(target, read_only=True)

    @contextlib.contextmanager
    def new_content(self) -> Iterator[LocalContent]:
        fs.make_folder(self._tmp)
        with fs.new_file(self._tmp) as file:
            yield LocalContent(file, self._publish)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        place = self.place(key)
        found = _status(place)
        if found is None:
            raise NotFound(f"{place} does not exist")
        end = found.st_size if stop is None else min(found.st_size, stop)
        size = max(0, end - start)
        with fs.storage_errors(place), place.open("rb") as file:
            file.seek(start)
            data = file.read(size)
        if len(data) != size:
            raise StorageError(
                f"{place} has become shorter while it is read", "Check the disk and its messages."
            )
        return data

    def head(self, key: str) -> Entry | None:
        status = _status(self.place(key))
        return None if status is None else _entry(key, status)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        checked_key(prefix.removesuffix("/") + "/0")
        with fs.storage_errors(self._root / prefix):
            yield from self._below(prefix, after)

    def _below(self, prefix: str, after: str) -> Iterator[Entry]:
        try:
            with os.scandir(self._root / prefix) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except FileNotFoundError:  # a backup may omit empty folders
            return
        keys = {f"{prefix}{e.name}/" if _is_folder(e) else prefix + e.name: e for e in entries}
        for key in sorted(keys):
            if key.endswith("/"):
                if key > after or after.startswith(key):
                    yield from self._below(key, after)
            elif key > after or after.startswith(f"{key}/"):  # a link in the place of a folder
                with contextlib.suppress(FileNotFoundError):
                    yield _entry(key, keys[key].stat(follow_symlinks=False))

    def delete(self, key: str, unchanged: Entry | None = None) -> bool:
        found = self.head(key)
        if found is None or (unchanged is not None and found.state != unchanged.state):
            return False
        fs.remove_file(self.place(key))
        return True

    def renew(self, key: str) -> bool:
        if self.head(key) is None:
            return False
        place = self.place(key)
        # Another writer may still be about to make the name durable, or may have crashed before.
        self._sync(place.parent, place.parent.parent)
        return fs.renew_time(place)

    def now(self) -> float:
        fs.make_folder(self._tmp)
        with fs.scratch_file(self._tmp) as file, fs.storage_errors(self._tmp):
            return os.fstat(file.fileno()).st_mtime

    def settle(self, *prefixes: str) -> None:
        folders = [self._root / prefix for prefix in prefixes]
        self._sync(*folders, *dict.fromkeys(folder.parent for folder in folders))

    def place(self, key: str) -> Path:
        """The path of a key, existing or not."""
        root, (*folders, _) = str(self._root), checked_key(key).split("/")
        for depth in range(len(folders)):  # as texts: a log of many events would wait for paths
            folder = "/".join((root, *folders[: depth + 1]))
            try:
                is_link = stat.S_ISLNK(os.lstat(folder).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                break
            except OSError as error:
                raise fs.storage_error(error, Path(folder)) from error
            if is_link:
                raise RegistryError(
                    f"{folder} is a symbolic link", "Put the folder itself there, or remove it."
                )
        return self._root / key

    def _publish(self, file: fs.NewFile, key: str) -> None:
        target = self.place(key)
        fs.make_folder(target.parent)
        file.publish(target, replace=True, read_only=True)
        # The folder, too: another writer may have made it a moment ago.
        self._sync(target.parent.parent)

    def _sync(self, *folders: Path) -> None:
        for folder in folders:
            with fs.storage_errors(folder):
                fs.sync_folder(folder)


def _status(place: Path) -> os.stat_result | None:
    """The status of the plain file at `place`; None if it does not exist."""
    try:
        status = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise fs.storage_error(error, place) from error
    if not stat.S_ISREG(status.st_mode):
        raise RegistryError(f"{place} is not a plain file", "Remove it, then restore the file.")
    return status


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def state_of(status: os.stat_result) -> str:
    """The state of what is in the place of a key; see `Entry`."""
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def _entry(key: str, status: os.stat_result) -> Entry:
    is_plain = stat.S_ISREG(status.st_mode)
    return Entry(key, status.st_size, status.st_mtime, state_of(status), is_plain)
