"""`dsvd` in a process of its own, forked from one that has imported what it needs."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from forked import CONTEXT

from dsvd_registry.cli import main
from dsvd_registry.encoding import container_builder
from dsvd_registry.reconstruction import reconstruction, write_result

IMPORTED = container_builder, write_result, reconstruction


def run_dsvd(started: Connection, at: Path, words: tuple[str, ...]) -> None:
    """The command, in the folder `at`; it says when it starts, and ends with the exit code."""
    torch.set_num_threads(1)
    os.chdir(at)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    started.send(None)
    try:
        exit_code = main(["--registry", str(at / "registry"), *words])
        # `multiprocessing` would end the process with 1 if a signal came while it tidies up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except KeyboardInterrupt:  # told to end after its work: as Python ends a program then
        exit_code = 130
    sys.exit(exit_code)


def start(at: Path, words: tuple[str, ...]) -> BaseProcess:
    """The process, once it has started with the command."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=run_dsvd, args=(theirs, at, words))
    process.start()
    theirs.close()
    assert ours.poll(600)
    ours.recv()
    ours.close()
    return process
