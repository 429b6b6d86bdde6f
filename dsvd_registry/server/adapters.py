"""LoRA adapters of versions, made when they are asked for: one file, or the files of PEFT's folders."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..catalog import VersionRecord
from ..closing import Closing
from ..errors import NotFound
from ..export import LoraForm
from ..export.peft_folder import FolderFile, folder_files
from ..hashing import sha256_file
from ..registry.results.lora_files import CheckedFile, LoraMaker, OwnProcess
from ..registry.results.shared_open import SharedOpen
from .checkpoints import ReadableFile, ServedFile

IDLE_FILES = 16


@dataclass(frozen=True)
class AdapterFile:
    """A file of an adapter, open: what is said of it before its bytes, and who reads them."""

    served: ServedFile
    reader: ReadableFile


class Adapters(Closing):
    """The adapters of a registry's versions. Any thread may use it.

    They lie in the cache. Those that were read lately stay open, so that they are hashed once. A
    process of its own makes them, one after another; it begins with the first.
    """

    def __init__(self, maker: LoraMaker) -> None:
        self._maker, self._process = maker, OwnProcess()
        self._files: SharedOpen[tuple[str, LoraForm], CheckedFile] = SharedOpen(IDLE_FILES)

    def close(self) -> None:
        """Close the files, and end the process."""
        self._files.close()
        self._process.close()

    @contextlib.contextmanager
    def opened(
        self, version: VersionRecord, form: LoraForm, path: str | None
    ) -> Iterator[AdapterFile]:
        """An open adapter: the LoRA file, or with `path` a file of PEFT's folders.

        Raises `NotFound` for a path that the folders do not have, and what `cached_lora` raises.
        """
        key = version.container, form
        with self._files.use(key, lambda: self._open(version, form)) as file:
            if path is None:
                name = f"{version.model}.safetensors"
                yield AdapterFile(ServedFile(name, file.size, file.sha256, file.sha256), file)
                return
            header = file.read_at(8, int.from_bytes(file.read_at(0, 8), "little"))
            files = {one.path: one for one in folder_files(header)}
            if path not in files:
                raise NotFound(
                    f"{version.ref} has no {path} for PEFT", f"It has {', '.join(files)}."
                )
            tag = hashlib.sha256(f"{file.sha256} {path}".encode()).hexdigest()
            served = ServedFile(path, files[path].size, None, tag)
            yield AdapterFile(served, _Cut(files[path], file))

    @contextlib.contextmanager
    def _open(self, version: VersionRecord, form: LoraForm) -> Iterator[CheckedFile]:
        path = self._process.call(self._maker.make, version, form)
        size, description = path.stat().st_size, f"the LoRA of {version.ref}"
        with CheckedFile(path, size, sha256_file(path), description) as file:
            yield file


@dataclass(frozen=True)
class _Cut:
    """A file of PEFT's folders, read out of the LoRA file."""

    one: FolderFile
    whole: CheckedFile

    def read_at(self, offset: int, size: int) -> bytes:
        head = self.one.head
        end = min(offset + size, self.one.size)
        made = head[offset:end]
        first = max(offset, len(head))
        if first < end:
            made += self.whole.read_at(self.one.first + first - len(head), end - first)
        return made
