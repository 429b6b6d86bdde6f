"""A mount at work: threads that take the kernel's requests and answer them from the tree.

The kernel's protocol is spoken directly, not through libfuse. There a file is known by its path, and
so the kernel would keep, under one number, bytes of two versions whose name moved from one to the
other. Here a number belongs to a content for good, and the kernel may keep what it has read.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard

from ..errors import DsvdError
from ..fs import Bytes
from . import messages
from .contents import Changed, Contents, Reader
from .messages import UNANSWERED, Opcode, Request
from .tree import File, Folder, Node, Tree

NAME_SECONDS = 1
"""Seconds for which the kernel may use a name, or a count of names, without asking again."""

THREADS = 24
BACKGROUND = 16
"""Reads that the kernel may ask for ahead; fewer than threads, so that names need not wait for them."""

_GONE = (errno.ENODEV, errno.EBADF)  # the mount was taken away
_NEXT_REQUEST = (errno.ENOENT, errno.EINTR, errno.EAGAIN)  # whoever asked no longer waits


class Refused(Exception):
    """A request that is answered with an error. `number`: one of `errno`."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


@dataclass(frozen=True)
class _OpenFile:
    file: File
    reader: Reader


@dataclass(frozen=True)
class _OpenFolder:
    folder: Folder
    entries: tuple[tuple[bytes, Node], ...]


