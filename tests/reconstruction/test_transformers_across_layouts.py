"""Diffusion transformers of one layout on bases of the other, and written in the other, by family.

diffusers loads what is written, by its own conversion; lossless versions leave no room for doubt.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from layouts.original import State, prefixed
from layouts.transformers import KINDS, state_of
from safetensors.torch import load_file, save_file

from dsvd_registry import Registry
from dsvd_registry.errors import InvalidArgument

FAMILIES = ("flux-dev", "sd3.5-medium", "wan-i2v", "z-image", "qwen-image")
SWAPPED = {"flux-dev": 2, "sd3.5-medium": 4}  # tensors whose halves change places


@dataclass(frozen=True)
class Tuned:
    """A transformer before and after a change of low rank: states, files and folders."""

    kind: str
    model: type[torch.nn.Module]
    tuned: State
    original: State
    base_file: Path
    base_folder: Path
    tuned_file: Path
    tuned_folder: Path


def changed(state: State) -> State:
    """The state after a change of rank 2 of every matrix; all that is no matrix moves a little."""
    numbers = torch.Generator().manual_seed(9)
    found = {}
    for name, tensor in state.items():
        if tensor.ndim == 2:
            up = torch.randn(len(tensor), 2, generator=numbers)
            change = up @ torch.randn(2, tensor.shape[1], generator=numbers)
        else:
            change = torch.randn(tensor.shape, generator=numbers)
        found[name] = tensor + 0.02 * change
    return found


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request, tmp_path_factory) -> Tuned:
    kind, here = KINDS[request.param], tmp_path_factory.mktemp("transformers")
    base = {name: 0.2 * tensor for name, tensor in state_of(request.param).items()}
    tuned = changed(base)
    for label, state in (("base", base), ("tuned", tuned)):
        model = kind.make()
        model.load_state_dict(state)
        model.save_pretrained(here / label)
        original = kind.original({n: t.clone() for n, t in state.items()})
        save_file(original, here / f"{label}.safetensors", {"format": "pt"})
    files = here / "base.safetensors", here / "base"
    after = here / "tuned.safetensors", here / "tuned"
    return Tuned(request.param, type(model), tuned, kind.original(tuned), *files, *after)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.init(tmp_path / "registry")


def assert_equal(made: State, state: State) -> None:
    assert made.keys() == state.keys()
    for name, tensor in made.items():
        assert torch.equal(tensor, state[name]), name


def loaded(pair: Tuned, file: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """The model as diffusers loads it from a single file. FLUX's conversion knows one width only."""
    own = dict(SINGLE_FILE_LOADABLE_CLASSES[pair.model.__name__])
    own["checkpoint_mapping_fn"] = lambda checkpoint, **_: KINDS[pair.kind].convert(checkpoint)
    monkeypatch.setitem(SINGLE_FILE_LOADABLE_CLASSES, pair.model.__name__, own)
    model = pair.model.from_single_file(
        str(file), config=str(pair.base_folder), local_files_only=True, torch_dtype=torch.float32
    )
    return model.state_dict()


def test_an_original_file_on_a_folder(pair: Tuned, registry: Registry, tmp_path: Path) -> None:
    registry.add_base("base", pair.base_folder)
    added = registry.add(pair.tuned_file, base="base", name="subject", tau=1.0)
    rows = {row.name: row for row in registry.report(added.ref).tensors}
    assert rows.keys() == pair.original.keys()
    assert not [row.name for row in rows.values() if row.reason in ("new", "shape")]
    matrices = [name for name, tensor in pair.original.items() if tensor.ndim == 2]
    low_rank = {name for name in matrices if rows[name].kind == "low_rank"}
    assert len(low_rank) > 0.8 * len(matrices)  # those of a few columns are not smaller so
    fused = {name for name in matrices if "qkv.weight" in name or "linear1.weight" in name}
    assert fused <= low_rank
    made = registry.materialize("subject", tmp_path / "made.safetensors")
    result = load_file(made.path)
    for name, tensor in pair.original.items():
        assert result[name].shape == tensor.shape
        assert (result[name] - tensor).norm() <= 1e-3 * tensor.norm(), name
    with registry.repository.open_container(registry.version("subject")) as container:
        views = [one.view.kind for one in container.header.tensors if hasattr(one, "view")]
    assert views.count("roll") == SWAPPED.get(pair.kind, 0)
    assert views.count("concatenate") >= len(fused)
    assert registry.verify("subject", deep=True).is_well


