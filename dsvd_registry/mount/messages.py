"""Messages of the FUSE protocol, as the Linux kernel sends and takes them (its `linux/fuse.h`).

A request is a header and a body, an answer a header and a body. Numbers are in the machine's order.
Only what a read-only filesystem is asked has a name here.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

MAJOR, MINOR = 7, 31
ROOT = 1
"""The number of the node at which every path begins."""

_REQUEST = struct.Struct("=IIQQIIII")
_ANSWER = struct.Struct("=IiQ")
_INIT_IN = struct.Struct("=IIII")
_INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")
_ENTRY = struct.Struct("=QQQQII")
_ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
_ATTRIBUTES_HEAD = struct.Struct("=QII")
_OPEN_OUT = struct.Struct("=QII")
_READ_IN = struct.Struct("=QQI")
_HANDLE_IN = struct.Struct("=Q")
_STATFS = struct.Struct("=QQQQQIIII24x")
_DIRECTORY_ENTRY = struct.Struct("=QQII")

BLOCK = 512  # the unit of `st_blocks`
PAGE = 4096
BUFFER = 64 << 10
"""Bytes of the buffer for a request: none of ours comes near, and the kernel wants 8 KiB or more."""

_ASYNC_READ, _DO_READDIRPLUS, _PARALLEL_DIROPS, _MAX_PAGES = 1 << 0, 1 << 13, 1 << 18, 1 << 22
_KEEP_CACHE = 1 << 1
LARGEST_READ = 1 << 20
"""Bytes of the largest part that the kernel asks for."""


class Opcode(enum.IntEnum):
    """The requests that are answered; any other gets ENOSYS, and the kernel does without."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44


UNANSWERED = frozenset({Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT})
"""Requests to which the kernel takes no answer."""


@dataclass(frozen=True)
class Request:
    """A request: what is asked, of which node, and the rest of the message."""

    opcode: int
    unique: int
    node: int
    body: memoryview


@dataclass(frozen=True)
class Attributes:
    """The status of a file or folder, as `stat` shows it."""

    node: int
    size: int
    time_ns: int
    mode: int
    links: int
    owner: int
    group: int

    def packed(self) -> bytes:
        """The bytes of the kernel's `fuse_attr`."""
        seconds, rest = divmod(self.time_ns, 10**9)
        times = (seconds, seconds, seconds, rest, rest, rest)
        blocks = -(-self.size // PAGE) * (PAGE // BLOCK)
        who = (self.mode, self.links, self.owner, self.group)
        return _ATTRIBUTES.pack(self.node, self.size, blocks, *times, *who, 0, PAGE, 0)


def parse_request(data: memoryview) -> Request:
    """Split a message of the kernel into its parts."""
    length, opcode, unique, node, *_ = _REQUEST.unpack_from(data)
    return Request(opcode, unique, node, data[_REQUEST.size : length])


def answer_head(unique: int, size: int, error: int = 0) -> bytes:
    """The head of an answer whose body has `size` bytes; `error`: a number of `errno`, or 0."""
    return _ANSWER.pack(_ANSWER.size + size, -error, unique)


def answer_to_init(body: memoryview, background: int) -> bytes | None:
    """The answer to the first request; None if the kernel speaks another version.

    `background`: how many reads may wait for their bytes that nobody waits for, such as read-ahead.
    """
    major, minor, readahead, flags = _INIT_IN.unpack_from(body)
    if major != MAJOR or minor < 23:  # 7.23, of Linux 3.15, is the first with an answer this long
        return None
    wanted = flags & (_ASYNC_READ | _DO_READDIRPLUS | _PARALLEL_DIROPS | _MAX_PAGES)
    return _INIT_OUT.pack(
        *(MAJOR, min(minor, MINOR), max(readahead, LARGEST_READ), wanted),
        *(background, background, PAGE, 1, LARGEST_READ // PAGE, 0, 0),
    )


def name_in(body: memoryview) -> str:
    """The name in a request to look up; bytes that are no UTF-8 become what no file here has."""
    return bytes(body).rstrip(b"\0").decode(errors="surrogateescape")


def entry(attributes: Attributes, seconds: int) -> bytes:
    """A node, its attributes, and how long the kernel may believe in both without asking again."""
    head = _ENTRY.pack(attributes.node, 0, seconds, seconds, 0, 0)
    return head + attributes.packed()


def attributes_answer(attributes: Attributes, seconds: int) -> bytes:
    """The answer to GETATTR."""
    return _ATTRIBUTES_HEAD.pack(seconds, 0, 0) + attributes.packed()


def open_answer(handle: int, *, keep_cache: bool = False) -> bytes:
    """The answer to OPEN and OPENDIR. `keep_cache`: what the kernel has of the file is still right."""
    return _OPEN_OUT.pack(handle, _KEEP_CACHE if keep_cache else 0, 0)


def handle_in(body: memoryview) -> int:
    """The handle that RELEASE and RELEASEDIR close."""
    (handle,) = _HANDLE_IN.unpack_from(body)
    return int(handle)


def read_in(body: memoryview) -> tuple[int, int, int]:
    """The handle, offset and size of READ, READDIR and READDIRPLUS."""
    handle, offset, size = _READ_IN.unpack_from(body)
    return handle, offset, size


def statfs_answer(size: int, files: int) -> bytes:
    """The answer to STATFS: a full filesystem of `size` bytes in `files` files."""
    blocks = -(-size // PAGE)
    return _STATFS.pack(blocks, 0, 0, files, 0, PAGE, 255, PAGE, 0)


def directory_entry(attributes: Attributes, name: bytes, offset: int, seconds: int | None) -> bytes:
    """An entry of a listing. `offset`: where the next one is. `seconds`: None for READDIR.

    READDIRPLUS has the attributes too. There, the entries `.` and `..` name no node.
    """
    kind = attributes.mode >> 12
    short = _DIRECTORY_ENTRY.pack(attributes.node, offset, len(name), kind) + name
    padded = short + bytes(-len(short) % 8)
    if seconds is None:
        return padded
    if name in (b".", b".."):
        return bytes(_ENTRY.size + _ATTRIBUTES.size) + padded
    return entry(attributes, seconds) + padded
