"""Tasks for fresh processes: `python -m benchmarks.harness.tasks REQUEST` prints the answer as JSON.

Each task imports its modules before its clock starts, does one thing while it runs, and prints
nothing. Memory counts from before those imports, with only torch imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from .fresh import Arguments, Outcome
from .memory import PeakMemory, touch_memory

Answer = dict[str, Any]


class Clock:
    """A clock for one block, which also measures its memory on request."""

    def __init__(self, memory: bool) -> None:
        self.seconds, self.over = 0.0, 0
        self._memory = PeakMemory() if memory else None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self._memory or contextlib.nullcontext():
            start = time.perf_counter()
            yield
            self.seconds = time.perf_counter() - start
        self.over = self._memory.over if self._memory else 0


def add(clock: Clock, registry: str, file: str, settings: Answer) -> Answer:
    from dsvd_registry import Registry

    with Registry.open(registry) as opened, clock.running():
        added = opened.add(file, base="base", name="subject", **settings)
    assert added.created
    return {"ref": added.ref}


def materialize(clock: Clock, registry: str, ref: str, output: str, size: int = 0) -> Answer:
    """Materialise a version. `size`: the bytes of memory to use once before, as for the output."""
    from dsvd_registry import Registry

    with Registry.open(registry) as opened:
        touch_memory(Path(output), size)
        with clock.running():
            made = opened.materialize(ref, output)
    assert made.recorded
    return {"sha256": made.sha256}


def read_result(clock: Clock, registry: str, ref: str, step: int) -> Answer:
    """Read a result from first to last, `step` bytes at a time; opening it is part of the time."""
    from dsvd_registry import Registry

    memory, digest = bytearray(step), hashlib.sha256()
    with Registry.open(registry) as opened:
        with clock.running(), opened.open_result(ref) as result:
            while result.readinto(memory):
                pass
        with opened.open_result(ref) as result:  # read again for the proof, after the clock
            while size := result.readinto(memory):
                digest.update(memoryview(memory)[:size])
    return {"sha256": digest.hexdigest()}


def first_tensor(clock: Clock, registry: str, ref: str, shape: list[int]) -> Answer:
    """Read the first tensor of a shape, of a result whose header was read."""
    from dsvd_registry import Registry

    with Registry.open(registry) as opened, opened.open_result(ref) as result:
        start = 8 + int.from_bytes(result.read_at(0, 8), "little")
        header = json.loads(result.read_at(8, start - 8))
        header.pop("__metadata__", None)
        places = [entry["data_offsets"] for entry in header.values() if entry["shape"] == shape]
        if not places:
            return {"size": 0}
        begin, end = places[0]
        with clock.running():
            data = result.read_at(start + begin, end - begin)
    return {"size": len(data)}


def verify(clock: Clock, registry: str, ref: str) -> Answer:
    from dsvd_registry import Registry

    with Registry.open(registry) as opened, clock.running():
        found = opened.verify(ref)
    assert found.is_well
    return {"bytes_read": found.bytes_read}


def residual(clock: Clock, registry: str, ref: str, file: str) -> Answer:
    """Make the residual of a version again, without a decomposition.

    The answer has the seconds until all frames were made (`encoding`), and until the residual was
    written, read back and the source made from it once (`all`).
    """
    from dsvd_registry import Registry

    seen: list[float] = []

    def note(stage: str, *_: int) -> None:
        if stage == "residual":
            seen.append(time.perf_counter())

    with Registry.open(registry) as opened:
        opened.thin(ref)
        with clock.running():
            again = opened.add(file, base="base", name="subject", lossless=True, progress=note)
            end = time.perf_counter()
    assert again.upgraded
    assert again.ref == ref
    return {"encoding": seen[-1] - seen[0], "all": end - seen[0]}


def zstd(clock: Clock, file: str, output: str, level: int, workers: int) -> Answer:
    """Compress a whole file with zstd into a temporary one. `workers`: 0 for the caller's thread."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=level, threads=workers)
    with Path(file).open("rb") as source, Path(output).open("xb") as target, clock.running():
        compressor.copy_stream(source, target, read_size=1 << 22, write_size=1 << 22)
    Path(output).unlink()
    return {}


