"""LoRA files of versions, as diffusers, PEFT, kohya's tools, A1111 and ComfyUI load them.

A version's components are a low-rank form already: an exported file has them as they are, rounded
to its dtype. What a format cannot hold is reported, with what leaving it out costs.

Files were loaded by diffusers 0.42.1 (with transformers 5.23.0), peft 0.21.2 and lycoris-lora 4.1.3.
ComfyUI is no package; its names are held against the rules of its `comfy/lora.py` (commit 17358c8).

Importing this imports no torch; `exporting` does the work.
"""

from .exported import DTYPES, FORMATS, Dtype, ExportedLora, Format, LeftOut, Module

__all__ = ["DTYPES", "FORMATS", "Dtype", "ExportedLora", "Format", "LeftOut", "Module"]
