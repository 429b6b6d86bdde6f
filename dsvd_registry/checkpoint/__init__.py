"""Checkpoints: reading one from a file or a folder, and the layout of the files made from them.

Nothing here imports torch, and nothing in a checkpoint is ever executed.
"""

from .checkpoint import Checkpoint, LeftOut
from .open_file import open_checkpoint
from .tensor_info import TensorInfo

__all__ = ["Checkpoint", "LeftOut", "TensorInfo", "open_checkpoint"]
