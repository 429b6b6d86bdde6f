"""`python -m benchmarks paper`: on a tiny pipeline, with the command that a real one takes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_pipeline
import torch
from PIL import Image
from safetensors.torch import load_file
from skimage.metrics import structural_similarity
from small_recipe import RECIPE
from torch.nn import functional
from trained_pair import one_thread

from benchmarks.paper import command
from benchmarks.paper.claims import claims
from benchmarks.paper.photographs import subjects_in
from benchmarks.paper.small_study import small_study
from benchmarks.paper.taef2 import read_taef2
from benchmarks.paper.train_study import FULL_SIZE, MATCHED, OF_RANK
from demo.pictures import FOLDER, Photographed, square
from demo.training import Plan
from dsvd_registry import Registry

NAMES = {"subject": tiny_pipeline.SUBJECT, "other": tiny_pipeline.OTHER}
QUICK = ["--steps", "2", "--guidance", "1.5", "--seeds", "0-1", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a tiny base and two fine-tunes, with photographs and without LoRAs."""
    folder = tmp_path_factory.mktemp("study")
    with one_thread():
        tiny_pipeline.write_models(folder)
    (folder / "subjects").mkdir()
    for file, name in NAMES.items():
        (folder / f"{file}.safetensors").rename(folder / "subjects" / f"{name}.safetensors")
        (folder / "photos" / name).mkdir(parents=True)
        for photograph in FOLDER.glob(f"{name}-*.jpg"):
            shutil.copy(photograph, folder / "photos" / name)
    (folder / "prompts.txt").write_text("a photo of {}\n")
    return folder


def rows_below(text: str, heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by their first cell."""
    part = text.split(f"## {heading}")[1].split("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in cells[2:]}


def test_a_study(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command for a full size, with LoRAs trained by its own code; its figures by hand."""
    recipe = replace(
        FULL_SIZE,
        plan=Plan(2, 1e-4, batch=2),
        lora_plan=Plan(2, 1e-3, batch=2),
        prior=2,
        side=tiny_pipeline.SIDE,
    )
    out = tmp_path / "paper"
    words = [str(study), "--out", str(out), "--prompts", str(study / "prompts.txt"), *QUICK]
    before = {file: file.read_bytes() for file in (study / "subjects").iterdir()}
    assert command.main([*words, "--train"], full_size=recipe) == 0
    text = capsys.readouterr().out
    assert {file: file.read_bytes() for file in (study / "subjects").iterdir()} == before
    assert (out / "paper.md").read_text() in text
    for name in ("figure-1.png", "figure-2.png", "figure-3.png"):
        with Image.open(out / name) as image:
            assert min(image.size) > 100
    assert (out / "figure-4.svg").read_text().startswith("<?xml")

    theirs = rows_below(text, "Table 1, in the paper's columns")
    ours = rows_below(text, "Table 1, against")
    models = ["base", "fine-tune", "fine-tune in fp16", "int8 per channel", "int8 per tensor"]
    taus = ["tau 0.8", "tau 0.5", "tau 0.2", "tau 0.06"]
    assert list(theirs) == list(ours) == [*models, *taus, OF_RANK, MATCHED]
    assert ours["fine-tune"][1:3] == ["1.000", "0.000"]
    paired = {label: float(row[1].split()[0]) for label, row in ours.items()}
    assert paired["base"] < paired["tau 0.06"] < paired["tau 0.8"] <= 1

    # SSIM of pictures that are not aligned, from the report's own pictures.
    report = json.loads((out / "report/report.json").read_text())
    own = [p for p in report["pictures"] if p["model"] == "fine-tune"]
    values = []
    for one in own:
        picture = np.asarray(Image.open(out / "report" / one["file"]))
        name = one["subject"].partition("@")[0]
        for file in sorted((study / "photos" / name).iterdir()):
            with Image.open(file) as image:
                other = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS))
            values.append(
                structural_similarity(
                    picture,
                    other,
                    data_range=255,
                    channel_axis=-1,
                    gaussian_weights=True,
                    sigma=1.5,
                    use_sample_covariance=False,
                )
            )
    by_subject = [
        np.mean(values[:10]),
        np.mean(values[10:]),
    ]  # 2 pictures of 5 and of 4 photographs
    assert theirs["fine-tune"][2] == f"{np.mean(by_subject):.3f}"

    # The rank of a group of one matrix, from the files.
    ranks = []
    base = load_file(next((study / "base/unet").glob("*.safetensors")))
    for file in before:
        delta = load_file(file)["unet.conv_in.weight"] - base["conv_in.weight"]
        s = np.linalg.svd(delta.double().flatten(1).numpy(), compute_uv=False)
        ranks.append(1 + int((np.cumsum(s) < 0.2 * s.sum()).sum()))
    table = rows_below(text, "Table 2")
    assert float(table["conv_in"][3].split()[0]) == np.mean(ranks)
    assert "time embedding" in table

    # The LoRA that is matched in size is of the rank nearest to the container at tau 0.2.
    for name, file in zip(sorted(NAMES.values()), sorted(before), strict=True):
        ranks, numbers = {}, {}
        for label in (OF_RANK, MATCHED):
            lora = load_file(study / "lora" / label / f"{name}.safetensors")
            ranks[label] = next(
                v for key, v in lora.items() if key.endswith("lora_A.weight")
            ).shape[0]
            numbers[label] = sum(value.numel() for value in lora.values())
            assert {value.dtype for value in lora.values()} == {torch.float16}
        assert ranks[OF_RANK] == 128
        with Registry.init(tmp_path / f"registry-{name}") as registry:
            registry.add_base("base", study / "base", link=True)
            size = registry.add(file, base="base", tau=0.2).version.size
        each = numbers[MATCHED] / ranks[MATCHED]
        assert each == numbers[OF_RANK] / 128
        nearest = min(range(1, 129), key=lambda rank: abs(2 * each * rank - size))
        assert ranks[MATCHED] == nearest

    # Once more: nothing is trained or painted, and the same is said.
    assert command.main(words) == 0
    assert capsys.readouterr().out == text


