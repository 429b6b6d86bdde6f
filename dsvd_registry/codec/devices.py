"""Where torch can compute."""

from __future__ import annotations

import torch

from ..errors import InvalidArgument


def check_device(name: str) -> None:
    """Raises `InvalidArgument` unless torch knows the device and it is there."""
    try:
        torch.zeros(1, device=torch.device(name))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidArgument(f"the device {name!r} cannot be used: {reason}", "cpu is.") from error
