"""Versions that an evaluation compares beside those at its taus."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as torch_load

from dsvd_registry.errors import InvalidArgument
from dsvd_registry.evaluation.models import (
    FINE_TUNE,
    NOISE,
    SourceWeights,
    VersionWeights,
    source_identity,
)
from dsvd_registry.evaluation.subjects import planned_subjects

from .conftest import Studio


def test_a_version_stored_at_a_lower_tau(studio: Studio, tmp_path: Path) -> None:
    file = studio.folder / "subject.safetensors"
    low = studio.registry.add(file, base="base", name="low", tau=0.1)
    request = studio.request("subject", taus=(0.1,), others={"stored alone": (low.ref,)})
    (subject,) = planned_subjects(request, studio.registry)
    part, alone = subject.models[-2:]
    assert (part.label, alone.label) == ("tau 0.1", "stored alone")
    assert part.tau == alone.tau == 0.1
    # The bytes of a whole container, which is less than what the higher version's part takes.
    exported = tmp_path / "low.dsvd"
    studio.registry.export_container(low.ref, exported)
    assert alone.size == exported.stat().st_size < part.size
    # What it paints with is what the version gives, and not what the part gives.
    files = []
    for number, model in enumerate((part, alone)):
        assert isinstance(model.weights, VersionWeights)
        files.append(tmp_path / f"{number}.safetensors")
        studio.registry.materialize(model.weights.ref, files[-1], tau=model.weights.tau)
    (one, other), source = map(load_file, files), load_file(file)
    errors = [sum(np.square(w[n] - source[n]).sum() for n in source) for w in (one, other)]
    assert errors[0] < errors[1]


def test_one_for_each(studio: Studio) -> None:
    with pytest.raises(InvalidArgument, match="1 versions of low for 2 versions"):
        studio.request("subject", "other", others={"low": ("subject",)})


def test_another_entry_of_one_file_is_no_fine_tune(studio: Studio, tmp_path: Path) -> None:
    """A torch file with two sets of weights has one digest; lossless is the version of the first."""
    both = {
        "model": torch_load(studio.folder / "subject.safetensors"),
        "ema": torch_load(studio.folder / "other.safetensors"),
    }
    torch.save(both, tmp_path / "both.ckpt")
    add = functools.partial(studio.registry.add, tmp_path / "both.ckpt", base="base")
    exact = add(name="both-model", weights="model", lossless=True)
    lossy = add(name="both-ema", weights="ema", tau=0.5)
    taken = {}
    for ref in (exact.ref, lossy.ref):
        (subject,) = planned_subjects(studio.request(ref, taus=(0.1,)), studio.registry)
        (taken[ref],) = (model for model in subject.models if model.label == FINE_TUNE)
    weights = {ref: model.weights for ref, model in taken.items()}
    assert weights == {ref: SourceWeights(ref) for ref in (exact.ref, lossy.ref)}
    assert taken[exact.ref].identity != taken[lossy.ref].identity
    # Given as the fine-tune, the file that a version was made of gives the same entry of it.
    request = studio.request(lossy.ref, taus=(0.1,), full=(tmp_path / "both.ckpt",))
    (subject,) = planned_subjects(request, studio.registry)
    given = {model.label: model.weights for model in subject.models}
    assert given[FINE_TUNE] == SourceWeights(tmp_path / "both.ckpt", entry="ema")
    assert given[NOISE] == SourceWeights(tmp_path / "both.ckpt", "fp16", "ema")
    assert not subject.remark


def test_pictures_of_each_entry_of_a_file_are_kept_apart() -> None:
    """By `evaluate` and `--until` alike; a file without a choice is known by its digest alone."""
    identities = [source_identity("a" * 64, entry) for entry in (None, "model", "ema")]
    assert identities[0] == {"source": "a" * 64}
    assert all(one != other for one, other in itertools.combinations(identities, 2))
