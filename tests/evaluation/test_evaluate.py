"""Whole evaluations of real pictures: what the measures say of what is known, and what they see."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import structural_similarity
from trained_pair import one_thread

from dsvd_registry.errors import InvalidArgument
from dsvd_registry.evaluation.columns import columns
from dsvd_registry.evaluation.evaluate import evaluate
from dsvd_registry.evaluation.extractors.efficientnet_lite import (
    SIZES,
    EfficientNetLite,
    installed_weights,
)
from dsvd_registry.evaluation.extractors.judges import Judge, Judges
from dsvd_registry.evaluation.features import Features
from dsvd_registry.evaluation.measuring import measured, photographs_of
from dsvd_registry.evaluation.models import BASE, FINE_TUNE, NOISE
from dsvd_registry.evaluation.painting import Painted, painted
from dsvd_registry.evaluation.picture_store import PictureStore
from dsvd_registry.evaluation.results import Evaluation, Measured
from dsvd_registry.evaluation.summary import summarised
from dsvd_registry.progress import silent

from .conftest import Studio

LITE0 = SIZES[0].name
TAU = "tau 0.3"


class Remembering:
    """An extractor that looks at each different picture once."""

    def __init__(self, extractor: EfficientNetLite) -> None:
        self.name, self.weights = extractor.name, extractor.weights
        self._extractor, self._known = extractor, {}

    def features(self, picture: np.ndarray) -> Features:
        key = picture.shape, picture.tobytes()
        if key not in self._known:
            self._known[key] = self._extractor.features(picture)
        return self._known[key]


@dataclasses.dataclass(frozen=True)
class Done:
    """An evaluation of two subjects, and its pictures."""

    found: Evaluation
    store: PictureStore
    plan: tuple[tuple[Painted, ...], ...]
    extractor: Remembering

    def again(self, change: Callable[[Painted], Painted]) -> Measured:
        """Measure once more, with the pictures of some models in another order."""
        plan = [[change(one) for one in ones] for ones in self.plan]
        judges = Judges((Judge(self.extractor, True, True),), {})
        return measured(plan, self.found.request.seeds, self.store, judges, silent)


@pytest.fixture(scope="module")
def done(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Done:
    request = studio.request(
        "subject",
        "other",
        taus=(0.3,),
        full=(studio.folder / "subject.safetensors", studio.folder / "other.safetensors"),
        reference=studio.folder / "photographs",
    )
    pictures = tmp_path_factory.mktemp("pictures")
    with one_thread():
        found = evaluate(request, studio.registry, pictures)
        store = PictureStore(pictures)
        plan = painted(request, found.subjects, store, studio.registry, silent)
        file = installed_weights(SIZES[0])
        assert file is not None
        return Done(found, store, plan, Remembering(EfficientNetLite(SIZES[0], file, "cpu")))


def mean_of(done: Measured, model: str, key: str) -> float:
    return float(np.mean([row.values[key] for row in done.pictures if row.model == model]))


def test_the_fine_tune_against_itself(done: Done) -> None:
    rows = {row.label: row for row in done.found.models}
    assert list(rows) == [BASE, FINE_TUNE, NOISE, TAU]
    own = rows[FINE_TUNE].cells
    for column in done.found.columns:
        if column.kind == "paired" and not column.reason:
            one = own[column.key].estimate
            assert one is not None
            exact = math.inf if column.key == "psnr" else float(column.is_higher)
            assert (one.mean, one.low, one.high) == (exact, exact, exact), column.key
    # What is no fine-tune is told from it, the base more than the noise of half precision.
    ssims = [rows[label].cells["ssim"].estimate for label in (BASE, TAU, NOISE)]
    assert all(one is not None for one in ssims)
    assert ssims[0].mean < ssims[1].mean < ssims[2].mean < 1
    for row in done.found.models:
        assert row.cells["similarity clip"].estimate is None


def test_figures_by_hand(done: Done, studio: Studio) -> None:
    """The figures of one picture, of one set and of one mean, from the files in the folder."""
    found, rows = done.found, done.found.measured.pictures
    own = {(r.subject, r.number, r.seed): r for r in rows if r.model == FINE_TUNE}
    row = next(r for r in rows if r.model == TAU and r.subject == "other@1" and r.seed == 1)
    pixels = [
        np.asarray(Image.open(done.store.path(key)))
        for key in (row.picture, own[row.subject, row.number, row.seed].picture)
    ]
    options = {"data_range": 255, "channel_axis": -1, "gaussian_weights": True}
    theirs = structural_similarity(*pixels, use_sample_covariance=False, sigma=1.5, **options)
    assert row.values["ssim"] == pytest.approx(theirs)
    apart = np.mean(((pixels[0].astype(float) - pixels[1]) / 255) ** 2)
    assert row.values["psnr"] == pytest.approx(10 * np.log10(1 / apart))
    files = sorted((studio.folder / "photographs/other").glob("*.jpg"))
    photographs = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    vectors = [done.extractor.features(one).vector for one in (*photographs, pixels[0])]
    mine, theirs = vectors[-1], vectors[:-1]
    lengths = [np.linalg.norm(mine) * np.linalg.norm(one) for one in theirs]
    similar = np.mean([mine @ one / length for one, length in zip(theirs, lengths, strict=True)])
    assert row.values[f"similarity {LITE0}"] == pytest.approx(similar)
    similarity = f"similarity {LITE0}"
    base, full, at_tau = (
        mean_of(found.measured, model, similarity) for model in (BASE, FINE_TUNE, TAU)
    )
    cells = {one.label: one.cells[similarity] for one in found.models}
    assert cells[TAU].estimate.mean == pytest.approx(at_tau)
    share = cells[TAU].share
    if share is not None:
        assert share.mean == pytest.approx((at_tau - base) / (full - base))
        assert (cells[FINE_TUNE].share.mean, cells[BASE].share.mean) == (1, 0)
    assert len(rows) == 2 * 4 * 2 * 2


def test_what_is_seen(done: Done) -> None:
    """A shuffled seed, a permuted prompt, a swapped subject and a permuted label."""
    subjects = {
        ones[0].subject.ref: {one.model.label: one.keys for one in ones} for ones in done.plan
    }

    def with_keys(keys: Callable[[Painted], tuple[tuple[str, ...], ...]]) -> Measured:
        """With the base's place taken by pictures of the fine-tune, in some order."""
        return done.again(
            lambda one: dataclasses.replace(one, keys=keys(one)) if one.model.label == BASE else one
        )

    def own(one: Painted) -> tuple[tuple[str, ...], ...]:
        return subjects[one.subject.ref][FINE_TUNE]

    same = with_keys(own)
    assert mean_of(same, BASE, "ssim") == 1
    assert mean_of(same, BASE, f"distance {LITE0}") == 0
    others = {"subject@1": "other@1", "other@1": "subject@1"}
    for changed in (
        with_keys(lambda one: tuple(tuple(reversed(row)) for row in own(one))),
        with_keys(lambda one: subjects[others[one.subject.ref]][FINE_TUNE]),
    ):
        assert mean_of(changed, BASE, "ssim") < 0.99
        assert mean_of(changed, BASE, f"cosine {LITE0}") < 0.999
        assert mean_of(changed, BASE, f"distance {LITE0}") > 0.02
    # The toy hardly listens to its prompt, and what it hears is seen.
    permuted = with_keys(lambda one: tuple(reversed(own(one))))
    assert mean_of(permuted, BASE, "ssim") < 0.9999
    assert mean_of(permuted, BASE, f"distance {LITE0}") > 0.001
    # Another label's pictures: as far from the fine-tune's as they were under their own.
    swapped = with_keys(lambda one: subjects[one.subject.ref][TAU])
    for key in ("ssim", f"cosine {LITE0}", f"distance {LITE0}"):
        assert mean_of(swapped, BASE, key) == mean_of(swapped, TAU, key) != mean_of(same, BASE, key)


