from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry.catalog import Ref, lookup
from dsvd_registry.catalog.suggest import a_few, near, ranges
from dsvd_registry.errors import InvalidArgument
from dsvd_registry.store.names import check_alias, check_name

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True)


@settings(deadline=None)
@given(NAMES, st.none() | st.integers(1, 999_999_999) | NAMES)
def test_a_ref_comes_back_as_it_went(name: str, which: int | str | None) -> None:
    text = name if which is None else f"{name}@{which}"
    try:
        ref = lookup.parse_ref(text)
    except InvalidArgument:
        return
    assert lookup.parse_ref(str(ref)) == ref
    assert ref.model == name
    if isinstance(which, int):
        assert ref.number == which
    elif which is not None and ref.alias is None and ref.number is None:
        assert which == "latest"


@settings(deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_ref_or_refused(text: str) -> None:
    try:
        ref = lookup.parse_ref(text)
    except InvalidArgument:
        return
    assert re.fullmatch(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+", str(ref))


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("m", Ref("m")),
        ("m@latest", Ref("m")),
        ("m@3", Ref("m", number=3)),
        ("m@prod", Ref("m", alias="prod")),
        ("v1.5_x-y@v2", Ref("v1.5_x-y", alias="v2")),
        ("1@1", Ref("1", number=1)),
    ],
)
def test_refs(text: str, ref: Ref) -> None:
    assert lookup.parse_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    ["", "@", "m@", "@3", "m@0", "m@03", "m@-1", "m@1@2", "m@Latest", "m m", "m@9999999999", "m@٣"],
)
def test_no_refs(text: str) -> None:
    with pytest.raises(InvalidArgument):
        lookup.parse_ref(text)


@pytest.mark.parametrize("name", ["a", "0", "A.b-c_d", "console", "com10", "x" * 128])
def test_names(name: str) -> None:
    assert check_name("model", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "-a",
        "_a",
        "a.",
        "a/b",
        "a b",
        "a\n",
        "é",
        "x" * 129,
        "CON",
        "nul.txt",
        "Com1",
    ],
)
def test_no_names(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_name("model", name)


@pytest.mark.parametrize("alias", ["1", "042", "latest", "LATEST", "a@b"])
def test_no_aliases(alias: str) -> None:
    with pytest.raises(InvalidArgument):
        check_alias(alias)


def test_hints() -> None:
    assert ranges([1, 2, 3, 5, 7, 8]) == "1-3, 5, 7-8"
    assert near("subjct-42", ["subject-42", "dog"], "no") == "Did you mean subject-42?"
    assert near("Dogg", ["subject-42", "dog"], "no") == "Did you mean dog?"
    assert near("zebra", ["subject-42"], "no") == "no"
    assert a_few(list("abcdefg")) == "a, b, c, d, e and 2 more"
