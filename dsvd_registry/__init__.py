"""A versioned registry and storage format for fine-tuned diffusion checkpoints.

    from dsvd_registry import Registry
    registry = Registry.open()
    version = registry.add("ft.ckpt", base="sd15", name="subject-42", tau=0.5)
    registry.materialize("subject-42", "out.safetensors")

Importing this package imports neither torch nor diffusers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import DsvdError

if TYPE_CHECKING:
    from .registry import Registry as Registry

__version__ = "0.1.0"
__all__ = ["DsvdError", "Registry", "__version__"]


def __getattr__(name: str) -> object:
    # `dsvd --version` and `--help` need neither catalog nor store: they do not wait for the import.
    if name == "Registry":
        from .registry import Registry

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
