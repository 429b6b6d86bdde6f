"""The scale of a layer's product of factors: alpha over rank.

Alpha is a tensor of the layer (`.alpha`) or in PEFT's configuration, which diffusers keeps in the
header of the file and PEFT in a file of its own. A layer without an alpha has its rank as alpha, as in
diffusers and kohya.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.safetensors_file import parse_header
from ..errors import CheckpointError
from .layer_names import LayerName

METADATA_KEY = "lora_adapter_metadata"
CONFIG_FILE = "adapter_config.json"
MAX_CONFIG_BYTES = 1 << 24

_FORMATS = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i"}
# With these initialisations PEFT changes the base's weights before it trains the factors.
_OTHER_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_PLAIN_PATTERN = re.compile(r"[\w.]+")


@dataclass(frozen=True)
class Configuration:
    """PEFT's configuration of one file: its fields by name.

    The name of a sub-model's field begins with the sub-model: `unet.lora_alpha`.
    """

    fields: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of_header(cls, checkpoint: Checkpoint) -> Configuration:
        """Read the configuration in a safetensors header. Raises `CheckpointError` for a broken one."""
        metadata = parse_header(checkpoint.header)[0] if checkpoint.header else None
        text = (metadata or {}).get(METADATA_KEY)
        return cls() if text is None else cls.parse(text, f"{METADATA_KEY} in {checkpoint.path}")

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Configuration:
        """Parse the JSON of a configuration. Raises `CheckpointError` for anything but an object."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{where} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise CheckpointError(f"{where} is not an object")
        return cls(value)

    def scale(self, layer: LayerName, rank: int) -> float:
        """Alpha / rank of a layer; 1 if the configuration has no alpha for it.

        Raises:
            CheckpointError: for an alpha that is no number, for a pattern that is a regular
                expression and not a name (it would be a program from the file), and for factors
                that belong to other weights than the base's own.
        """
        start = self._field(layer, "init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_OTHER_BASE):
            raise CheckpointError(
                f"the factors of {layer.path!r} were initialised with {start[:100]!r}: they belong to "
                "weights that PEFT changed first, not to the base",
                "Convert it with PEFT: save_pretrained(path_initial_model_for_weight_conversion=...).",
            )
        alpha: object = self._field(layer, "lora_alpha")
        patterns = self._field(layer, "alpha_pattern")
        for pattern, value in patterns.items() if isinstance(patterns, dict) else ():
            if _is_named(layer.path, pattern):
                alpha = value
                break
        if alpha is None:
            return 1.0
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not _is_finite(alpha):
            raise CheckpointError(f"the alpha of {layer.path!r} is not a number")
        rooted = self._field(layer, "use_rslora") is True
        return float(alpha) / (math.sqrt(rank) if rooted else rank)

    def _field(self, layer: LayerName, name: str) -> object:
        for key in (*(f"{model}.{name}" for model in layer.models), name):
            if key in self.fields:
                return self.fields[key]
        return None


def read_alpha(checkpoint: Checkpoint, info: TensorInfo) -> float:
    """Read the number in an `.alpha` tensor. Raises `CheckpointError` if it is not one finite number."""
    if info.elements == 1 and (info.dtype in _FORMATS or info.dtype == "BF16"):
        data = bytes(checkpoint.read(info.name))
        if info.dtype == "BF16":  # the upper half of a float32
            alpha = struct.unpack("<f", b"\0\0" + data)[0]
        else:
            alpha = struct.unpack(_FORMATS[info.dtype], data)[0]
        if math.isfinite(alpha):
            return float(alpha)
    raise CheckpointError(f"{checkpoint.path}: {info.name!r} is not one finite number")


def _is_finite(value: int | float) -> bool:
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 53


def _is_named(path: str, pattern: str) -> bool:
    """Return whether PEFT's `pattern` means the path.

    It is the whole path, or, without a `^`, the end of the path after a dot.
    """
    name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
    if not _PLAIN_PATTERN.fullmatch(name):
        raise CheckpointError(
            f"the alpha pattern {pattern[:100]!r} is a regular expression",
            "Save the adapter with the names of its layers in alpha_pattern.",
        )
    if pattern.startswith("^"):
        return path == name
    return path == name or path.endswith("." + name)
