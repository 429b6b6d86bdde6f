"""`dsvd add` of LoRA files: what it says they are, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from .conftest import Dsvd, Weights, base_weights

LAYERS = ("down_blocks.0.attn.to_q", "mid_block.attn.to_k", "up_blocks.0.attn.to_v")


def lora(rank: int = 4) -> Weights:
    """A LoRA in the format of diffusers, with a rank that grows by one from layer to layer."""
    numbers = torch.Generator().manual_seed(3)
    found = {}
    for number, layer in enumerate(LAYERS):
        found[f"{layer}.lora_A.weight"] = torch.randn(rank + number, 48, generator=numbers)
        found[f"{layer}.lora_B.weight"] = 0.01 * torch.randn(32, rank + number, generator=numbers)
    return found


def loha() -> Weights:
    name = f"{LAYERS[0]}.hada_w"
    ends = {"1_a": (32, 2), "1_b": (2, 48), "2_a": (32, 2), "2_b": (2, 48)}
    return {f"{name}{end}": torch.ones(shape) for end, shape in ends.items()}


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loras")
    save_file(lora(), folder / "style.safetensors")
    save_file({f"{LAYERS[0]}.{k}": t for k, t in {
        "lora_A.weight": torch.ones(3, 48), "lora_B.weight": torch.ones(32, 3)}.items()},
        folder / "one.safetensors")  # fmt: skip
    other = {k.replace(LAYERS[0], "unheard"): t for k, t in lora().items()}
    save_file(other | loha(), folder / "mixed.safetensors")
    save_file(loha(), folder / "loha.safetensors")
    # Of SD 1, by its projection, a convolution; and two LoRAs of others, by their names and width.
    block = "unet.down_blocks.0.attentions.0"
    model = {"conv_in": (8, 4, 3, 3), "time_embedding.linear_1": (8, 8), "conv_out": (4, 8, 3, 3)}
    base = {f"unet.{name}.weight": torch.ones(shape) for name, shape in model.items()}
    save_file(
        base | {f"{block}.proj_in.weight": torch.ones(8, 8, 1, 1)}, folder / "sd1.safetensors"
    )
    others = {
        "flux": ("transformer.single_transformer_blocks.0.attn.to_q", 3072),
        "sd2": (f"{block}.transformer_blocks.0.attn2.to_k", 1024),
    }
    for name, (layer, width) in others.items():
        pair = {"lora_A.weight": torch.ones(2, width), "lora_B.weight": torch.ones(8, 2)}
        state = {f"{layer}.{end}": tensor for end, tensor in pair.items()}
        save_file(state, folder / f"{name}.safetensors")
    return folder


def test_it_says_what_it_is(dsvd: Dsvd, filled: Path, files: Path) -> None:
    for words in (("add", files / "style.safetensors", "--base=sd15"), ("show", "style")):
        done = dsvd(*words)
        assert done.code == 0
        assert "a LoRA of 3 tensors of the base, ranks 4 to 6\n" in done.out
        assert "at tau 1," in done.out
        assert " -" not in done.out  # nothing is said of sizes that such a file does not have
    one = dsvd("add", files / "one.safetensors", "--base=sd15")
    assert "a LoRA of 1 tensor of the base, rank 1\n" in one.out
    assert "LoRA" not in dsvd("show", "subject-42").out


def test_the_ranks_are_its_own_at_each_tau(dsvd: Dsvd, filled: Path, files: Path) -> None:
    done = dsvd("add", files / "style.safetensors", "--base=sd15", "--tau=0.3")
    assert "ranks 4 to 6\n" in done.out
    assert "at tau 0.3," in done.out


def test_for_programs(dsvd: Dsvd, filled: Path, files: Path) -> None:
    words = ("add", files / "style.safetensors", "--base=sd15", "--json")
    found = dsvd(*words).document
    assert found["created"]
    assert found["source"]["format"] == found["report"]["source_format"] == "lora"
    ranks = {row["name"]: row["rank"] for row in found["report"]["tensors"] if row["rank"]}
    assert ranks == {f"{layer}.weight": 4 + n for n, layer in enumerate(LAYERS)}
    again = dsvd(*words).document
    assert (again["created"], again["ref"]) == (False, found["ref"])


def test_without_a_base(dsvd: Dsvd, filled: Path, files: Path) -> None:
    done = dsvd("add", files / "style.safetensors")
    assert done.code == 0
    assert "sd15" in done.out.splitlines()[0]


def test_it_is_materialised_and_verified(dsvd: Dsvd, filled: Path, files: Path) -> None:
    from safetensors.torch import load_file

    dsvd("add", files / "style.safetensors", "--base=sd15")
    assert dsvd("verify", "style", "--deep").code == 0
    assert dsvd("materialize", "style", "-o", "out.safetensors").code == 0
    made, base, factors = load_file("out.safetensors"), base_weights(), lora()
    assert made.keys() == base.keys()
    for layer in LAYERS:
        up, down = factors[f"{layer}.lora_B.weight"], factors[f"{layer}.lora_A.weight"]
        merged = base[f"{layer}.weight"] + up @ down
        torch.testing.assert_close(made[f"{layer}.weight"], merged, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("file", "options", "code", "said"),
    [
        ("mixed", (), 5, "4 times LoHa"),
        ("loha", ("--skip-unsupported",), 5, "4 times LoHa"),
        ("style", ("--max-error=0.1",), 2, "is a LoRA file"),
        ("style", ("--budget=1MB",), 2, "is a LoRA file"),
        ("style", ("--keep-noise",), 2, "is a LoRA file"),
        ("style", ("--base=sdxl",), 3, "sdxl"),
    ],
)
def test_refusals(
    file: str,
    options: tuple[str, ...],
    code: int,
    said: str,
    dsvd: Dsvd,
    filled: Path,
    files: Path,
) -> None:
    words = ("add", files / f"{file}.safetensors", "--base=sd15", *options)
    done = dsvd(*words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "hint: " in done.err
    asked = dsvd(*words, "--json")
    assert said in asked.error["message"]
    assert asked.error["exit_code"] == code
    assert len(dsvd("ls", "--json").document) == 2


@pytest.mark.parametrize(("file", "family"), [("flux", "FLUX"), ("sd2", "Stable Diffusion 2.x")])
def test_another_family(file: str, family: str, dsvd: Dsvd, filled: Path, files: Path) -> None:
    assert dsvd("base", "add", "sd1", files / "sd1.safetensors").code == 0
    done = dsvd("add", files / f"{file}.safetensors", "--base=sd1")
    assert done.code == 7
    assert f"looks like a LoRA of {family}; the base 'sd1' is Stable Diffusion 1.x" in done.err
    assert f"hint: Give a base of the LoRA's own family: {family}." in done.err


def test_its_curve_is_its_versions(dsvd: Dsvd, filled: Path, files: Path) -> None:
    done = dsvd("curve", files / "style.safetensors", "--base=sd15")
    assert done.code == 2
    assert "is a LoRA file" in done.err
    assert dsvd("add", files / "style.safetensors", "--base=sd15").code == 0
    assert dsvd("curve", "style").code == 0


def test_what_is_skipped_is_listed(dsvd: Dsvd, filled: Path, files: Path) -> None:
    done = dsvd("add", files / "mixed.safetensors", "--base=sd15", "--skip-unsupported")
    assert done.code == 0
    assert "a LoRA of 2 tensors of the base, ranks 5 to 6\n" in done.out
    assert "left out of the source (6):\n" in done.out
    assert f"  {LAYERS[0]}.hada_w1_a: LoHa" in done.out
    assert "  unheard.lora_A.weight: the base has no such layer\n" in done.out


def test_several_at_once(dsvd: Dsvd, filled: Path, files: Path) -> None:
    names = ("style", "mixed", "one")
    done = dsvd("add", *(files / f"{name}.safetensors" for name in names), "--base=sd15")
    assert "2 added" in done.out
    assert "1 refused" in done.out
    assert "LoHa" in done.out
