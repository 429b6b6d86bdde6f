"""LoRA files: the changes that they make to a base, found without computing a weight.

    from dsvd_registry.lora import Configuration, is_lora, place_changes, read_adapter
    if is_lora(checkpoint.tensors):
        adapter = read_adapter(checkpoint, Configuration.of_header(checkpoint))

Only names, dtypes, shapes and the values of alphas are read. Importing this imports neither torch nor
diffusers. Only `place_changes` does when it is called, for a file whose layer names are not those of
its base.
"""

from .adapter import Adapter, Change, FactorChange, FullChange, Refused, read_adapter
from .alpha import Configuration
from .layer_names import keeps_alphas_apart
from .place_changes import Merge, PlacedChange, check_whole, place_changes
from .tensor_keys import is_lora

__all__ = [
    "Adapter",
    "Change",
    "Configuration",
    "FactorChange",
    "FullChange",
    "Merge",
    "PlacedChange",
    "Refused",
    "check_whole",
    "is_lora",
    "keeps_alphas_apart",
    "place_changes",
    "read_adapter",
]
