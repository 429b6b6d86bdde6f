"""The folders and files of a mount, made from the catalog alone, and made anew when that changes.

    checkpoints/NAME.safetensors        the newest version
    checkpoints/NAME@3.safetensors      version 3, and so NAME@ALIAS.safetensors
    diffusers/NAME/...                  versions that are folders, and so NAME@3, NAME@ALIAS
    loras/NAME.safetensors              versions as LoRA files, and so NAME@3, NAME@ALIAS
    checkpoints/NAME.preview.png        a version's preview and sidecars, in `loras` too

All names of a version are names of one file, as hard links are. The file's number belongs to the
content, so that what the kernel has of it in its memory is right for good: when a newer version
takes over the name `NAME.safetensors`, that name leads to another number, and who has the old file open
keeps it.
"""

from __future__ import annotations

import itertools
import stat
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..catalog import VersionRecord
from ..errors import DsvdError
from ..registry import Registry
from ..store.names import LATEST
from .messages import ROOT, Attributes

if TYPE_CHECKING:
    from .contents import Content, Contents

FILE_MODE, FOLDER_MODE = stat.S_IFREG | 0o444, stat.S_IFDIR | 0o555
TOP_FOLDERS = ("checkpoints", "diffusers", "loras")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHECK_SECONDS = 0.1
"""The catalog is asked for changes at most this often."""


@dataclass(eq=False)
class File:
    """A file of a version. `links`: how many names it has."""

    number: int
    content: Content
    size: int
    time_ns: int
    links: int = 0


@dataclass(eq=False)
class Folder:
    """A folder. `entries` is replaced as a whole, never changed."""

    number: int
    parent: Folder | None
    time_ns: int = 0
    entries: Mapping[str, File | Folder] = field(default_factory=dict)


Node = File | Folder


