"""The main job: base add, add, show, diff, verify, materialize."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .conftest import CHANGED, Dsvd, base_weights, fine_tuned

SIZE = r"-?[0-9.]+ [kMG]?B"


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose heading line starts with `heading`."""
    lines = iter(text.splitlines())
    next(line for line in lines if line.lstrip().startswith(heading))
    rows = []
    for line in lines:
        if not line:
            break
        rows.append(re.split(r"\s{2,}", line.strip()))
    return rows


def test_main_job(dsvd: Dsvd, here: Path, checkpoints: Path) -> None:
    assert dsvd("init", ".dsvd").code == 0
    assert dsvd("base", "add", "sd15", checkpoints / "base.safetensors").code == 0
    added = dsvd("add", checkpoints / "ft.safetensors", "--base", "sd15", "--tau", "1")
    assert (added.code, added.err) == (0, "")
    assert added.out.startswith("added ft@1\n")
    assert dsvd("verify", "--deep").out == "1 version, 1 base: all is well\n"
    done = dsvd("materialize", "ft")
    digest = hashlib.sha256((here / "ft.safetensors").read_bytes()).hexdigest()
    assert f"SHA-256 {digest} (as recorded)" in done.out
    wanted, got = fine_tuned(1), load_file(here / "ft.safetensors")
    assert wanted.keys() == got.keys()
    base = base_weights()
    for name in CHANGED:
        error = torch.linalg.vector_norm(got[name] - wanted[name])
        assert error < 1e-2 * torch.linalg.vector_norm(wanted[name] - base[name])


def test_the_account_names_the_constants(dsvd: Dsvd, tmp_path: Path) -> None:
    base, tuned = base_weights(), fine_tuned(1)
    ids, betas = torch.arange(77.0)[None], torch.linspace(0.00085, 0.012, 1000)
    save_file(base | {"position_ids": ids, "b": betas}, tmp_path / "base.safetensors")
    save_file(tuned | {"position_ids": ids / 2, "b": 9 * betas}, tmp_path / "ft.safetensors")
    assert dsvd("init", ".dsvd").code == 0
    assert dsvd("base", "add", "sd15", tmp_path / "base.safetensors").code == 0
    added = dsvd("add", tmp_path / "ft.safetensors", "--base", "sd15", "--max-error", "0.3")
    assert (added.code, added.err) == (0, "")
    assert (
        "constants, kept exactly and counted in no error (2):\n  b\n  position_ids\n" in added.out
    )
    kinds = {row[0]: row[1:3] for row in table(added.out, "kind ")}
    assert kinds["constant"] == ["2", "1,077"]
    report = dsvd("show", "ft", "--json").document["report"]
    found = {row["name"]: row["reason"] for row in report["tensors"] if row["kind"] == "constant"}
    assert found.keys() == {"b", "position_ids"} and "kept exactly" in found["b"]
    assert "warning" not in added.out


def test_the_account_adds_up(dsvd: Dsvd, filled: Path) -> None:
    report = dsvd("show", "subject-42@1", "--json").document["report"]
    assert sum(row["tensors"] for row in report["kinds"]) == report["total"] == 6
    assert sum(row["parameters"] for row in report["kinds"]) == report["parameters"]
    assert len(report["tensors"]) == report["total"]
    low_rank = [row for row in report["tensors"] if row["kind"] == "low_rank"]
    kept = {row["kind"]: row["stored_parameters"] for row in report["kinds"]}
    assert kept["low_rank"] == sum(
        row["rank"] * (row["shape"][0] + math.prod(row["shape"][1:])) for row in low_rank
    )
    assert kept["same"] == 0
    shown = dsvd("show", "subject-42@1").out
    kinds = {row[0]: row[1:] for row in table(shown, "kind ")}
    assert kinds["low-rank"][0] == "3"
    assert kinds["total"][:2] == ["6", f"{report['parameters']:,}"]
    assert kinds["not taken from the base"] == ["1"]
    assert kinds["left out of the source"] == ["0"]
    for side in ("source_bytes", "stored_bytes"):
        rest = report[side] - sum(row[side] for row in report["kinds"])
        assert rest > 0
    assert "\nnot taken from the base (1):\n  time_embedding.bias\n" in shown
    assert "\nstored raw (1):\n  text_encoder.token: the base has no tensor of this name\n" in shown


def test_groups_have_full_and_kept_ranks(dsvd: Dsvd, filled: Path) -> None:
    groups = {row[0]: row[1:] for row in table(dsvd("show", "subject-42@1").out, "layers ")}
    assert set(groups) == {"conv_in", "down", "mid", "up", "text encoder"}
    tensors, low_rank, full_rank, rank, *_ = groups["conv_in"]
    assert (tensors, low_rank, full_rank) == ("1", "1", "32.0")
    assert 1 <= float(rank) <= 6


def test_show_tensors_has_a_line_for_each(dsvd: Dsvd, filled: Path) -> None:
    assert "conv_in.weight" not in dsvd("show", "subject-42").out
    rows = table(dsvd("show", "subject-42", "--tensors").out, "kind      dtype")
    assert [row[-1] for row in rows] == sorted(fine_tuned(1))


