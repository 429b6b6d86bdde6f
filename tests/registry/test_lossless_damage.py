"""A residual that is damaged, missing, of another version, or lies: told, with what can still be had."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import (
    BaseMismatch,
    ContainerError,
    DsvdError,
    RegistryError,
    ResultMismatch,
)

from . import crafting
from .conftest import files_in, flip, flip_tensor, object_path, replace_bytes
from .lossless_registry import (
    TAU,
    attach_as_it_is,
    copied,
    lying,
    make,
    residual_path,
    rewritten,
)

Lose = Callable[[Path], object]
LOSSES: dict[str, Lose] = {
    "missing": Path.unlink,
    "empty": lambda path: replace_bytes(path, b""),
    "header": lambda path: flip(path, 40),
    "last byte": flip,
    "cut": lambda path: replace_bytes(path, path.read_bytes()[:-1]),
    "longer": lambda path: replace_bytes(path, path.read_bytes() + b"\0"),
    "of another version": lambda path: replace_bytes(path, other_residual(path)),
    "no residual": lambda path: replace_bytes(path, b"\x89DSVD\r\n\x1a" + bytes(80)),
}


def other_residual(path: Path) -> bytes:
    """A valid one of another container, in its place."""
    with Registry.open(path.parents[2]) as registry:
        return residual_path(registry, "two").read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("made")
    with one_thread():
        make(at)
    return at


@pytest.fixture
def at(made: Path, tmp_path: Path) -> Path:
    copied(made, tmp_path)
    return tmp_path


@pytest.fixture
def registry(at: Path) -> Iterator[Registry]:
    with Registry.open(at / "registry") as opened:
        yield opened


def assert_lossy_is_had(registry: Registry, ref: str, hint: str, at: Path) -> None:
    """Check that the hint's command works, and that adding the source repairs the version."""
    words = re.search(r"`dsvd materialize (\S+) --tau (\S+)`", hint)
    assert words is not None and words[1] == ref and "--lossless" in hint
    written = registry.materialize(ref, at / "lossy", tau=float(words[2]))
    assert written.recorded and not written.lossless


@pytest.mark.parametrize("loss", LOSSES)
def test_a_damaged_object(registry: Registry, at: Path, loss: str) -> None:
    """Found by what reads it, and by `verify`; the other versions have nothing of it.

    Seen to fail: with the errors passed on as they are in `opened_residual`.
    """
    path = residual_path(registry, "one")
    LOSSES[loss](path)
    for read in (
        lambda: registry.materialize("one", at / "out"),
        lambda: registry.materialize("one", at / "out", dtype="fp16"),
        lambda: registry.path("one", cache=at / "cache"),
        lambda: registry.diff_base("one"),
    ):
        with pytest.raises(RegistryError) as caught:
            read()
        assert type(caught.value) is RegistryError and caught.value.exit_code == 8
        what = "is missing" if loss == "missing" else "is damaged"
        assert f"the residual of one@1, object {path.name}, {what}" in str(caught.value)
    assert not (at / "out").exists() and files_in(at / "cache") == {}
    for deep in (False, True):
        (finding,) = registry.verify(deep=deep).findings
        assert finding.subjects == ("one@1",) and path.name in finding.problem
    assert registry.verify("two", deep=True).is_well
    assert_lossy_is_had(registry, "one@1", caught.value.hint, at)
    with pytest.raises(RegistryError, match=path.name):
        registry.export_container("one", at / "out.dsvd")
    again = registry.add(at / "one.safetensors", base="base", name="one", lossless=True)
    assert not again.created
    assert residual_path(registry, "one") == path  # the same bytes as before
    assert registry.verify(deep=True).is_well
    written = registry.materialize("one", at / "out")
    assert written.path.read_bytes() == (at / "one.safetensors").read_bytes()


def test_a_lazy_tensor_of_a_damaged_residual(registry: Registry) -> None:
    """The mapping is there, as its header is; the tensor that is hit says so."""
    flip(residual_path(registry, "one"))  # in the last frame: that of w
    with registry.tensors("one") as tensors:
        assert tensors["b"].shape == (24,)
        with pytest.raises(RegistryError, match="'w'") as caught:
            _ = tensors["w"]
    assert "is damaged" in str(caught.value) and "--tau" in caught.value.hint


@pytest.mark.parametrize("ref", ["one", "pickled"])
def test_a_whole_residual_of_another_container(registry: Registry, at: Path, ref: str) -> None:
    """No writer makes such a residual. Plain `verify` finds it, too."""
    attach_as_it_is(registry, ref, residual_path(registry, "two").read_bytes())
    with pytest.raises(ContainerError, match="goes with the container") as caught:
        registry.materialize(ref, at / "out")
    assert caught.value.exit_code == 6
    for deep in (False, True):
        (finding,) = registry.verify(deep=deep).findings
        assert finding.subjects == (f"{ref}@1",) and "another container" in finding.problem
    assert_lossy_is_had(registry, f"{ref}@1", caught.value.hint, at)


