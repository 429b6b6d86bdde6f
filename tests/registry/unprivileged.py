"""The work of a user who can only read a registry, run in a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from dsvd_registry import Registry
from dsvd_registry.catalog import network
from dsvd_registry.cli import main

_CAPABILITIES_V3 = 0x20080522


def obey_permissions() -> None:
    """Permissions count for root, too, from here on: it gives up every capability."""
    if os.getuid() == 0:
        header = (ctypes.c_uint32 * 2)(_CAPABILITIES_V3, 0)
        nothing = (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.capset(header, nothing) == 0, os.strerror(ctypes.get_errno())


def run(reports: Connection, commands: Sequence[Sequence[str]]) -> None:
    """Run commands, and send the exit code and what was said of each."""
    torch.set_num_threads(1)
    obey_permissions()
    for words in commands:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(words))
        reports.send((code, out.getvalue() + err.getvalue()))


def read(reports: Connection, root: Path, mounts: Path | None = None) -> None:
    """Read through Python: labels, numbers of all tensors, and whether all is well.

    `mounts`: a file to take for the kernel's list of mounts.
    """
    torch.set_num_threads(1)
    network.MOUNTS = mounts or network.MOUNTS
    obey_permissions()
    with Registry.open(root) as registry:
        with registry.tensors("subject") as tensors:
            total = sum(tensor.numel() for tensor in tensors.values())
        labels = [(version.ref, version.note, version.tags) for version in registry.versions()]
        reports.send((labels, total, registry.verify(deep=True).is_well))