def test_the_same_again_is_recognised(dsvd: Dsvd, filled: Path, checkpoints: Path) -> None:
    words = ("add", checkpoints / "ft.safetensors", "--base", "sd15", "--name", "subject-42")
    again = dsvd(*words, "--json").document
    assert (again["ref"], again["created"]) == ("subject-42@1", False)
    assert dsvd(*words).out.startswith("subject-42@1 was there already")
    assert dsvd(*words, "--tau", "0.3", "--json").document["ref"] == "subject-42@3"


def test_added_words_are_kept(dsvd: Dsvd, filled: Path, checkpoints: Path) -> None:
    words = ("--base=sd15", "--grid-noise=0.1", "--note=from issue 7", "--tag=a", "--tag=b")
    added = dsvd("add", checkpoints / "ft.safetensors", *words, "--json").document
    assert (added["note"], added["tags"], added["grid_noise"]) == ("from issue 7", ["a", "b"], 0.1)


def test_warnings_stand_in_the_account_and_on_stderr(dsvd: Dsvd, filled: Path, here: Path) -> None:
    weights = fine_tuned(3, size=5.0)
    weights["mid_block.norm.bias"][4] = float("nan")
    save_file(weights, here / "wrong.safetensors")
    added = dsvd("add", "wrong.safetensors", "--base", "sd15")
    assert added.code == 0
    for text in (added.out, added.err):
        assert "probably not the base" in text
        assert "NaN or infinity" in text
    assert "mid_block.norm.bias: NaN or infinity" in added.out
    as_json = dsvd("add", "wrong.safetensors", "--base", "sd15", "--json")
    assert len(as_json.document["report"]["warnings"]) == 2
    assert "warning: the delta is" in as_json.err


def test_long_lists_are_cut_with_a_count(dsvd: Dsvd, filled: Path, here: Path) -> None:
    weights = fine_tuned(4) | {f"new.{n:02}": torch.ones(2) for n in range(12)}
    save_file(weights, here / "many.safetensors")
    out = dsvd("add", "many.safetensors", "--base", "sd15").out
    assert "stored raw (13):\n" in out
    assert "  new.09: the base has no tensor of this name\n  and 3 more\n" in out


def test_diff_of_two_versions(dsvd: Dsvd, filled: Path) -> None:
    out = dsvd("diff", "subject-42@1", "subject-42@prod").err
    assert "prod" in out
    shown = dsvd("diff", "subject-42@1", "subject-42@2")
    assert shown.out.startswith("left subject-42@1, right subject-42@2\n")
    rows = table(shown.out, "apart")
    assert rows[0][0] == "not equal"
    assert rows[0][-1] == "text_encoder.token"
    assert rows[-1][-1] == "total"
    apart = [float(row[0]) for row in rows[1:-1]]
    assert apart == sorted(apart, reverse=True)
    document = dsvd("diff", "subject-42@1", "subject-42@2", "--json").document
    assert (document["left"], document["right"]) == ("subject-42@1", "subject-42@2")
    assert len(document["tensors"]) == 6
    assert -1 <= document["cosine"] <= 1
    same = dsvd("diff", "subject-42@1", "subject-42@1", "--json").document
    assert same["distance"] < 1e-6


def test_diff_with_the_base(dsvd: Dsvd, filled: Path) -> None:
    rows = table(dsvd("diff", "subject-42@1", "--base").out, "kind ")
    changes = [float(row[1]) for row in rows]
    assert changes == sorted(changes, reverse=True)
    document = dsvd("diff", "subject-42@1", "--base", "--json").document
    assert document["ref"] == "subject-42@1"
    assert {row["name"] for row in document["tensors"]} >= set(CHANGED)


def test_diff_shows_forty_tensors_unless_all(dsvd: Dsvd, here: Path) -> None:
    numbers = torch.Generator().manual_seed(5)
    base = {f"w{n}": torch.randn(8, generator=numbers) for n in range(45)}
    save_file(base, here / "base.safetensors")
    save_file({name: value + 0.01 for name, value in base.items()}, here / "ft.safetensors")
    for words in ("init .dsvd", "base add b base.safetensors", "add ft.safetensors --base b"):
        assert dsvd(*words.split()).code == 0
    out = dsvd("diff", "ft", "--base").out
    assert out.endswith("and 5 tensors more: --all\n")
    assert len(table(out, "kind")) == 41
    assert len(table(dsvd("diff", "ft", "--base", "--all").out, "kind")) == 45
    assert len(dsvd("diff", "ft", "--base", "--json").document["tensors"]) == 45


def test_materialize_at_a_lower_tau(dsvd: Dsvd, filled: Path, here: Path) -> None:
    out = dsvd("materialize", "subject-42@2", "-o", "low.safetensors", "--tau", "0.3").out
    assert out.startswith("wrote low.safetensors: subject-42@2 at tau 0.3, ")
    assert "(none is recorded for this tau)" in out
    document = dsvd("materialize", "subject-42@2", "--json").document
    assert document["ref"] == "subject-42@2"
    assert document["written"]["path"] == "subject-42.safetensors"
    assert document["written"]["recorded"] is True
    assert (here / "subject-42.safetensors").stat().st_size == document["written"]["size"]


def test_force_replaces(dsvd: Dsvd, filled: Path, here: Path) -> None:
    (here / "subject-42.safetensors").write_text("mine")
    assert dsvd("materialize", "subject-42").code == 4
    assert (here / "subject-42.safetensors").read_text() == "mine"
    assert dsvd("materialize", "subject-42", "--force").code == 0
    assert load_file(here / "subject-42.safetensors").keys() == fine_tuned(2).keys()
