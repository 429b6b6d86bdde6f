"""The demo's training learns, changes every tensor, and can be repeated."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from trained_pair import (
    FINE_TUNE,
    SHAPE,
    SUBJECT,
    one_thread,
    silent,
    trained_models,
    trained_pair,
    tuned,
)

from demo.checkpoints import untrained
from demo.pictures import FOLDER, load_subjects
from demo.small_pipeline import paint
from demo.training import PARTS, Plan, fine_tune, mean_loss, train_base, weights_of


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def test_the_loss_falls_over_the_training_of_a_base() -> None:
    base, some = untrained(SHAPE), load_subjects()[:1]
    before = mean_loss(base, some, SHAPE.side)
    train_base(base, some, Plan(60, 3e-3, batch=8, falls=True), SHAPE.side, silent)
    assert mean_loss(base, some, SHAPE.side) < 0.8 * before


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
    before, fine_tuned = trained_pair()
    again = tuned(pair.base, SUBJECT, FINE_TUNE)
    after = weights_of(pair.base)
    assert all(torch.equal(fine_tuned[name], again[name]) for name in fine_tuned)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_painting_is_repeatable_and_sees_seed_and_fine_tune() -> None:
    pair = trained_models()
    fine_tuned = untrained(SHAPE)
    for part in PARTS:
        own = {k.removeprefix(f"{part}."): v for k, v in pair.fine_tuned.items() if part in k}
        getattr(fine_tuned, part).load_state_dict(own)
    prompts = ["a photo of sks dog"] * 2
    pictures = paint(fine_tuned, prompts, [0, 1], steps=4)
    assert pictures.shape == (2, 64, 64, 3)
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures, paint(fine_tuned, prompts, [0, 1], steps=4))
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures, paint(pair.base, prompts, [0, 1], steps=4))


def test_progress_is_told_of_each_step() -> None:
    pair = trained_models()
    told: list[tuple[int, int]] = []
    plan = Plan(steps=2, learning_rate=1e-4, batch=2)
    subject = pair.rest[0]
    fine_tune(pair.base, subject, [], plan, SHAPE.side, lambda _, *steps: told.append(steps))
    assert told == [(1, 2), (2, 2)]


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
    shapes = {picture.shape for one in load_subjects() for picture in one.photographs}
    assert shapes == {(64, 64, 3)}
    assert sum(path.stat().st_size for path in FOLDER.glob("*.jpg")) < 200_000
