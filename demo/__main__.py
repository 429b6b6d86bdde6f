"""Train a tiny model, store its fine-tunes in a registry, and compare the results with them."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from . import checkpoints, folders, measure
from .commands import DemoError, Dsvd
from .measure import TAUS
from .small_pipeline import Shape

MARK = ".dsvd-demo"
CURVE = "curve.png"


def main() -> int:
    """Run the demo; 0 if every step did."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("demo/out"), help="the folder for everything (%(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smaller model, hardly trained: only a check"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    recipe = checkpoints.QUICK_RECIPE if arguments.quick else checkpoints.FULL_RECIPE
    if arguments.quick:
        torch.set_num_threads(1)  # For layers so small, more threads cost more than they give.
    try:
        _prepare(out)
        dsvd = Dsvd(out)
        with _timed("training"):
            checkpoints.train_and_save(out, recipe)
        with _timed("choosing tau"):
            _choose(dsvd)
        with _timed("registry"):
            _store(dsvd)
        with _timed("looking around"):
            _look(dsvd)
        with _timed("materialising"):
            _materialize(dsvd)
        with _timed("other tools"):
            _share(dsvd, out, recipe.shape)
        with _timed("painting and measuring"):
            results = measure.measure(out, recipe.shape, dsvd)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    table = measure.markdown(results)
    (out / "table.md").write_text(table, encoding="utf-8")
    figures = json.dumps([result.figures() for result in results], indent=2)
    (out / "table.json").write_text(figures + "\n", encoding="utf-8")
    picture = measure.write_contact_sheet(out, results)
    print(f"\n{table}\nThe pictures: {picture}, {out / CURVE}")
    return 0


def _prepare(out: Path) -> None:
    """Make `out`, or empty it if an earlier demo made it."""
    if (out / MARK).is_file():
        shutil.rmtree(out)
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DemoError(f"{out} exists and no demo made it: name another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


def _choose(dsvd: Dsvd) -> None:
    """Show the curve of the fine-tune, and of the same fine-tune in half precision."""
    dsvd.show("init")
    dsvd.show("base", "add", "sd15", checkpoints.BASE)
    dsvd.show("curve", checkpoints.FULL, "--base", "sd15", "--plot", CURVE)
    dsvd.show("curve", checkpoints.BF16, "--base", "sd15", "--taus", "0.8,0.9")


def _store(dsvd: Dsvd) -> None:
    for file, name in (
        (checkpoints.FULL, "subject-42"),
        (checkpoints.CKPT, "subject-42-ckpt"),
        (checkpoints.OTHER, "subject-7"),
        (checkpoints.HALF, "subject-42-fp16"),
    ):
        dsvd.show("add", file, "--base", "sd15", "--name", name, "--tau", "0.8")
    for tau in TAUS[1:]:
        name = measure.name_at(tau)
        dsvd.show("add", checkpoints.FULL, "--base", "sd15", "--name", name, "--tau", tau)
    dsvd.show("add", checkpoints.FULL, "--base", "sd15", "--name", measure.LOSSLESS, "--lossless")


def _look(dsvd: Dsvd) -> None:
    dsvd.show("ls")
    dsvd.show("show", "subject-42")
    dsvd.show("diff", "subject-42", "subject-7")
    dsvd.show("diff", "subject-42", "--base")
    dsvd.show("verify", "--all", "--deep")


def _materialize(dsvd: Dsvd) -> None:
    """Materialise each container, the one stored at 0.8 also at each lower tau, and the source."""
    for tau in TAUS:
        dsvd.show("materialize", measure.name_at(tau), "-o", measure.file_at(tau))
    for tau in TAUS[1:]:
        dsvd.show("materialize", "subject-42", "-o", measure.prefix_file_at(tau), "--tau", tau)
    dsvd.show("materialize", measure.LOSSLESS, "-o", measure.LOSSLESS_FILE)


def _share(dsvd: Dsvd, out: Path, shape: Shape) -> None:
    """Exchange models with other tools: folders of diffusers, a single file, LoRA files, a container."""
    folders.save_folder(out / "base", out / checkpoints.BASE, shape)
    folders.save_folder(out / "subject", out / checkpoints.FULL, shape)
    dsvd.show("base", "add", "sd15-folder", "base")
    dsvd.show("add", "subject", "--name", "subject-folder")
    dsvd.show("materialize", "subject-folder", "-o", "again")
    single = ("--layout", "single-file", "--dtype", "fp16")
    dsvd.show("materialize", "subject-42", "-o", "for-comfyui.safetensors", *single)
    limit = ("--rank-limit", "16")
    dsvd.show("export", "subject-42", "--format", "kohya", "-o", "lora.safetensors", *limit)
    dsvd.show("export", "subject-42", "--format", "comfyui", "-o", "lora-comfyui.safetensors")
    dsvd.show("add", "lora.safetensors", "--base", "sd15", "--name", "subject-lora")
    dsvd.show("export", "subject-42", "--format", "dsvd", "-o", "subject-42.dsvd")
    dsvd.show("import", "subject-42.dsvd", "--name", "subject-43")


@contextmanager
def _timed(what: str) -> Iterator[None]:
    print(f"\n== {what}", flush=True)
    start = time.perf_counter()
    yield
    print(f"\n-- {what}: {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
