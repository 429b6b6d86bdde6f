"""Any part of a result, read alone, is that part of the file that is written as a whole."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry import Registry
from dsvd_registry.container.records import BasedRecord
from dsvd_registry.errors import InvalidArgument, NotFound, TauNotServed

from .conftest import TAU, Pair, sha256
from .readable import (
    Readable,
    in_small_pieces,
    of_casts,
    of_every_kind,
    of_layouts,
    of_loras,
    of_variants,
    write_pipelines,
)

CACHE = 200_000  # bytes: far fewer than the results have


@pytest.fixture(scope="module")
def files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Readable]]:
    at = tmp_path_factory.mktemp("readable")
    made = [*of_every_kind(at, pair), *of_casts(at), *of_variants(at), *of_loras(at)]
    made += of_layouts(at)
    with in_small_pieces(CACHE):
        yield made
        for registry in {id(file.registry): file.registry for file in made}.values():
            registry.close()


def test_there_is_every_kind(files: list[Readable]) -> None:
    """The cases are what the other tests believe them to be."""
    kinds, views, longer = set(), set(), 0
    for file in {(id(file.registry), file.ref): file for file in files}.values():
        repository = file.registry.repository
        with repository.open_container(file.registry.version(file.ref)) as container:
            for record in container.header.tensors:
                kinds.add(record.kind)
                if isinstance(record, BasedRecord):
                    views.add(record.view.kind)
                    longer += record.common_shape != record.shape
    assert kinds == {"same", "low_rank", "dense", "raw", "cast"}
    assert views == {"reshape", "transpose", "slice", "concatenate"} and longer
    paths = {file.path for file in files}
    assert {None, "tokenizer/own.json", "tokenizer/empty.txt"} <= paths
    assert len([path for path in paths if path and "-of-" in path]) > 3
    assert sum(len(file.whole) for file in files) > 10 * CACHE


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_part(files: list[Readable], data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(files))
    size = len(file.whole)
    places = st.tuples(st.integers(0, size + 10), st.one_of(st.integers(0, 300), st.just(size)))
    with file.open() as result:
        assert result.size == size
        for offset, count in data.draw(st.lists(places, min_size=1, max_size=6)):
            assert result.read_at(offset, count) == file.whole[offset : offset + count]


def test_from_first_to_last(files: list[Readable]) -> None:
    """In steps of every size, so that runs are made ahead of the reads."""
    largest = sorted(files, key=lambda file: -len(file.whole))[:4]
    for number, file in enumerate({id(file): file for file in (*files[:8], *largest)}.values()):
        with file.open() as result:
            step = (len(file.whole) // 300 + 1, 5000, 1 << 20)[number % 3]
            read = b"".join(iter(lambda: result.read(step), b""))  # noqa: B023
            assert read == file.whole


def test_many_threads(files: list[Readable]) -> None:
    """On files of their own and on common ones, in any order, with too small a cache for all."""
    numbers = random.Random(3)
    some = numbers.sample(files, 12)
    opened = [(file, file.open()) for file in some for _ in range(2)]

    def read(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(30):
            file, result = order.choice(opened)
            offset, count = order.randrange(len(file.whole) + 1), order.randrange(3000)
            assert result.read_at(offset, count) == file.whole[offset : offset + count]

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(read, seed) for seed in range(8)]:
            done.result()
    for _, result in opened:
        result.close()


def test_sizes_and_digests(files: list[Readable]) -> None:
    """They are known beforehand, and a digest only where one is on record."""
    for file in files:
        entries = file.registry.result_files(file.ref, **file.form)
        (entry,) = (e for e in entries if e.path == (file.path or "model.safetensors"))
        assert entry.size == len(file.whole)
        is_tensors = entry.path.endswith(".safetensors")
        if file.form in ({}, {"tau": TAU}) or not is_tensors:
            assert entry.sha256 == hashlib.sha256(file.whole).hexdigest()
        else:
            assert entry.sha256 is None
        with file.open() as result:
            assert (result.size, result.sha256) == (entry.size, entry.sha256)


def test_a_file_of_python(files: list[Readable]) -> None:
    file = files[0]
    with file.open() as result:
        assert result.readable() and result.seekable() and not result.writable()
        assert result.seek(-10, io.SEEK_END) == len(file.whole) - 10
        assert result.read() == file.whole[-10:]
        assert result.read(5) == b""
        assert result.seek(3) == 3 and result.seek(4, io.SEEK_CUR) == 7 == result.tell()
        memory = bytearray(20)
        assert result.readinto(memory) == 20 and memory == file.whole[7:27]
        with pytest.raises(ValueError, match="before the file"):
            result.seek(-1)
        with pytest.raises(ValueError, match="no part"):
            result.read_at(-1, 3)
    with pytest.raises(ValueError, match="closed"):
        result.read_at(0, 1)
    with io.BufferedReader(file.open()) as buffered:
        assert buffered.read(9) + buffered.read() == file.whole


def test_what_is_not_there(files: list[Readable]) -> None:
    folder = next(file for file in files if file.ref == "as-it-is")
    with pytest.raises(NotFound, match=r"no file 'unet/none'"):
        folder.registry.open_result(folder.ref, "unet/none")
    with pytest.raises(NotFound, match="no file"):
        folder.registry.open_result(folder.ref, "../tuned/model_index.json")
    with pytest.raises(InvalidArgument, match="none of them was named") as caught:
        folder.registry.open_result(folder.ref)
    assert "model_index.json" in caught.value.hint
    with pytest.raises(TauNotServed):
        files[1].registry.open_result("lossy", tau=1.0)
    with pytest.raises(InvalidArgument):
        files[1].registry.open_result("lossy", tau=2.0)
    with pytest.raises(InvalidArgument, match="like"):
        folder.registry.open_result(folder.ref, "unet/config.json", like="folder")
    with pytest.raises(NotFound, match="nobody"):
        folder.registry.result_files(folder.ref, layout="diffusers", like="nobody")


def test_another_folder_of_the_same_name(tmp_path: Path) -> None:
    """Neither the listing nor an open result is that of the base that had the name before."""
    write_pipelines(tmp_path)
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("file", tmp_path / "base.safetensors")
        registry.add_base("pattern", tmp_path / "base")
        registry.add(tmp_path / "tuned.safetensors", base="file", name="subject", tau=TAU)
        form: dict[str, Any] = {"layout": "diffusers", "like": "pattern"}
        own = "tokenizer/own.json"

        def read() -> bytes:
            with registry.open_result("subject", own, **form) as result:
                listed = {e.path: e for e in registry.result_files("subject", **form)}[own]
                data = result.read()
            assert (listed.size, listed.sha256) == (len(data), hashlib.sha256(data).hexdigest())
            return data

        assert read() == (tmp_path / "base" / own).read_bytes()
        registry.remove_base("pattern")
        registry.add_base("pattern", tmp_path / "tuned")
        assert read() == (tmp_path / "tuned" / own).read_bytes()
        assert read() != (tmp_path / "base" / own).read_bytes()


def test_removed_versions_stay_readable(registry: Registry, tmp_path: Path) -> None:
    whole = registry.materialize("subject", tmp_path / "out").path.read_bytes()
    with registry.open_result("subject") as result:
        container = registry.version("subject").container
        registry.remove_version("subject@1")
        registry.collect_garbage(grace_days=0)
        assert not registry.repository.objects.contains(container)
        assert result.read() == whole
        with pytest.raises(NotFound):
            registry.open_result("subject")


def test_a_closed_registry_gives_no_bytes(registry: Registry) -> None:
    result = registry.open_result("subject")
    result.read_at(100, 10)
    registry.close()
    with pytest.raises(ValueError, match="closed"):
        result.read_at(5000, 10_000)
    result.close()


def test_an_import_is_listed(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    """It opens nothing, either."""
    registry.export_container("subject", tmp_path / "it.dsvd")
    with Registry.init(tmp_path / "other") as other:
        other.add_base("sd15", pair.base_file)
        version = other.import_container(tmp_path / "it.dsvd").version
        other.repository.objects.local_file(version.container).rename(tmp_path / "away")
        (listed,) = other.result_listings([version]).files.values()
    assert listed == registry.result_files("subject")


def test_listings_open_nothing(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    """They come from the catalog: the containers can be away. What it has forgotten is read again."""
    registry.add(pair.tuned_file, base="sd15", name="other", tau=TAU / 2, lossless=True)
    made = registry.materialize("subject", tmp_path / "out")
    versions = registry.versions()
    away = registry.repository.objects.local_file(registry.version("subject").container)
    away.rename(tmp_path / "away")
    found = registry.result_listings(versions)
    listed = found.files
    assert found.failures == {}
    assert [(e.size, e.sha256) for e in listed["subject@1"]] == [(made.size, made.sha256)]
    source = pair.tuned_file
    (entry,) = listed["other@1"]
    assert (entry.size, entry.sha256) == (source.stat().st_size, sha256(source))
    lower = registry.result_listings(versions, tau=TAU / 4)
    assert listed.keys() == {"subject@1", "other@1"} and lower.files.keys() == {"other@1"}
    assert away.name in str(lower.failures["subject@1"])
    with registry.repository.catalog._database.writing() as connection:
        connection.execute("DELETE FROM result_listings")
    without = registry.result_listings(versions)
    assert without.files.keys() == {"other@1"} and without.failures.keys() == {"subject@1"}
    (tmp_path / "away").rename(away)
    assert registry.result_listings(versions).files == listed
