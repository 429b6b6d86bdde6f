"""What pictures say of their making: the models that a user interface names in the files it saves."""

from __future__ import annotations

from .mentions import Mention, Role, mentions_in
from .picture_texts import is_picture, picture_texts

__all__ = ["Mention", "Role", "is_picture", "mentions_in", "picture_texts"]
