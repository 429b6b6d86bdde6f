"""Seconds of reading a mounted version, against `Registry.materialize` of it in the same run.

Registry and output are in memory-backed storage if there is room. Each reading is of a new mount, so
that neither the kernel nor the mount's program has anything of it; the mounting is not timed. What was
read is hashed afterwards and compared with the recorded SHA-256.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from dsvd_registry import mount
from dsvd_registry.mount import MountOptions

from .harness.bench import Bench, Stored
from .harness.checks import Disagreement
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject
from .subjects.unets import SD15

SUBJECTS = ("sd15-fp32",)
TAU = 0.5
FIRST_TO_LAST = Aim(reach=1.2, stretch=1.0)
ONE_TENSOR = Aim(reach=0.05, stretch=0.015, absolute=True)  # seconds
LOADED = Aim(reach=2.5, stretch=1.5)
TENSOR = [1280, 1280]
FILES = 2.2  # files of the checkpoint's size that are there at the same time


def measure(bench: Bench, subject: Subject) -> list[Row]:
    with (
        bench.memory_folder(int(FILES * subject.size)) as (folder, where),
        bench.stored(subject, where=folder, link=False, tau=TAU) as stored,
    ):
        whole: dict[str, list[float]] = {"ours": [], "theirs": []}
        tensor: list[float] = []
        loaded: dict[str, list[float]] = {"ours": [], "theirs": []}
        output = folder / "output.safetensors"
        for run in range(bench.runs):
            say(f"mount {subject.title}, run {run + 1}")
            made = bench.task(
                "materialize",
                registry=str(stored.registry),
                ref=stored.ref,
                output=str(output),
                size=subject.size,
            )
            whole["theirs"].append(made.seconds)
            if subject.aims:
                loaded["theirs"].append(_loaded(bench, output, folder))
            output.unlink()
            with _mounted(stored, folder) as file:
                read = bench.task("read_file", file=str(file))
            if read.answer["sha256"] != made.answer["sha256"]:
                raise Disagreement("the mounted file is not the one that was written")
            whole["ours"].append(read.seconds)
            if subject.aims:
                with _mounted(stored, folder) as file:
                    loaded["ours"].append(_loaded(bench, file, folder))
            with _mounted(stored, folder) as file:
                bench.task("read_header", file=str(file))  # the mount is warm, the reader is not
                found = bench.task("read_tensor", file=str(file), shape=TENSOR)
            tensor.append(found.seconds)
    runs, aims = bench.runs, subject.aims
    ours, theirs = median(whole["ours"]), median(whole["theirs"])
    aim = FIRST_TO_LAST if aims else None
    rows = [
        Row(
            "from_pretrained of the mounted U-Net, every weight read",
            "s",
            median(loaded["ours"]),
            runs,
            "from a real file in memory",
            median(loaded["theirs"]),
            runs,
            LOADED,
        )
        for _ in range(bool(aims))
    ]
    return [
        *rows,
        Row(
            f"mounted file, tau {TAU}, in {where}",
            "s",
            ours,
            runs,
            "materialize",
            theirs,
            runs,
            aim,
        ),
        Row(
            "safe_open of the mounted file and one tensor of 1280x1280",
            "s",
            median(tensor),
            runs,
            aim=ONE_TENSOR if aims else None,
        ),
    ]


def _loaded(bench: Bench, file: Path, folder: Path) -> float:
    """The seconds of loading a U-Net of SD 1.5 from a file of its weights."""
    place = folder / "unet"
    place.mkdir(exist_ok=True)
    config = {"_class_name": "UNet2DConditionModel", **SD15.config}
    (place / "config.json").write_text(json.dumps(config))
    link = place / "diffusion_pytorch_model.safetensors"
    link.unlink(missing_ok=True)
    link.symlink_to(file)
    return bench.task("load_unet", folder=str(place)).seconds


@contextlib.contextmanager
def _mounted(stored: Stored, folder: Path) -> Iterator[Path]:
    """The version's file in a new mount."""
    place = folder / "mnt"
    place.mkdir(exist_ok=True)
    mount.start(MountOptions(str(stored.registry), None, str(place), None, None, None))
    try:
        yield place / "checkpoints" / f"{stored.ref}.safetensors"
    finally:
        mount.unmount(place)
        place.rmdir()
