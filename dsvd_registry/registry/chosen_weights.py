"""The entry of a torch file that a version was made of: among the settings that recognise it again.

One file of {"model": ..., "ema": ...} has one digest, and may become a version by each entry.
"""

from __future__ import annotations

import json
from typing import Any

from ..checkpoint import Checkpoint
from ..checkpoint.layout import canonical_layout
from ..progress import Meter, Progress
from ..store import ObjectStore, StoredObject, event_json

KEY = "weights"


def with_weights(settings: str, weights: str | None) -> str:
    """Settings (canonical JSON) with the entry that was chosen; as they are without a choice."""
    if weights is None:
        return settings
    return event_json.dump({**_parsed(settings), KEY: weights}).decode()


def weights_of(settings: str) -> str | None:
    """The entry that was chosen, None where none was."""
    found = _parsed(settings).get(KEY)
    return found if isinstance(found, str) else None


def without_weights(settings: str) -> str:
    """The settings but for the choice."""
    parsed = _parsed(settings)
    return settings if KEY not in parsed else _dumped(parsed)


def put_as_safetensors(
    checkpoint: Checkpoint, objects: ObjectStore, progress: Progress
) -> StoredObject:
    """The tensors as a safetensors file in the store: of a file with several, only those chosen.

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
    return event_json.dump({key: value for key, value in parsed.items() if key != KEY}).decode()
