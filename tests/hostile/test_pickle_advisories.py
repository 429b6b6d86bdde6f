"""Pickles that have led elsewhere to code being run, by the advisory that tells of each.

That a payload is real is shown first: Python's own unpickler runs it. Here it is data: no name is
imported, nothing is called, opened or started, which an audit hook of the interpreter watches.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.errors import CheckpointError

from .crafted_pickles import STORAGE, TENSOR, legacy
from .reading import READERS
from .strategies import pickles

WATCHED = (
    *("import", "exec", "compile", "pickle.find_class", "marshal.loads", "ctypes.dlopen"),
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.mkdir", "subprocess.Popen"),
    *("socket.connect", "socket.getaddrinfo", "urllib.Request", "code.__new__"),
)
_seen: list[str] = []
_watching = 0  # the thread that is watched


def _note(event: str, _arguments: object) -> None:
    if event in WATCHED and _watching == threading.get_ident():
        _seen.append(event)


sys.addaudithook(_note)  # cannot be taken away again: it does nothing unless it is watching


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Callable[[bytes], None]]:
    """Reads bytes as a checkpoint, whatever comes of it, and fails if anything happens."""
    # What Python itself imports on first use, such as the names of a zip archive need.
    for warm in (*pickles(), *uses("nowhere.nothing"), _zipped(b"\x80\x02Vid\n.")):
        with contextlib.suppress(CheckpointError):
            READERS["checkpoint"](warm, tmp_path)

    def read(data: bytes) -> None:
        global _watching
        _seen.clear()
        _watching = threading.get_ident()
        try:
            READERS["checkpoint"](data, tmp_path)
        except CheckpointError:
            pass
        finally:
            _watching = 0
        assert _seen == []

    yield read


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def runs_elsewhere(payload: bytes, canary: Path) -> None:
    """Whatever comes after the call: it has happened by then."""
    with contextlib.suppress(Exception):
        pickle.loads(payload)
    canary.rmdir()


def uses(name: str) -> Iterator[bytes]:
    """Files in which a global is looked up, called, and made an object of, in every way there is."""
    module, _, function = name.rpartition(".")
    named = f"c{module}\n{function}\n".encode()
    counted = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, function))
    for made in (
        named,
        named + b"(Vid\ntR",
        named + b")\x81",
        named + b")}\x92",
        b"(" + named + b"Vid\no",
        f"(Vid\ni{module}\n{function}\n".encode(),
        counted + b"\x93(Vid\ntR",
        named + b"(Vid\ntR}Va\nI1\nsb",
        b"cbuiltins\ngetattr\n(" + named + b"V__call__\ntR(Vid\ntR",
        b"ctorch._utils\n_rebuild_parameter\n(" + named + b"(Vid\ntRtR",
        b"ctorch._tensor\n_rebuild_from_type_v2\n(" + named + named + b"(Vid\nt}tR",
        b"ccollections\ndefaultdict\n(" + named + b"tR",
    ):
        yield legacy(b"\x80\x02" + made + b".")
        yield legacy(b"\x80\x02}Va\n" + made + b"sVb\n" + TENSOR + b"s.")


# Names that allow-lists and block-lists have let through, and where that is told.
GADGETS = {
    "CVE-2025-1716": "pip.main",
    "CVE-2025-10157": "asyncio.unix_events._UnixSubprocessTransport._start",
    "CVE-2026-56315 uuid": "uuid._get_command_stdout",
    "CVE-2026-56315 imaplib": "imaplib.IMAP4_stream",
    "getattr": "builtins.getattr",
    "attrgetter": "operator.attrgetter",
    "methodcaller": "operator.methodcaller",
    "partial": "functools.partial",
    "reduce": "functools.reduce",
    "import": "importlib.import_module",
    "native library": "ctypes.CDLL",
    "timeit": "timeit.timeit",
    "profiler": "cProfile.runctx",
    "debugger": "pdb.run",
    "doctest": "doctest.debug_script",
    "interpreter": "code.InteractiveInterpreter.runcode",
    "grammar": "lib2to3.pgen2.grammar.Grammar.loadGrammar",
    "ensurepip": "ensurepip._run_pip",
    "pager": "pydoc.pipepager",
    "numpy": "numpy.testing._private.utils.runstring",
    "numpy f2py": "numpy.f2py.crackfortran.getlincoef",
    "torch hub": "torch.hub.load",
    "torch environment": "torch.utils.collect_env.run",
    "torch bottleneck": "torch.utils.bottleneck.__main__.run_cprofile",
    "torch config": "torch.utils._config_module.ConfigModule.load_config",
    "torch shapes": "torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression",
    "torch guards": "torch._dynamo.guards.GuardBuilder.get",
    "torch storage": "torch.storage._load_from_bytes",
    "torch jit": "torch.jit.unsupported_tensor_ops.execWrapper",
    "torch rpc": "torch.distributed.rpc._utils._group_membership_management",
    "joblib": "joblib.load",
    "cloudpickle": "cloudpickle.cloudpickle._make_function",
    "pandas": "pandas.io.pickle.read_pickle",
}


@pytest.mark.parametrize("name", GADGETS)
def test_a_gadget(watched: Callable[[bytes], None], name: str) -> None:
    """By each opcode that makes something of a name; alone, as a value, a key, an argument, a class.

    Seen to fail: with `_push_global` that imports the module, as an unpickler does, twelve of them; the
    modules of the others were there already.
    """
    for data in uses(GADGETS[name]):
        watched(data)


def test_tar_archive(watched: Callable[[bytes], None], tmp_path: Path) -> None:
    """CVE-2025-32434: `weights_only` fell back to an unpickler without limits for tar archives."""
    canary = tmp_path / "canary"
    payload = pickle.dumps(Canary(canary), 2)
    runs_elsewhere(payload, canary)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(payload)
            archive.addfile(entry, io.BytesIO(payload))
    watched(file.getvalue())
    (tmp_path / "x.ckpt").write_bytes(file.getvalue())
    with pytest.raises(CheckpointError, match="tar archive"):
        open_checkpoint(tmp_path / "x.ckpt")
    assert not canary.exists()


# CVE-2026-24747: opcodes that took a tensor for a mapping, and storages of other sizes than they say.
CONFUSED = {
    "item of a tensor": TENSOR + b"Va\nI1\ns",
    "items of a tensor": TENSOR + b"(I0\nI1\nI1\nI2\nu",
    "tensor appended to": TENSOR + b"I1\na",
    "tensor extended": TENSOR + b"(I1\nI2\ne",
    "tensor added to": TENSOR + b"(I1\n\x90",
    "item of a storage": STORAGE + b"I0\nI1\ns",
    "items of a parameter": b"ctorch._utils\n_rebuild_parameter\n("
    + TENSOR
    + b"I01\n}tR(I0\nI1\nu",
    "storage of more than there is": TENSOR.replace(b"I1\ntQ", b"I1000000\ntQ"),
    "storage of 2^62": TENSOR.replace(b"I1\ntQ", b"I4611686018427387904\ntQ"),
    "negative offset": TENSOR.replace(b"QI0\n", b"QI-1\n"),
    "negative stride": TENSOR.replace(b"(I1\nt(I1\nt", b"(I1\nt(I-1\nt"),
    "beyond the storage": TENSOR.replace(b"(I1\nt(I1\nt", b"(I2\nt(I1\nt"),
    "stride beyond it": TENSOR.replace(b"(I1\nt(I1\nt", b"(I2\nt(I9223372036854775807\nt"),
    "wider dtype": TENSOR.replace(b"_v2", b"_v3").replace(
        b"I00\nccollections\nOrderedDict\n)R", b"I00\nN" + b"ctorch\nfloat64\n"
    ),
}


@pytest.mark.parametrize("name", CONFUSED)
def test_confused_types(watched: Callable[[bytes], None], tmp_path: Path, name: str) -> None:
    """Seen to fail: with `check_strided` that looks at no storage, three of them are read."""
    data = legacy(b"\x80\x02}Va\n" + CONFUSED[name] + b"s.")
    watched(data)
    (tmp_path / "x.ckpt").write_bytes(data)
    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path / "x.ckpt")


def _zipped(payload: bytes, change: Callable[[bytearray], object] = lambda _: None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/data/k", bytes(4))
    data = bytearray(file.getvalue())
    change(data)
    return bytes(data)


def _at(data: bytearray, magic: bytes, offset: int, value: bytes) -> None:
    start = data.index(magic) + offset
    data[start : start + len(value)] = value


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
ZIPS: dict[str, Callable[[bytearray], object]] = {
    "plain": lambda _: None,
    "CVE-2025-1944, another name": lambda data: _at(data, LOCAL, 30, b"archive/data.xyz"),
    "CVE-2025-1945, bits of flags": lambda data: _at(data, CENTRAL, 8, b"\x21\x00"),
    "CVE-2025-1945, bits within": lambda data: _at(data, LOCAL, 6, b"\x21\x00"),
    "CVE-2025-10156, wrong CRC": lambda data: _at(data, CENTRAL, 16, b"abcd"),
}


@pytest.mark.parametrize("name", ZIPS)
@pytest.mark.parametrize("end", [b".", b"", b"\xff."])
def test_zip_that_fools_scanners(
    watched: Callable[[bytes], None], tmp_path: Path, name: str, end: bytes
) -> None:
    """Also with a pickle that breaks only after its call, which scanners gave up on."""
    canary = tmp_path / "canary"
    payload = pickle.dumps(Canary(canary), 2)[:-1] + end
    runs_elsewhere(payload, canary)
    watched(_zipped(payload, ZIPS[name]))
    watched(legacy(payload))
    assert not canary.exists()