class Tree:
    """The folders and files of a registry's versions. Several threads may use it."""

    def __init__(
        self,
        registry: Registry,
        contents: Contents,
        pattern: str | None,
        owner: tuple[int, int],
        log: Callable[[str], None],
    ) -> None:
        """`pattern`: a shell pattern for the names of models. `owner`: user and group of all files."""
        self._registry, self._contents, self._pattern, self._log = registry, contents, pattern, log
        self._owner = owner
        self._numbers = itertools.count(ROOT)
        # A node lives as long as the tree or an open file has it.
        self._by_number: weakref.WeakValueDictionary[int, Node] = weakref.WeakValueDictionary()
        self._by_key: weakref.WeakValueDictionary[Hashable, Node] = weakref.WeakValueDictionary()
        self._root = self._folder("", None)
        self._root.entries = {name: self._folder(name, self._root) for name in TOP_FOLDERS}
        self._loras = self._folder("loras", self._root)
        self._new_for_loras: list[VersionRecord] | None = None
        self._building_loras = threading.Lock()
        self._lock = threading.Lock()
        self._position = -1
        self._next_check = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Make the tree anew if the catalog has changed; damage of the catalog leaves it as it is."""
        if time.monotonic() < self._next_check:
            return
        with self._lock:
            start = time.monotonic()
            if start < self._next_check:
                return
            try:
                position = self._registry.repository.catalog.position()
                if position != self._position:
                    self._build(self._registry.versions(self._pattern))
                    self._position = position
            except DsvdError as error:
                self._log(str(error))
            end = time.monotonic()
            # A big catalog that changes all the time must not keep the mount busy.
            self._next_check = end + min(max(CHECK_SECONDS, 4 * (end - start)), 1.0)

    def entries(self, folder: Folder) -> Mapping[str, Node]:
        """The entries of a folder. LoRA files are looked for only when somebody asks for them."""
        if folder is self._loras and self._new_for_loras is not None:
            with self._building_loras:
                versions, self._new_for_loras = self._new_for_loras, None
                if versions is not None:
                    self._build_loras(versions)
        return folder.entries

    def node(self, number: int) -> Node | None:
        """The node with this number; None if it is gone."""
        return self._by_number.get(number)

    def attributes(self, node: Node) -> Attributes:
        """The status of a node."""
        if isinstance(node, File):
            status = (node.size, node.time_ns, FILE_MODE, max(node.links, 1))
        else:
            folders = sum(isinstance(entry, Folder) for entry in node.entries.values())
            status = (0, node.time_ns, FOLDER_MODE, 2 + folders)
        return Attributes(node.number, *status, *self._owner)

    def usage(self) -> tuple[int, int]:
        """The bytes and the number of all files, each counted once."""
        files = {node.number: node.size for node in _below(self._root) if isinstance(node, File)}
        return sum(files.values()), len(files)

    def _build(self, versions: list[VersionRecord]) -> None:
        files_before = (node for node in _below(self._root) if isinstance(node, File))
        links = dict.fromkeys((file for file in files_before if file.content.lora is None), 0)
        named: dict[str, dict[str, Node]] = {name: {} for name in TOP_FOLDERS}
        beside = self._contents.beside()
        for version, contents in self._contents.results_of(versions):
            files = [self._file(version, content) for content in contents]
            for name in names_of(version):
                for file in files:
                    links[file] = links.get(file, 0) + 1
                if files[0].content.is_whole:
                    named["checkpoints"][f"{name}.safetensors"] = files[0]
                    for file in self._beside(version, beside):
                        links[file] = links.get(file, 0) + 1
                        named["checkpoints"][f"{name}{file.content.path}"] = file
                else:
                    named["diffusers"][name] = self._version_folder(name, version, files)
        for file, count in links.items():
            file.links = count
        newest = max((time_ns_of(version) for version in versions), default=0)
        for name, folder in self._root.entries.items():
            assert isinstance(folder, Folder)
            # Its time tells user interfaces to look again. A LoRA file comes and goes with others.
            if folder.time_ns == 0:
                folder.time_ns = newest
            elif folder is self._loras or dict(folder.entries) != named[name]:
                folder.time_ns = max(newest, time.time_ns())
            if folder is not self._loras:
                folder.entries = named[name]
            self._root.time_ns = max(self._root.time_ns, folder.time_ns)
        self._new_for_loras = versions

    def _build_loras(self, versions: list[VersionRecord]) -> None:
        contents = self._contents.loras_of(versions)  # may take long: nobody else waits for it
        beside = self._contents.beside()
        with self._lock:
            entries: dict[str, Node] = {}
            for version in versions:
                if version.ref in contents:
                    file = self._file(version, contents[version.ref])
                    names = list(names_of(version))
                    file.links = len(names)
                    given = (file, *self._beside(version, beside))
                    for one in given[1:]:
                        one.links += len(names)
                    entries |= {f"{name}{one.content.path}": one for name in names for one in given}
            self._loras.entries = entries

    def _beside(
        self, version: VersionRecord, beside: Mapping[str, tuple[Content, ...]]
    ) -> list[File]:
        """The files that stand beside each checkpoint of a version."""
        return [self._file(version, content) for content in beside.get(version.ref, ())]

    def _file(self, version: VersionRecord, content: Content) -> File:
        key = (content.made_from, content.path, content.lora)
        file = self._by_key.get(key)
        if not isinstance(file, File):
            file = File(next(self._numbers), content, content.size, time_ns_of(version))
            self._by_key[key] = self._by_number[file.number] = file
        return file

    def _folder(self, path: str, parent: Folder | None, made_from: Hashable = None) -> Folder:
        # The kernel has one place for a folder, so that each name of a version's folder has its own.
        key = (path, made_from)
        folder = self._by_key.get(key)
        if not isinstance(folder, Folder):
            folder = Folder(next(self._numbers), parent)
            self._by_key[key] = self._by_number[folder.number] = folder
        return folder

    def _version_folder(self, name: str, version: VersionRecord, files: list[File]) -> Folder:
        top = self._root.entries["diffusers"]
        assert isinstance(top, Folder)
        made_from = files[0].content.made_from
        path = f"diffusers/{name}"
        folders = {"": self._folder(path, top, made_from)}
        entries: dict[str, dict[str, Node]] = {"": {}}
        for file in files:
            where, _, last = file.content.path.rpartition("/")
            for parent, place, own in _steps(where):
                if place not in folders:
                    folders[place] = self._folder(f"{path}/{place}", folders[parent], made_from)
                    entries[place] = {}
                    entries[parent][own] = folders[place]
            entries[where][last] = file
        for place, folder in folders.items():
            folder.time_ns, folder.entries = time_ns_of(version), entries[place]
        return folders[""]


def names_of(version: VersionRecord) -> Iterator[str]:
    """The names of a version in the folders: that of its model is the newest version's."""
    yield f"{version.model}@{version.number}"
    for alias in version.aliases:
        yield version.model if alias == LATEST else f"{version.model}@{alias}"


def _steps(path: str) -> Iterator[tuple[str, str, str]]:
    """Each folder on a path, from the top: its parent's path, its own path, its own name."""
    parent = ""
    for name in path.split("/") if path else ():
        place = f"{parent}/{name}" if parent else name
        yield parent, place, name
        parent = place


def _below(folder: Folder) -> Iterator[Node]:
    for node in folder.entries.values():
        yield node
        if isinstance(node, Folder):
            yield from _below(node)


def time_ns_of(version: VersionRecord) -> int:
    """The modification time of a version's files: when it was added."""
    since = version.added - _EPOCH
    return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000
