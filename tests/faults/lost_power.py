"""A disk as a crash leaves it: what was synced, and any part of what was not.

A file is its bytes and the bytes that a sync made durable. A folder is its names and, in order, the
changes of names that no sync of the folder has made durable. A renaming is one change to each of two
folders; the old name never goes before the new one is there, as in every filesystem with a journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dsvd_registry.fs import TEMPORARY_PREFIX

from .recording import CATALOG, Catalog, Operation

BLOCK = 512


class File:
    """`synced`: what a loss of power leaves, whatever else it does."""

    def __init__(self, data: bytes, synced: bytes) -> None:
        self.data = bytearray(data)
        self.synced = synced
        self.read_only = False

    def states(self) -> list[bytes]:
        """Whole, and if some of it was not synced: without that, half of it, a block of it zeroed."""
        data = bytes(self.data)
        if data == self.synced:
            return [data] * 4
        middle = len(data) // 2 // BLOCK * BLOCK
        zeroed = data[:middle] + bytes(len(data[middle : middle + BLOCK])) + data[middle + BLOCK :]
        return [data, self.synced, data[: len(data) // 2], zeroed]


@dataclass(frozen=True)
class SymbolicLink:
    leads_to: str


@dataclass
class Folder:
    names: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)


Node = File | Folder | SymbolicLink


@dataclass(eq=False)
class Change:
    """A name that was given to something, or taken away (None). `after`: it never lasts without that."""

    folder: Folder
    name: str
    node: Node | None
    after: Change | None = None


Tree = dict[str, bytes | SymbolicLink | None]  # by path; None for a folder


@dataclass(frozen=True)
class State:
    """All that is on disk. `read_only`: the files that have no write permission."""

    tree: Tree
    read_only: frozenset[str]

    @property
    def key(self) -> str:
        """The same for states that differ in what a temporary file holds alone: nothing reads that."""
        digest = hashlib.sha256()
        for path, data in sorted(self.tree.items()):
            if data is not None and path.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
                data = b""
            kind = data if isinstance(data, SymbolicLink) else data is None
            digest.update(repr((path, kind, path in self.read_only)).encode())
            digest.update(hashlib.sha256(data if isinstance(data, bytes) else b"").digest())
        return digest.hexdigest()

    def write(self, at: Path) -> None:
        """Make a folder this, whatever it is."""
        for path in sorted(at.rglob("*"), reverse=True):
            if path.is_symlink() or not path.is_dir():
                path.unlink()
            elif path.relative_to(at).as_posix() not in self.tree:
                path.rmdir()
        for path, data in sorted(self.tree.items()):
            if data is None:
                (at / path).mkdir(parents=True, exist_ok=True)
                continue
            (at / path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, SymbolicLink):
                (at / path).symlink_to(data.leads_to)
            else:
                (at / path).write_bytes(data)
                if path in self.read_only:
                    (at / path).chmod(0o444)


class Disk:
    """A folder, durable as it is now, to which operations are done."""

    def __init__(self, at: Path) -> None:
        self._root = Folder()
        self._changes: list[Change] = []
        for path in sorted(at.rglob("*")):
            name = path.relative_to(at).as_posix()
            if name.startswith(CATALOG):
                continue
            node: Node = Folder()
            if path.is_symlink():
                node = SymbolicLink(str(path.readlink()))
            elif path.is_file():
                data = path.read_bytes()
                node = File(data, data)
                node.read_only = not path.stat().st_mode & 0o222
            folder, last = self._place(name)
            folder.names[last] = folder.durable[last] = node

    def do(self, operation: Operation) -> None:
        path, target = operation.path, operation.target
        if path.startswith(CATALOG):  # copied as it is at each moment
            return
        match operation.kind:
            case "create":
                self._give(path, File(b"", b""))
            case "make_folder":
                self._give(path, Folder())
            case "write":
                data = self._file(path).data
                start = len(data) if operation.position is None else operation.position
                data.extend(bytes(max(0, start - len(data))))
                data[start : start + len(operation.data)] = operation.data
            case "sync":
                file = self._file(path)
                file.synced = bytes(file.data)
            case "sync_folder":
                self._sync(self._root if path == "." else self._node(path))
            case "link":
                self._give(target, self._node(path))
            case "rename" | "replace":
                given = None
                if not target.startswith(CATALOG):
                    given = self._give(target, self._node(path))
                self._take(path, given)
            case "unlink":
                self._take(path, None)
            case "make_read_only" | "make_writable":
                self._file(path).read_only = operation.kind == "make_read_only"
            case "set_mode":
                self._file(path).read_only = not int(operation.data, 8) & 0o222
            case "symlink":
                self._give(path, SymbolicLink(operation.data.decode()))
            case "renew_time" | "set_mtime":
                pass
            case _:
                raise AssertionError(operation.kind)

    def killed(self) -> State:
        """The state that a process killed now leaves."""
        return self._state(set(), 0)

    def states(self) -> Iterator[State]:
        """The states that a loss of power may leave: one change of a name is lost, or all, or none."""
        lost: list[set[Change]] = [set(), set(self._changes), *({one} for one in self._changes)]
        for without in lost:
            for data in range(4):
                yield self._state(without, data)

    def _state(self, lost: set[Change], data: int) -> State:
        done: dict[int, dict[str, Node]] = {}
        kept: set[Change] = set()
        for change in self._changes:
            if change in lost or (change.after in self._changes and change.after not in kept):
                continue
            kept.add(change)
            names = done.setdefault(id(change.folder), dict(change.folder.durable))
            if change.node is None:
                names.pop(change.name, None)
            else:
                names[change.name] = change.node
        tree: Tree = {}
        read_only = set()

        def walk(folder: Folder, above: str) -> None:
            for name, node in done.get(id(folder), folder.durable).items():
                path = above + name
                if isinstance(node, Folder):
                    tree[path] = None
                    walk(node, path + "/")
                elif isinstance(node, SymbolicLink):
                    tree[path] = node
                else:
                    tree[path] = node.states()[data]
                    if node.read_only:
                        read_only.add(path)

        walk(self._root, "")
        return State(tree, frozenset(read_only))

    def _place(self, path: str) -> tuple[Folder, str]:
        *above, last = path.split("/")
        folder: Node = self._root
        for name in above:
            assert isinstance(folder, Folder)
            folder = folder.names[name]
        assert isinstance(folder, Folder)
        return folder, last

    def _node(self, path: str) -> Node:
        folder, name = self._place(path)
        return folder.names[name]

    def _file(self, path: str) -> File:
        node = self._node(path)
        assert isinstance(node, File)
        return node

    def _give(self, path: str, node: Node) -> Change:
        folder, name = self._place(path)
        folder.names[name] = node
        self._changes.append(Change(folder, name, node))
        return self._changes[-1]

    def _take(self, path: str, after: Change | None) -> None:
        folder, name = self._place(path)
        if folder.names.pop(name, None) is not None:
            self._changes.append(Change(folder, name, None, after))

    def _sync(self, folder: Node) -> None:
        assert isinstance(folder, Folder)
        folder.durable = dict(folder.names)
        self._changes = [change for change in self._changes if change.folder is not folder]


def with_catalog(state: State, catalog: Catalog) -> State:
    return State({**state.tree, **catalog}, state.read_only)
