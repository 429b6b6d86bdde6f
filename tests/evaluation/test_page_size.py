"""The page of a report that has too many pictures: smaller, then fewer, and still attachable."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsvd_registry.evaluation.columns import columns
from dsvd_registry.evaluation.extractors.judges import Judges
from dsvd_registry.evaluation.models import BASE, FINE_TUNE, Model, Subject
from dsvd_registry.evaluation.painting import Circumstances
from dsvd_registry.evaluation.picture_store import PictureStore
from dsvd_registry.evaluation.report.page import page
from dsvd_registry.evaluation.request import EvaluationRequest
from dsvd_registry.evaluation.results import Evaluation, Measured, PictureRow
from dsvd_registry.evaluation.summary import summarised
from dsvd_registry.registry.describing.attached_bytes import checked_bytes

SUBJECTS, SEEDS = 8, (0, 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    """Eight subjects of noise, which no format makes small, at 256 pixels."""
    store = PictureStore(tmp_path_factory.mktemp("pictures"))
    draw = np.random.default_rng(0)
    for label in (BASE, FINE_TUNE):
        store.put(label, draw.integers(0, 256, (256, 256, 3), np.uint8))
    models = tuple(Model(label, dict, {}, size=1) for label in (BASE, FINE_TUNE))
    subjects = tuple(
        Subject(f"subject-{n}@1", "sks dog", "dog", ("a",), ("a",), None, models)
        for n in range(SUBJECTS)
    )
    values = {"ssim": 1.0, "psnr": 40.0}
    rows = tuple(
        PictureRow(subject.ref, model.label, 0, "a", seed, model.label, values)
        for subject in subjects
        for model in models
        for seed in SEEDS
    )
    measured, shown = Measured(rows, (), ()), columns(Judges((), {}), has_photographs=False)
    request = EvaluationRequest(tuple(one.ref for one in subjects), Path("base"), seeds=SEEDS)
    means = summarised(subjects, shown, measured, 0.05)
    about = Circumstances("0" * 64, {}, "cpu", {})
    return Evaluation(request, about, subjects, shown, means, measured), store.folder


def pictures_in(text: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_pictures_are_smaller_on_a_large_page(large: tuple[Evaluation, Path]) -> None:
    found, folder = large
    text = page(found, folder)
    # It can be attached, which it could not be with pictures of 192 pixels.
    checked_bytes(text.encode(), "index.html")
    shown = pictures_in(text)
    assert len(shown) == SUBJECTS * len(SEEDS) * 2 * 2
    assert {one.size for one in shown} == {(96, 96)}
    assert "at most 96 pixels a side" in text and "subjects are shown" not in text
    whole = page(found, folder, most_bytes=1 << 30)
    assert {one.size for one in pictures_in(whole)} == {(192, 192)}
    assert len(whole.encode()) > 4 << 20
    assert "pixels a side" not in whole


def test_then_fewer_subjects_are_shown(large: tuple[Evaluation, Path]) -> None:
    found, folder = large
    text = page(found, folder, most_bytes=120_000)
    shown = pictures_in(text)
    assert {one.size for one in shown} == {(48, 48)}
    subjects = len(shown) // (len(SEEDS) * 2 * 2)
    assert 0 < subjects < SUBJECTS and len(text.encode()) <= 120_000
    assert f"The first {subjects} of {SUBJECTS} subjects are shown." in text
