"""Reading checkpoints, of one file or a folder, and laying out the files that are made from them.

Nothing here imports torch, and nothing in a checkpoint is ever run.
"""

from .model import Checkpoint, LeftOut, TensorInfo
from .opening import open_checkpoint

__all__ = ["Checkpoint", "LeftOut", "TensorInfo", "open_checkpoint"]
