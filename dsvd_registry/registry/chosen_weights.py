"""The entry of a torch file that a version was made from, as one of its settings.

A file such as {"model": ..., "ema": ...} has one digest, and each of its entries may be a version.
"""

from __future__ import annotations

import json
from typing import Any

from .. import canonical
from ..checkpoint import Checkpoint
from ..checkpoint.layout import canonical_layout
from ..progress import Meter, Progress
from ..store import ObjectStore, StoredObject

KEY = "weights"


def with_weights(settings: str, weights: str | None) -> str:
    """The settings (canonical JSON) with the chosen entry; unchanged if none was chosen."""
    if weights is None:
        return settings
    return canonical.encode_small({**_parsed(settings), KEY: weights}).decode()


def weights_of(settings: str) -> str | None:
    """The chosen entry, or None."""
    found = _parsed(settings).get(KEY)
    return found if isinstance(found, str) else None


def without_weights(settings: str) -> str:
    """The settings without the chosen entry."""
    parsed = _parsed(settings)
    return settings if KEY not in parsed else _dumped(parsed)


def put_as_safetensors(
    checkpoint: Checkpoint, objects: ObjectStore, progress: Progress
) -> StoredObject:
    """Store the tensors of an open checkpoint as a safetensors file.

    Raises `CheckpointError`, `StorageError`.
    """
    layout = canonical_layout(checkpoint.tensors.values(), {})
    meter = Meter(progress, "copying", layout.size)
    with objects.new_object() as writer:
        writer.write(layout.prefix)
        for name in layout.order:
            writer.write(checkpoint.read(name))
            checkpoint.release(name)
            meter.advance(checkpoint.tensors[name].nbytes)
        return writer.commit()


def _parsed(settings: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(settings)
    return parsed


def _dumped(parsed: dict[str, Any]) -> str:
    return canonical.encode_small(
        {key: value for key, value in parsed.items() if key != KEY}
    ).decode()