def test_a_result_that_is_a_lie(registry: Registry, at: Path) -> None:
    """For a pickled source, only making the result shows the error, so only `verify --deep` finds it."""
    attach_as_it_is(registry, "pickled", lying(residual_path(registry, "pickled").read_bytes()))
    with pytest.raises(ResultMismatch, match="0" * 64) as caught:
        registry.materialize("pickled", at / "out")
    assert caught.value.exit_code == 11
    assert not (at / "out").exists()
    assert_lossy_is_had(registry, "pickled@1", caught.value.hint, at)
    assert registry.verify().is_well
    (finding,) = registry.verify(deep=True).findings
    assert finding.subjects == ("pickled@1",) and "0" * 64 in finding.problem


@pytest.mark.parametrize("what", ["sha256", "size", "path"])
def test_a_header_that_is_a_lie(registry: Registry, at: Path, what: str) -> None:
    """For a safetensors file, the container knows its source, and reports it before anything is made."""
    wrong = {"sha256": "0" * 64, "size": 7, "path": "other.safetensors"}[what]
    data = residual_path(registry, "one").read_bytes()
    attach_as_it_is(
        registry, "one", rewritten(data, lambda header: header["results"][0].update({what: wrong}))
    )
    with pytest.raises(ContainerError) as caught:
        registry.materialize("one", at / "out")
    assert_lossy_is_had(registry, "one@1", caught.value.hint, at)
    (finding,) = registry.verify(deep=True).findings
    assert finding.subjects == ("one@1",)


@pytest.mark.parametrize("lacks", ["w", "b"])
def test_a_tensor_left_out(registry: Registry, at: Path, lacks: str) -> None:
    """Then the result is not the source: the digest tells."""
    data = residual_path(registry, "pickled").read_bytes()

    def drop(header: dict) -> None:
        number = [tensor["name"] for tensor in header["tensors"]].index(lacks)
        header["tensors"][number]["name"] = {"w": "wx", "b": "ba"}[lacks]

    attach_as_it_is(registry, "pickled", rewritten(data, drop))
    with pytest.raises(ContainerError, match="no record like that"):
        registry.materialize("pickled", at / "out")
    assert not (at / "out").exists()


def test_a_damaged_base_is_named_as_that(registry: Registry, at: Path) -> None:
    """And a damaged container: the residual is whole, and nothing says that it is not."""
    base = object_path(registry.folder, registry.base("base").file)
    flip_tensor(base, "w")
    with pytest.raises(BaseMismatch, match="'w'"):
        registry.materialize("one", at / "out")
    flip_tensor(base, "w")
    flip(object_path(registry.folder, registry.version("one").container))
    with pytest.raises(ContainerError) as caught:
        registry.materialize("one", at / "out")
    assert "--tau" not in caught.value.hint and "residual" not in str(caught.value)
    (found,) = registry.verify().findings
    assert found.subjects == ("one@1",)


# What lies beside a container that comes in


@pytest.fixture
def elsewhere(at: Path) -> Iterator[Registry]:
    """Another registry, with the base; `at` has `one`, `two` and `pickled` as files."""
    with Registry.open(at / "registry") as registry:
        for name in ("one", "two", "pickled"):
            written = registry.export_container(name, at / f"{name}.dsvd")
            assert written.residual == at / f"{name}.dsvdr"
    with Registry.init(at / "elsewhere") as made:
        made.add_base("here", at / "base.safetensors")
        yield made


def held(registry: Registry) -> tuple[dict[str, bytes], ...]:
    return tuple(files_in(registry.folder / folder) for folder in ("objects", "events", "tmp"))


@pytest.mark.parametrize("name", ["one", "pickled"])
def test_there_and_back(elsewhere: Registry, at: Path, name: str) -> None:
    added = elsewhere.import_container(at / f"{name}.dsvd")
    with Registry.open(at / "registry") as registry:
        was = registry.version(name)
        here = registry.materialize(name, at / "here")
    assert added.version.residual == was.residual and added.version.source == was.source
    made = elsewhere.materialize(name, at / "out")
    assert made.lossless and made.sha256 == here.sha256
    assert made.path.read_bytes() == here.path.read_bytes()
    assert elsewhere.verify(deep=True).is_well
    before = held(elsewhere)
    again = elsewhere.import_container(at / f"{name}.dsvd")
    assert not again.created and held(elsewhere)[0] == before[0]
    # Its source is recognised.
    source = at / {"one": "one.safetensors", "pickled": "two.ckpt"}[name]
    known = elsewhere.add(source, base="here", name=name, lossless=True)
    assert (known.created, known.upgraded) == (False, False)
    elsewhere.export_container(name, at / "again.dsvd")
    assert (at / "again.dsvdr").read_bytes() == (at / f"{name}.dsvdr").read_bytes()


