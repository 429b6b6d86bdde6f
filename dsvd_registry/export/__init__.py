"""LoRA files of versions, as diffusers, PEFT, kohya's tools, A1111 and ComfyUI load them.

A version's components are a low-rank form already: an exported file has them as they are, rounded
to its dtype. What a format cannot hold is reported, with what leaving it out costs.

Importing this imports no torch; `exporting` does the work.
"""

from .exported import DTYPES, FORMATS, Dtype, ExportedLora, Format, LeftOut, Module

__all__ = ["DTYPES", "FORMATS", "Dtype", "ExportedLora", "Format", "LeftOut", "Module"]
