"""The account of an export: tensors that it leaves out, and versions that it refuses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts.original import State
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, DsvdError, InvalidArgument, NotFound

from .conftest import Subject

UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer.text_model."
LINEAR = f"{UNET}time_embed.0.weight"
BIAS = f"{UNET}time_embed.0.bias"
NORM = f"{UNET}out.0.weight"
TABLE = f"{TEXT}embeddings.token_embedding.weight"
VAE = "first_stage_model.encoder.conv_in.weight"
COUNT = "model_ema.num_updates"
NEW = "trained.with"


def low_rank(tensor: torch.Tensor, size: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    left = torch.randn(len(tensor), 2, generator=generator)
    right = torch.randn(2, tensor[0].numel(), generator=generator)
    return size * (left @ right).reshape(tensor.shape)


def noisy(tensor: torch.Tensor) -> torch.Tensor:
    return 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def added(subject_of: Callable[[str], Subject]) -> Callable[[str, State], Subject]:
    """A function that adds a fine-tune of SD 1 with some changed tensors."""
    subject = subject_of("sd1")

    def add(name: str, changes: State) -> Subject:
        file = subject.folder / f"{name}.safetensors"
        save_file(subject.base | changes, file)
        subject.registry.add(file, base="base", name=name, tau=1.0)
        return subject

    return add


@pytest.fixture(scope="module")
def mixed(added: Callable[[str, State], Subject], subject_of: Callable[[str], Subject]) -> Subject:
    """The version `mixed`: a linear layer, and a layer of each kind that a LoRA lacks."""
    base = subject_of("sd1").base
    row = torch.ones(1, base[TABLE].shape[1])
    return added(
        "mixed",
        {
            LINEAR: base[LINEAR] + low_rank(base[LINEAR]),
            BIAS: base[BIAS] + noisy(base[BIAS]),
            NORM: base[NORM] + noisy(base[NORM]),
            TABLE: torch.cat([base[TABLE] + low_rank(base[TABLE]), row]),
            VAE: base[VAE] + low_rank(base[VAE]),
            COUNT: torch.tensor(7),
            NEW: torch.ones(3),
        },
    )


def change(subject: Subject, ref: str, names: tuple[str, ...]) -> float:
    """The norm of the version's delta of these tensors together."""
    squares = 0.0
    with subject.registry.tensors(ref) as tensors:
        for name in names:
            before = subject.base[name].double()
            squares += float((tensors[name][: len(before)].double() - before).square().sum())
    return squares**0.5


VECTOR = "the format holds low-rank pairs only"
MODULE = "the format has no such module"
LAYER = "no layer that a LoRA of this family changes"
ROWS = "rows that the base lacks"
WHOLE = "stored whole ({}): it has no delta"
ALWAYS = {
    (TABLE, ROWS),
    (VAE, LAYER),
    (COUNT, WHOLE.format("new")),
    (NEW, WHOLE.format("new")),
}


@pytest.mark.parametrize("form", ["kohya", "peft", "comfyui"])
def test_what_is_left_out(mixed: Subject, form: str, file: Path) -> None:
    lora = mixed.registry.export_lora("mixed", file, format=form, dtype="fp32")
    found = {(entry.name, entry.reason) for entry in lora.left_out}
    vectors = {(BIAS, VECTOR), (NORM, VECTOR), (TABLE, MODULE)}
    assert found == (ALWAYS if form == "comfyui" else ALWAYS | vectors)
    deltas = (LINEAR, BIAS, NORM, TABLE, VAE)
    total = change(mixed, "mixed", deltas)
    errors = {entry.name: entry.error for entry in lora.left_out if entry.error is not None}
    for name, error in errors.items():
        assert error == pytest.approx(change(mixed, "mixed", (name,)) / total, rel=1e-4)
    assert errors.keys() == ({VAE} if form == "comfyui" else {BIAS, NORM, TABLE, VAE})
    assert lora.error == pytest.approx(lora.left_out_error, rel=1e-6)
    assert lora.error == pytest.approx(change(mixed, "mixed", tuple(errors)) / total, rel=1e-4)