def test_a_lossy_version_gets_the_residual_that_comes_in(elsewhere: Registry, at: Path) -> None:
    lossless = (at / "one.dsvdr").rename(at / "kept")
    assert elsewhere.import_container(at / "one.dsvd").version.residual is None
    lossless.rename(at / "one.dsvdr")
    again = elsewhere.import_container(at / "one.dsvd")
    assert not again.created and again.version.residual is not None
    assert elsewhere.materialize("one", at / "out").lossless


REFUSED: dict[str, tuple[str, Callable[[bytes, bytes], bytes], type[DsvdError]]] = {
    "damaged": ("one", lambda own, _: own[:-1] + bytes((own[-1] ^ 1,)), ContainerError),
    "cut": ("one", lambda own, _: own[:-1], ContainerError),
    "empty": ("one", lambda _, __: b"", ContainerError),
    "text": ("one", lambda _, __: b"no residual at all, but a few words\n" * 3, ContainerError),
    "foreign": ("one", lambda _, other: other, ContainerError),
    "lying": ("pickled", lambda own, _: lying(own), ResultMismatch),
}


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("what", REFUSED)
def test_refused_on_coming_in(elsewhere: Registry, at: Path, what: str, is_there: bool) -> None:
    """Also where its container is there already. Seen to fail: without the proof in
    `residual_beside`, and with the container's object stored before the residual is looked at."""
    name, change, kind = REFUSED[what]
    if is_there:
        kept = (at / f"{name}.dsvdr").rename(at / "kept")
        elsewhere.import_container(at / f"{name}.dsvd")
        kept.rename(at / f"{name}.dsvdr")
    place = at / f"{name}.dsvdr"
    place.write_bytes(change(place.read_bytes(), (at / "two.dsvdr").read_bytes()))
    before = held(elsewhere), elsewhere.versions()
    with pytest.raises(kind) as caught:
        elsewhere.import_container(at / f"{name}.dsvd")
    assert f"{name}.dsvdr" in f"{caught.value} {caught.value.hint}"
    assert (held(elsewhere), elsewhere.versions()) == before


def test_a_foreign_one_that_is_in_the_store(elsewhere: Registry, at: Path) -> None:
    """It is that of another version there: known, and still not this container's.

    Seen to fail: it was passed over, and the version came in lossy, without a word.
    """
    elsewhere.import_container(at / "two.dsvd")
    (at / "one.dsvdr").write_bytes((at / "two.dsvdr").read_bytes())
    before = held(elsewhere), elsewhere.versions()
    with pytest.raises(ContainerError, match="goes with the container"):
        elsewhere.import_container(at / "one.dsvd")
    assert (held(elsewhere), elsewhere.versions()) == before


def test_a_good_residual_beside_a_container_that_lies(elsewhere: Registry, at: Path) -> None:
    """Nothing stays of it. Seen to fail: the residual had become an object by then."""
    data = crafting.rewritten(
        at / "pickled.dsvd", lambda header: header["results"][0].update(sha256="0" * 64)
    )
    (at / "liar.dsvd").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    residual = rewritten(
        (at / "pickled.dsvdr").read_bytes(), lambda header: header.update(container=digest)
    )
    (at / "liar.dsvdr").write_bytes(residual)
    before = held(elsewhere), elsewhere.versions()
    with pytest.raises(ResultMismatch):
        elsewhere.import_container(at / "liar.dsvd")
    assert (held(elsewhere), elsewhere.versions()) == before


def test_a_residual_of_a_lossy_export_does_not_stay(at: Path, registry: Registry) -> None:
    """Replaced, the files beside it are those of the version."""
    registry.export_container("one", at / "x.dsvd")
    assert (at / "x.dsvdr").is_file()
    registry.thin("one")
    written = registry.export_container("one", at / "x.dsvd", replace=True)
    assert written.residual is None and not (at / "x.dsvdr").exists()


def test_the_lossy_result_is_that_of_the_tau(registry: Registry, at: Path) -> None:
    """The hint of a version whose ranks nobody chose names a tau, too, that is served."""
    registry.add(at / "one.safetensors", base="base", name="free", lossless=True)
    residual_path(registry, "free").unlink()
    with pytest.raises(RegistryError) as caught:
        registry.materialize("free", at / "out")
    assert_lossy_is_had(registry, "free@1", caught.value.hint, at)
    assert registry.report("one").tau == TAU