def test_shares_and_verdicts(done: Done) -> None:
    """What is kept, where the truth is known: made-up similarities in the place of the real ones."""
    key = f"similarity {LITE0}"
    draw = np.random.default_rng(0)
    gained = {}
    rows = []
    kept = {BASE: 0.0, FINE_TUNE: 1.0, NOISE: 0.99, TAU: 0.6}
    for row in done.found.measured.pictures:
        place = row.subject, row.number, row.seed
        gained.setdefault(place, 0.3 + 0.01 * draw.random())
        value = 0.4 + kept[row.model] * gained[place]
        rows.append(dataclasses.replace(row, values={**row.values, key: value}))
    made = dataclasses.replace(done.found.measured, pictures=tuple(rows))
    by_label = {
        row.label: row.cells[key]
        for row in summarised(done.found.subjects, done.found.columns, made, 0.05)
    }
    for label, share in kept.items():
        assert by_label[label].share.mean == pytest.approx(share)
    assert by_label[NOISE].is_no_worse and by_label[FINE_TUNE].is_no_worse
    assert not by_label[TAU].is_no_worse and not by_label[BASE].is_no_worse
    wide = summarised(done.found.subjects, done.found.columns, made, 0.5)
    assert {row.label for row in wide if row.cells[key].is_no_worse} == {FINE_TUNE, NOISE, TAU}


def test_empty_columns_say_why(done: Done) -> None:
    reasons = {column.key: column.reason for column in columns(Judges((), {"clip": "why"}), False)}
    assert reasons["text clip"] == reasons["similarity clip"] == "why"
    judges = Judges((Judge(done.extractor, True, True),), {})
    reasons = {column.key: column.reason for column in columns(judges, has_photographs=False)}
    assert reasons[f"similarity {LITE0}"] == "no --reference with photographs was given"
    assert reasons[f"distance {LITE0}"] == ""


def test_photographs(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="has 0 photographs"):
        photographs_of(tmp_path)
    image = Image.fromarray(np.zeros((8, 4, 3), np.uint8))
    exif = image.getexif()
    exif[274] = 6  # turned: the camera was held upright
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert photographs_of(tmp_path)[0].shape == (4, 8, 3)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    with pytest.raises(InvalidArgument, match=r"broken\.png is not a whole PNG"):
        photographs_of(tmp_path)
