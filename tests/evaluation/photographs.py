"""The demo's photographs as arrays, by subject."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from PIL import Image

from demo.pictures import FOLDER
from dsvd_registry.evaluation.image_similarity import Picture


def photographs() -> dict[str, list[Picture]]:
    """The photographs of each subject, 64 x 64 pixels."""
    found = defaultdict(list)
    for file in sorted(FOLDER.glob("*.jpg")):
        with Image.open(file) as image:
            found[file.stem.rpartition("-")[0]].append(np.asarray(image.convert("RGB")))
    return dict(found)
