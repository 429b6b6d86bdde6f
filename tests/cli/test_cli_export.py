"""Export of LoRA files and of containers, and import of the latter."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from .conftest import Dsvd, Weights

ATTENTION = "unet.down_blocks.0.attentions.0"
QUERY = f"{ATTENTION}.transformer_blocks.0.attn1.to_q"
LORA_QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
SHAPES = {
    "unet.conv_in.weight": (32, 4, 3, 3),
    "unet.conv_in.bias": (32,),
    f"{ATTENTION}.norm.weight": (32,),
    f"{ATTENTION}.proj_in.weight": (32, 32, 1, 1),  # a convolution: by this it is SD 1
    f"{QUERY}.weight": (32, 32),
}
TUNED = "tuned@1"


def changed(base: Weights) -> Weights:
    """Matrices by a delta of rank 3, vectors by any; and a tensor that the base lacks."""
    numbers = torch.Generator().manual_seed(2)
    found = {"unet.new": torch.ones(2)}
    for name, tensor in base.items():
        rank = 3 if tensor.ndim > 1 else 1
        left = torch.randn(len(tensor), rank, generator=numbers)
        right = torch.randn(rank, tensor[0].numel(), generator=numbers)
        found[name] = tensor + 0.01 * (left @ right).reshape(tensor.shape)
    return found


@pytest.fixture
def sd1(dsvd: Dsvd, here: Path) -> None:
    """A registry with a fine-tune of something like SD 1, all of which has changed."""
    numbers = torch.Generator().manual_seed(1)
    base = {name: torch.randn(shape, generator=numbers) for name, shape in SHAPES.items()}
    save_file(base, here / "base.safetensors")
    save_file(changed(base), here / "tuned.safetensors")
    for words in ("init .dsvd", "base add sd15 base.safetensors"):
        assert dsvd(*words.split()).code == 0
    assert dsvd("add", "tuned.safetensors", "--base=sd15", "--tau=0.9").code == 0


@pytest.mark.usefixtures("sd1")
class TestLora:
    """`--format kohya`, `peft` and `comfyui`."""

    def test_what_is_said(self, dsvd: Dsvd, here: Path) -> None:
        done = dsvd("export", "tuned", "--format", "kohya", "-o", "lora.safetensors")
        assert (done.code, done.err) == (0, "")
        lines = done.out.splitlines()
        data = (here / "lora.safetensors").read_bytes()
        assert lines[0].startswith(f"wrote lora.safetensors: {TUNED} as a LoRA for kohya, fp16, ")
        assert lines[1] == f"SHA-256 {hashlib.sha256(data).hexdigest()}"
        assert lines[2] == "3 modules, ranks 3 to 3, median 3"
        assert lines[3].startswith("relative error to what the version holds 0.")
        for cause in ("left out 0.", "cut ranks 0", "rounding "):
            assert cause in lines[3]
        assert lines[5] == "left out (3); --json lists them all:"
        assert lines[6].startswith(
            "  2 tensors: the format holds low-rank pairs only; the most costly"
        )
        assert ", alone 0." in lines[6]
        assert lines[7] == (
            "  1 tensor: stored whole (new): it has no delta; the most costly is unet.new"
        )

    @pytest.mark.parametrize(
        ("form", "key"),
        [
            ("kohya", f"{LORA_QUERY}.lora_up.weight"),
            ("peft", f"{QUERY}.lora_B.weight"),
            (
                "comfyui",
                "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_up.weight",
            ),
        ],
    )
    def test_json(self, dsvd: Dsvd, here: Path, form: str, key: str) -> None:
        words = ("export", "tuned", "--format", form, "-o", "lora.safetensors", "--json")
        document = dsvd(*words).document
        assert document["ref"] == TUNED
        written = document["written"]
        assert (written["path"], written["format"]) == ("lora.safetensors", form)
        assert (written["family"], written["dtype"]) == ("sd1", "fp16")
        assert written["size"] == (here / "lora.safetensors").stat().st_size
        assert len(written["modules"]) == 3
        for module in written["modules"]:
            assert module.keys() == {"name", "rank", "stored_rank", "alpha", "error"}
        assert 0 < written["rounding_error"] < 1e-3
        assert written["cut_error"] == 0
        names = [entry["name"] for entry in written["left_out"]]
        vectors = ["unet.conv_in.bias", f"{ATTENTION}.norm.weight"]
        assert names == [*([] if form == "comfyui" else vectors), "unet.new"]
        assert len(written["differences"]) == (2 if form == "comfyui" else 0)
        assert (written["left_out_error"] == 0) == (form == "comfyui")
        assert key in load_file(here / "lora.safetensors")

    def test_rank_limit_and_dtype(self, dsvd: Dsvd, here: Path) -> None:
        asked = ("--rank-limit", "2", "--dtype", "fp32", "--json")
        words = ("export", "tuned", "--format", "kohya", "-o", "lora.safetensors", *asked)
        written = dsvd(*words).document["written"]
        assert {module["rank"] for module in written["modules"]} == {2}
        assert {module["alpha"] for module in written["modules"]} == {2.0}
        assert all(module["stored_rank"] > 2 for module in written["modules"])
        assert written["cut_error"] > 0.1
        assert written["rounding_error"] < 1e-6
        tensors = load_file(here / "lora.safetensors")
        assert tensors[f"{LORA_QUERY}.lora_down.weight"].shape == (2, 32)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}

    @pytest.mark.parametrize("form", ["kohya", "dsvd"])
    def test_force(self, dsvd: Dsvd, here: Path, form: str) -> None:
        (here / "out").write_text("mine")
        words = ("export", "tuned", "--format", form, "-o", "out")
        refused = dsvd(*words)
        assert (refused.code, refused.out) == (4, "")
        assert "--force" in refused.err
        assert (here / "out").read_text() == "mine"
        assert dsvd(*words, "--force").code == 0
        assert (here / "out").read_bytes() != b"mine"

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            ("export tuned --format loha -o out", 2, "'loha' is not one of"),
            ("export tuned --format kohya", 2, "-o"),
            ("export tuned -o out", 2, "--format"),
            ("export tuned --format kohya -o out --dtype bf16", 2, "'bf16' is not one of"),
            ("export tuned --format kohya -o out --rank-limit 0", 2, "rank limit 0"),
            ("export tuned --format dsvd -o out --rank-limit 4", 2, "for LoRA files"),
            ("export tuned --format dsvd -o out --dtype fp32", 2, "for LoRA files"),
            ("export nobody --format kohya -o out", 3, "nobody"),
            ("export nobody --format dsvd -o out", 3, "nobody"),
            ("export tuned@7 --format peft -o out", 3, "tuned"),
            ("export tuned --format peft -o missing/out", 9, "missing"),
            ("export tuned --format dsvd -o missing/out", 9, "missing"),
        ],
    )
    def test_refused(self, dsvd: Dsvd, here: Path, words: str, code: int, said: str) -> None:
        before = sorted(here.iterdir())
        done = dsvd(*words.split())
        assert (done.code, done.out) == (code, "")
        assert said in done.err
        assert sorted(here.iterdir()) == before

    def test_an_error_as_json(self, dsvd: Dsvd) -> None:
        done = dsvd("export", "nobody", "--format", "peft", "-o", "out", "--json")
        assert done.code == 3
        assert done.error["exit_code"] == 3
        assert "nobody" in done.error["message"]


def test_a_family_without_lora_names(dsvd: Dsvd, filled: Path) -> None:
    done = dsvd("export", "subject-42", "--format", "kohya", "-o", "out")
    assert done.code == 2
    assert "for which no LoRA files are written" in done.err
    assert "dsvd materialize" in done.err


@pytest.fixture
def travelling(dsvd: Dsvd, filled: Path, here: Path) -> Path:
    """`subject-42@1` of the registry here as a file."""
    assert dsvd("export", "subject-42@1", "--format", "dsvd", "-o", "subject.dsvd").code == 0
    return here / "subject.dsvd"


@pytest.fixture
def elsewhere(dsvd: Dsvd, checkpoints: Path, here: Path) -> tuple[str, str]:
    """The words that ask another registry, which has the base alone."""
    words = ("--registry", str(here / "elsewhere"))
    assert dsvd(*words, "init").code == 0
    assert dsvd(*words, "base", "add", "base", checkpoints / "base.safetensors").code == 0
    return words


def test_a_container_goes_out(dsvd: Dsvd, filled: Path, here: Path) -> None:
    done = dsvd("export", "subject-42@1", "--format", "dsvd", "-o", "subject.dsvd")
    assert (done.code, done.err) == (0, "")
    shown = dsvd("show", "subject-42@1", "--json").document
    data = (here / "subject.dsvd").read_bytes()
    assert hashlib.sha256(data).hexdigest() == shown["container"]
    first, second = done.out.splitlines()
    assert first.startswith("wrote subject.dsvd: subject-42@1, ")
    assert second == f"SHA-256 {shown['container']}"
    words = ("export", "subject-42@1", "--format", "dsvd", "-o", "again.dsvd", "--json")
    assert dsvd(*words).document == {
        "ref": "subject-42@1",
        "written": {
            "path": "again.dsvd",
            "sha256": shown["container"],
            "size": len(data),
            "signatures": None,
            "residual": None,
            "original": None,
            "description": None,
        },
    }


def test_a_container_comes_in(
    dsvd: Dsvd, travelling: Path, elsewhere: tuple[str, str], here: Path
) -> None:
    done = dsvd(*elsewhere, "import", travelling)
    assert done.code == 0
    assert done.out.startswith("imported subject@1, against the base base\n")
    assert "kind " in done.out
    again = dsvd(*elsewhere, "import", travelling)
    assert again.out.startswith("subject@1 was there already: the same container\n")
    labels = ("--name", "twin", "--note", "from afar", "--tag", "a", "--tag", "b")
    document = dsvd(*elsewhere, "import", travelling, *labels, "--json").document
    assert (document["ref"], document["created"]) == ("twin@1", True)
    assert (document["note"], document["tags"]) == ("from afar", ["a", "b"])
    assert document["report"]["total"] == 6
    assert dsvd(*elsewhere, "verify", "--deep").code == 0
    assert dsvd("materialize", "subject-42@1", "-o", "here.safetensors").code == 0
    there = dsvd(*elsewhere, "materialize", "subject", "-o", "there.safetensors")
    assert "(as recorded)" in there.out
    assert (here / "here.safetensors").read_bytes() == (here / "there.safetensors").read_bytes()


def test_a_container_without_its_base(dsvd: Dsvd, travelling: Path, here: Path) -> None:
    words = ("--registry", str(here / "empty"))
    assert dsvd(*words, "init").code == 0
    done = dsvd(*words, "import", travelling)
    assert done.code == 7
    assert "'sd15'" in done.err
    assert "dsvd base add" in done.err


def test_what_is_no_sound_container(
    dsvd: Dsvd, travelling: Path, elsewhere: tuple[str, str], checkpoints: Path, here: Path
) -> None:
    data = bytearray(travelling.read_bytes())
    data[-20] ^= 1
    (here / "damaged.dsvd").write_bytes(data)
    (here / "short.dsvd").write_bytes(data[:-1])
    assert dsvd(*elsewhere, "import", here / "damaged.dsvd").code == 6
    assert dsvd(*elsewhere, "import", here / "short.dsvd").code == 6
    assert dsvd(*elsewhere, "import", checkpoints / "ft.safetensors").code == 6
    missing = dsvd(*elsewhere, "import", here / "missing.dsvd", "--json")
    assert missing.code == missing.error["exit_code"] != 0
    assert dsvd(*elsewhere, "ls", "--json").document == []
