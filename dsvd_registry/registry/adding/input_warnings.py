"""Warnings about the source of a version: a wrong base, raw tensors, names with words of wrappers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ...container.records import LORA_FORMAT, RAW_REASONS, BasedRecord, Header, RawRecord
from ...container.totals import total_change
from ...layouts import wrappers_in

WRONG_BASE_CHANGE = 0.5  # relative change from which on the base is probably a wrong one
NAMED = 3  # tensors that a warning names
MOSTLY = 0.5  # share of the bytes from which on little is saved


def input_warnings(header: Header) -> Iterator[str]:
    """Warnings for the user who adds the source."""
    is_lora = header.source.format == LORA_FORMAT
    change = total_change(header.tensors)
    # The change of a LoRA or a merge tells its strength only: it is large with the right base, too.
    if change >= WRONG_BASE_CHANGE and not is_lora and header.merge is None:
        yield (
            f"the delta is {change:.0%} as large as the weights: "
            "this is probably not the base that the checkpoint was fine-tuned from"
        )
    reasons = Counter(tensor.reason for tensor in header.tensors if isinstance(tensor, RawRecord))
    for reason in ("non_finite", "range"):
        if reasons[reason]:
            noun = "tensor is" if reasons[reason] == 1 else "tensors are"
            yield f"{reasons[reason]} {noun} stored raw: {RAW_REASONS[reason]}"
    unknown = [t.name for t in header.tensors if isinstance(t, RawRecord) and t.reason == "scheme"]
    if unknown:
        some = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
        yield f"{len(unknown)} tensors are stored raw: {RAW_REASONS['scheme']}: {some}"
    if not is_lora:  # the tensors of a LoRA's result are the base's own
        yield from _mostly_raw(header)
    yield from _wrapped(header)


def _mostly_raw(header: Header) -> Iterator[str]:
    total = sum(tensor.nbytes for tensor in header.tensors)
    raw = [tensor for tensor in header.tensors if isinstance(tensor, RawRecord)]
    size = sum(tensor.nbytes for tensor in raw)
    if size <= MOSTLY * total:
        return
    reasons = {
        reason: [tensor for tensor in raw if tensor.reason == reason] for reason in RAW_REASONS
    }
    counted = sorted(
        ((sum(t.nbytes for t in some), reason, some) for reason, some in reasons.items() if some),
        key=lambda one: -one[0],
    )
    yield (
        f"{size / total:.0%} of the bytes are stored as they are, without a delta to the base: "
        + "; ".join(
            f"{_counted(some)} ({part / total:.0%}): {RAW_REASONS[reason]}{_dtypes(reason, some)}"
            for part, reason, some in counted
        )
    )


def _counted(some: Iterable[RawRecord]) -> str:
    count = len(list(some))
    return f"{count} tensor{'' if count == 1 else 's'}"


def _dtypes(reason: str, some: Iterable[RawRecord]) -> str:
    if reason != "dtype":
        return ""
    return f", not of {', '.join(sorted({tensor.dtype for tensor in some}))}"


def _wrapped(header: Header) -> Iterator[str]:
    own: dict[str, None] = {}
    of_base: dict[str, None] = {}
    for tensor in header.tensors:
        if isinstance(tensor, BasedRecord):
            for base in tensor.base:
                own |= dict.fromkeys(wrappers_in(tensor.name, base.name))
                of_base |= dict.fromkeys(wrappers_in(base.name, tensor.name))
    for words, whose, rest in (
        (own, "the names of its tensors", "; results keep the names as they are"),
        (of_base, "the names of the base's tensors", ""),
    ):
        if words:
            listed = ", ".join(f"`{word}.`" for word in words)
            yield f"{whose} hold words of wrappers, which were looked through: {listed}{rest}"
