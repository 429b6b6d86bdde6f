"""Wrappers that leave their name in those of the tensors: torch.compile, DDP, FSDP, a trainer's module.

`unet._orig_mod.conv_in.weight` is `conv_in.weight` of a compiled U-Net. Some words belong to wrappers
alone, wherever they stand in a name. Others are those of real modules, too (`ff.net.0.proj`,
`cond_stage_model.model.`): they are taken for wrappers only where a base has the names without them.
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
# DDP and DataParallel, anywhere; trainers' own modules, in front, perhaps several times.
ANYWHERE = ALWAYS | {"module"}
IN_FRONT = frozenset({"module", "model", "net", "network", "_model", "ema_model", "student"})

Unwrapped = Mapping[str, str]
"""By the name in the file, the name without its wrappers."""


def unwrappings(names: Iterable[str]) -> Iterator[Unwrapped]:
    """The ways to read names, from what is there to what is least likely: the names as they are first.

    None of them makes two names one.
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
    """The words of wrappers in `name` that the corresponding name `plain` has not, in order.

    The two may be of different layouts: then only words that belong to wrappers alone are told.
    """
    rest = set(_segments(plain))
    front = name.removesuffix(plain).rstrip("./").split(".") if name.endswith(plain) else []
    is_wrapped = bool(front) and set(front) <= ANYWHERE | IN_FRONT
    words = ANYWHERE | IN_FRONT if is_wrapped else ANYWHERE
    found = [word for word in _segments(name) if word in words]
    return tuple(dict.fromkeys(word for word in found if word in front or word not in rest))


def _without(name: str, words: frozenset[str]) -> str:
    """A name less the parts that are wrappers' words; what would leave nothing is left as it is."""
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
