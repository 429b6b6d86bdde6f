"""The base that fits best: really trained models among bases that only weights tell apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lora.files import kohya
from lora.training import Trained, made_base, save, trained_lora
from safetensors.torch import load_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import (
    BaseMismatch,
    CheckpointError,
    InvalidArgument,
    NotFound,
    UnsureBase,
)
from dsvd_registry.registry import BaseMatch

from .conftest import Pair, flip_tensor, header_of
from .siblings import LAYOUTS, Family, begun, made_family, write_state

FAMILIES = ("sd1", "sd2", "sdxl")


@pytest.fixture(scope="module")
def family_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    made: dict[str, Family] = {}

    def get(name: str) -> Family:
        if name not in made:
            with one_thread():
                made[name] = made_family(
                    name, tmp_path_factory.mktemp(name), with_near=name == "sd1"
                )
        return made[name]

    return get


@pytest.fixture(scope="module")
def sd1(family_of: Callable[[str], Family]) -> Family:
    return family_of("sd1")


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A LoRA of SD 1, as diffusers saves it."""
    folder = tmp_path_factory.mktemp("lora")
    with one_thread():
        return trained_lora(made_base("sd1", folder), folder)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        yield opened


def names(match: BaseMatch) -> list[str]:
    return [candidate.name for candidate in match.candidates]


