"""The tau that pictures choose: it does, and one step less does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from skimage.metrics import structural_similarity

from dsvd_registry import Registry
from dsvd_registry.cli import main
from dsvd_registry.errors import BaseMismatch, InvalidArgument
from dsvd_registry.evaluation.bisection import least_passing
from dsvd_registry.evaluation.bootstrap import mean_of
from dsvd_registry.evaluation.goal import Goal, goal_of
from dsvd_registry.evaluation.live_pipeline import Settings
from dsvd_registry.evaluation.until import GRID, tau_until
from dsvd_registry.evaluation.until_request import UntilRequest

from .conftest import Studio

PROMPTS = ("a photo of sks dog", "a photo of sks dog on grass")
SEEDS = (0, 1)
QUICK = Settings(steps=3, guidance=1.5)


def request(studio: Studio, goal: str, **options: object) -> UntilRequest:
    given = {
        "source": studio.folder / "subject.safetensors",
        "base": studio.registry.repository.catalog.base("base"),
        "pipeline": studio.pipeline,
        "words": "sks dog",
        "prompts": str(studio.folder / "prompts.txt"),
        "seeds": SEEDS,
        "settings": QUICK,
    }
    return UntilRequest(goal_of(goal), **(given | options))  # type: ignore[arg-type]


def by_hand(studio: Studio, file: Path) -> np.ndarray:
    """The pictures of every prompt and seed by the weights of a file, without a line of ours."""
    pipe = StableDiffusionPipeline.from_pretrained(studio.pipeline, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    state = load_file(file)
    for part in ("unet", "text_encoder"):
        own = {k.removeprefix(f"{part}."): v for k, v in state.items() if k.startswith(f"{part}.")}
        pipe.components[part].load_state_dict(own)

    def paint(prompt: str, seed: int) -> np.ndarray:
        draw = torch.Generator().manual_seed(seed)
        made = pipe(prompt, generator=draw, num_inference_steps=3, guidance_scale=1.5)
        return np.asarray(made.images[0])

    return np.array([[paint(prompt, seed) for seed in SEEDS] for prompt in PROMPTS])


def surely(pictures: np.ndarray, own: np.ndarray) -> float:
    """The lower end of the interval of SSIM against the fine-tune's own pictures."""
    options = {"data_range": 255, "channel_axis": -1, "gaussian_weights": True, "sigma": 1.5}
    values = [
        structural_similarity(a, b, use_sample_covariance=False, **options)
        for one, other in zip(pictures, own, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    low = mean_of(np.reshape(values, (1, len(PROMPTS), len(SEEDS)))).low
    assert low is not None
    return low


def as_stored(studio: Studio, tau: float, folder: Path) -> np.ndarray:
    """The pictures of a version that is stored at this tau, in a registry of its own."""
    with Registry.init(folder / f"registry-{tau}") as registry:
        registry.add_base("base", studio.pipeline, link=True)
        registry.add(studio.folder / "subject.safetensors", base="base", name="one", tau=tau)
        made = registry.materialize("one", folder / f"{tau}.safetensors")
    return by_hand(studio, made.path)


@pytest.mark.parametrize("least", [0.98, 0.9995])
def test_the_found_tau_reaches_it_and_one_step_less_does_not(
    studio: Studio, tmp_path: Path, least: float
) -> None:
    before = files_of(studio)
    found = tau_until(request(studio, f"ssim>={least}"), studio.registry)
    assert files_of(studio) == before
    own = by_hand(studio, studio.folder / "subject.safetensors")
    assert found.tau in GRID
    at = surely(as_stored(studio, found.tau, tmp_path), own)
    assert at >= least
    lower = GRID[GRID.index(found.tau) - 1]
    assert surely(as_stored(studio, lower, tmp_path), own) < least
    # What is said of it is what its pictures show, and the bytes are those of the version.
    (said,) = (one for one in found.attempts if one.tau == found.tau and not one.is_prefix)
    assert said.estimate.low == pytest.approx(at, abs=1e-12)
    with Registry.open(tmp_path / f"registry-{found.tau}") as registry:
        assert said.size == registry.version("one").size
    assert len(found.attempts) <= 16


def files_of(studio: Studio) -> set[Path]:
    return files_below(studio.registry.folder)


def files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_least_passing() -> None:
    for count in range(1, 12):
        values = [number / 20 for number in range(count)]
        for threshold in range(count + 1):
            asked: list[float] = []

            def passes(value: float, threshold: int = threshold, asked: list = asked) -> bool:
                asked.append(value)
                return value * 20 >= threshold - 1e-9

            expected = values[threshold] if threshold < count else None
            assert least_passing(values, passes) == expected
            assert len(asked) == len(set(asked)) <= 1 + np.ceil(np.log2(count + 1))
    assert least_passing([], lambda _: True) is None


def test_goals() -> None:
    assert goal_of("ssim>=0.95") == Goal("ssim", 0.95)
    assert goal_of(" share >= .98 ") == Goal("share", 0.98)
    assert goal_of("cosine>=1") == Goal("cosine", 1.0)
    assert str(goal_of("ssim>=0.950")) == "ssim>=0.95"
    for text in (
        "ssim",
        "ssim>0.9",
        "ssim>=1.2",
        "ssim>=0",
        "psnr>=0.3",
        "ssim>=nan",
        "ssim>=0.9;",
    ):
        with pytest.raises(InvalidArgument, match="is not a goal for pictures"):
            goal_of(text)


def test_share_is_of_the_likeness_to_photographs(studio: Studio) -> None:
    """A share is met by a version, is asked of photographs, and may not exist at all."""
    photographs = studio.folder / "photographs" / "subject"
    with pytest.raises(InvalidArgument, match="there are none"):
        request(studio, "share>=0.5")
    more = {"reference": photographs, "seeds": tuple(range(4))}
    try:
        found = tau_until(request(studio, "share>=0.5", **more), studio.registry)
    except InvalidArgument as error:  # the toy may have gained nothing that is sure
        assert "not surely more like the photographs" in str(error)
    else:
        assert found.attempts[-1].estimate.low >= 0.5
    # The base fine-tuned to itself gains nothing, whatever the toy.
    own = studio.folder / "none.safetensors"
    tensors = {
        f"{part.parent.name}.{name}": value
        for part in studio.pipeline.glob("*/*.safetensors")
        if part.parent.name in ("unet", "text_encoder")
        for name, value in load_file(part).items()
    }
    save_file(tensors, own)
    with pytest.raises(InvalidArgument, match="no share to keep"):
        tau_until(request(studio, "share>=0.5", source=own, **more), studio.registry)


def test_refusals(studio: Studio, tmp_path: Path) -> None:
    before = files_of(studio)
    with pytest.raises(InvalidArgument, match=r"no tau reaches ssim>=1: at tau 0\.99 it is 0\.9"):
        tau_until(request(studio, "ssim>=1"), studio.registry)
    with pytest.raises(InvalidArgument, match="by what words"):
        request(studio, "ssim>=0.9", words="")
    one = tmp_path / "one.txt"
    one.write_text("a photo of {}\n")
    with pytest.raises(InvalidArgument, match="has no confidence interval"):
        request(studio, "ssim>=0.9", prompts=str(one), seeds=(3,))
    lora = tmp_path / "lora.safetensors"
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"{layer}.lora_A.weight": torch.ones(2, 32), f"{layer}.lora_B.weight": torch.ones(32, 2)},
        lora,
    )
    with pytest.raises(InvalidArgument, match="is a LoRA file"):
        tau_until(request(studio, "ssim>=0.9", source=lora), studio.registry)
    # A pipeline of other weights.
    other = tmp_path / "other"
    shutil.copytree(studio.pipeline, other)
    file = next((other / "unet").glob("*.safetensors"))
    tensors = load_file(file)
    tensors["conv_in.bias"][0] += 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(BaseMismatch, match=r"'unet\.conv_in\.bias' is not that of the base"):
        tau_until(request(studio, "ssim>=0.9", pipeline=other), studio.registry)
    assert files_of(studio) == before


