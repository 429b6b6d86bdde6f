"""Bytes and time of `add --lossless` against other lossless ways to store a fine-tune.

Each subject is measured in fp32, and with base and fine-tune both rounded to fp16 and to bf16. Ours
is the container and the residual of a real registry; the run fails if the materialised file has
another SHA-256 than the source. Shares are of the bytes of the fine-tune's file. The yardsticks store
all weights, without sampling, and every piece is decoded again. A run fails if ours is not the
smallest.

Time: "residual encoded" is that stage of `add`, from the prediction to compressed frames, without the
decomposition, which other fidelities need too. Its yardstick is zstd on the fine-tune's file. Times
of `materialize` and memory are measured as in the figures of those names; beside them stands what zstd
and ZipNN take to write and hash the same file, each of its own packed form.

Shares depend on the data. The trained pairs are the easy case, whose deltas are low; the hard ones
are a delta of full rank, and a merge of two fine-tunes, of one block of SD 1.5's U-Net.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from dsvd_registry import Registry

from .harness.bench import Bench, Stored
from .harness.checks import Disagreement
from .harness.fresh import Outcome
from .harness.progress import say
from .harness.rows import Aim, Row
from .memory import AIM as MEMORY_AIM
from .memory import MIB
from .subjects.pair import Subject, Unsuited
from .subjects.rounded import rounded
from .yardsticks.lossless import LEVEL, METHODS, Method, sizes
from .yardsticks.zipnn import DTYPES as ZIPNN_DTYPES
from .yardsticks.zipnn import ZipNN

SUBJECTS = ("pair", "demo", "full-rank", "merge")
SIZE_AIMS = {"fp32": 0.425, "fp16": 0.142, "bf16": 0.088}  # for a trained full-size pair
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
UNPACKED = {"zstd -3": "unzstd", "ZipNN": "unzipnn"}
"""The tasks that measure how long the methods of these names take to give a file back."""
SPEEDS = {"fp32": 500e6, "fp16": 400e6, "bf16": 500e6}
"""The aims of decoding, in bytes of output per second."""
FILES = 4.0  # files of the fine-tune's size that are in one folder at the same time


@dataclass(frozen=True)
class Case:
    """One subject in one dtype. `full_size`: whether there are aims for time and memory."""

    dtype: str
    subject: Subject
    full_size: bool

    @property
    def size_aim(self) -> Aim | None:
        if not (self.full_size and self.subject.trained):
            return None
        return Aim(SIZE_AIMS[self.dtype], absolute=True)

    @property
    def must_win(self) -> bool:
        """Return whether ours must be smaller than all others; tiny subjects only try the harness."""
        return self.subject.trained or self.subject.aims


def measure(bench: Bench, subject: Subject) -> list[Row]:
    methods = yardsticks()
    with subject.open() as pair:
        kinds = {dtype for dtype, _ in pair.kinds.values() if dtype.is_floating_point}
        full_size = pair.is_full_size
    if kinds != {torch.float32}:
        raise Unsuited(f"{subject.title} is not fp32, from which the other dtypes are rounded")
    rows: list[Row] = []
    for dtype in DTYPES:
        with _in_dtype(bench, subject, dtype) as seen:
            rows += _rows(bench, Case(dtype, seen, full_size), methods)
    return rows


def yardsticks() -> tuple[Method, ...]:
    """All yardsticks. Raises `ModuleNotFoundError` without the extra `bench`."""
    plain, *over_base = METHODS
    return (plain, ZipNN(), *over_base)


@contextlib.contextmanager
def _in_dtype(bench: Bench, subject: Subject, dtype: str) -> Iterator[Subject]:
    """The subject's own files for fp32; for another dtype files that exist inside the block."""
    if dtype == "fp32":
        yield subject
        return
    with bench.folder() as folder:
        say(f"rounding both sides to {dtype}")
        yield rounded(subject, DTYPES[dtype], folder)


def _rows(bench: Bench, case: Case, methods: tuple[Method, ...]) -> Iterator[Row]:
    subject = case.subject
    with bench.memory_folder(int(FILES * subject.size)) as (folder, where):
        subject.warm()
        with bench.stored(subject, where=folder, link=False, memory=True, lossless=True) as stored:
            result = folder / "result.safetensors"
            made = _materialized(bench, stored, result, memory=True)
            if not made.answer["sha256"] == _sha256(result) == _sha256(subject.tuned):
                raise Disagreement("the materialised file is not the source")
            yield from _sizes(case, stored, methods)
            yield from _encoding(bench, case, stored, folder)
            yield from _decoding(bench, case, stored, result, where, methods)
    for verb, outcome in (("add --lossless", stored.outcome), ("materialize", made)):
        aim = MEMORY_AIM if case.full_size else None
        yield Row(f"{case.dtype}: peak memory, {verb}", "MiB", outcome.over / MIB, 1, aim=aim)


