"""A LoRA file in PEFT's format as folders that PEFT loads, one for each sub-model.

An adapter of PEFT is for one model: `unet/adapter_config.json` and `unet/adapter_model.safetensors`.
The tensors of a sub-model lie side by side in the LoRA file, in the same order, so that the second
file is a header and a part of the LoRA file. Nothing is computed, and no torch is needed.

vLLM scales every pair by `lora_alpha / r` of the whole folder and allots memory for the rank `r`.
Both are the largest rank here, and the patterns, which PEFT reads, have the ranks of the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..checkpoint import TensorInfo
from ..checkpoint.layout import canonical_layout
from ..checkpoint.safetensors_file import Entry, parse_header
from ..errors import CheckpointError

CONFIGURATION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FAMILY_KEY = "dsvd.family"
"""The key of the family in the metadata of a LoRA file of PEFT's format."""

TEXT_MODEL = "text_model."
_DOWN = ".lora_A.weight"


@dataclass(frozen=True)
class FolderFile:
    """A file of a folder: the bytes `head`, and after them bytes `first` to `end` of the LoRA file."""

    path: str
    head: bytes
    first: int = 0
    end: int = 0

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return len(self.head) + self.end - self.first


def folder_files(header: bytes) -> tuple[FolderFile, ...]:
    """The files of all folders, given the JSON header of a LoRA file in PEFT's format.

    Raises `CheckpointError` for a header of another format.
    """
    metadata, entries = parse_header(header)
    kept = {k: v for k, v in (metadata or {}).items() if k == "format" or k.startswith("dsvd.")}
    start = 8 + len(header)
    models: dict[str, dict[str, Entry]] = {}
    for name, entry in entries.items():
        model, _, local = name.partition(".")
        if _lacks_text_model(model, kept.get(FAMILY_KEY)):
            local = local.removeprefix(TEXT_MODEL)
        models.setdefault(model, {})[local] = entry
    files = []
    for model, tensors in sorted(models.items()):
        ranks = {
            local.removesuffix(_DOWN): entry.info.shape[0]
            for local, entry in tensors.items()
            if local.endswith(_DOWN)
        }
        document = json.dumps(_document(ranks), indent=2, sort_keys=True) + "\n"
        files.append(FolderFile(f"{model}/{CONFIGURATION}", document.encode()))
        files.append(_weights(f"{model}/{WEIGHTS}", tensors, kept, start))
    return tuple(files)


def configuration(ranks: Mapping[str, int], usual: int) -> dict[str, object]:
    """The arguments of `peft.LoraConfig` for modules of these ranks, with the rank as each alpha.

    `usual`: the rank of the modules that no pattern names.
    """
    others = {_pattern(path, ranks): r for path, r in sorted(ranks.items()) if r != usual}
    return {
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(ranks),
        "lora_dropout": 0.0,
    }


def _document(ranks: Mapping[str, int]) -> dict[str, object]:
    """The content of `adapter_config.json`."""
    return configuration(ranks, max(ranks.values(), default=1)) | {
        "base_model_name_or_path": None,
        "bias": "none",
        "inference_mode": True,
        "peft_type": "LORA",
        "task_type": None,
    }


def _weights(
    path: str, tensors: Mapping[str, Entry], metadata: Mapping[str, str], start: int
) -> FolderFile:
    """The file of a sub-model's tensors. `start`: where the data begins in the LoRA file."""
    infos = [
        TensorInfo(f"base_model.model.{local}", entry.info.dtype, entry.info.shape)
        for local, entry in tensors.items()
    ]
    layout = canonical_layout(infos, metadata)
    first = min(entry.begin for entry in tensors.values())
    end = max(entry.end for entry in tensors.values())
    in_file = sorted(tensors, key=lambda local: tensors[local].begin)
    if layout.order != tuple(
        f"base_model.model.{local}" for local in in_file
    ) or end - first != sum(layout.sizes):
        raise CheckpointError(f"the tensors of {path} do not lie side by side in the LoRA file")
    return FolderFile(path, layout.prefix, start + first, start + end)


def _lacks_text_model(model: str, family: str | None) -> bool:
    """True for a `CLIPTextModel`, which has no such part in transformers 5.6 and later.

    The text encoders with a projection have it: every second one, and the first of SD 3.
    """
    return model == "text_encoder" and family != "sd3"


def _pattern(path: str, paths: Iterable[str]) -> str:
    """A pattern by which PEFT finds this module and no other: it compares the end of paths.

    FLUX has a `proj_out` outside its blocks and one in each. (`^` means the whole path, which does
    not work for a text encoder.)
    """
    return f"^{path}" if any(other.endswith(f".{path}") for other in paths) else path
