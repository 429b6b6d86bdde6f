"""LoRA files of versions, for diffusers, PEFT, kohya's tools, A1111 and ComfyUI.

A version's components are low-rank already: an exported file has them as they are, rounded to its
dtype. The export reports what a format cannot contain, and the error that leaving it out causes.

Files were loaded by diffusers 0.42.1 (with transformers 5.23.0), peft 0.21.2 and lycoris-lora 4.1.3.
ComfyUI is no package; its names are tested by the rules of its `comfy/lora.py` (commit 17358c8).

Importing this imports no torch; `export_lora` does the work.
"""

from .exported import (
    DTYPES,
    FORMATS,
    Dtype,
    ExportedLora,
    Format,
    LeftOut,
    LoraForm,
    Module,
    WrittenFile,
)

__all__ = [
    "DTYPES",
    "FORMATS",
    "Dtype",
    "ExportedLora",
    "Format",
    "LeftOut",
    "LoraForm",
    "Module",
    "WrittenFile",
]