def test_the_command(studio: Studio, tmp_path: Path, monkeypatch, capsys) -> None:
    """`dsvd add --until` stores what was found, says what was tried, and refuses what makes no sense."""
    registry = tmp_path / "registry"
    with Registry.init(registry) as made:
        made.add_base("base", studio.pipeline, link=True)
    monkeypatch.setenv("DSVD_REGISTRY", str(registry))
    file = str(studio.folder / "subject.safetensors")
    until = ["--until", "ssim>=0.98", "--pipeline", str(studio.pipeline)]
    words = ["add", file, "--base", "base", "--trigger", "sks dog"]
    quick = ["--steps", "3", "--guidance", "1.5", "--seeds", "0-1"]
    prompts = ["--prompts", str(studio.folder / "prompts.txt")]
    assert main([*words, *until, *quick, *prompts]) == 0
    shown = capsys.readouterr().out
    with Registry.open(registry) as opened:
        (version,) = opened.versions()
        stored = opened.curve(version.ref).stored_tau
        assert dict(opened.metadata(version.ref))["trigger"] == "sks dog"
    rows = [line.split() for line in shown.splitlines()]
    tried = {row[0]: row for row in rows if row[-2:] == ["as", "stored"]}
    assert f"{stored:g}" in tried and float(tried[f"{stored:g}"][-3]) >= 0.98
    assert f"added {version.ref}" in shown
    assert main([*words, *until, *quick, *prompts, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["created"], said["until"]["goal"], said["until"]["tau"]) == (
        False,
        "ssim>=0.98",
        stored,
    )
    before = files_below(registry)
    for changed, told in (
        ([*words, *until, "--tau", "0.5"], "both --until and --tau"),
        ([*words, *until, "--budget", "1MB"], "both --until and --budget"),
        ([*words, "--until", "ssim>=0.9"], "needs a pipeline"),
        ([*words, "--until", "ssim>0.9", "--pipeline", "x"], "is not a goal"),
        ([*words, "--pipeline", "x"], "--pipeline belongs to --until"),
        ([*words, "--size", "64"], "--size belongs to --until"),
        (["add", file, "--base", "base", *until], "by what words"),
        (["add", file, file, "--base", "base", *until], "is for a single file"),
        ([*words, *until[:2], "--pipeline", str(tmp_path)], "is not a pipeline"),
    ):
        assert main(changed) == 2, changed
        assert told in capsys.readouterr().err
    assert files_below(registry) == before
