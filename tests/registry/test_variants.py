"""Weights in two precisions side by side: the second is the first, rounded, and takes no bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from trained_pair import one_thread

from benchmarks.memory import MIB
from dsvd_registry import Registry
from dsvd_registry.container.reader import Container
from dsvd_registry.hashing import sha256_file
from dsvd_registry.runtime import SubjectSwitcher

from .conftest import object_path
from .hub_folders import UNET, State, bytes_in, copied, make_pair
from .test_memory import peak

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
Change = Callable[[State], object]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_pair(tmp_path_factory.mktemp("variants"))


@pytest.fixture
def registry(tmp_path: Path, pair: tuple[Path, Path]) -> Registry:
    registry = Registry.init(tmp_path / "registry")
    registry.add_base("base", pair[0])
    return registry


def with_variant(source: Path, folder: Path, name: str) -> Path:
    """A copy of a pipeline's folder that has its weights in another precision, too."""
    copied(source, folder)
    none = dict.fromkeys(("tokenizer", "feature_extractor", "safety_checker"))
    pipeline = DiffusionPipeline.from_pretrained(source, dtype=DTYPES[name], **none)
    pipeline.save_pretrained(folder.with_suffix(".half"), variant=name)
    for path in folder.with_suffix(".half").rglob("*.safetensors"):  # its configurations differ
        shutil.copy(path, folder / path.relative_to(folder.with_suffix(".half")))
    return folder


def with_unet(source: Path, folder: Path, change: Change) -> Path:
    """A copy of a U-Net with a variant `fp16` that is not all a rounding."""
    copied(source / "unet", folder)
    half = {n: t.half() for n, t in load_file(folder / f"{UNET}.safetensors").items()}
    change(half)
    save_file(half, folder / f"{UNET}.fp16.safetensors", {"format": "pt"})
    return folder


def kinds(registry: Registry, ref: str) -> dict[str, str]:
    return {row.name: row.kind for row in registry.report(ref).tensors}


def stored_parts(registry: Registry, ref: str) -> int:
    """Bytes of the container but for what is header, its own and the source's."""
    with Container(object_path(registry.folder, registry.version(ref).container)) as container:
        return sum(frame.stored for frame in container.header.frames if frame.parts)


def tensors_in(folder: Path, variant: str = "") -> State:
    """All weights of a folder with this word in their files' names, by file and name."""
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        words = path.name.split(".")[1:-1]
        if words == ([variant] if variant else []):
            place = path.parent.relative_to(folder)
            found |= {f"{place}/{name}": tensor for name, tensor in load_file(path).items()}
    return found


@pytest.mark.parametrize(
    ("variant", "wish"),
    [
        ("fp16", {}),
        ("fp16", {"max_error": 0.3}),
        ("fp16", {"budget": 60_000}),
        ("fp16", {"lossless": True}),
        ("bf16", {"tau": 1.0}),
        ("bf16", {"lossless": True, "tau": 0.3}),
    ],
    ids=str,
)
def test_the_second_takes_no_bytes(
    registry: Registry, pair: tuple[Path, Path], tmp_path: Path, variant: str, wish: dict
) -> None:
    """Beside the same folder with the first alone; and each file is what it has to be.

    Seen to fail: a delta was stored of each, and a residual.
    """
    folder = with_variant(pair[1], tmp_path / "tuned", variant)
    one = registry.add(pair[1], base="base", name="one", **wish).version
    two = registry.add(folder, base="base", name="two", **wish).version
    if "budget" not in wish:  # there the room that is left goes into the first
        assert stored_parts(registry, "two") == stored_parts(registry, "one")
        assert registry.report("two").error == registry.report("one").error
    assert registry.verify("two", deep=True).is_well

    made = registry.materialize("two", tmp_path / "made").path
    if one.residual is not None and two.residual is not None:
        assert two.residual.size < 1.01 * one.residual.size + 200
        assert bytes_in(made) == bytes_in(folder)
        for path in folder.rglob("*.safetensors"):
            assert sha256_file(made / path.relative_to(folder)) == sha256_file(path)
    whole, rounded = tensors_in(made), tensors_in(made, variant)
    assert whole.keys() == rounded.keys()
    for name, tensor in whole.items():
        expected = tensor.to(DTYPES[variant]) if tensor.is_floating_point() else tensor
        assert torch.equal(rounded[name], expected), name
    named = kinds(registry, "two")
    words = f"{variant}/"
    floats = [n for n in named if words in n and "position_ids" not in n]
    assert floats and {named[name] for name in floats} == {"cast"}
    assert "cast" not in {kind for name, kind in named.items() if words not in name}


