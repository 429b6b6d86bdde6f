"""`pipe.load_lora_weights` of diffusers, on pipelines of every family."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from layouts.original import State
from safetensors.torch import load_file

from dsvd_registry.errors import InvalidArgument

from .conftest import Subject
from .effect import check, distance, whole
from .transformers import TRANSFORMERS

COMPONENTS = {
    "sd3": ("transformer", "text_encoder", "text_encoder_2"),
    "flux": ("transformer", "text_encoder"),
}
EMBEDDING = re.compile(r"token_embedding|position|text_projection")


class Listener(logging.Handler):
    """A handler that keeps the log messages."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warnings of diffusers: keys without a place, and models that the file does not change."""
    listener = Listener()
    diffusers_logging.add_handler(listener)
    yield listener.said
    diffusers_logging.remove_handler(listener)


def loaded(pipeline: DiffusionPipeline, file: Path, *components: str) -> DiffusionPipeline:
    """The pipeline with the file's LoRA merged into its weights."""
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name)
    pipeline.fuse_lora(components=list(components)) if components else pipeline.fuse_lora()
    pipeline.unload_lora_weights()
    return pipeline


def error(subject: Subject, found: State) -> float:
    """The error that the file must have."""
    return distance(subject.version, found) / whole(subject)


def assert_all_placed(warnings: list[str]) -> None:
    """Check that the only warnings are about models that the pipeline lacks too.

    The refiner's pipeline has no first text encoder.
    """
    assert not [line for line in warnings if "associated to NoneType found" not in line]


@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_every_family(subject: Subject, form: str, file: Path, warnings: list[str]) -> None:
    lora = subject.registry.export_lora("subject", file, format=form)
    found = subject.named(loaded(subject.pipeline(), file))
    assert_all_placed(warnings)
    check(subject, found, lora)
    assert lora.error == pytest.approx(error(subject, found), rel=1e-3)
    assert lora.rounding_error < 5e-4
    assert lora.cut_error < 2.0**-11  # nothing but dense matrices, and of them what fp16 rounds
    assert len(set(lora.ranks)) > 2  # mixed ranks are what loaders get wrong
    # Of all matrices only the tables of embeddings are missing, and kohya's SDXL projection.
    matrices = [entry.name for entry in lora.left_out if subject.version[entry.name].ndim > 1]
    assert not [name for name in matrices if not EMBEDDING.search(name)]


@pytest.mark.parametrize(("form", "limit"), [("kohya", 1), ("peft", 2)])
def test_a_rank_limit_costs_what_is_said(subject_of, form: str, limit: int, file: Path) -> None:
    subject = subject_of("sd1")
    lora = subject.registry.export_lora("subject", file, format=form, rank_limit=limit)
    found = subject.named(loaded(subject.pipeline(), file))
    assert max(lora.ranks) == limit
    assert any(module.stored_rank > limit for module in lora.modules)
    assert lora.error == pytest.approx(error(subject, found), rel=1e-3)
    together = lora.left_out_error**2 + lora.cut_error**2 + lora.rounding_error**2
    assert lora.error**2 == pytest.approx(together, rel=1e-3)
    assert lora.cut_error > (0.05 if limit == 1 else 0.02)


def test_fp32_loses_next_to_nothing_of_what_it_holds(subject_of, file: Path) -> None:
    subject = subject_of("sd1")
    lora = subject.registry.export_lora("subject", file, format="peft", dtype="fp32")
    check(subject, subject.named(loaded(subject.pipeline(), file)), lora)
    assert lora.rounding_error < 1e-7
    assert {str(tensor.dtype) for tensor in load_file(file).values()} == {"torch.float32"}


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_a_transformer(subject_of, family: str, file: Path, warnings: list[str]) -> None:
    """SD 3 and FLUX in PEFT's format, the only one that they have here."""
    subject = subject_of(family)
    lora = subject.registry.export_lora("subject", file, format="peft")
    found = subject.named(loaded(subject.pipeline(), file, *COMPONENTS[family]))
    assert_all_placed(warnings)
    check(subject, found, lora)
    assert lora.error == pytest.approx(error(subject, found), rel=1e-3)
    assert len(set(lora.ranks)) > 2
    matrices = {entry.name for entry in lora.left_out if subject.version[entry.name].ndim > 1}
    t5 = {"sd3": "text_encoder_3.", "flux": "text_encoder_2."}[family]
    assert all(name.startswith(t5) or EMBEDDING.search(name) for name in matrices)
    assert any(name.startswith(t5) for name in matrices)
    for form in ("kohya", "comfyui"):
        with pytest.raises(InvalidArgument, match="is not written in the format") as caught:
            subject.registry.export_lora("subject", file, format=form, replace=True)
        assert "--format peft" in caught.value.hint
