"""The state dict in a pickled value: its tensors, by name.

The state dict is the mapping under the key "state_dict", if that contains tensors; else the value
itself, if it is a mapping with tensors as values; else the only mapping in it that has some (or, if
none has any as values, that has some further inside). A caller may name the entry instead, for
example "ema". The names of nested mappings are joined with ".".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError, InvalidArgument
from .checkpoint import MAX_NAME_BYTES, LeftOut, check_name, shown
from .pickle_machine import Pickled
from .pickle_values import Global, TensorRef, UnreadableTensor

MAX_DEPTH = 64
STEPS_OF_A_VALUE = 4  # in which a pickle makes about as many bytes
NAME_OF_A_STEP = 64
LABEL_LENGTH = 200
UNCLEAR_HINT = "Save the state dict alone with torch.save, or as safetensors."

Tensor = TensorRef | UnreadableTensor


@dataclass(frozen=True)
class StateDict:
    """The tensors by their full names, and everything that was left out, with the reasons."""

    tensors: dict[str, TensorRef]
    left_out: tuple[LeftOut, ...]


def select_state_dict(pickled: Pickled, most_steps: int, weights: str | None = None) -> StateDict:
    """Find the state dict of a pickled value.

    Args:
        pickled: the pickle's content.
        most_steps: bounds the work on names, of which a small pickle may make many; see
            `steps_allowed`.
        weights: the key of the state dict; None to find it.

    Raises:
        CheckpointError: if there is none or several, for two tensors of one name, for names over
            the limits, and for values that nest more than 64 deep (also: that contain themselves).
        InvalidArgument: if there are no tensors under the key `weights`.
    """
    root = pickled.value
    if not isinstance(root, dict):
        raise CheckpointError("it holds no state dict: its value is not a mapping", UNCLEAR_HINT)
    tensors: dict[str, TensorRef] = {}
    left_out: list[LeftOut] = []
    reached = set()
    for name, value in _flatten(_chosen(root, weights), most_steps):
        if isinstance(value, Tensor):
            reached.add(id(value))
        if isinstance(value, TensorRef):
            check_name(name)
            if name in tensors:
                raise CheckpointError(f"it has two tensors of the name {shown(name)}")
            tensors[name] = value
        elif isinstance(value, UnreadableTensor):
            left_out.append(LeftOut(_clean(name), value.reason))
        else:
            left_out.append(LeftOut(_clean(name), "not a tensor"))
    for label, tensor in _tensors_of(root):
        if id(tensor) not in reached:
            reached.add(id(tensor))
            left_out.append(LeftOut(label, "outside the state dict"))
    for tensor in pickled.tensors:
        if id(tensor) not in reached:
            label = f"storage {tensor.storage.key}" if isinstance(tensor, TensorRef) else "a tensor"
            left_out.append(LeftOut(_clean(label), "inside an object that is not loaded"))
    left_out.extend(LeftOut(name, "a class in the pickle; not loaded") for name in pickled.unknown)
    return StateDict(tensors, tuple(left_out))


def _chosen(root: dict[object, object], weights: str | None) -> dict[object, object]:
    if weights is None:
        return _choose(root)
    named = root.get(weights)
    if isinstance(named, dict) and _holds_tensors(named):
        return named
    keys = [key for key, item in root.items() if isinstance(item, dict) and _holds_tensors(item)]
    raise InvalidArgument(
        f"it has no state dict under the name {shown(weights)}",
        f"Those that it has: {_listed(keys)}." if keys else "It has none under any name.",
    )


def _choose(root: dict[object, object]) -> dict[object, object]:
    named = root.get("state_dict")
    if isinstance(named, dict) and _holds_tensors(named):
        return named
    if _holds_directly(root):
        return root
    inner = [(key, item) for key, item in root.items() if isinstance(item, dict)]
    for test in (_holds_directly, _holds_tensors):
        candidates = [(key, item) for key, item in inner if test(item)]
        if len(candidates) == 1:
            return candidates[0][1]
        if candidates:
            names = [key for key, _ in candidates]
            raise CheckpointError(
                f"it holds several state dicts: {_listed(names)}",
                f"Choose one with --weights, such as --weights {_clean(names[-1])}.",
            )
    raise CheckpointError("it holds no state dict: no mapping in it has tensors", UNCLEAR_HINT)


def _listed(keys: Sequence[object]) -> str:
    return ", ".join(shown(_clean(key)) for key in keys)


def _holds_directly(mapping: dict[object, object]) -> bool:
    return any(isinstance(k, str) and isinstance(v, Tensor) for k, v in mapping.items())


def _holds_tensors(mapping: dict[object, object]) -> bool:
    entered: set[int] = set()
    waiting = [mapping]
    while waiting:
        inner = waiting.pop()
        if id(inner) in entered:
            continue
        entered.add(id(inner))
        if _holds_directly(inner):
            return True
        waiting.extend(v for k, v in inner.items() if isinstance(k, str) and isinstance(v, dict))
    return False


def _flatten(mapping: dict[object, object], most_steps: int) -> Iterator[tuple[str, object]]:
    """The values below `mapping` with their joined names, in order.

    One mapping may have several names (tied modules), so that none is skipped. The limits on depth
    and steps end a mapping that contains itself.
    """
    steps = 0
    levels = [("", iter(mapping.items()))]
    while levels:
        prefix, items = levels[-1]
        for key, value in items:
            steps += STEPS_OF_A_VALUE
            if isinstance(key, str):
                steps += (len(prefix) + len(key)) // NAME_OF_A_STEP
            if steps > most_steps:
                raise CheckpointError(f"its state dict takes more than {most_steps} steps")
            if not isinstance(key, str):
                # Its tensors are found again by `_tensors_of`, and reported.
                continue
            if len(prefix) + len(key) > MAX_NAME_BYTES:
                raise CheckpointError(
                    f"its state dict has the name {shown(key)}, which is too long"
                )
            name = prefix + key
            if isinstance(value, dict):
                if len(levels) == MAX_DEPTH:
                    raise CheckpointError(f"its state dict nests more than {MAX_DEPTH} deep")
                levels.append((name + ".", iter(value.items())))
                break
            yield name, value
        else:
            levels.pop()


def _tensors_of(root: dict[object, object]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in the containers of `root`, with its path as a label.

    Each container is entered once.
    """
    entered = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), root)]
    while waiting:
        path, item = waiting.pop()
        if isinstance(item, Tensor):
            yield _clean(".".join(path)), item
            continue
        if id(item) in entered:
            continue
        if len(path) == MAX_DEPTH:
            raise CheckpointError(f"its pickle nests more than {MAX_DEPTH} deep")
        entered.add(id(item))
        # A stack: the next item must be the last one.
        inner = [
            ((*path, _clean(key)), value)
            for key, value in (item.items() if isinstance(item, dict) else enumerate(item))
            if isinstance(value, dict | list | tuple | Tensor)
        ]
        waiting.extend(reversed(inner))


def _clean(key: object) -> str:
    """Turn `key` into a short printable text."""
    if isinstance(key, Global):
        text = key.name
    elif isinstance(key, str | int | float | None):
        text = str(key)
    else:
        text = f"<{type(key).__name__}>"
    return text[:LABEL_LENGTH].encode("utf-8", "backslashreplace").decode()