@pytest.mark.parametrize("tuned", LAYOUTS)
@pytest.mark.parametrize("base", LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_its_own_base_beside_a_sibling(
    name: str, base: str, tuned: str, family_of: Callable[[str], Family], registry: Registry
) -> None:
    family = family_of(name)
    registry.add_base("a-sibling", family.file("sibling", base))
    registry.add_base("own", family.file("base", base))
    match = registry.best_base(family.file("subject", tuned))
    assert match.is_sure
    assert match.sure() == match.best.name == "own"
    assert (match.rival, names(match)) == ("a-sibling", ["own", "a-sibling"])
    own, sibling = match.candidates
    assert own.matched == sibling.matched == 1
    assert own.change is not None
    assert 0 < own.change < 0.2
    assert sibling.change is not None
    assert sibling.change > 1
    assert match.margin == sibling.change / own.change > 5


def test_add_takes_it(sd1: Family, registry: Registry) -> None:
    registry.add_base("a-sibling", sd1.file("sibling"))
    registry.add_base("own", sd1.file("base", "diffusers"))
    added = registry.add(sd1.file("subject"), name="subject")
    assert (added.version.base_name, added.created) == ("own", True)
    assert registry.report(added.ref).warnings == ()
    again = registry.add(sd1.file("subject"), name="subject")
    assert (again.ref, again.created) == (added.ref, False)


def test_no_base_at_all(sd1: Family, registry: Registry) -> None:
    with pytest.raises(NotFound, match="no base") as caught:
        registry.best_base(sd1.file("subject"))
    assert "dsvd base add" in caught.value.hint


def test_other_families_alone(family_of: Callable[[str], Family], registry: Registry) -> None:
    registry.add_base("two", family_of("sd2").file("base"))
    registry.add_base("xl", family_of("sdxl").file("base", "diffusers"))
    with pytest.raises(BaseMismatch, match="is a fine-tune of no base here") as caught:
        registry.best_base(family_of("sd1").file("subject"))
    said = str(caught.value)
    assert "subject.original.safetensors (Stable Diffusion 1.x, original layout)" in said
    assert "two (0 % of the tensors, Stable Diffusion 2.x, original layout)" in said
    assert "xl (0 % of the tensors, Stable Diffusion XL, diffusers layout)" in said
    with pytest.raises(BaseMismatch):
        registry.add(family_of("sd1").file("subject"))
    assert registry.versions() == []


def test_its_own_base_among_other_families(
    family_of: Callable[[str], Family], registry: Registry
) -> None:
    for name in FAMILIES:
        registry.add_base(name, family_of(name).file("base"))
    for name in FAMILIES:
        match = registry.best_base(family_of(name).file("subject", "diffusers"))
        assert (match.sure(), match.rival, match.margin) == (name, None, float("inf"))
        assert set(names(match)) == set(FAMILIES)


@pytest.mark.parametrize(
    ("subject", "own", "other"), [("subject", "base", "near"), ("near-subject", "near", "base")]
)
def test_a_base_and_its_own_fine_tune(
    subject: str, own: str, other: str, sd1: Family, registry: Registry
) -> None:
    """The other is near, too: the nearer one wins."""
    registry.add_base("base", sd1.file("base"))
    registry.add_base("near", sd1.file("near"))
    match = registry.best_base(sd1.file(subject, "diffusers"))
    assert (match.sure(), match.rival) == (own, other)
    assert match.candidates[1].change is not None
    assert match.candidates[1].change < 0.5  # which alone would pass for its base


def test_two_that_are_equally_near(sd1: Family, registry: Registry) -> None:
    """Neither is its base: both are that base's fine-tunes."""
    registry.add_base("one", sd1.file("near"))
    registry.add_base("two", sd1.file("near-subject"))
    match = registry.best_base(sd1.file("subject"))
    assert not match.is_sure
    assert 1 <= match.margin < 1.2
    with pytest.raises(UnsureBase, match="is not sure") as caught:
        registry.add(sd1.file("subject"))
    for candidate in match.candidates:
        assert str(candidate) in str(caught.value)
        assert f"change {candidate.change:.3g}" in str(candidate)
    assert caught.value.exit_code == InvalidArgument.exit_code == 2
    assert f"--base {match.best.name}" in caught.value.hint
    assert registry.versions() == []
    assert registry.add(sd1.file("subject"), base="one").created


def test_one_that_only_has_its_shapes(sd1: Family, registry: Registry) -> None:
    registry.add_base("sibling", sd1.file("sibling"))
    match = registry.best_base(sd1.file("subject"))
    assert (match.is_sure, match.rival, match.best.matched) == (False, None, 1)
    with pytest.raises(UnsureBase, match="change 1"):
        match.sure()


def test_the_base_itself(sd1: Family, registry: Registry) -> None:
    registry.add_base("base", sd1.file("base"))
    registry.add_base("near", sd1.file("near"))
    match = registry.best_base(sd1.file("base", "diffusers"))
    assert (match.sure(), match.best.change, match.margin) == ("base", 0, float("inf"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_one_base_in_both_layouts(
    name: str, layout: str, family_of: Callable[[str], Family], registry: Registry
) -> None:
    """They are the same weights, also where one layout fuses what the other keeps apart."""
    family = family_of(name)
    for other in LAYOUTS:
        registry.add_base(other, family.file("base", other))
    match = registry.best_base(family.file("subject", layout))
    assert (match.sure(), match.rival) == (layout, None)


def test_half_precision(sd1: Family, registry: Registry, tmp_path: Path) -> None:
    registry.add_base("own", sd1.file("base"))
    registry.add_base("sibling", sd1.file("sibling"))
    for dtype in (torch.float16, torch.bfloat16):
        state = {n: cast(t, dtype) for n, t in load_file(sd1.file("subject")).items()}
        match = registry.best_base(write_state(state, tmp_path / f"{dtype}.safetensors"))
        assert match.sure() == "own"
    half = {n: cast(t, torch.float16) for n, t in load_file(sd1.file("base")).items()}
    registry.add_base("half", write_state(half, tmp_path / "half.safetensors"))
    match = registry.best_base(sd1.file("subject"))  # of either it would be as small
    assert not match.is_sure
    assert set(names(match)[:2]) == {"own", "half"}


def cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def test_a_part_of_a_base(sd1: Family, registry: Registry, tmp_path: Path) -> None:
    """A U-Net alone: of a whole base it has all its tensors, of a whole model it lacks many."""
    whole = load_file(sd1.file("base"))
    unet = {n: t for n, t in whole.items() if n.startswith("model.diffusion_model.")}
    registry.add_base("whole", sd1.file("base"))
    registry.add_base("unet", write_state(unet, tmp_path / "unet.safetensors"))
    tuned = {n: t for n, t in load_file(sd1.file("subject")).items() if n in unet}
    match = registry.best_base(write_state(tuned, tmp_path / "tuned.safetensors"))
    assert (match.sure(), match.rival) == ("unet", None)  # the same weights: the smaller of them
    match = registry.best_base(sd1.file("subject"))
    assert match.sure() == "whole"
    registry.remove_base("whole")
    match = registry.best_base(sd1.file("subject"))
    assert (match.best.name, match.is_sure) == ("unet", False)
    assert match.best.matched < 0.8


@pytest.mark.parametrize("gone", ["own", "sibling"])
def test_a_base_that_is_gone(gone: str, sd1: Family, registry: Registry, tmp_path: Path) -> None:
    """A base that cannot be compared might be the right one."""
    for name, model in (("own", "base"), ("sibling", "sibling")):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(sd1.file(model).read_bytes())
        registry.add_base(name, path, link=True)
    registry.add_base("near", sd1.file("near"))
    assert registry.best_base(sd1.file("subject")).sure() == "own"
    (tmp_path / f"{gone}.safetensors").unlink()
    match = registry.best_base(sd1.file("subject"))
    assert not match.is_sure
    best, lost = match.candidates[0], match.candidates[-1]
    assert best.name == ("near" if gone == "own" else "own")
    assert (best.problem, lost.name, lost.change) == ("", gone, None)
    assert "which is gone" in lost.problem
    with pytest.raises(UnsureBase, match="which is gone"):
        match.sure()


def test_a_damaged_base_is_found_by_add(sd1: Family, registry: Registry, tmp_path: Path) -> None:
    """To find it here, every tensor would have to be read whole."""
    path = tmp_path / "own.safetensors"
    path.write_bytes(sd1.file("base").read_bytes())
    registry.add_base("own", path, link=True)
    for name, entry in header_of(path).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            flip_tensor(path, name)
    assert registry.best_base(sd1.file("subject")).sure() == "own"
    with pytest.raises(BaseMismatch, match="is damaged"):
        registry.add(sd1.file("subject"))


def test_models_of_no_known_family(trained: Pair, registry: Registry, tmp_path: Path) -> None:
    registry.add_base("tiny", trained.base_file)
    other = {n: t + 0.05 * t.std() for n, t in trained.base.items() if t.is_floating_point()}
    registry.add_base("other", write_state(other, tmp_path / "other.safetensors"))
    match = registry.best_base(trained.tuned_file)
    assert (match.sure(), match.rival) == ("tiny", "other")


def test_a_file_that_is_none(registry: Registry, trained: Pair, tmp_path: Path) -> None:
    registry.add_base("tiny", trained.base_file)
    (tmp_path / "text.safetensors").write_text("text")
    with pytest.raises(CheckpointError):
        registry.best_base(tmp_path / "text.safetensors")


def test_folders_of_diffusers_among_files(
    sd1: Family, trained: Pair, registry: Registry, tmp_path: Path
) -> None:
    """Each in a folder of checkpoints is one of them, called by its name in full."""
    pipeline = begun("sd1", 5)
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(1.01)
    pipeline.save_pretrained(tmp_path / "many" / "subject.v2")
    shutil.copy(trained.tuned_file, tmp_path / "many" / "tiny-subject.safetensors")
    registry.add_base("own", sd1.file("base"))
    registry.add_base("tiny", trained.base_file)
    found = registry.add_many([tmp_path / "many"])
    assert [(file.ref, file.base) for file in found.files] == [
        ("subject.v2@1", "own"),
        ("tiny-subject@1", "tiny"),
    ]
    again = registry.add_many([tmp_path / "many" / "subject.v2"])
    assert [file.outcome for file in again.files] == ["there"]


class TestLora:
    """A LoRA file: only its layers' names and shapes can tell."""

    def test_the_only_base_of_its_family(
        self, lora: Trained, family_of: Callable[[str], Family], registry: Registry, tmp_path: Path
    ) -> None:
        registry.add_base("sd1", lora.base.files["original"])
        for name in ("sd2", "sdxl"):
            registry.add_base(name, family_of(name).file("base"))
        by_kohya = save(kohya(lora), tmp_path / "kohya.safetensors")
        for file in (lora.file, by_kohya):
            match = registry.best_base(file)
            assert (match.sure(), match.rival) == ("sd1", None)
            assert (match.best.matched, match.best.change) == (1, None)
        assert registry.add(lora.file, name="lora").version.base_name == "sd1"

    def test_two_bases_of_its_family(
        self, lora: Trained, registry: Registry, tmp_path: Path
    ) -> None:
        sibling = {
            name: -tensor for name, tensor in load_file(lora.base.files["diffusers"]).items()
        }
        registry.add_base("one", lora.base.files["original"])
        registry.add_base("two", write_state(sibling, tmp_path / "sibling.safetensors"))
        match = registry.best_base(lora.file)
        assert (match.is_sure, match.margin) == (False, 1)
        assert {match.best.name, match.rival} == {"one", "two"}
        with pytest.raises(UnsureBase, match=r"one \(100 % of the tensors\)"):
            registry.add(lora.file)

    def test_one_base_in_both_layouts(self, lora: Trained, registry: Registry) -> None:
        for layout in LAYOUTS:
            registry.add_base(layout, lora.base.files[layout])
        assert registry.best_base(lora.file).sure() == "diffusers"  # in whose words it is

    def test_other_families_alone(
        self, lora: Trained, family_of: Callable[[str], Family], registry: Registry
    ) -> None:
        """Some of its layers have a shape that SD 2 has too: not enough to be sure."""
        registry.add_base("two", family_of("sd2").file("base"))
        registry.add_base("xl", family_of("sdxl").file("base"))
        with pytest.raises((UnsureBase, BaseMismatch)):
            registry.add(lora.file)

    def test_a_kind_that_cannot_be_merged(
        self, sd1: Family, registry: Registry, tmp_path: Path
    ) -> None:
        registry.add_base("base", sd1.file("base"))
        layer = "lora_unet_mid_block_attentions_0_proj_in"
        parts = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        state = {f"{layer}.{part}": torch.ones(2, 2) for part in parts}
        file = save(state, tmp_path / "loha.safetensors")
        with pytest.raises(CheckpointError, match="LoHa"):
            registry.best_base(file)
