"""Seconds of a switch from one subject to another in a pipeline in memory, U-Net alone.

The pipeline goes from a version at tau 0.2 to the same version at tau 0.5, so that every tensor changes;
once with the second made ahead by `prefetch`, once without. The yardsticks are `load_lora_weights` and
`fuse_lora` of the second's LoRA file in fp16, whose result is not exact; and `load_file` and
`load_state_dict` of its full file. Each runs in a fresh process. After the clock the weights are
compared with the full file, bit for bit.
"""

from __future__ import annotations

from statistics import median

from dsvd_registry import Registry

from .harness.bench import Bench
from .harness.checks import Disagreement
from .harness.progress import say
from .harness.rows import Aim, Row
from .subjects.pair import Subject
from .subjects.unets import SD15, TINY

SUBJECTS = ("sd15-fp32",)
TAU, LOWER = 0.5, 0.2
AIM = Aim(reach=1 / 3)
FILES = 1.3  # files of the checkpoint's size that are there at the same time


def measure(bench: Bench, subject: Subject) -> list[Row]:
    config = dict((SD15 if subject.aims else TINY).config)
    seconds: dict[str, list[float]] = {"ahead": [], "plain": [], "fuse": [], "load": []}
    with (
        bench.memory_folder(int(FILES * subject.size)) as (folder, where),
        bench.stored(subject, where=folder, tau=TAU) as stored,
    ):
        made, lora = folder / "made.safetensors", folder / "lora.safetensors"
        with Registry.open(stored.registry) as registry:
            registry.add(subject.tuned, base="base", name="lower", tau=LOWER)
            registry.materialize(stored.ref, made)
            registry.export_lora(stored.ref, lora, format="peft")
        pipeline = {"config": config, "base": str(subject.base)}
        whole = {**pipeline, "made": str(made)}
        both = {**whole, "registry": str(stored.registry), "refs": ["lower", stored.ref]}
        for run in range(bench.runs):
            say(f"switch {subject.title}, run {run + 1}")
            outcomes = {
                "ahead": bench.task("switch", **both, ahead=True),
                "plain": bench.task("switch", **both, ahead=False),
                "load": bench.task("load_weights", **whole),
            }
            if not all(outcome.answer["exact"] for outcome in outcomes.values()):
                raise Disagreement("the weights after a switch are not those of the full file")
            outcomes["fuse"] = bench.task("load_and_fuse", **pipeline, lora=str(lora))
            for name, outcome in outcomes.items():
                seconds[name].append(outcome.seconds)
    ahead, plain, fuse, load = (median(found) for found in seconds.values())
    runs, aim = bench.runs, AIM if subject.aims else None
    fused, file = "load_lora_weights and fuse_lora", f"load_state_dict of a file in {where}"
    return [
        Row("switch to a subject made ahead", "s", ahead, runs, fused, fuse, runs, aim),
        Row("switch to a subject made ahead", "s", ahead, runs, file, load, runs),
        Row("switch", "s", plain, runs, fused, fuse, runs),
        Row("switch", "s", plain, runs, file, load, runs),
    ]