class Session:
    """The answers to the requests of one mount."""

    def __init__(
        self, descriptor: int, tree: Tree, contents: Contents, log: Callable[[str], None]
    ) -> None:
        """`descriptor`: as `make_mount` gives it; it is closed at the end. `log`: takes a line."""
        self._descriptor, self._tree, self._contents, self._log = descriptor, tree, contents, log
        self._handles: dict[int, _OpenFile | _OpenFolder] = {}
        self._numbers = itertools.count(1)
        self._answers: dict[int, Callable[[Request], Bytes]] = {
            Opcode.LOOKUP: self._lookup,
            Opcode.GETATTR: self._attributes,
            Opcode.OPEN: self._open,
            Opcode.READ: self._read,
            Opcode.STATFS: self._statfs,
            Opcode.RELEASE: self._release,
            Opcode.OPENDIR: self._open_folder,
            Opcode.READDIR: self._list,
            Opcode.READDIRPLUS: self._list,
            Opcode.RELEASEDIR: self._release,
            Opcode.DESTROY: lambda _: b"",
        }

    def start(self) -> None:
        """Agree with the kernel on the protocol, after which the mount can be used.

        Raises `DsvdError` for a kernel that is too old.
        """
        buffer = bytearray(messages.BUFFER)
        size = os.readv(self._descriptor, [buffer])
        request = messages.parse_request(memoryview(buffer)[:size])
        answer = messages.answer_to_init(request.body, BACKGROUND)
        if answer is None:
            self._answer(request, b"", errno.EPROTO)
            raise DsvdError("this system's FUSE is too old", "Linux 3.15 or newer is needed.")
        self._answer(request, answer)

    def run(self) -> None:
        """Answer requests until the mount is taken away."""
        threads = [
            threading.Thread(target=self._answer_all, name=f"mount-{number}", daemon=True)
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.close()

    def close(self) -> None:
        """Close every open file, and the descriptor, which ends the mount. Closing twice is fine."""
        for opened in self._handles.values():
            if isinstance(opened, _OpenFile):
                opened.reader.close()
        self._handles.clear()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _answer_all(self) -> None:
        buffer = bytearray(messages.BUFFER)
        view = memoryview(buffer)
        while True:
            try:
                size = os.readv(self._descriptor, [buffer])
            except OSError as error:
                if error.errno in _NEXT_REQUEST:
                    continue
                if error.errno not in _GONE:
                    self._log(f"the mount ends: {error.strerror}")
                return
            request = messages.parse_request(view[:size])
            if request.opcode not in UNANSWERED:
                self._answer(request, *self._made(request))

    def _made(self, request: Request) -> tuple[Bytes, int]:
        """The body of the answer to a request, and the number of its error, or 0."""
        make = self._answers.get(request.opcode)
        if make is None:
            return b"", errno.ENOSYS
        try:
            return make(request), 0
        except Refused as error:
            return b"", error.number
        except Changed:
            # The kernel asks for the name again, and so finds the new version, or none.
            return b"", errno.ESTALE
        except DsvdError as error:
            self._log(f"{self._name_of(request)}: {error}")
        except MemoryError:
            self._log(f"{self._name_of(request)}: out of memory")
        except Exception:
            self._log(f"{self._name_of(request)}: this is a bug in dsvd: {traceback.format_exc()}")
        return b"", errno.EIO

    def _answer(self, request: Request, body: Bytes, error: int = 0) -> None:
        # An error here says that whoever asked was killed, or that the mount is gone.
        with contextlib.suppress(OSError):
            head = messages.answer_head(request.unique, len(body), error)
            os.writev(self._descriptor, [head, body])

    def _name_of(self, request: Request) -> str:
        node = self._tree.node(request.node)
        return str(node.content) if isinstance(node, File) else "a folder"

    def _lookup(self, request: Request) -> bytes:
        self._tree.refresh()
        folder = self._node(request)
        if not _is_folder(folder):
            raise Refused(errno.ENOTDIR)
        node = self._tree.entries(folder).get(messages.name_in(request.body))
        if node is None:
            raise Refused(errno.ENOENT)
        return messages.entry(self._tree.attributes(node), NAME_SECONDS)

    def _attributes(self, request: Request) -> bytes:
        self._tree.refresh()
        return messages.attributes_answer(self._tree.attributes(self._node(request)), NAME_SECONDS)

    def _open(self, request: Request) -> bytes:
        node = self._node(request)
        if not isinstance(node, File):
            raise Refused(errno.EISDIR)
        opened = _OpenFile(node, self._contents.open(node.content))
        return messages.open_answer(self._keep(opened), keep_cache=True)

    def _read(self, request: Request) -> memoryview:
        handle, offset, size = messages.read_in(request.body)
        opened = self._handles.get(handle)
        if not isinstance(opened, _OpenFile):
            raise Refused(errno.EBADF)
        return opened.reader.view_at(offset, size)

    def _open_folder(self, request: Request) -> bytes:
        self._tree.refresh()
        folder = self._node(request)
        if not _is_folder(folder):
            raise Refused(errno.ENOTDIR)
        entries: list[tuple[bytes, Node]] = [(b".", folder), (b"..", folder.parent or folder)]
        entries += [(name.encode(), node) for name, node in self._tree.entries(folder).items()]
        return messages.open_answer(self._keep(_OpenFolder(folder, tuple(entries))))

    def _list(self, request: Request) -> bytes:
        handle, offset, size = messages.read_in(request.body)
        opened = self._handles.get(handle)
        if not isinstance(opened, _OpenFolder):
            raise Refused(errno.EBADF)
        seconds = NAME_SECONDS if request.opcode == Opcode.READDIRPLUS else None
        found = bytearray()
        for place, (name, node) in enumerate(opened.entries[offset:], offset + 1):
            attributes = self._tree.attributes(node)
            entry = messages.directory_entry(attributes, name, place, seconds)
            if len(found) + len(entry) > size:
                break
            found += entry
        return bytes(found)

    def _release(self, request: Request) -> bytes:
        opened = self._handles.pop(messages.handle_in(request.body), None)
        if isinstance(opened, _OpenFile):
            opened.reader.close()
        return b""

    def _statfs(self, _request: Request) -> bytes:
        return messages.statfs_answer(*self._tree.usage())

    def _node(self, request: Request) -> Node:
        node = self._tree.node(request.node)
        if node is None:
            raise Refused(errno.ESTALE)
        return node

    def _keep(self, opened: _OpenFile | _OpenFolder) -> int:
        handle = next(self._numbers)
        self._handles[handle] = opened
        return handle


def _is_folder(node: Node) -> TypeGuard[Folder]:
    return isinstance(node, Folder)
