"""Versions added with `lossless` come back to the bit, for any bits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.checkpoint.tensor_info import BITS, tensor_bytes
from dsvd_registry.registry import Addition
from dsvd_registry.residual.reader import Residual

from .conftest import Pair, sha256, write_pickle
from .lossless_registry import residual_path
from .rawfiles import UNSIGNED, RawTensor, of_bits, read_raw, write_raw

FLOATS = tuple(UNSIGNED)
NUMBERS = itertools.count()

Tensors = dict[str, RawTensor]

# What the numbers of a tensor may be, by the bits of NaN, infinity and the like in each dtype.
SPECIAL = {
    "F32": {"nan": 0x7FC00000, "other nan": 0xFF812345, "inf": 0x7F800000, "largest": 0x7F7FFFFF},
    "F16": {"nan": 0x7E00, "other nan": 0xFC01, "inf": 0x7C00, "largest": 0x7BFF},
    "BF16": {"nan": 0x7FC0, "other nan": 0xFF81, "inf": 0x7F80, "largest": 0x7F7F},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for all examples; each has a base of its own."""
    with Registry.init(tmp_path_factory.mktemp("shared") / "registry") as made:
        yield made


def there_and_back(registry: Registry, base: Tensors, tuned: Tensors, **wish: float) -> Addition:
    """Add the fine-tune, and see that the file written is the file added."""
    place = registry.folder.parent
    name = f"n{next(NUMBERS)}"
    # A tensor of its own makes each base another one.
    own = {"own": RawTensor("U8", (8,), name.encode().ljust(8))}
    base_file = write_raw(base | own, place / f"{name}.base.safetensors")
    source = write_raw(tuned | own, place / f"{name}.safetensors", {"of": name})
    with one_thread():
        registry.add_base(name, base_file)
        added = registry.add(source, base=name, lossless=True, **wish)
        made = registry.materialize(name, place / f"{name}.out")
    assert added.created and not added.upgraded and added.version.residual is not None
    assert made.path.read_bytes() == source.read_bytes()
    assert made.recorded and made.lossless
    assert made.sha256 == added.version.source.sha256
    assert made.size == added.version.source.size
    return added


@st.composite
def any_tensors(draw: st.DrawFn) -> tuple[Tensors, Tensors]:
    """A base and a fine-tune. Bits of the second are anything, or near those of the first."""
    base: Tensors = {}
    tuned: Tensors = {}
    for number in range(draw(st.integers(1, 4))):
        # The dtypes that have differences come up as often as all others together.
        dtype = draw(st.sampled_from(FLOATS) | st.sampled_from(tuple(BITS)))
        of_base = draw(st.sampled_from((dtype, dtype, *FLOATS)))
        shape = tuple(draw(st.lists(st.sampled_from((1, 2, 4, 12)), max_size=3)))
        if BITS[dtype] < 8 or BITS[of_base] < 8:
            shape = (4, *shape)  # whole bytes
        if draw(st.integers(0, 9)) == 9:
            shape = (0, *shape)
        random = np.random.default_rng(draw(st.integers(0, 2**32)))
        before = _bits(random, of_base, shape, draw(st.booleans()))
        after = _bits(random, dtype, shape, draw(st.booleans()))
        if draw(st.booleans()):
            before, after = _finite(before), _finite(after)
        if of_base == dtype and draw(st.booleans()):
            after = _near(random, before)
        if dtype == "BOOL":
            after = RawTensor(dtype, shape, bytes(byte & 1 for byte in after.data))
        base[f"t{number}"], tuned[f"t{number}"] = before, after
    order = draw(st.permutations(list(tuned)))
    return base, {name: tuned[name] for name in order}


def _bits(random: np.random.Generator, dtype: str, shape: tuple[int, ...], tame: bool) -> RawTensor:
    """Any bits at all; `tame`: those of numbers around 1."""
    if tame and dtype in FLOATS and 0 not in shape:
        values = torch.from_numpy(np.asarray(random.standard_normal(shape)))
        into = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
        data = values.to(into).reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()
        return RawTensor(dtype, shape, data)
    return RawTensor(dtype, shape, random.bytes(tensor_bytes(dtype, shape)))


def _finite(tensor: RawTensor) -> RawTensor:
    """Numbers of every size in the place of NaN and infinity, which no delta is taken of."""
    if tensor.dtype not in FLOATS:
        return tensor
    found, infinity = _unsigned(tensor).copy(), SPECIAL[tensor.dtype]["inf"]
    found[found & infinity == infinity] ^= infinity & -infinity  # the exponent's lowest bit
    return RawTensor(tensor.dtype, tensor.shape, found.tobytes())


def _unsigned(tensor: RawTensor) -> np.ndarray:
    return np.frombuffer(tensor.data, UNSIGNED[tensor.dtype])


