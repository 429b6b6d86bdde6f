"""The dtypes of corresponding tensors between which a delta can be taken.

Two tensors may correspond by name and shape although their numbers cannot be subtracted: weights
quantised to 8 or 4 bits have the base's names, but no delta to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from ..checkpoint.tensor_info import DELTA_DTYPES

NoDelta = Literal["dtype", "base_dtype"]
"""The reason in a container: the tensor's own dtype has no deltas, or its base's has none."""

# Tensors that accompany quantised weights: scales of ComfyUI and transformers, and bitsandbytes'.
_COMPANION = re.compile(
    r"(^|\.)(scale_weight|scale_input|weight_scale|input_scale|scaled_fp8"
    r"|weight\.(nested_)?(absmax|quant_map)|weight\.quant_state\..*)$"
)


def goes_with_quantised(name: str) -> bool:
    """Return whether a tensor accompanies quantised weights; the unquantised base has none."""
    return _COMPANION.search(name) is not None


def lacks_delta(dtype: str, base_dtypes: Iterable[str]) -> NoDelta | None:
    """The reason why a tensor has no delta to base tensors of these dtypes; None if it has one."""
    if dtype not in DELTA_DTYPES:
        return "dtype"
    return None if set(base_dtypes) <= set(DELTA_DTYPES) else "base_dtype"


def can_be_same(dtype: str, base_dtypes: Iterable[str]) -> bool:
    """Return whether tensors of these dtypes can be compared byte by byte."""
    return set(base_dtypes) == {dtype}
