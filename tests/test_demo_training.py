"""The demo's training learns, changes every tensor, and can be repeated."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from trained_pair import (
    CONFIG,
    FINE_TUNE,
    SUBJECT,
    one_thread,
    trained_models,
    trained_pair,
)

from demo.pictures import FOLDER, Vocabulary, load_photographs
from demo.training import Plan, TinyDiffusion, evaluate, fine_tune, sample


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def test_the_loss_falls_over_pretraining() -> None:
    pair = trained_models()
    untrained = TinyDiffusion(CONFIG, Vocabulary(load_photographs()))
    before = evaluate(untrained, pair.photographs)
    assert evaluate(pair.base, pair.photographs) < 0.8 * before


def test_the_fine_tune_changes_every_tensor_by_little() -> None:
    base, tuned = trained_pair()
    assert base.keys() == tuned.keys()
    assert [name for name in base if torch.equal(base[name], tuned[name])] == []
    changed = torch.cat([(tuned[name] - base[name]).flatten() for name in base])
    whole = torch.cat([value.flatten() for value in base.values()])
    assert 1e-4 < changed.norm() / whole.norm() < 0.1


def test_the_weights_are_fp32_and_carry_the_names_of_both_parts() -> None:
    base, _ = trained_pair()
    assert {value.dtype for value in base.values()} == {torch.float32}
    assert {name.partition(".")[0] for name in base} == {"unet", "text_encoder"}


def test_fine_tuning_again_gives_the_same_weights_and_leaves_the_base_alone() -> None:
    pair = trained_models()
    before, tuned = trained_pair()
    ours = [photograph for photograph in load_photographs() if photograph.subject == SUBJECT]
    dogs = [photograph for photograph in pair.photographs if photograph.kind == "dog"]
    again = fine_tune(pair.base, ours, dogs, FINE_TUNE).weights()
    after = pair.base.weights()
    assert all(torch.equal(tuned[name], again[name]) for name in tuned)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_sampling_is_repeatable_and_sees_seed_and_fine_tune() -> None:
    pair = trained_models()
    prompts = ["a photo of sks dog"] * 2
    pictures = sample(pair.fine_tuned, prompts, [0, 1], steps=4)
    assert pictures.shape == (2, 32, 32, 3)
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures, sample(pair.fine_tuned, prompts, [0, 1], steps=4))
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures, sample(pair.base, prompts, [0, 1], steps=4))


def test_a_word_that_no_caption_has_is_an_error() -> None:
    with pytest.raises(KeyError, match="aardvark"):
        Vocabulary(load_photographs()).encode(["a photo of aardvark"])


def test_progress_is_told_of_each_step() -> None:
    pair = trained_models()
    told: list[int] = []
    plan = Plan(steps=2, learning_rate=1e-4, batch=2)
    ours = pair.photographs[:2]
    fine_tune(pair.base, ours, ours, plan, lambda step, _: told.append(step))
    assert told == [1, 2]


def test_table_folder_and_credits_name_the_same_photographs() -> None:
    with (FOLDER / "photographs.csv").open(newline="", encoding="utf-8") as table:
        listed = [row["file"] for row in csv.DictReader(table)]
    credits = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    credited = [line.split("|")[1].strip() for line in credits.splitlines() if ".jpg |" in line]
    assert sorted(listed) == sorted(path.name for path in FOLDER.glob("*.jpg"))
    assert credited == listed
    assert "CC BY 4.0" in credits
    assert "https://creativecommons.org/licenses/by/4.0/" in credits


def test_the_photographs_are_small_squares() -> None:
    photographs = load_photographs()
    assert {tuple(photograph.pixels.shape) for photograph in photographs} == {(3, 64, 64)}
    assert sum(path.stat().st_size for path in FOLDER.glob("*.jpg")) < 200_000