def test_other_outputs(registry: Registry, pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A lower tau, another dtype, tensors by name, another registry, a curve, a difference."""
    folder = with_variant(pair[1], tmp_path / "tuned", "fp16")
    registry.add(folder, base="base", name="two")
    for tau in (None, 0.2):
        made = registry.materialize("two", tmp_path / f"made{tau}", tau=tau).path
        whole, half = tensors_in(made), tensors_in(made, "fp16")
        assert all(
            torch.equal(half[n], whole[n].half()) for n in whole if half[n].is_floating_point()
        )
        cast = registry.materialize("two", tmp_path / f"cast{tau}", tau=tau, dtype="bf16").path
        for variant, exact in (("", whole), ("fp16", half)):
            for name, tensor in tensors_in(cast, variant).items():
                if exact[name].is_floating_point():
                    assert torch.equal(tensor, exact[name].to(torch.bfloat16)), name
    whole = tensors_in(tmp_path / "madeNone")
    with registry.tensors("two") as tensors:
        words = f"unet/{UNET}.fp16/"
        names = [name for name in tensors if name.startswith(words)]
        assert names
        for name in names:
            assert torch.equal(tensors[name], whole[f"unet/{name.removeprefix(words)}"].half())

    single = registry.materialize("two", tmp_path / "one.safetensors", layout="single-file").path
    registry.add(pair[1], base="base", name="one")
    alone = registry.materialize("one", tmp_path / "two.safetensors", layout="single-file").path
    found, expected = load_file(single), load_file(alone)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())

    registry.export_container("two", tmp_path / "two.dsvd")
    with Registry.init(tmp_path / "other") as other:
        other.add_base("base", pair[0])
        other.import_container(tmp_path / "two.dsvd", name="two")
        again = other.materialize("two", tmp_path / "again").path
    assert bytes_in(again) == bytes_in(tmp_path / "madeNone")

    points = [registry.curve(what, **how).points for what, how in (
        ("two", {}), (folder, {"base": "base"}), (pair[1], {"base": "base"}),
    )]  # fmt: skip
    errors = [{point.tau: point.error for point in row if point.is_served} for row in points]
    assert errors[1] == errors[2] and errors[0][0.5] == errors[1][0.5]


def test_differences(registry: Registry, pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A cast is as far from another as the tensors are that they are made of, and counts once."""
    folder = with_variant(pair[1], tmp_path / "tuned", "fp16")
    other = copied(pair[1], tmp_path / "other")
    file = other / "unet" / f"{UNET}.safetensors"
    save_file({name: 1.01 * t for name, t in load_file(file).items()}, file, {"format": "pt"})
    for name, alone in (("one", pair[1]), ("two", other)):
        both = folder if name == "one" else with_variant(other, tmp_path / "others", "fp16")
        registry.add(both, base="base", name=name)
        registry.add(alone, base="base", name=f"{name}-alone")
    found, alone = registry.diff("one", "two"), registry.diff("one-alone", "two-alone")
    rows, words = {row.name: row for row in found.tensors}, f"{UNET}.fp16/"
    casts = [name for name in rows if words in name]
    assert casts
    for name in casts:
        first = rows[name.replace(words, "")]
        one = rows[name]
        assert (one.apart, one.distance, one.cosine) == (first.apart, first.distance, first.cosine)
    assert any(rows[name].distance for name in casts)
    assert (found.distance, found.cosine) == (alone.distance, alone.cosine)
    assert {row.name for row in registry.diff_base("one")} == {
        row.name for row in registry.diff_base("one-alone")
    }


def test_a_lora_and_a_live_pipeline(
    registry: Registry, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """What has one precision takes the first. Seen to fail: "no place" for the second."""
    folder = with_variant(pair[1], tmp_path / "tuned", "fp16")
    registry.add(folder, base="base", name="two")
    registry.add(pair[1], base="base", name="one")
    loras = [
        registry.export_lora(ref, tmp_path / f"{ref}.safetensors", format="kohya")
        for ref in ("one", "two")
    ]
    files = [load_file(lora.path) for lora in loras]
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(tensor, files[1][name]) for name, tensor in files[0].items())
    assert loras[0].error == loras[1].error and loras[0].left_out == loras[1].left_out

    none = dict.fromkeys(("tokenizer", "feature_extractor", "safety_checker"))
    made = tensors_in(registry.materialize("two", tmp_path / "made").path)
    with one_thread():
        pipeline = DiffusionPipeline.from_pretrained(pair[0], **none)
        with SubjectSwitcher(pipeline, registry).subject("two"):
            for name, tensor in pipeline.unet.state_dict().items():
                assert torch.equal(tensor, made[f"unet/{name}"]), name


def test_another_average_is_no_cast(
    registry: Registry, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Weights that were not averaged are a model of their own, and may have a variant themselves."""
    folder = tmp_path / "tuned"
    unet = UNet2DConditionModel.from_pretrained(pair[1] / "unet")
    unet.save_pretrained(folder)
    unet.half().save_pretrained(folder, variant="fp16")
    unet = UNet2DConditionModel.from_pretrained(pair[1] / "unet")
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.001 * torch.randn(parameter.shape, generator=torch.manual_seed(5)))
    unet.save_pretrained(folder, variant="non_ema")
    unet.half().save_pretrained(folder, variant="non_ema.fp16")
    registry.add_base("unet", pair[0] / "unet")
    added = registry.add(folder, base="unet", name="subject", lossless=True)
    found: dict[str, set[str]] = {}
    for name, kind in kinds(registry, added.ref).items():
        found.setdefault(name.rpartition("/")[0], set()).add(kind)
    assert "cast" not in found[""] | found[f"{UNET}.non_ema"]
    assert found[f"{UNET}.fp16"] == found[f"{UNET}.non_ema.fp16"] == {"cast"}
    assert bytes_in(registry.materialize("subject", tmp_path / "made").path) == bytes_in(folder)


def one_bit(state: State) -> None:
    state["conv_in.weight"].view(torch.int16).view(-1)[-1] ^= 1


def not_a_number(state: State) -> None:
    state["conv_in.weight"].view(-1)[3] = float("nan")


@pytest.mark.parametrize("change", [one_bit, not_a_number, lambda s: s.pop("conv_in.weight")])
@pytest.mark.parametrize("lossless", [False, True])
def test_what_is_no_rounding_is_kept_otherwise(
    registry: Registry, pair: tuple[Path, Path], tmp_path: Path, change: Change, lossless: bool
) -> None:
    folder = with_unet(pair[1], tmp_path / "tuned", change)
    added = registry.add(folder, base="base", name="subject", lossless=lossless)
    found = kinds(registry, added.ref)
    there = load_file(folder / f"{UNET}.fp16.safetensors")
    one = f"{UNET}.fp16/conv_in.weight"
    casts = {name.removeprefix(f"{UNET}.fp16/") for name, kind in found.items() if kind == "cast"}
    assert casts == there.keys() - {"conv_in.weight"} and found.get(one) != "cast"
    made = registry.materialize(added.ref, tmp_path / "made").path
    if lossless:
        assert bytes_in(made) == bytes_in(folder)


def test_numbers_near_the_largest(tmp_path: Path) -> None:
    """What comes back a little larger must still be finite: of 40000 no cast is taken, of 30000 one is.

    Both NaNs and infinities on both sides come back as they were.
    """
    make = torch.Generator().manual_seed(0)
    base = {name: torch.randn(32, 32, generator=make) for name in ("small", "large", "nan", "inf")}
    tuned = {name: t + 0.01 * torch.randn(32, 32, generator=make) for name, t in base.items()}
    tuned["small"][0, 0], tuned["large"][0, 0] = 30000.0, 40000.0
    tuned["nan"][1, 1], tuned["inf"][1, 1] = float("nan"), float("inf")
    for folder, weights in (("base", base), ("tuned", tuned)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
        save_file(weights, tmp_path / folder / f"{UNET}.safetensors")
    half = {name: tensor.half() for name, tensor in tuned.items()}
    save_file(half, tmp_path / "tuned" / f"{UNET}.fp16.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base")
        registry.add(tmp_path / "tuned", base="base", name="subject", lossless=True)
        found = kinds(registry, "subject")
        casts = {name.rpartition("/")[2] for name, kind in found.items() if kind == "cast"}
        assert casts == {"small"}
        made = registry.materialize("subject", tmp_path / "made").path
        assert bytes_in(made) == bytes_in(tmp_path / "tuned")


def test_a_variant_of_many_small_tensors(tmp_path: Path) -> None:
    """Each of them has a record of its own."""
    make = torch.Generator().manual_seed(1)
    base = {f"layers.{i}.weight": torch.randn(4, generator=make) for i in range(800)}
    tuned = {name: tensor + 0.01 for name, tensor in base.items()}
    for folder, weights in (("base", base), ("tuned", tuned)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
        save_file(weights, tmp_path / folder / f"{UNET}.safetensors")
    half = {name: tensor.half() for name, tensor in tuned.items()}
    save_file(half, tmp_path / "tuned" / f"{UNET}.fp16.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base")
        registry.add(tmp_path / "tuned", base="base", name="subject")
        assert registry.verify(deep=True).is_well


def test_memory_of_what_is_stored_whole(tmp_path: Path) -> None:
    """A large tensor that the base lacks is cast a run at a time, in a variant and as asked for."""
    make = torch.Generator().manual_seed(2)
    base = {"a": torch.randn(64, 64, generator=make)}
    tuned = {"a": base["a"] + 0.01, "new": torch.randn(8000, 8000, generator=make)}
    for folder, weights in (("base", base), ("tuned", tuned)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
        save_file(weights, tmp_path / folder / f"{UNET}.safetensors")
    half = {name: tensor.half() for name, tensor in tuned.items()}
    save_file(half, tmp_path / "tuned" / f"{UNET}.fp16.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base")
        registry.add(tmp_path / "tuned", base="base", name="subject")
        assert kinds(registry, "subject")[f"{UNET}.fp16/new"] == "cast"
        size = tuned["new"].nbytes / MIB
        made = peak("materialize", registry, tmp_path / "made")
    assert made < size, f"{made:.0f} MiB for {size:.0f}"
    whole, rounded = (
        load_file(path) for path in sorted((tmp_path / "made").glob("*.safetensors"))[::-1]
    )
    assert torch.equal(whole["new"], tuned["new"]) and torch.equal(rounded["new"], half["new"])
