"""Reading checkpoints, of one file or a folder, and laying out the files that are made from them.

Nothing here imports torch, and nothing in a checkpoint is ever run.
"""

from .checkpoint import Checkpoint, LeftOut
from .open_file import open_checkpoint
from .tensor_info import TensorInfo

__all__ = ["Checkpoint", "LeftOut", "TensorInfo", "open_checkpoint"]
