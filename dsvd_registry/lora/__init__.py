"""LoRA files: what they change in a base, found without a weight being built.

    from dsvd_registry.lora import Configuration, is_lora, place_changes, read_adapter
    if is_lora(checkpoint.tensors):
        adapter = read_adapter(checkpoint, Configuration.of_header(checkpoint))

Names, dtypes and shapes are looked at, and the numbers of alphas read. Importing this imports neither
torch nor diffusers; of the functions only `place_changes` does, and only for a file in other words
than its base.
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