def test_the_small_study(tmp_path: Path) -> None:
    """The small model from the repository alone, and the same weights when it is trained again."""
    made, again = (
        small_study(tmp_path / name, None, None, RECIPE, lambda *_: None)
        for name in ("first", "second")
    )
    assert {path.stem for path in (made / "subjects").iterdir()} == {"dog6", "duck_toy"}
    weights = sorted(path.relative_to(made) for path in made.rglob("*.safetensors"))
    assert len(weights) > 4
    for path in weights:
        assert (again / path).read_bytes() == (made / path).read_bytes(), path


def test_claims_by_hand(tmp_path: Path) -> None:
    """Every figure of the claims is worked out again from the inputs."""
    draw = np.random.default_rng(0)
    made = []
    for name in ("dog6", "can", "vase"):
        folder = tmp_path / name
        folder.mkdir()
        pictures = []
        for number in range(3):
            noise = draw.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(noise).resize((256, 256)).save(folder / f"{number}.png")
            pictures.append(np.asarray(Image.open(folder / f"{number}.png")))
        made.append(Photographed(name, name, tuple(pictures)))
    found = subjects_in(tmp_path)
    assert {one.name for one in found} == {"dog6", "can", "vase"}
    text = claims(found)
    assert "860" not in text and f"{859_520_964:,} parameters" in text
    assert f"{859_520_964 * 4 / 2**20:,.1f} MiB" in text
    rows = rows_below(text, "Sizes")
    assert rows["0.06"][1:3] == [f"{3276.8 / 12.1:.1f}x", f"{3276.8 / 24.2:.1f}x"]
    ranks = rows_below(text, "Ranks")
    assert ranks["mid"][:3] == ["1223", "1223", f"304 ({304 / 1223:.1%})"]

    def ssim(a: np.ndarray, b: np.ndarray) -> float:
        options = {"data_range": 255, "channel_axis": -1, "gaussian_weights": True, "sigma": 1.5}
        return structural_similarity(a, b, use_sample_covariance=False, **options)

    real, grey = [], []
    for one in made:
        pairs = [(a, b) for a in one.photographs for b in one.photographs if a is not b]
        real.append(np.mean([ssim(a, b) for a, b in pairs]))
        flat = [np.full_like(a, np.round(a.mean((0, 1))).astype(np.uint8)) for a, _ in pairs]
        grey.append(np.mean([ssim(f, b) for f, (_, b) in zip(flat, pairs, strict=True)]))
    measures = rows_below(text, "Measures")
    assert measures["a real photograph of the subject"] == [f"{np.mean(real):.3f}"]
    assert measures["a flat picture of that photograph's mean colour"] == [f"{np.mean(grey):.3f}"]
    assert re.search(r"\| 4 \| \d+\.\d ± \d+\.\d \|", text)