def test_the_file_is_what_is_told_of_it(mixed: Subject, file: Path, tmp_path: Path) -> None:
    lora = mixed.registry.export_lora("mixed", file, format="kohya")
    data = file.read_bytes()
    assert (lora.path, lora.size) == (file, len(data))
    assert lora.sha256 == hashlib.sha256(data).hexdigest()
    again = mixed.registry.export_lora("mixed", tmp_path / "again.safetensors", format="kohya")
    assert again.sha256 == lora.sha256
    factors = [tensor for name, tensor in load_file(file).items() if name.endswith(".weight")]
    assert {str(tensor.dtype) for tensor in factors} == {"torch.float16"}


def refused(
    subject: Subject, file: Path, kind: type[DsvdError], words: str, **asked: object
) -> None:
    """Check that the export raises, and leaves the folder as it was."""
    before = sorted(file.parent.iterdir())
    wish = {"format": "kohya", **asked}
    with pytest.raises(kind, match=words) as caught:
        subject.registry.export_lora(wish.pop("ref", "mixed"), file, **wish)
    assert caught.value.hint
    assert sorted(file.parent.iterdir()) == before


def test_what_is_asked_is_checked(mixed: Subject, file: Path) -> None:
    refused(mixed, file, InvalidArgument, "rank limit 0", rank_limit=0)
    refused(mixed, file, InvalidArgument, "format 'loha' is unknown", format="loha")
    refused(mixed, file, InvalidArgument, "dtype 'bf16' is unknown", dtype="bf16")
    refused(mixed, file, NotFound, "nobody", ref="nobody")
    refused(mixed, file.parent, InvalidArgument, "not a plain file", replace=True)


def test_a_file_that_is_there_stays(mixed: Subject, file: Path) -> None:
    file.write_text("mine")
    refused(mixed, file, Conflict, "exists")
    assert file.read_text() == "mine"
    mixed.registry.export_lora("mixed", file, format="kohya", replace=True)
    assert load_file(file)


def test_a_linked_base_is_not_written_over(mixed: Subject, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    save_file(mixed.base, base)
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", base, link=True)
        mixed.registry.export_container("mixed", tmp_path / "mixed.dsvd")
        registry.import_container(tmp_path / "mixed.dsvd")
        with pytest.raises(Conflict, match="is the file of the base"):
            registry.export_lora("mixed", base, format="kohya", replace=True)


def test_a_dense_matrix_is_decomposed(added, file: Path, subject_of) -> None:
    base = subject_of("sd1").base
    subject = added("dense", {LINEAR: base[LINEAR] + noisy(base[LINEAR])})
    lora = subject.registry.export_lora("dense", file, format="kohya")
    (module,) = lora.modules
    assert module.rank == module.stored_rank > 4
    assert lora.error < 2.0**-10
    lora = subject.registry.export_lora("dense", file, format="kohya", rank_limit=4, replace=True)
    (module,) = lora.modules
    assert (module.rank, module.alpha) == (4, 4)


def test_a_change_that_nothing_can_hold(added, file: Path, subject_of) -> None:
    base = subject_of("sd1").base
    subject = added("vae", {VAE: base[VAE] + low_rank(base[VAE])})
    refused(subject, file, InvalidArgument, "can contain none of the version's changes", ref="vae")


def test_a_change_that_fp16_cannot_hold(added, file: Path, subject_of) -> None:
    base = subject_of("sd1").base
    subject = added("huge", {LINEAR: base[LINEAR] + low_rank(base[LINEAR], 1e12)})
    refused(subject, file, InvalidArgument, "too large for fp16", ref="huge")
    lora = subject.registry.export_lora("huge", file, format="kohya", dtype="fp32")
    assert lora.error < 1e-6


def test_what_has_no_lora_names(tmp_path: Path) -> None:
    base = {"layer.weight": torch.ones(6, 5)}
    save_file(base, tmp_path / "base.safetensors")
    save_file({name: t + noisy(t) for name, t in base.items()}, tmp_path / "ft.safetensors")
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base.safetensors")
        registry.add(tmp_path / "ft.safetensors", base="base")
        with pytest.raises(InvalidArgument, match="for which no LoRA files are written") as caught:
            registry.export_lora("ft", tmp_path / "lora.safetensors", format="peft")
    assert "dsvd materialize" in caught.value.hint
