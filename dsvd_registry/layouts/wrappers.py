"""Wrappers that leave their words in tensor names: torch.compile, DDP, FSDP, a trainer's module.

`unet._orig_mod.conv_in.weight` is `conv_in.weight` of a compiled U-Net. Some words belong to wrappers
alone, anywhere in a name. Others also belong to real modules (`ff.net.0.proj`,
`cond_stage_model.model.`), and count as wrappers only if the base has the names without them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

# torch.compile, FSDP, activation checkpointing, DeepSpeed and Lightning Fabric.
ALWAYS = frozenset(
    {
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_fpw_module",
        "_checkpoint_wrapped_module",
        "_forward_module",
        "_original_module",
    }
)
# DDP and DataParallel, anywhere; trainers' own modules at the start, perhaps several times.
ANYWHERE = ALWAYS | {"module"}
IN_FRONT = frozenset({"module", "model", "net", "network", "_model", "ema_model", "student"})

Unwrapped = Mapping[str, str]
"""The name without wrappers, by the name in the file."""


def unwrappings(names: Iterable[str]) -> Iterator[Unwrapped]:
    """The ways to read the names, from the names as they are to the least likely one.

    No way gives two names the same reading.
    """
    known = list(names)
    current = {name: name for name in known}
    yield current
    for words in (ALWAYS, ANYWHERE):
        stripped = {name: _without(text, words) for name, text in current.items()}
        if stripped != current and _are_distinct(stripped):
            current = stripped
            yield current
    while True:
        stripped = {name: _without_first(text) for name, text in current.items()}
        if stripped == current or not _are_distinct(stripped):
            return
        current = stripped
        yield current


def wrappers_in(name: str, plain: str) -> tuple[str, ...]:
    """The words of wrappers in `name` that the corresponding name `plain` lacks, in order.

    If the two are in different layouts, only words that belong to wrappers alone are returned.
    """
    rest = set(_segments(plain))
    front = name.removesuffix(plain).rstrip("./").split(".") if name.endswith(plain) else []
    is_wrapped = bool(front) and set(front) <= ANYWHERE | IN_FRONT
    words = ANYWHERE | IN_FRONT if is_wrapped else ANYWHERE
    wrappers = [word for word in _segments(name) if word in words]
    return tuple(dict.fromkeys(word for word in wrappers if word in front or word not in rest))


def _without(name: str, words: frozenset[str]) -> str:
    """Remove the segments of `words` from a name; a name of nothing else stays as it is."""
    folder, slash, own = name.rpartition("/")
    kept = [word for word in own.split(".") if word not in words]
    return folder + slash + ".".join(kept) if kept else name


def _without_first(name: str) -> str:
    folder, slash, own = name.rpartition("/")
    first, dot, rest = own.partition(".")
    return folder + slash + rest if dot and first in IN_FRONT else name


def _segments(name: str) -> list[str]:
    return name.replace("/", ".").split(".")


def _are_distinct(unwrapped: Unwrapped) -> bool:
    return len(set(unwrapped.values())) == len(unwrapped)