def unzstd(clock: Clock, file: str, folder: str, output: str, level: int) -> Answer:
    """Write what one zstd frame of `file` gives to `output`, and hash it; it is packed in `folder`."""
    import zstandard

    packed = Path(folder) / "packed.zst"
    compressor, decompressor = zstandard.ZstdCompressor(level), zstandard.ZstdDecompressor()
    with Path(file).open("rb") as source, packed.open("xb") as target:
        compressor.copy_stream(source, target, read_size=1 << 22, write_size=1 << 22)
    with clock.running():
        with packed.open("rb") as source, Path(output).open("xb") as target:
            decompressor.copy_stream(source, target, read_size=1 << 22, write_size=1 << 22)
        digest = _digest(output)
    packed.unlink()
    return {"sha256": digest}


def unzipnn(clock: Clock, file: str, folder: str, output: str, dtype: str) -> Answer:
    """Write what ZipNN gives of the packed `file` to `output`, and hash it, as `unzstd`."""
    from ..yardsticks.zipnn import packed_file, unpack_file

    packed = packed_file(Path(file), Path(folder), dtype)
    with clock.running():
        unpack_file(packed, Path(output), dtype)
        digest = _digest(output)
    packed.unlink()
    return {"sha256": digest}


def sha256(clock: Clock, files: list[str]) -> Answer:
    """Hash each file with hashlib."""
    with clock.running():
        digests = [_digest(file) for file in files]
    return {"sha256": digests}


def load_and_save(clock: Clock, file: str, output: str, size: int) -> Answer:
    """Run safetensors' load_file and save_file, and hash the result. `size`: as for `materialize`."""
    from safetensors.torch import load_file, save_file

    touch_memory(Path(output), size)
    with clock.running():
        save_file(load_file(file), output, metadata={"format": "pt"})
        digest = _digest(output)
    return {"sha256": digest}


def read_file(clock: Clock, file: str) -> Answer:
    """Read a file from first to last; it is hashed afterwards, from the kernel's memory."""
    buffer = bytearray(1 << 20)
    with Path(file).open("rb", buffering=0) as stream, clock.running():
        while stream.readinto(buffer):
            pass
    return {"sha256": _digest(file)}


def read_header(clock: Clock, file: str) -> Answer:
    """Read the header of a safetensors file."""
    with clock.running(), Path(file).open("rb", buffering=0) as opened:
        size = int.from_bytes(opened.read(8), "little")
        found = len(opened.read(size))
    return {"size": found}


def read_tensor(clock: Clock, file: str, shape: list[int]) -> Answer:
    """Open a safetensors file and read its first tensor of a shape."""
    import torch  # noqa: F401 - which `safe_open` would import within the measured time
    from safetensors import safe_open

    with clock.running(), safe_open(file, framework="pt") as opened:
        name = next(n for n in opened.keys() if opened.get_slice(n).get_shape() == shape)  # noqa: SIM118
        total = float(opened.get_tensor(name).double().sum())
    return {"sum": total}


def load_unet(clock: Clock, folder: str) -> Answer:
    """Load a U-Net from a folder of diffusers, and read every weight once."""
    from diffusers import UNet2DConditionModel

    with clock.running():
        model = UNet2DConditionModel.from_pretrained(folder)
        total = sum(float(parameter.sum()) for parameter in model.parameters())
    return {"sum": total}


def switch(
    clock: Clock, registry: str, refs: list[str], config: Answer, base: str, made: str, ahead: bool
) -> Answer:
    """Switch a pipeline from the first subject to the second. `ahead`: it was made by `prefetch`.

    `made`: the second's materialised file, with which the weights are compared afterwards.
    """
    from dsvd_registry import Registry
    from dsvd_registry.runtime import SubjectSwitcher

    pipeline = _pipeline(config, base)
    with Registry.open(registry) as opened, SubjectSwitcher(pipeline, opened) as switcher:
        switcher.switch(refs[0])
        if ahead:
            switcher.prefetch(refs[1])
            switcher._next.result()  # type: ignore[union-attr]
        with clock.running():
            switcher.switch(refs[1])
        return {"exact": _is_exact(pipeline, made)}


