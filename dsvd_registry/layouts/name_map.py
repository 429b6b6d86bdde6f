"""The tensors of a base that each tensor of a fine-tune corresponds to, whatever their layouts.

Sub-models are paired first, then their tensors. Where both sides use the same names, these decide.
Otherwise the side in the original layout is converted to diffusers' names, forwards for a fine-tune in
diffusers' names and backwards for one in the original names: a transformer by tables, all else by
diffusers' own conversion, and only this imports torch and diffusers. If names contain the words of
wrappers, they are also compared without them. The result always has the names of the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..checkpoint import TensorInfo
from ..checkpoint.tensor_info import DELTA_DTYPES
from ..errors import BaseMismatch
from .converted_tensors import ConvertedTensor, original_of
from .families import check_same_family
from .model_parts import Part, split
from .sub_model_pairs import ldm_unet_names, partners, with_ema
from .transformer_conversion import transformer_in_diffusers_names
from .view import ViewedTensors, fits
from .wrappers import Unwrapped, unwrappings

NoDelta = Literal["dtype", "base_dtype"]
"""The reason in a container: the tensor's own dtype has no deltas, or its base's has none."""

# Tensors that accompany quantised weights: scales of ComfyUI and transformers, and bitsandbytes'.
_COMPANION = re.compile(
    r"(^|\.)(scale_weight|scale_input|weight_scale(_inv|_2)?|weight_global_scale|input_scale"
    r"|input_global_scale|pre_quant_scale|scaled_fp8|comfy_quant|SCB|weight_format"
    r"|weight\.(nested_)?(absmax|quant_map)|weight\.quant_state\..*)$"
)


def goes_with_quantised(name: str) -> bool:
    """Return whether a tensor accompanies quantised weights; the unquantised base has none."""
    return _COMPANION.search(name) is not None


def lacks_delta(dtype: str, base_dtypes: Iterable[str]) -> NoDelta | None:
    """The reason why a tensor has no delta to base tensors of these dtypes; None if it has one.

    Two tensors may correspond by name and shape although their numbers cannot be subtracted: weights
    quantised to 8 or 4 bits have the base's names, but no delta to it.
    """
    if dtype not in DELTA_DTYPES:
        return "dtype"
    return None if set(base_dtypes) <= set(DELTA_DTYPES) else "base_dtype"


def can_be_same(dtype: str, base_dtypes: Iterable[str]) -> bool:
    """Return whether tensors of these dtypes can be compared byte by byte."""
    return set(base_dtypes) == {dtype}


Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class Correspondence:
    """A tensor of a fine-tune, by name, and the tensors of the base that it was trained from."""

    tensor: str
    base: ViewedTensors[str]


@dataclass(frozen=True)
class Unmatched:
    """A tensor of a fine-tune without a counterpart in the base, and the reason.

    `new`: the base has no corresponding tensor. `shape`: the corresponding tensors, `counterpart`,
    have another shape.
    """

    tensor: str
    reason: Literal["new", "shape"]
    counterpart: Correspondence | None = None


@dataclass(frozen=True)
class NameMap:
    """Every tensor of a fine-tune, in its order, in exactly one of the two tuples."""

    correspondences: tuple[Correspondence, ...]
    unmatched: tuple[Unmatched, ...]


def map_names(base: Tensors, fine_tune: Tensors) -> NameMap:
    """Find the tensors of `base` that each tensor of `fine_tune` corresponds to.

    A name that no rule knows corresponds to the same name. A tensor may have more rows than its
    counterpart (added tokens). The words of wrappers are ignored if that finds more counterparts.

    Args:
        base: the base's tensors, by name.
        fine_tune: the fine-tune's tensors, by name.

    Returns:
        Every tensor of the fine-tune, with a counterpart or with the reason why it has none.

    Raises:
        BaseMismatch: for two different families, before anything is imported.
        CheckpointError: if diffusers cannot convert a sub-model.

    Example:
        for match in map_names(base.tensors, fine_tune.tensors).correspondences:
            print(match.tensor, match.base.tensors, match.base.view.kind)
    """
    best = _same_wrappers(base, fine_tune)
    for names in unwrappings(fine_tune):
        for base_names in unwrappings(base):
            if not any(tensor.reason == "new" for tensor in best.unmatched):
                return best
            if (names, base_names) == ({n: n for n in names}, {n: n for n in base_names}):
                continue
            try:
                unwrapped = _unwrapped(base, base_names, fine_tune, names)
            except BaseMismatch:
                if not best.correspondences:
                    raise
                continue
            if len(unwrapped.correspondences) > len(best.correspondences):
                best = unwrapped
    return best


def _unwrapped(
    base: Tensors, base_names: Unwrapped, fine_tune: Tensors, names: Unwrapped
) -> NameMap:
    """Map the names without their wrappers, and return the result in the names with them."""
    wrapped = {plain: name for name, plain in names.items()}
    base_wrapped = {plain: name for name, plain in base_names.items()}
    plain_map = _same_wrappers(_renamed(base, base_names), _renamed(fine_tune, names))
    return NameMap(
        tuple(
            Correspondence(wrapped[one.tensor], one.base.resolve(base_wrapped))
            for one in plain_map.correspondences
        ),
        tuple(replace(one, tensor=wrapped[one.tensor]) for one in plain_map.unmatched),
    )


def _renamed(tensors: Tensors, names: Unwrapped) -> Tensors:
    return {names[name]: replace(info, name=names[name]) for name, info in tensors.items()}


def _same_wrappers(base: Tensors, fine_tune: Tensors) -> NameMap:
    check_same_family(base, fine_tune)
    base_split, own_split = split(base), split(fine_tune)
    base_split = with_ema(base_split, ldm_unet_names(base_split, own_split))
    own_split = with_ema(own_split, ldm_unet_names(own_split, base_split))
    counterparts = {
        name: Correspondence(name, ViewedTensors((name,))) for name in fine_tune if name in base
    }
    for base_part, part in partners(base_split, base, own_split, fine_tune):
        for correspondence in _correspondences_of_part(base_part, base, part, fine_tune):
            counterparts[correspondence.tensor] = correspondence
    matched, unmatched = [], []
    for name, info in fine_tune.items():
        if name not in counterparts:
            unmatched.append(Unmatched(name, "new"))
        elif not _fits(counterparts[name], base, info):
            unmatched.append(Unmatched(name, "shape", counterparts[name]))
        else:
            matched.append(counterparts[name])
    return NameMap(tuple(matched), tuple(unmatched))


def _correspondences_of_part(
    base_part: Part, base: Tensors, part: Part, fine_tune: Tensors
) -> Iterator[Correspondence]:
    if base_part.naming == part.naming:
        for local, name in part.names.items():
            if local in base_part.names:
                yield Correspondence(name, ViewedTensors((base_part.names[local],)))
    elif part.naming == "diffusers":
        for local, source in diffusers_names(base_part, base).items():
            if local in part.names:
                yield Correspondence(part.names[local], source.resolve(base_part.names))
    elif base_part.naming == "diffusers":
        by_original: dict[str, list[ConvertedTensor]] = {}
        for local, source in diffusers_names(part, fine_tune).items():
            if local in base_part.names:
                converted = ConvertedTensor(base[base_part.names[local]], source.view)
                by_original.setdefault(source.tensors[0], []).append(converted)
        for local, tensors in by_original.items():
            name = part.names[local]
            original = original_of(tensors, fine_tune[name].shape)
            if original is not None:
                yield Correspondence(name, original)


def diffusers_names(part: Part, tensors: Tensors) -> Mapping[str, ViewedTensors[str]]:
    """Map diffusers' names in a part in the original layout to the tensor that each is made of.

    Both names are those inside the part. Returns nothing for a part without a counterpart there.
    """
    shapes = {local: tensors[name].shape for local, name in part.names.items()}
    if part.model.startswith("transformer"):
        return transformer_in_diffusers_names(shapes)
    from .conversion import converts, in_diffusers_names

    if not converts(part.model, part.naming):
        return {}
    return in_diffusers_names(part.model, part.naming, shapes)


def _fits(correspondence: Correspondence, base: Tensors, info: TensorInfo) -> bool:
    return fits(correspondence.base.resolve(base).shape, info.shape)


def map_with_variants(
    base: Mapping[str, TensorInfo],
    fine_tune: Mapping[str, TensorInfo],
    variants: Mapping[str, str],
) -> NameMap:
    """Map names as `map_names` does, and those of variants like the weights that they vary.

    Variants are of one model in a folder, such as its weights in full and in half precision. The name
    of a variant's tensor has the folder and the variant: `unet/model.fp16/conv.weight` is a variant of
    `unet/conv.weight`. If the base has no such variant, both correspond to the same base tensors.

    `variants`: the prefix of the main weights' names, by the prefix of the variant's.
    Raises as `map_names` does.
    """
    names = map_names(base, fine_tune)
    correspondences = list(names.correspondences)
    unmatched = {one.tensor: one for one in names.unmatched}
    for prefix, main in variants.items():
        alone = {
            main + name.removeprefix(prefix): info
            for name, info in fine_tune.items()
            if name.startswith(prefix)
        }
        for one in map_names(base, alone).correspondences:
            own = prefix + one.tensor.removeprefix(main)
            if own in unmatched:
                del unmatched[own]
                correspondences.append(Correspondence(own, one.base))
    return NameMap(tuple(correspondences), tuple(unmatched.values()))
