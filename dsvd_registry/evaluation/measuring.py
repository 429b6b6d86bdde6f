"""The measures of painted pictures: each against the fine-tune's, the photographs and its prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import fs
from ..errors import InvalidArgument
from ..progress import Progress
from . import columns
from .extractors.judges import Judge, Judges
from .features import Features, Vector, cosine, distance
from .image_similarity import Picture, mean_squared_error, psnr, ssim
from .models import FINE_TUNE, Subject
from .painting import Painted
from .picture_store import PictureStore, read_picture
from .results import Floor, Measured, PictureRow, SetRow
from .set_distances import FEWEST, Matrix, fid, fid_floor, kid

MEASURES = "measures"  # the stage of progress, which counts pictures
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
MOST_PHOTOGRAPHS = 10_000


@dataclass(frozen=True)
class _Reference:
    """The references of a subject's pictures, by the name of each judge."""

    photographs: Mapping[str, Matrix]
    prompts: Mapping[str, tuple[Vector, ...]]
    count: int


def measured(
    plan: Sequence[Sequence[Painted]],
    seeds: Sequence[int],
    store: PictureStore,
    judges: Judges,
    progress: Progress,
) -> Measured:
    """Measure every picture of the plan.

    Raises `InvalidArgument` for a folder without photographs and for damaged pictures, `StorageError`.
    """
    pictures: list[PictureRow] = []
    sets: list[SetRow] = []
    references = []
    total = sum(len(row) for ones in plan for one in ones for row in one.keys)
    for ones in plan:
        reference = _reference(ones[0].subject, judges)
        references.append(reference)
        vectors: dict[str, dict[str, list[Vector]]] = defaultdict(lambda: defaultdict(list))
        for number in range(len(ones[0].subject.prompts)):
            for place, seed in enumerate(seeds):
                rows = _cell(ones, number, place, seed, store, judges, reference, vectors)
                pictures.extend(rows)
                progress(MEASURES, len(pictures), total)
        if reference.count:
            sets.extend(
                SetRow(
                    one.subject.ref,
                    one.model.label,
                    dict(_of_set(vectors[one.model.label], reference)),
                )
                for one in ones
            )
    return Measured(tuple(pictures), tuple(sets), tuple(_floors(references, judges)))


def _cell(
    ones: Sequence[Painted],
    number: int,
    place: int,
    seed: int,
    store: PictureStore,
    judges: Judges,
    reference: _Reference,
    vectors: Mapping[str, Mapping[str, list[Vector]]],
) -> Iterator[PictureRow]:
    """The rows of one prompt and seed; each different picture is looked at once."""
    keys = {one.model.label: one.keys[number][place] for one in ones}
    seen = {key: store.get(key) for key in set(keys.values())}
    features = {
        (judge.extractor.name, key): judge.extractor.features(picture)
        for judge in judges.loaded
        for key, picture in seen.items()
    }
    own = keys[FINE_TUNE]
    for one in ones:
        key = keys[one.model.label]
        values = dict(_of_pixels(seen[key], seen[own]))
        for judge in judges.loaded:
            name = judge.extractor.name
            mine, theirs = features[name, key], features[name, own]
            values |= _of_features(judge, mine, theirs, reference, number)
            if mine.vector is not None:
                vectors[one.model.label][name].append(mine.vector)
        prompt = one.subject.prompts[number]
        yield PictureRow(one.subject.ref, one.model.label, number, prompt, seed, key, values)


def _of_pixels(picture: Picture, own: Picture) -> Iterator[tuple[str, float]]:
    yield columns.SSIM, ssim(picture, own)
    yield columns.PSNR, psnr(mean_squared_error(picture, own))


def _of_features(
    judge: Judge, mine: Features, own: Features, reference: _Reference, number: int
) -> dict[str, float]:
    name, found = judge.extractor.name, {}
    if judge.has_maps:
        found[columns.distance_key(name)] = distance(mine, own)
    if mine.vector is None or own.vector is None:
        return found
    found[columns.cosine_key(name)] = cosine(mine.vector, own.vector)
    if name in reference.photographs:
        similarities = [cosine(mine.vector, one) for one in reference.photographs[name]]
        found[columns.similarity_key(name)] = float(np.mean(similarities))
    if name in reference.prompts:
        found[columns.text_key(name)] = cosine(mine.vector, reference.prompts[name][number])
    return found


def _of_set(
    vectors: Mapping[str, list[Vector]], reference: _Reference
) -> Iterator[tuple[str, float | None]]:
    for name, found in vectors.items():
        painted, photographs = np.stack(found), reference.photographs[name]
        is_enough = min(len(painted), len(photographs)) >= FEWEST
        yield columns.kid_key(name), kid(painted, photographs) if is_enough else None
        yield columns.fid_key(name), fid(painted, photographs) if is_enough else None


def _floors(references: Sequence[_Reference], judges: Judges) -> Iterator[Floor]:
    counts = [reference.count for reference in references]
    for judge in judges.loaded:
        if not judge.has_vector or not min(counts):
            continue
        name = judge.extractor.name
        values = [fid_floor(reference.photographs[name]) for reference in references]
        known = [value for value in values if value is not None]
        mean = float(np.mean(known)) if len(known) == len(values) else None
        yield Floor(columns.fid_key(name), (min(counts), max(counts)), mean)


def _reference(subject: Subject, judges: Judges) -> _Reference:
    """The photographs and the prompts of a subject, as each judge sees them."""
    found = [] if subject.photographs is None else photographs_of(subject.photographs)
    seen: dict[str, Matrix] = {}
    texts: dict[str, tuple[Vector, ...]] = {}
    for judge in judges.loaded:
        if found and judge.has_vector:
            vectors = (judge.extractor.features(one).vector for one in found)
            seen[judge.extractor.name] = np.stack([one for one in vectors if one is not None])
        if judge.texts is not None:
            plain = subject.plain_prompts
            texts[judge.extractor.name] = tuple(map(judge.texts.text, plain))
    return _Reference(seen, texts, len(found))


def photographs_of(folder: Path) -> list[Picture]:
    """The pictures in a folder, in the order of their names.

    Raises `InvalidArgument` if there are none or one is damaged, `StorageError`.
    """
    with fs.storage_errors(folder):
        files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS]
    if not 0 < len(files) <= MOST_PHOTOGRAPHS:
        raise InvalidArgument(
            f"{folder} has {len(files)} photographs",
            f"Give a folder with 1 to {MOST_PHOTOGRAPHS} PNG, JPEG or WebP files of the subject.",
        )
    return [read_picture(path) for path in files]
