"""`python -m benchmarks paper --small --folds 2`, with a tiny recipe: each subject is held out once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from small_recipe import RECIPE
from trained_pair import one_thread

from benchmarks.paper import command, small_study
from benchmarks.paper.folds import names_of_folds
from benchmarks.paper.forecast import TRIAL, forecast, training_steps
from benchmarks.paper.photographs import subjects_in
from benchmarks.paper.small_study import SMALL
from demo.pictures import FOLDER, Photographed


def test_all_subjects_in_two_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "paper"
    for name, count in (("dog6", 2), ("dog2", 1), ("duck_toy", 2)):
        (photos / name).mkdir(parents=True)
        for file in sorted(FOLDER.glob(f"{name}-*.jpg"))[:count]:
            (photos / name / file.name).write_bytes(file.read_bytes())
    learnt = []
    train_base = small_study.train_base
    monkeypatch.setattr(
        small_study,
        "train_base",
        lambda pipeline, ones, *rest: (
            learnt.append([one.name for one in ones]),
            train_base(pipeline, ones, *rest),
        ),
    )
    monkeypatch.setenv("DSVD_BENCH_CACHE", str(tmp_path / "cache"))
    words = ["--small", "--folds", "2", "--photos", str(photos), "--out", str(out)]
    words += ["--steps", "1", "--seeds", "0", "--device", "cpu"]
    with one_thread():
        assert command.main(words, small=RECIPE) == 0
        printed = capsys.readouterr()
        assert learnt == [["dog2", "duck_toy"], ["dog2", "dog6"]]
        # 2 bases, and a fine-tune and two LoRAs of each of 2 subjects.
        assert "2 bases and 2 subjects: 16 steps of training" in printed.err
        assert "2 subjects (dog6, duck_toy), 1 picture of each" in printed.out
        assert (out / "paper.md").read_text() in printed.out

        # Each fold is a study of its own; the joined means are those over both.
        reports = [json.loads((out / f"fold-{n}/report/report.json").read_text()) for n in (1, 2)]
        pictures = [one for report in reports for one in report["pictures"]]
        assert {one["subject"] for one in pictures} == {"dog6@1", "duck_toy@1"}
        table = printed.out.split("## Table 1, against")[1]
        rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
        shown = {row[0].removeprefix("| "): row for row in rows}
        for label in ("base", "tau 0.06", "LoRA, rank 128"):
            values = [one["measures"]["ssim"] for one in pictures if one["model"] == label]
            assert len(values) == 2
            assert shown[label][2].split()[0] == f"{np.mean(values):.3f}"

        # The bases differ.
        made = sorted((tmp_path / "cache").glob("paper-*/base/unet/*.safetensors"))
        one, other = (load_file(file)["conv_in.weight"] for file in made)
        assert not np.array_equal(one, other)


def test_the_thirty_subjects() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    ones = [Photographed(one.name, one.noun, (picture,) * 4) for one in subjects_in(None)]
    ones.append(Photographed("aaa", "can", (picture,)))
    first, second = names_of_folds(ones[::-1], 2)
    assert not {*first} & {*second}
    assert sorted((*first, *second)) == sorted(one.name for one in ones[:-1])
    assert first[0] < second[0] < first[1] < second[1]
    assert training_steps(SMALL, 2, 30) == 2 * 1500 + 30 * 3 * 700


def test_the_forecast(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: 3.0 * next(seconds))
    told = []
    tell = forecast(600, lambda *one: told.append(one))
    for step in range(1, 2 * TRIAL):
        tell("training base, loss 1", step, 600)
        tell("pictures", step, 600)
    assert capsys.readouterr().err.count("600 steps of training take about 30 minutes") == 1
    assert len(told) == 2 * (2 * TRIAL - 1)


def test_folds_are_of_the_small_study(tmp_path: Path) -> None:
    for words in (
        [str(tmp_path), "--folds", "2"],
        ["--small", "--folds", "1"],
        ["--claims", "--folds", "2"],
    ):
        with pytest.raises(SystemExit):
            command.main(words)