def load_and_fuse(clock: Clock, config: Answer, base: str, lora: str) -> Answer:
    """Load a LoRA into a pipeline of the base, and fuse it."""
    pipeline = _pipeline(config, base)
    with clock.running():
        pipeline.load_lora_weights(lora)
        pipeline.fuse_lora()
    return {}


def load_weights(clock: Clock, config: Answer, base: str, made: str) -> Answer:
    """Load a whole file into a pipeline that is in memory."""
    from safetensors.torch import load_file

    pipeline = _pipeline(config, base)
    with clock.running():
        pipeline.unet.load_state_dict(load_file(made))
    return {"exact": _is_exact(pipeline, made)}


def _pipeline(config: Answer, base: str) -> Any:
    """A pipeline with nothing but a U-Net, of a file's weights in memory of their own."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from safetensors.torch import load_file

    unet = UNet2DConditionModel(**config).eval()
    unet.load_state_dict(load_file(base))
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "safety_checker"))
    return StableDiffusionPipeline(
        **parts,
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _is_exact(pipeline: Any, made: str) -> bool:
    """True if the U-Net's weights are the bits of a file."""
    from safetensors import safe_open

    with safe_open(made, framework="pt") as file:
        return all(
            torch.equal(tensor.view(torch.int32), file.get_tensor(name).view(torch.int32))
            for name, tensor in pipeline.unet.state_dict().items()
        )


def algorithm_1(
    clock: Clock, base: str, tuned: str, tau: float, output: str, values: str
) -> Answer:
    from ..subjects.pair import Subject
    from ..yardsticks import algorithm_1 as yardstick

    with Subject("", Path(base), Path(tuned)).open() as pair, clock.running():
        found = yardstick.compress(pair, tau, Path(output))
    yardstick.save_values(found, Path(values))
    return {}


def fixed_rank(clock: Clock, rows: int, columns: int) -> Answer:
    from ..yardsticks.fixed_rank import decompose

    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))
    decompose(matrix[:8, :8])  # the libraries' first call is slower, and must not be extrapolated
    with clock.running():
        decompose(matrix)
    return {}


def train_demo(clock: Clock, folder: str, names: list[str]) -> Answer:
    """Train the demo's base and subject, and save them as `names`. Its other files are removed."""
    from demo.checkpoints import BASE, FULL, FULL_RECIPE, train_and_save

    with tempfile.TemporaryDirectory(dir=folder) as made, contextlib.redirect_stdout(sys.stderr):
        with clock.running():
            train_and_save(Path(made), FULL_RECIPE)
        for file, name in zip((BASE, FULL), names, strict=True):
            (Path(made) / file).rename(Path(folder) / name)
    return {}


TASKS: dict[str, Callable[..., Answer]] = {
    task.__name__: task
    for task in (
        add,
        materialize,
        read_result,
        first_tensor,
        load_unet,
        switch,
        load_and_fuse,
        load_weights,
        read_header,
        verify,
        residual,
        zstd,
        unzstd,
        unzipnn,
        sha256,
        load_and_save,
        read_file,
        read_tensor,
        algorithm_1,
        fixed_rank,
        train_demo,
    )
}


def perform(task: str, arguments: Arguments, memory: bool) -> Outcome:
    clock = Clock(memory)
    answer = TASKS[task](clock, **arguments)
    return Outcome(clock.seconds, clock.over, answer)


def _digest(file: str) -> str:
    with Path(file).open("rb", buffering=0) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    outcome = perform(**json.loads(sys.argv[1]))
    print(json.dumps({"seconds": outcome.seconds, "over": outcome.over, "answer": outcome.answer}))
