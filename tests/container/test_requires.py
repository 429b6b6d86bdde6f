"""A file that needs what this version lacks is refused by that name, before anything else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from spec.building import Built
from spec.exact import Json
from spec.sealing import payload_of, sealed, text_of, with_header
from spec.valid_vectors import fidelity_max_error

from dsvd_registry.errors import ContainerError, UnsupportedFeature

from .conftest import Read


@pytest.mark.parametrize("names", [["tiles"], ["a", "tiles"], ["é\n"]])
def test_unknown_name(small: Built, read: Read, names: list[str]) -> None:
    file = with_header(small, lambda header: header.update(requires=names))
    with pytest.raises(UnsupportedFeature) as caught:
        read(file)
    assert repr(names[0]) in str(caught.value)
    assert "newer" in caught.value.hint
    assert caught.value.exit_code == ContainerError.exit_code


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.clear(),
        lambda header: header.update(tensors=7),
        lambda header: header.update(unknown=[]),
        lambda header: header["base"].clear(),
        lambda header: header["encoding"].update(tau=9),
        lambda header: header["frames"][0].update(content="tiles"),
        lambda header: header["tensors"][0].update(kind="tiled"),
        lambda header: header["results"].clear(),
    ],
)
def test_before_anything_else(small: Built, read: Read, change: Callable[[Json], None]) -> None:
    """A later version may change every other field; its name must come out all the same."""

    def both(header: Json) -> None:
        change(header)
        header["requires"] = ["tiles"]

    with pytest.raises(UnsupportedFeature, match="'tiles'"):
        read(with_header(small, both))
    with pytest.raises(ContainerError) as caught:
        read(with_header(small, change))
    assert type(caught.value) is ContainerError


@pytest.mark.parametrize(
    "names", [None, 5, "tiles", {}, {"tiles": 1}, [5], [None], ["b", "a"], ["a", "a"], [["a"]]]
)
def test_no_sorted_names(small: Built, read: Read, names: object) -> None:
    with pytest.raises(ContainerError, match="requires") as caught:
        read(with_header(small, lambda header: header.update(requires=names)))
    assert type(caught.value) is ContainerError


@pytest.mark.parametrize("names", [["fidelity", "tiles"], ["edges", "fidelity"]])
def test_unknown_name_beside_a_known_one(small: Built, read: Read, names: list[str]) -> None:
    (unknown,) = {*names} - {"fidelity"}
    with pytest.raises(UnsupportedFeature, match=repr(unknown)):
        read(with_header(small, lambda header: header.update(requires=names)))


def test_known_name(small: Built, read: Read) -> None:
    """A feature may be named only if its field is present."""
    file = fidelity_max_error().build().file
    read(file)
    with pytest.raises(ContainerError, match="requires names 'fidelity'") as caught:
        read(with_header(small, lambda header: header.update(requires=["fidelity"])))
    assert type(caught.value) is ContainerError


def test_version(small: Built, read: Read) -> None:
    text, payload = text_of(small.file), payload_of(small.file)
    for version in (0, 2, 65535):
        with pytest.raises(UnsupportedFeature, match=f"version {version}"):
            read(sealed(text, payload, version=version, zero=1))
    read(sealed(text, payload))