def _near(random: np.random.Generator, tensor: RawTensor) -> RawTensor:
    """A few lowest bits are others."""
    data = np.frombuffer(tensor.data, np.uint8).copy()
    step = max(1, BITS[tensor.dtype] // 8)
    data[::step] ^= random.integers(0, 4, len(data[::step]), np.uint8)
    return RawTensor(tensor.dtype, tensor.shape, data.tobytes())


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(tensors=any_tensors(), tau=st.sampled_from((None, 0.3, 1.0)))
def test_any_bits(shared: Registry, tensors: tuple[Tensors, Tensors], tau: float | None) -> None:
    """Any bits of every dtype of a checkpoint come back.

    Seen to fail: with the sign not turned in `ordered.restored`.
    """
    base, tuned = tensors
    there_and_back(shared, base, tuned, **({} if tau is None else {"tau": tau}))


def test_every_dtype_at_once(shared: Registry) -> None:
    """Each against a base of its own dtype, and against one of F32."""
    random = np.random.default_rng(5)
    base: Tensors = {}
    tuned: Tensors = {}
    for dtype in BITS:
        for of_base in (dtype, "F32"):
            before = _bits(random, of_base, (8, 12), tame=of_base != dtype)
            after = _bits(random, dtype, (8, 12), tame=False)
            if dtype == "BOOL":
                after = RawTensor(dtype, (8, 12), bytes(byte & 1 for byte in after.data))
            base[f"{dtype}-{of_base}"], tuned[f"{dtype}-{of_base}"] = before, after
    there_and_back(shared, base, tuned)


def adversarial(dtype: str) -> Tensors:
    """Each of 16 x 24, but where it says otherwise."""
    special, sign = SPECIAL[dtype], 1 << (BITS[dtype] - 1)
    random = np.random.default_rng(11)
    places = np.arange(384).reshape(16, 24)

    def everywhere(bits: int) -> RawTensor:
        return of_bits(dtype, np.full((16, 24), bits))

    mixed = _unsigned(_bits(random, dtype, (16, 24), tame=True)).reshape(16, 24).copy()
    mixed[3, 5], mixed[7, 7], mixed[9, 1] = special["nan"], special["inf"], sign
    return {
        "all nan": everywhere(special["nan"]),
        "nan of two kinds": of_bits(
            dtype, np.where(places % 2, special["nan"], special["other nan"])
        ),
        "alternating infinities": of_bits(
            dtype, np.where(places % 2, special["inf"], special["inf"] | sign)
        ),
        "denormals": of_bits(dtype, places % 90),
        "negative denormals": of_bits(dtype, sign | places % 90),
        "one number": everywhere(0x3F800000 if dtype == "F32" else 0x3C00),
        "zeros": everywhere(0),
        "negative zeros": everywhere(sign),
        "zeros of both signs": of_bits(dtype, sign * (places % 2)),
        "largest": of_bits(
            dtype, np.where(places % 2, special["largest"], special["largest"] | sign)
        ),
        "smallest": everywhere(1),
        "unrelated": _bits(random, dtype, (16, 24), tame=True),
        "any bits": _bits(random, dtype, (16, 24), tame=False),
        "numbers of every size": _finite(_bits(random, dtype, (16, 24), tame=False)),
        "a vector of every size": _finite(_bits(random, dtype, (384,), tame=False)),
        "mostly tame": of_bits(dtype, mixed),
        "one row": _bits(random, dtype, (1, 384), tame=True),
        "one column": _bits(random, dtype, (384, 1), tame=True),
        "vector": _bits(random, dtype, (384,), tame=True),
        "convolution": _bits(random, dtype, (4, 4, 3, 8), tame=True),
        "narrow": _bits(random, dtype, (96, 4), tame=True),
        "few elements": _bits(random, dtype, (66,), tame=True),
        "one element": _bits(random, dtype, (1,), tame=True),
        "scalar": _bits(random, dtype, (), tame=True),
        "empty": RawTensor(dtype, (0, 4), b""),
        "of an empty row": RawTensor(dtype, (4, 0), b""),
    }


@pytest.mark.parametrize("of_base", FLOATS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_adversarial_tensors(shared: Registry, dtype: str, of_base: str) -> None:
    """Each over tame numbers, and over itself cut to the base's dtype or in other places.

    fp16 and bf16 over fp32, and fp32 over these, are among them. Seen to fail: with `-0.0` taken for
    `0.0` in the differences.
    """
    random = np.random.default_rng(3)
    base: Tensors = {}
    tuned: Tensors = {}
    others = list(adversarial(of_base).values())
    for number, (name, tensor) in enumerate(adversarial(dtype).items()):
        tame = _bits(random, of_base, tensor.shape, tame=True)
        base[name], tuned[name] = tame, tensor
        other = others[number - 1]
        if other.shape == tensor.shape:
            base[f"{name} over another"], tuned[f"{name} over another"] = other, tensor
        # And the other way round: numbers that are tame over a base that is not.
        base[f"over {name}"] = others[number]
        tuned[f"over {name}"] = _bits(random, dtype, tensor.shape, tame=True)
        if of_base == dtype:
            base[f"{name} moved"], tuned[f"{name} moved"] = tensor, _near(random, tensor)
    added = there_and_back(shared, base, tuned)
    with Residual(residual_path(shared, added.ref)) as residual:
        assert len(residual.header.tensors) > 20  # or nothing was tried
    if dtype == of_base:
        there_and_back(shared, base, tuned, tau=0.5)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_few_far_away(shared: Registry, dtype: str) -> None:
    """Numbers of every size among many that are near: their differences have digits of their own.

    Seen to fail: with the rest of a run left out in `decode_run`.
    """
    random = np.random.default_rng(12)
    base = {n: _bits(random, dtype, (64, 64), tame=True) for n in ("matrix", "vector")}
    base["vector"] = RawTensor(dtype, (4096,), base["vector"].data)
    tuned = {}
    for name, tensor in base.items():
        found = _unsigned(_near(random, tensor)).copy()
        far = _unsigned(_bits(random, dtype, (6,), tame=True))
        found[:: len(found) // 6][:6] = far
        tuned[name] = RawTensor(dtype, tensor.shape, found.tobytes())
    added = there_and_back(shared, base, tuned, tau=0.3)
    with Residual(residual_path(shared, added.ref)) as residual:
        assert residual.header.tensors


@pytest.mark.parametrize("dtype", FLOATS)
def test_new_rows(shared: Registry, dtype: str) -> None:
    """Also where their last rows are no numbers."""
    random = np.random.default_rng(4)
    base = {n: _bits(random, dtype, (20, 16), tame=True) for n in ("a", "b", "c")}
    tuned = {
        "a": _rows(_near(random, base["a"]), _bits(random, dtype, (3, 16), tame=False)),
        "b": _rows(base["b"], _bits(random, dtype, (1, 16), tame=True)),
        "c": _bits(random, dtype, (21, 16), tame=False),
    }
    there_and_back(shared, base, tuned)


def _rows(above: RawTensor, below: RawTensor) -> RawTensor:
    shape = above.shape[0] + below.shape[0], *above.shape[1:]
    return RawTensor(above.dtype, shape, above.data + below.data)


def test_rows_longer_than_a_run(shared: Registry) -> None:
    """Rows of more than 2^20 elements, as matrix and as vector: runs begin and end inside of rows."""
    length = (1 << 20) + 77
    random = np.random.default_rng(6)

    def numbers(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, np.float32)

    def halves(values: np.ndarray) -> RawTensor:
        return RawTensor("F16", values.shape, values.astype(np.float16).tobytes())

    wide, long = numbers(3, length), numbers(length)
    base = {"wide": halves(wide), "long": halves(long)}
    left = np.array([[1.0], [-2.0], [0.5]], np.float32)
    tuned = {
        "wide": halves(wide + 0.01 * left * numbers(1, length)),
        "long": halves(long + 0.01 * numbers(length)),
    }
    added = there_and_back(shared, base, tuned, tau=0.5)
    assert added.version.stored_size < added.version.source.size


def test_smaller_than_the_file_and_the_lossy_result_is_as_asked(shared: Registry) -> None:
    """The container alone gives the result at the tau; with the residual it is below the file's size."""
    random = np.random.default_rng(9)
    base = _bits(random, "F32", (96, 128), tame=True)
    numbers = np.frombuffer(base.data, np.float32).reshape(96, 128)
    delta = 0.01 * random.standard_normal((96, 3)) @ random.standard_normal((3, 128))
    tuned = RawTensor("F32", (96, 128), (numbers + delta).astype(np.float32).tobytes())
    added = there_and_back(shared, {"w": base}, {"w": tuned}, tau=0.4)
    assert shared.report(added.ref).tau == 0.4
    place = shared.folder.parent
    again = shared.add(place / f"{added.version.model}.safetensors", base=added.version.model,
                       name="lossy", tau=0.4)  # fmt: skip
    assert again.version.container == added.version.container
    assert again.version.residual is None
    whole = there_and_back(shared, {"w": base}, {"w": tuned}).version
    assert whole.stored_size < 0.75 * whole.source.size
    assert whole.stored_size <= added.version.stored_size


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_comes_back_tensor_by_tensor(
    registry: Registry, pair: Pair, tmp_path: Path, legacy: bool
) -> None:
    """Views, tensors that share memory, and every kind of record."""
    source = write_pickle(pair.tuned, tmp_path / "ft.ckpt", legacy=legacy)
    added = registry.add(source, base="sd15", name="pickled", lossless=True)
    made = registry.materialize("pickled", tmp_path / "out.safetensors")
    assert made.lossless and made.recorded
    assert made.sha256 != added.version.source.sha256
    written = read_raw(made.path)
    assert written.keys() == pair.tuned.keys()
    for name, tensor in pair.tuned.items():
        assert written[name].shape == tuple(tensor.shape), name
        flat = tensor.contiguous().reshape(-1)
        assert written[name].data == (
            flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        ), name
    assert registry.verify(deep=True).is_well


def test_every_kind_of_record(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    added = registry.add(pair.tuned_file, base="sd15", name="every", lossless=True)
    made = registry.materialize("every", tmp_path / "out.safetensors")
    assert made.sha256 == sha256(made.path) == sha256(pair.tuned_file)
    assert made.path.read_bytes() == pair.tuned_file.read_bytes()
    assert added.version.residual is not None
    assert registry.verify(deep=True).is_well
