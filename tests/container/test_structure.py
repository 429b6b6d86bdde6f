"""Rules across the fields of a header, and what the records say of the payload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from spec.building import Built
from spec.header_bytes import encode
from spec.valid_vectors import tree_small

from dsvd_registry.container.parse_header import parse_header
from dsvd_registry.container.records import (
    BasedRecord,
    BaseTensor,
    DenseRecord,
    Frame,
    Header,
    LowRankRecord,
    Part,
    RawRecord,
    Result,
    SameRecord,
    Source,
    View,
)
from dsvd_registry.container.structure import (
    check_structure,
    frame_size,
    raw_bytes,
    units,
)
from dsvd_registry.errors import ContainerError

DENSE, LOW, RAW, ROWS = range(4)


@pytest.fixture
def header(small: Built) -> Header:
    return parse_header(encode(small.header), 56, len(small.file))


def with_tensor(header: Header, index: int, **fields: Any) -> Header:
    tensors = list(header.tensors)
    tensors[index] = replace(tensors[index], **fields)
    return replace(header, tensors=tuple(tensors))


def with_base(header: Header, index: int, **fields: Any) -> Header:
    record = header.tensors[index]
    assert isinstance(record, BasedRecord)
    return with_tensor(header, index, base=(replace(record.base[0], **fields), *record.base[1:]))


def with_frame(header: Header, index: int, **fields: Any) -> Header:
    frames = list(header.frames)
    frames[index] = replace(frames[index], **fields)
    return replace(header, frames=tuple(frames))


SOURCE_FRAME = Frame("source_header", (), 2, 11, "0" * 64)
TWO = BaseTensor("two", "F32", (2,), "0" * 64)


def inserted(header: Header, *frames: Frame) -> Header:
    """Before the components."""
    return replace(header, frames=(*header.frames[:-1], *frames, header.frames[-1]))


def test_valid(header: Header) -> None:
    check_structure(header)
    assert [frame.content for frame in header.frames] == [
        "tables",
        "elements",
        "bytes",
        "components",
    ]
    check_structure(inserted(header, SOURCE_FRAME))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: replace(h, tensors=h.tensors[::-1]), "not sorted"),
        (lambda h: replace(h, tensors=h.tensors + h.tensors[-1:]), "stands twice"),
        (lambda h: with_tensor(h, DENSE, name="__metadata__"), "metadata"),
        (lambda h: with_base(h, DENSE, name="__metadata__"), "metadata"),
        (lambda h: with_tensor(h, RAW, dtype="F128"), "unknown"),
        (lambda h: with_base(h, DENSE, dtype="f16"), "unknown"),
        (lambda h: with_tensor(h, RAW, dtype="F4", shape=(3,)), "whole number of bytes"),
        (lambda h: with_base(h, ROWS, dtype="F4", shape=(3,)), "whole number of bytes"),
        (lambda h: with_tensor(h, ROWS, new_rows=3), "more new rows than rows"),
        (lambda h: with_tensor(h, DENSE, shape=(), new_rows=1), "more new rows than rows"),
        (lambda h: with_tensor(h, LOW, dtype="I16"), "take no delta"),
        (lambda h: with_base(h, LOW, dtype="F64"), "take no delta"),
        (lambda h: with_tensor(h, DENSE, dtype="F64"), "take no delta"),
        (lambda h: with_tensor(h, ROWS, dtype="I8"), "take no delta"),
        *(
            (lambda h, rank=rank: with_tensor(h, LOW, **{rank: 3}), "a rank is over")
            for rank in ("rank", "tau_rank", "noise_rank")
        ),
        (lambda h: with_tensor(h, LOW, shape=(6,)), "a rank is over"),
        (lambda h: with_tensor(h, DENSE, exponent=119), "exponent"),
        (lambda h: with_base(with_tensor(h, DENSE, shape=(0,)), DENSE, shape=(0,)), "without elements"),
        (lambda h: with_base(h, DENSE, shape=(7,)), "does not fit"),
        (lambda h: with_tensor(h, DENSE, view=View("transpose")), "does not fit"),
        (lambda h: with_tensor(h, DENSE, view=View("slice", 1, 6)), "does not fit"),
        (lambda h: with_tensor(h, DENSE, view=View("slice", 0, 5)), "does not fit"),
        (lambda h: with_base(with_tensor(h, DENSE, view=View("slice", 0, 1)), DENSE, shape=()), "fit"),
        (lambda h: with_tensor(h, DENSE, view=View("concatenate")), "1 base tensors"),
        (lambda h: with_tensor(h, DENSE, base=(TWO, TWO, TWO)), "3 base tensors"),
        (lambda h: with_tensor(h, DENSE, view=View("concatenate"), base=(TWO, TWO)), "fit"),
        (
            lambda h: with_tensor(
                h, DENSE, view=View("concatenate"), base=(TWO, replace(TWO, shape=(4, 1)))
            ),
            "fit",
        ),
        (
            lambda h: with_tensor(
                h, DENSE, view=View("concatenate"), base=(TWO, TWO, replace(TWO, dtype="F16"))
            ),
            "fit",
        ),
        (
            lambda h: with_tensor(
                h, DENSE, view=View("concatenate"), base=(replace(TWO, shape=()),) * 6
            ),
            "fit",
        ),
        *(
            (
                lambda h, view=view: with_base(
                    with_tensor(h, ROWS, dtype="F4", shape=(2, 2), new_rows=0, view=view),
                    ROWS, dtype="F4", shape=(2, 2),
                ),
                "splits bytes",
            )
            for view in (View("transpose"), View("slice", 0, 2))
        ),
        (lambda h: replace(h, frames=h.frames[::-1]), "order of their contents"),
        (lambda h: inserted(h, SOURCE_FRAME, SOURCE_FRAME), "more than one frame"),
        (lambda h: inserted(h, replace(SOURCE_FRAME, raw=2**24 + 1)), "over its limit"),
        (lambda h: inserted(h, replace(SOURCE_FRAME, parts=(Part(0, 1),))), "must not have"),
        (lambda h: with_frame(h, 0, parts=()), "has no parts"),
        (lambda h: with_frame(h, 2, parts=(Part(9, 6),)), "which there is not"),
        (lambda h: with_frame(h, 0, raw=27), "declares 27 bytes for 26"),
        (lambda h: with_frame(h, 1, raw=13), "declares 13 bytes for 12"),
        (lambda h: with_frame(h, 2, raw=7), "declares 7 bytes for 6"),
        (lambda h: with_frame(h, 0, parts=(Part(LOW, 1),), raw=13), "not all of its tables"),
        (lambda h: with_frame(h, 1, parts=(Part(DENSE, 7),), raw=14), "not all of its elements"),
        (lambda h: with_frame(h, 2, parts=(Part(RAW, 6),)), "not all of its bytes"),
        (lambda h: with_frame(h, 3, parts=(Part(LOW, 3),)), "not all of its components"),
        (lambda h: replace(h, frames=h.frames[:-1]), "not all of its components"),
        (lambda h: replace(h, frames=h.frames + h.frames[-1:]), "not all of its components"),
        (
            lambda h: with_frame(h, 3, parts=(Part(LOW, 2), Part(DENSE, 1))),
            "a tensor that has none of that kind",
        ),
        (lambda h: replace(h, results=(replace(h.results[0], path="x"),)), "the result's path"),
    ],
)  # fmt: skip
def test_refused(header: Header, change: Callable[[Header], Header], message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        check_structure(change(header))


# Files of `tree`, by their place in it: those of tensors, of the base, and stored ones.
ROOT, MODEL_INDEX, TEXT, EMPTY, MERGES, VOCABULARY, CONFIG, FIRST, SECOND = range(9)
FILES, MORE_FILES = 7, 8  # its frames of files


@pytest.fixture(scope="module")
def tree() -> Header:
    built = tree_small().build()
    return parse_header(encode(built.header), 56, len(built.file))


def with_file(header: Header, index: int, **fields: Any) -> Header:
    assert header.tree is not None
    files = list(header.tree)
    files[index] = replace(files[index], **fields)
    return replace(header, tree=tuple(files))


def test_tree(tree: Header) -> None:
    check_structure(tree)
    assert not tree.keeps_source
    assert [frame.content for frame in tree.frames] == [
        *("tables", "elements", "bytes"),
        *["source_header"] * 4,
        *("files", "files", "components"),
    ]
    check_structure(with_file(tree, SECOND, prefix=""))  # what the headers say is another's
    check_structure(with_file(tree, MODEL_INDEX, size=0))
    check_structure(replace(tree, source=Source("pickle", "0" * 64, 6)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            (lambda h, path=path: with_file(h, ROOT, path=path), f"tree: .*{message}")
            for path, message in (
                ("../a", "cannot be a file's name"),
                ("/a", "cannot be a file's name"),
                ("a.", "cannot be a file's name"),
                (".dsvd-tmp-", "cannot be a file's name"),
                ("a\\b", "not every system takes"),
                ("a\n", "not every system takes"),
                ("x", "not sorted"),
                ("model_index.json", "stands twice"),
                ("", "0 bytes"),
            )
        ),
        (lambda h: with_file(h, EMPTY, path="text/model.safetensors/a"), "leads through a file"),
        (lambda h: with_file(h, ROOT, path="a"), "the results are not the files of the tree"),
        (
            lambda h: replace(h, results=h.results[::-1]),
            "the results are not the files of the tree",
        ),
        (lambda h: replace(h, results=h.results[1:]), "the results are not the files of the tree"),
        (lambda h: replace(h, results=()), "the results are not the files of the tree"),
        (lambda h: replace(h, results=h.results * 2), "the results are not the files of the tree"),
        (
            lambda h: replace(h, frames=(*h.frames[:3], *h.frames[4:])),
            "3 headers for 4 files that hold tensors",
        ),
        (
            lambda h: replace(h, frames=(*h.frames[:3], SOURCE_FRAME, *h.frames[3:])),
            "5 headers for 4 files that hold tensors",
        ),
        (
            lambda h: replace(h, tree=None, results=h.results[:1]),
            "more than one frame holds the source's header",
        ),
        (lambda h: with_frame(h, 3, raw=2**24 + 1), "over its limit"),
        (lambda h: with_frame(h, 3, parts=(Part(0, 1),)), "must not have"),
        (lambda h: with_frame(h, FILES, parts=()), "has no parts"),
        (lambda h: with_frame(h, FILES, raw=20), "declares 20 bytes for 21"),
        (lambda h: with_frame(h, FILES, parts=(Part(9, 21),)), "names file 9, which there is not"),
        (lambda h: with_frame(h, FILES, parts=(Part(MERGES, 21),)), "merges.txt'.* not all of it"),
        (lambda h: with_frame(h, FILES, parts=(Part(CONFIG, 21),)), "not all of it"),
        (lambda h: replace(h, frames=(*h.frames[:7], *h.frames[8:])), "not all of it"),
        (lambda h: replace(h, frames=(*h.frames[:9], *h.frames[8:])), "not all of it"),
        (lambda h: with_file(h, CONFIG, size=17), "unet/config.json'.* not all of it"),
        (lambda h: with_file(h, CONFIG, size=0), "of a file that is not stored, or is empty"),
        (lambda h: with_file(h, CONFIG, of_base=True), "of a file that is not stored, or is empty"),
        (lambda h: with_file(h, EMPTY, size=1), "tokenizer/2/empty'.* not all of it"),
        *(
            (
                lambda h, place=place: with_frame(
                    h, MORE_FILES, parts=(*h.frames[MORE_FILES].parts, Part(place, 1)), raw=6
                ),
                "of a file that is not stored, or is empty",
            )
            for place in (ROOT, MODEL_INDEX, EMPTY, SECOND)
        ),
        (
            lambda h: replace(h, frames=(*h.frames[:7], h.frames[9], *h.frames[7:9])),
            "not in the order of their contents",
        ),
    ],
)
def test_tree_refused(tree: Header, change: Callable[[Header], Header], message: str) -> None:
    with pytest.raises(ContainerError, match=message):
        check_structure(change(tree))


def test_files_without_a_tree(header: Header) -> None:
    frame = Frame("files", (Part(0, 2),), 2, 11, "0" * 64)
    with pytest.raises(ContainerError, match="names file 0, which there is not"):
        check_structure(inserted(header, frame))


def test_too_many_files(tree: Header) -> None:
    assert tree.tree is not None
    files = [replace(tree.tree[MODEL_INDEX], path=f"{i:05d}") for i in range(2**14 + 1)]
    with pytest.raises(ContainerError, match="16385 files, more than 16384"):
        check_structure(replace(tree, tree=(*files,), frames=(*tree.frames[:7], tree.frames[9])))


def test_too_many_parts(header: Header) -> None:
    """The limit stands before the parts are looked at one by one."""
    part = Part(LOW, 1)
    with pytest.raises(ContainerError, match="more than 1048576 parts"):
        check_structure(with_frame(header, 3, parts=(part,) * (2**20 + 1)))


def test_the_source_again(header: Header) -> None:
    kept = replace(header, tensors=header.tensors[RAW:], frames=())
    frames = [replace(header.frames[2], parts=(Part(0, 4), Part(1, 2))), SOURCE_FRAME]
    kept = replace(kept, frames=tuple(frames))
    assert kept.keeps_source and not kept.is_lossy and header.is_lossy
    with pytest.raises(ContainerError, match="not the source"):
        check_structure(kept)
    result = Result("model.safetensors", kept.source.sha256, kept.source.size)
    check_structure(replace(kept, results=(result,)))


def test_units() -> None:
    base = (BaseTensor("b", "F32", (4, 6), "0" * 64),)
    norms = {"base_norm": 1.0, "norm": 1.0, "error": 0.0}
    based: tuple[Any, ...] = ("t", "F16", (5, 2, 3), base, View(), 1)
    low = LowRankRecord(*based, rank=2, tau_rank=2, noise_rank=2, nuclear_norm=1.0, **norms)
    dense = DenseRecord(*based, exponent=0, maximum=300, **norms)
    same, raw = SameRecord(*based), RawRecord("t", "F4", (4, 2), "new")
    assert low.matrix_shape == (4, 6) and low.full_rank == 4
    told = {
        (type(record), content): units(record, content)
        for record in (low, dense, same, raw)
        for content in ("tables", "elements", "bytes", "source_header", "components")
        if units(record, content)
    }
    assert told == {
        (LowRankRecord, "tables"): 2,
        (LowRankRecord, "components"): 2,
        (LowRankRecord, "bytes"): 12,
        (DenseRecord, "elements"): 24,
        (DenseRecord, "bytes"): 12,
        (SameRecord, "bytes"): 12,
        (RawRecord, "bytes"): 4,
    }
    assert raw_bytes(replace(same, new_rows=0)) == 0


def test_frame_size(header: Header) -> None:
    assert [frame_size(header, frame) for frame in header.frames] == [26, 12, 6, None]