def test_taef2_from_its_names_and_shapes(tmp_path: Path) -> None:
    """A network of TAEF2's layers, with random weights, against plain functions of torch."""
    draw = torch.Generator().manual_seed(0)
    width, channels = 8, 4

    def weights(place: int, out: int, into: int, bias: bool = True) -> dict[str, torch.Tensor]:
        found = {f"{place}.weight": torch.randn(out, into, 3, 3, generator=draw) / 8}
        return found | ({f"{place}.bias": torch.randn(out, generator=draw) / 8} if bias else {})

    def block(place: int, pool: bool) -> dict[str, torch.Tensor]:
        found = {}
        for part in (0, 2, 4):
            for name, value in weights(part, width, width).items():
                found[f"{place}.conv.{name}"] = value
        if pool:
            wide = 4 * width
            found[f"{place}.pool.0.weight"] = torch.randn(wide, width, 1, 1, generator=draw)
            found[f"{place}.pool.1.weight"] = torch.rand(wide, generator=draw)
            found[f"{place}.pool.1.bias"] = torch.rand(wide, generator=draw)
            found[f"{place}.pool.3.weight"] = torch.randn(width, wide, 1, 1, generator=draw) / 8
        return found

    encoder = {
        **weights(0, width, 3),
        **block(1, False),
        **weights(2, width, width, bias=False),
        **block(3, True),
        **weights(4, channels, width),
    }
    decoder = {
        **weights(1, width, channels),
        **block(3, True),
        **weights(5, width, width, bias=False),
        **block(6, False),
        **weights(7, 3, width),
    }
    torch.save({k: v.half() for k, v in encoder.items()}, tmp_path / "taef2_encoder.pth")
    torch.save({k: v.half() for k, v in decoder.items()}, tmp_path / "taef2_decoder.pth")
    e, d = ({k: v.half().float() for k, v in one.items()} for one in (encoder, decoder))

    def conv(state: dict, place: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return functional.conv2d(x, state[f"{place}.weight"], state.get(f"{place}.bias"), stride, 1)

    def run(state: dict, place: int, x: torch.Tensor) -> torch.Tensor:
        if f"{place}.pool.0.weight" in state:
            y = functional.conv2d(x, state[f"{place}.pool.0.weight"])
            y = functional.group_norm(
                y, 4, state[f"{place}.pool.1.weight"], state[f"{place}.pool.1.bias"]
            )
            x = x + functional.conv2d(y.relu(), state[f"{place}.pool.3.weight"])
        y = conv(state, f"{place}.conv.0", x).relu()
        y = conv(state, f"{place}.conv.2", y).relu()
        return (conv(state, f"{place}.conv.4", y) + x).relu()

    pixels = torch.rand(1, 3, 16, 16, generator=draw) * 2 - 1
    x = run(e, 1, conv(e, "0", (pixels + 1) / 2))
    expected = conv(e, "4", run(e, 3, conv(e, "2", x, stride=2)))
    model = read_taef2(tmp_path)
    with torch.no_grad():
        latents = model.encode(pixels).latents
        assert torch.allclose(latents, expected, atol=1e-5)
        x = run(d, 3, conv(d, "1", torch.tanh(latents / 3) * 3).relu())
        x = run(d, 6, conv(d, "5", functional.interpolate(x, scale_factor=2)))
        assert torch.allclose(model.decode(latents).sample, conv(d, "7", x) * 2 - 1, atol=1e-5)


def test_what_is_missing_is_said(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, said in ((tmp_path, "is not a pipeline"), (study / "photos", "is not a pipeline")):
        assert command.main([str(folder), "--out", str(tmp_path / "out")]) == 1
        assert said in capsys.readouterr().err
    bare = tmp_path / "bare"
    shutil.copytree(study / "base", bare / "base")
    for make, said in (
        (lambda: None, "has no fine-tune"),
        (lambda: shutil.copytree(study / "subjects", bare / "subjects"), "has no folder dog6"),
        (lambda: shutil.copytree(study / "photos", bare / "photos"), ""),
        (lambda: (bare / "lora/LoRA").mkdir(parents=True), "dog6.safetensors is missing"),
    ):
        make()
        if said:
            assert command.main([str(bare), "--out", str(tmp_path / "out")]) == 1
            assert said in capsys.readouterr().err
    for words in ([], ["--small", "--claims"], [str(bare), "--small"]):
        with pytest.raises(SystemExit):
            command.main(words)


def test_square_takes_the_middle() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert np.all(square(wide, 5) == 200)
