"""Return whether a delta can be taken between tensors that correspond: by their dtypes alone.

That two tensors correspond (their names and shapes say so) is one thing, that numbers of theirs can
be subtracted another: weights quantised to 8 or 4 bits have the base's names, and no delta to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from ..checkpoint.dtypes import DELTA_DTYPES

NoDelta = Literal["dtype", "base_dtype"]
"""In a container's words: the tensor's own dtype has no deltas, or its base's has none."""


# Beside quantised weights: scales of ComfyUI and of transformers, and what bitsandbytes saves.
_COMPANION = re.compile(
    r"(^|\.)(scale_weight|scale_input|weight_scale|input_scale|scaled_fp8"
    r"|weight\.(nested_)?(absmax|quant_map)|weight\.quant_state\..*)$"
)


def goes_with_quantised(name: str) -> bool:
    """Return whether a tensor belongs to quantised weights, which the base has without any such."""
    return _COMPANION.search(name) is not None


def lacks_delta(dtype: str, base_dtypes: Iterable[str]) -> NoDelta | None:
    """Why no delta is taken of a tensor against those of a base; None where one can be."""
    if dtype not in DELTA_DTYPES:
        return "dtype"
    return None if set(base_dtypes) <= set(DELTA_DTYPES) else "base_dtype"


def can_be_same(dtype: str, base_dtypes: Iterable[str]) -> bool:
    """Return whether such tensors can be compared byte by byte, whatever the bytes mean."""
    return set(base_dtypes) == {dtype}
