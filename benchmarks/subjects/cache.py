"""The subjects by key, made at their first use and kept in a folder outside the repository.

`DSVD_BENCH_CACHE` names the folder; by default it is `dsvd-benchmarks` in the user's cache folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ..harness.fresh import run_fresh
from . import synthetic
from .pair import Subject
from .unets import SD15, SDXL, TINY, UNet

HARD = {
    "full-rank": ("a delta of full rank", synthetic.full_rank_delta),
    "merge": ("two fine-tunes merged", synthetic.merged_delta),
}
"""The hard cases: a title, and what makes the deltas."""

PART = "down_blocks.2."  # of SD 1.5, with layers of every kind: 470 MB in fp32
KEYS = ("sd15-fp32", "sd15-fp16", "sdxl-fp16", "demo", "tiny-fp32", "tiny-fp16", *HARD)
DEMO = Path(__file__).parents[2] / "demo"


def default_folder() -> Path:
    named = os.environ.get("DSVD_BENCH_CACHE")
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "dsvd-benchmarks"


def subject(key: str, cache: Path) -> Subject:
    """The subject of one of `KEYS`. The first call takes minutes for a large one."""
    if key == "demo":
        folder = kept(cache / f"demo-{_demo_code():08x}", _train_demo)
        title, dtype = "the demo's trained model, fp32", "fp32"
        base, tuned = (folder / synthetic.file_name(side, dtype) for side in ("base", "tuned"))
        return Subject(title, base, tuned, trained=True)
    if key in HARD:
        return _hard(key, cache)
    family, dtype = key.split("-")
    unet = {"sd15": SD15, "sdxl": SDXL, "tiny": TINY}[family]
    exact = unet is not SDXL
    folder = kept(cache / f"{family}-v{synthetic.VERSION}", lambda to: _make(unet, exact, to))
    spectrum = "spectrum of table 2" if exact else "random low rank and noise"
    return Subject(
        f"{unet.title}, {dtype}, {spectrum}",
        folder / synthetic.file_name("base", dtype),
        folder / synthetic.file_name("tuned", dtype),
        svd=exact,
        aims=unet is not TINY,
    )


def _make(unet: UNet, exact: bool, folder: Path) -> None:
    # SDXL is published in fp16, no figure needs 10 GB of fp32, and its exact factors take an hour.
    delta = synthetic.exact_delta if exact else synthetic.noisy_delta
    dtypes = ("fp32", "fp16") if exact else ("fp16",)
    synthetic.make_pair(folder, unet.shapes(), delta, dtypes=dtypes)


def _hard(key: str, cache: Path) -> Subject:
    title, delta = HARD[key]

    def make(folder: Path) -> None:
        synthetic.make_pair(folder, SD15.part(PART), delta, dtypes=("fp32",))

    folder = kept(cache / f"{key}-v{synthetic.VERSION}", make)
    base, tuned = (folder / synthetic.file_name(side, "fp32") for side in ("base", "tuned"))
    return Subject(f"a block of SD 1.5's U-Net, fp32, {title}", base, tuned)


def _train_demo(folder: Path) -> None:
    names = (synthetic.file_name(side, "fp32") for side in ("base", "tuned"))
    run_fresh("train_demo", {"folder": str(folder), "names": list(names)})


def _demo_code() -> int:
    """A checksum of the files that the demo's weights depend on."""
    code = ("autoencoder.py", "checkpoints.py", "pictures.py", "small_pipeline.py", "training.py")
    files = (*code, "photographs/photographs.csv")
    return zlib.crc32(b"".join((DEMO / file).read_bytes() for file in files))


def kept(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, which is made under another name and renamed when it is complete."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        make(made)
        made.rename(folder)
    except OSError:
        # Another process may have made the same folder meanwhile.
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder
