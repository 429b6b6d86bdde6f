"""A fuzz target: a LoRA file in any layout, with the configuration in its metadata."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.lora import Configuration, read_adapter


def seeds() -> Iterator[bytes]:
    kohya = "lora_unet_mid_block_attentions_0_proj_in"
    yield _file({f"{kohya}.lora_down.weight": (1, 2), f"{kohya}.lora_up.weight": (2, 1)}, {})
    peft = "unet.mid_block.attentions.0.proj_in"
    configuration = json.dumps({"r": 1, "lora_alpha": 2, "alpha_pattern": {"proj_in": 1}})
    metadata = {"lora_adapter_metadata": configuration}
    yield _file({f"{peft}.lora_A.weight": (1, 2), f"{peft}.lora_B.weight": (2, 1)}, metadata)
    xlabs = "double_blocks.0.processor.qkv_lora1"
    yield _file({f"{xlabs}.down.weight": (1, 2), f"{xlabs}.up.weight": (6, 1)}, {})
    differences = {
        "blocks.0.diff_m": (1, 6, 2),
        "blocks.0.q.diff": (2, 2),
        "blocks.0.q.diff_b": (2,),
    }
    yield _file({**differences, "bundle_emb.sks.clip_l": (1, 2)}, {})
    dora = {f"{kohya}.dora_scale": (1,), f"{kohya}.alpha": ()}
    yield _file({f"{kohya}.hada_w1_a": (2, 1), f"{kohya}.hada_w1_b": (1, 2), **dora}, {})


def read(data: bytes, folder: Path) -> None:
    path = folder / "hostile.safetensors"
    path.write_bytes(data)
    with open_checkpoint(path) as checkpoint:
        read_adapter(checkpoint, Configuration.of_header(checkpoint))


def _file(tensors: Mapping[str, tuple[int, ...]], metadata: dict[str, str]) -> bytes:
    """A safetensors file whose tensors are all ones, of dtype F32."""
    entries: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in tensors.items():
        begin, end = end, end + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<f", 1.0) * (end // 4)