def _sizes(case: Case, stored: Stored, methods: tuple[Method, ...]) -> Iterator[Row]:
    with Registry.open(stored.registry) as registry:
        version = registry.version(stored.ref)
    assert version.residual is not None
    ours, whole = version.size + version.residual.size, case.subject.size
    say(f"others' sizes in {case.dtype}")
    with case.subject.open() as pair:
        others = sizes(pair, methods)
    text = ", ".join(f"{name} {size:,}" for name, size in others.items())
    if case.must_win and ours >= min(others.values()):
        raise Disagreement(f"{case.dtype}: ours takes {ours:,} bytes, not the fewest: {text}")
    what = f"{case.dtype}: bytes over the fine-tune's"
    yield Row(
        what,
        "share",
        ours / whole,
        1,
        aim=case.size_aim,
        note=f"container {version.size:,} B, residual {version.residual.size:,} B; same SHA-256",
    )
    least = Aim(1.0) if case.must_win else None
    for name, size in others.items():
        best = "the best of the others" if size == min(others.values()) else ""
        yield Row(what, "share", ours / whole, 1, name, size / whole, 1, least, best)


def _encoding(bench: Bench, case: Case, stored: Stored, folder: Path) -> Iterator[Row]:
    tuned = str(case.subject.tuned)
    found: dict[str, list[float]] = {"encoding": [], "all": []}
    theirs: dict[int, list[float]] = {0: [], 2: []}
    for run in range(bench.runs):
        say(f"residual in {case.dtype}, run {run + 1}")
        again = bench.task("residual", registry=str(stored.registry), ref=stored.ref, file=tuned)
        for name, seconds in found.items():
            seconds.append(again.answer[name])
        for workers, seconds in theirs.items():
            output = str(folder / "yardstick.zst")
            settings: dict[str, Any] = {"level": LEVEL, "workers": workers}
            seconds.append(bench.task("zstd", file=tuned, output=output, **settings).seconds)
    what = f"{case.dtype}: residual encoded"
    ours, one, two = (median(s) for s in (found["encoding"], theirs[0], theirs[2]))
    aim = Aim(1.0) if case.full_size else None
    runs = bench.runs
    yield Row(what, "s", ours, runs, "zstd -3, one thread", one, runs, aim)
    yield Row(what, "s", ours, runs, "zstd -3, two threads", two, runs)
    yield Row(
        f"{what}, written, read back and the source made of it",
        "s",
        median(found["all"]),
        runs,
        "zstd -3, one thread",
        one,
        runs,
    )


def _decoding(
    bench: Bench,
    case: Case,
    stored: Stored,
    result: Path,
    where: str,
    methods: tuple[Method, ...],
) -> Iterator[Row]:
    output, size = result.with_name("output.safetensors"), case.subject.size
    whole = "load_file, save_file, SHA-256"
    others = [method.name for method in methods if method.name in UNPACKED]
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in (whole, *others)}
    for run in range(bench.runs):
        say(f"materialize in {case.dtype}, run {run + 1}")
        ours.append(_materialized(bench, stored, output, size=size).seconds)
        output.unlink()
        again = bench.task("load_and_save", file=str(result), output=str(output), size=size)
        theirs[whole].append(again.seconds)
        output.unlink()
        for name in others:
            theirs[name].append(_unpacked(bench, case, name, result, output))
            output.unlink()
    found, runs = median(ours), bench.runs
    what = f"{case.dtype}: materialize, in {where}"
    yield Row(
        what,
        "s",
        found,
        runs,
        aim=Aim(size / SPEEDS[case.dtype], absolute=True) if case.full_size else None,
        note=f"{size / found / 1e6:,.0f} MB/s of output",
    )
    for name, seconds in theirs.items():
        title = name if name == whole else f"{name} decoded, SHA-256"
        note = f"{size / median(seconds) / 1e6:,.0f} MB/s of theirs"
        yield Row(what, "s", found, runs, title, median(seconds), runs, note=note)


def _unpacked(bench: Bench, case: Case, method: str, file: Path, output: Path) -> float:
    """The seconds in which a method gives a file back, which it has packed on disk before."""
    dtype = ZIPNN_DTYPES[DTYPES[case.dtype]]
    settings: dict[str, Any] = {"dtype": dtype} if method == "ZipNN" else {"level": LEVEL}
    with bench.folder() as packed:  # which is read from the page cache
        places = {"folder": str(packed), "output": str(output)}
        found = bench.task(UNPACKED[method], file=str(file), **places, **settings)
    if found.answer["sha256"] != _sha256(file):
        raise Disagreement(f"{method} does not return the same bytes")
    return found.seconds


def _materialized(
    bench: Bench, stored: Stored, output: Path, *, memory: bool = False, size: int = 0
) -> Outcome:
    return bench.task(
        "materialize",
        memory=memory,
        registry=str(stored.registry),
        ref=stored.ref,
        output=str(output),
        size=size,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
