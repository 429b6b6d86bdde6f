"""The program behind a mount: in the foreground, or as a process of its own in the background."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .. import errors, fs
from ..cache import find_cache
from ..codec.exact_product import multiplies_exactly
from ..errors import Conflict, DsvdError, NotFound, StorageError
from ..hashing import sha256
from ..registry import Registry
from . import mount_points
from .contents import Contents
from .loras import Loras
from .session import Session
from .tree import Tree

if TYPE_CHECKING:
    from ..reconstruction.cast import FloatDtype

_REMEMBERED = 1000
_END_SECONDS = 60.0  # for the program to end once its mount is gone


@dataclass(frozen=True)
class MountOptions:
    """A mount as it is asked for.

    `registry`: its folder. `catalog`: the URL of its catalog, or None. `folder`: where to mount it.
    `tau`, `dtype`: as for `Registry.materialize`. `pattern`: a shell pattern for names of models.
    """

    registry: str
    catalog: str | None
    folder: str
    tau: float | None
    dtype: FloatDtype | None
    pattern: str | None


class Log:
    """Lines on stderr, with the time. A line that was written before is not repeated."""

    def __init__(self) -> None:
        self._written: dict[str, None] = {}
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        """Write a line."""
        with self._lock:
            if text in self._written:
                return
            self._written[text] = None
            if len(self._written) > _REMEMBERED:
                del self._written[next(iter(self._written))]
        with contextlib.suppress(OSError):
            line = " ".join(text.splitlines()) if "Traceback" not in text else text
            sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
            sys.stderr.flush()


def serve(options: MountOptions, live: Callable[[], None]) -> None:
    """Mount a registry and answer for it until it is unmounted, or the process is interrupted.

    `live` is called when the mount can be used. Raises as `mount_points.check_place`, `check_fuse` and
    `make_mount`, and as `Registry.open`.
    """
    folder, log = mount_points.check_place(Path(options.folder)), Log()
    mount_points.check_fuse()
    with Registry.open(options.registry, catalog=options.catalog) as registry:
        loras = Loras(registry, options.catalog, find_cache(None, None, os.environ))
        contents = Contents(registry, options.tau, options.dtype, loras, log)
        tree = Tree(registry, contents, options.pattern, (os.getuid(), os.getgid()), log)
        descriptor = mount_points.make_mount(folder, options.registry)
        session = Session(descriptor, tree, contents, log)
        try:
            session.start()
            mount_points.set_read_ahead(folder)
            multiplies_exactly()  # tested once in a process: here, and not while a reader waits
            _run(session, folder, live, log)
        except BaseException:
            session.close()
            with contextlib.suppress(DsvdError):
                mount_points.remove_mount(folder, lazy=True)
            raise


def _run(session: Session, folder: Path, live: Callable[[], None], log: Log) -> None:
    """Answer until the mount is gone. An interrupt takes it away; open files stay until a second."""
    try:
        live()
        session.run()
    except KeyboardInterrupt:
        try:
            mount_points.remove_mount(folder)
        except Conflict:
            mount_points.remove_mount(folder, lazy=True)
            log("files are open: they stay readable until they are closed, or a second interrupt")
        session.run()


def log_path(folder: Path) -> Path:
    """The file with what the program of a mount has to say, in the user's folder of such files."""
    state = os.environ.get("XDG_STATE_HOME", "")
    home = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    place = os.path.realpath(folder)
    name = f"{Path(place).name}-{sha256(os.fsencode(place))[:8]}.log"
    return home / "dsvd" / "mounts" / name


def start(options: MountOptions) -> Path:
    """Mount a registry by a process in the background, and return the path of its log.

    Returns when the mount can be used. Raises what ended the process, if it did not get so far.
    """
    mount_points.check_place(Path(options.folder))
    mount_points.check_fuse()
    path = log_path(Path(options.folder))
    fs.make_folder(path.parent)
    with fs.log_file(path) as log:
        # The process keeps the lock as long as it lives, however it ends.
        fcntl.flock(log, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [sys.executable, "-m", __package__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(dataclasses.asdict(options)).encode())
        process.stdin.close()
    try:
        answer = process.stdout.readline()
    except BaseException:
        process.terminate()
        raise
    finally:
        process.stdout.close()
    said: dict[str, Any] = json.loads(answer) if answer else {}
    if "error" in said:
        process.wait()
        raise getattr(errors, said["error"])(said["message"], said["hint"])
    if not said:
        process.wait()
        raise StorageError(f"the mount ended before it could be used; {path} says why")
    process.returncode = 0  # it outlives this program, which `subprocess` would warn of
    return path


def unmount(folder: Path) -> bool:
    """Take a mount away and wait for its program to end; gives False if that was gone before.

    Raises `NotFound` if no registry is mounted there, `Conflict` if a file of it is open,
    `StorageError`.
    """
    there = mount_points.mount_at(folder)
    if there is None or not there.is_ours:
        raise NotFound(f"no registry is mounted at {folder}", "`mount -t fuse.dsvd` lists them.")
    was_alive = there.is_alive
    mount_points.remove_mount(there.folder, lazy=not was_alive)
    with _opened(log_path(there.folder)) as log:
        deadline = time.monotonic() + _END_SECONDS
        while log is not None and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            time.sleep(0.01)
    return was_alive


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO | None]:
    """The log of a mount; None for one in the foreground, or of another user."""
    try:
        file = path.open("rb")
    except OSError:
        yield None
        return
    with file:
        yield file


def main() -> int:
    """Serve the mount that stdin describes; a line on stdout says that it is live, or what failed."""
    options = MountOptions(**json.load(sys.stdin))
    answer, sys.stdout = sys.stdout, sys.stderr

    def tell(said: dict[str, str | bool]) -> None:
        answer.write(json.dumps(said) + "\n")
        answer.close()

    try:
        serve(options, lambda: tell({"live": True}))
    except DsvdError as error:
        if answer.closed:
            Log()(str(error))
        else:
            tell({"error": type(error).__name__, "message": str(error), "hint": error.hint})
        return error.exit_code
    except KeyboardInterrupt:
        return 0
    return 0
