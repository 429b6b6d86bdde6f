"""Checks of the device on which torch computes."""

from __future__ import annotations

import torch

from ..errors import InvalidArgument


def check_device(name: str) -> None:
    """Check that torch knows the device and that it is present. Raises `InvalidArgument`."""
    try:
        torch.zeros(1, device=torch.device(name))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidArgument(
            f"the device {name!r} cannot be used: {reason}", "Use cpu."
        ) from error
