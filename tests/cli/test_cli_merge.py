"""`dsvd merge` and `dsvd subtract`: what they take, print and refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from .conftest import CHANGED, Dsvd, Weights, base_weights

ONE, TWO = "subject-42@1", "subject-42@2"
# Each of the two has a token of its own, which the base lacks.
DIFFERING = ("merge", f"{ONE}:0.6", f"{TWO}:0.4", "--name=both")
WORDS = (*DIFFERING, f"--take-from={ONE}")


def test_it_says_what_it_is(dsvd: Dsvd, filled: Path) -> None:
    done = dsvd(*WORDS)
    assert done.code == 0
    assert done.out.startswith(f"merged both@1 from 0.6 x {ONE}, 0.4 x {TWO}\n")
    assert "at tau 1," in done.out
    assert " -" not in done.out  # nothing is said of sizes that a recipe does not have
    shown = dsvd("show", "both")
    assert f"merged from  0.6 x {ONE}, 0.4 x {TWO}\n" in shown.out
    assert "AutoV2" not in shown.out
    again = dsvd(*WORDS)
    assert "both@1 was there already: the same versions, weights and fidelity\n" in again.out
    assert "merged from" not in dsvd("show", ONE).out


def test_for_programs(dsvd: Dsvd, filled: Path) -> None:
    found = dsvd(
        *WORDS, "--tau=0.7", "--layers=up:0.5", f"--layers={TWO}=*.bias:0", "--json"
    ).document
    own = {ref: dsvd("show", ref, "--json").document["container"] for ref in (ONE, TWO)}
    assert (found["ref"], found["created"], found["tau"]) == ("both@1", True, 0.7)
    assert found["source"]["format"] == "merge"
    assert found["merge"]["versions"] == [
        {"container": own[ONE], "name": ONE, "weight": 0.6},
        {"container": own[TWO], "name": TWO, "weight": 0.4},
    ]
    assert found["merge"]["layers"] == [
        {"pattern": "up", "weight": 0.5},
        {"container": own[TWO], "pattern": "*.bias", "weight": 0.0},
    ]
    assert found["report"]["tau"] == 0.7
    shown = dsvd("show", "both", "--json").document
    assert shown["merge"] == found["merge"]


def written(dsvd: Dsvd, ref: str) -> Weights:
    assert dsvd("materialize", ref, "-o", "out.safetensors", "--force").code == 0
    return {name: tensor.double() for name, tensor in load_file("out.safetensors").items()}


def test_the_difference(dsvd: Dsvd, filled: Path) -> None:
    done = dsvd("subtract", TWO, ONE, "--name=apart")
    assert done.out.startswith(f"merged apart@1 from 1 x {TWO}, -1 x {ONE}\n")
    made, one, two = (written(dsvd, ref) for ref in ("apart", ONE, TWO))
    assert made["text_encoder.token"].equal(two["text_encoder.token"])  # nothing is taken from it
    for name in CHANGED:
        base = base_weights()[name].double()
        change = two[name] - one[name]
        off = float((made[name] - base - change).norm())
        assert off <= 1e-5 * float(change.norm()) + 2.0**-22 * float(base.norm()), name
    assert dsvd("verify", "apart", "--deep").code == 0


def test_a_layer_alone(dsvd: Dsvd, filled: Path) -> None:
    assert dsvd("merge", f"{ONE}:1", "--name=part", "--layers=*:0", "--layers=up:1").code == 0
    made, one = written(dsvd, "part"), written(dsvd, ONE)
    base = base_weights()
    assert made["up_blocks.0.attn.to_v.weight"].equal(one["up_blocks.0.attn.to_v.weight"])
    assert made["conv_in.weight"].equal(base["conv_in.weight"].double())


def test_a_largest_error(dsvd: Dsvd, filled: Path) -> None:
    whole = dsvd(*WORDS, "--json").document
    cut = dsvd(*WORDS, "--max-error=0.3", "--json").document
    assert cut["max_error"] == 0.3
    assert 0 < cut["report"]["error"] <= 0.3
    assert cut["size"] < whole["size"]


@pytest.mark.parametrize(
    ("words", "code", "said", "hint"),
    [
        (("merge", "--name=x"), 2, "Missing argument", ""),
        (("merge", f"{ONE}:1"), 2, "--name", ""),
        (("merge", ONE, "--name=x"), 2, "'subject-42@1' has no weight", "subject-42@1:0.5"),
        (("merge", f"{ONE}:", "--name=x"), 2, "the weight ''", "0.5 or -1"),
        (("merge", f"{ONE}:half", "--name=x"), 2, "the weight 'half'", "0.5 or -1"),
        (("merge", f"{ONE}:nan", "--name=x"), 2, "not a number", "0.5"),
        (("merge", f"{ONE}:1e400", "--name=x"), 2, "not a number", "0.5"),
        (("merge", "nobody:1", "--name=x"), 3, "nobody", ""),
        ((*WORDS, "--tau=0.5", "--max-error=0.1"), 2, "both tau and max_error", "one of them"),
        ((*WORDS, "--layers=up"), 2, "'up' has no weight", "up:0.5"),
        ((*WORDS, "--layers=upp:1"), 2, "no tensor and no layer group is called 'upp'", "show"),
        ((*WORDS, "--take-from=nobody"), 3, "nobody", ""),
        (("merge", f"{ONE}:1", "--name=Subject-42"), 4, "differs from", ""),
    ],
)
def test_refusals(
    words: tuple[str, ...], code: int, said: str, hint: str, dsvd: Dsvd, filled: Path
) -> None:
    done = dsvd(*words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert hint in done.err
    assert len(dsvd("ls", "--json").document) == 2


def test_what_differs(dsvd: Dsvd, filled: Path) -> None:
    done = dsvd(*DIFFERING)
    assert done.code == 2
    assert f"tensor 'text_encoder.token' differs in {ONE} and {TWO}" in done.err
    assert "--take-from" in done.err
    assert dsvd(*DIFFERING, f"--take-from={TWO}").code == 0
    made, two = written(dsvd, "both"), written(dsvd, TWO)
    assert made["text_encoder.token"].equal(two["text_encoder.token"])
