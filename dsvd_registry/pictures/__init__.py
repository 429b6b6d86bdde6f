"""The models that pictures were made with, as user interfaces write them into the files they save."""

from __future__ import annotations

from .mentions import Mention, Role, mentions_in
from .picture_texts import is_picture, picture_texts

__all__ = ["Mention", "Role", "is_picture", "mentions_in", "picture_texts"]