@pytest.mark.parametrize("source", ["file", "folder"])
def test_lossless_in_both_layouts(
    pair: Tuned, registry: Registry, tmp_path: Path, monkeypatch, source: str
) -> None:
    """Added in one layout on a base of the other: the source again, and the other layout, by bits."""
    file = source == "file"
    registry.add_base("base", pair.base_folder if file else pair.base_file)
    registry.add(
        pair.tuned_file if file else pair.tuned_folder, base="base", name="subject", lossless=True
    )
    again = registry.materialize(
        "subject", tmp_path / "again.safetensors" if file else tmp_path / "again"
    )
    assert again.recorded
    if file:
        assert again.path.read_bytes() == pair.tuned_file.read_bytes()
        other = registry.materialize("subject", tmp_path / "other", layout="diffusers", like="base")
        assert other.left_out == ()
        assert_equal(pair.model.from_pretrained(other.path).state_dict(), pair.tuned)
    else:
        one = registry.materialize("subject", tmp_path / "one.safetensors", layout="single-file")
        assert one.left_out == ()
        assert_equal(load_file(one.path), pair.original)
        assert_equal(loaded(pair, one.path, monkeypatch), pair.tuned)


def test_a_folder_becomes_the_original_file_of_its_own(
    pair: Tuned, registry: Registry, tmp_path: Path, monkeypatch
) -> None:
    """Nothing in the original layout is at hand: names and shapes come from the folder's."""
    registry.add_base("base", pair.base_folder)
    registry.add(pair.tuned_folder, base="base", name="subject", lossless=True)
    made = registry.materialize("subject", tmp_path / "one.safetensors", layout="single-file")
    assert_equal(load_file(made.path), pair.original)
    assert_equal(loaded(pair, made.path, monkeypatch), pair.tuned)
    half = registry.materialize(
        "subject", tmp_path / "half.safetensors", layout="single-file", dtype="fp16"
    )
    expected = {name: tensor.half() for name, tensor in pair.original.items()}
    assert_equal(load_file(half.path), expected)


def test_the_base_is_found_across_layouts(pair: Tuned, registry: Registry, tmp_path: Path) -> None:
    """Among bases of every other family, and one of this family that it does not come from."""
    for kind in FAMILIES:
        if kind != pair.kind:
            path = tmp_path / f"{kind}.safetensors"
            save_file(prefixed("transformer.", state_of(kind)), path)
            registry.add_base(kind, path)
    stranger = {name: 0.2 * tensor for name, tensor in state_of(pair.kind, seed=77).items()}
    save_file(stranger, tmp_path / "stranger.safetensors")
    registry.add_base("stranger", tmp_path / "stranger.safetensors")
    registry.add_base("base", pair.base_folder)
    added = registry.add(pair.tuned_file, name="subject")
    assert registry.repository.base_of(added.version).name == "base"


def test_a_prefix_and_a_half_precision_base(
    pair: Tuned, registry: Registry, tmp_path: Path
) -> None:
    """ComfyUI's prefix in the fine-tune, and a base in bf16 with diffusers' names."""
    base = {name: tensor.bfloat16() for name, tensor in load_base(pair).items()}
    save_file(prefixed("transformer.", base), tmp_path / "base.safetensors")
    file = tmp_path / "prefixed.safetensors"
    save_file(prefixed("model.diffusion_model.", pair.original), file, {"format": "pt"})
    registry.add_base("base", tmp_path / "base.safetensors")
    added = registry.add(file, base="base", name="subject", lossless=True)
    reasons = {row.reason for row in registry.report(added.ref).tensors}
    assert not reasons & {"new", "shape"}
    made = registry.materialize("subject", tmp_path / "made.safetensors")
    assert made.path.read_bytes() == file.read_bytes()


def load_base(pair: Tuned) -> State:
    return pair.model.from_pretrained(pair.base_folder).state_dict()


def test_tables_need_neither_torch_nor_diffusers(
    pair: Tuned, registry: Registry, tmp_path: Path
) -> None:
    registry.add_base("base", pair.base_folder)
    registry.add(pair.tuned_folder, base="base", name="subject")
    script = (
        "import sys; from dsvd_registry import Registry\n"
        f"Registry.open({str(registry.folder)!r}).materialize("
        f"'subject', {str(tmp_path / 'm.safetensors')!r}, layout='single-file')\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_weight_that_the_other_layout_lacks(
    pair: Tuned, registry: Registry, tmp_path: Path
) -> None:
    """No file without it is written; added as it is, it comes back."""
    if pair.kind == "qwen-image":  # one set of names: it has them all
        return
    more = {"blocks_of_ours.weight": torch.ones(3, 3)}
    save_file(load_base(pair) | more, tmp_path / "base.safetensors")
    save_file(pair.tuned | more, tmp_path / "tuned.safetensors")
    registry.add_base("base", tmp_path / "base.safetensors")
    registry.add(tmp_path / "tuned.safetensors", base="base", name="subject", lossless=True)
    with pytest.raises(InvalidArgument, match=r"'blocks_of_ours\.weight' has no name"):
        registry.materialize("subject", tmp_path / "one.safetensors", layout="single-file")
    assert not (tmp_path / "one.safetensors").exists()
    made = registry.materialize("subject", tmp_path / "made.safetensors")
    assert_equal(load_file(made.path), pair.tuned | more)
