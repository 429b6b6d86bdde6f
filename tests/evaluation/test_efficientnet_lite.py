"""The built-in extractors: the network of their reference implementation, on real photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from trained_pair import one_thread

from dsvd_registry.evaluation.extractors.efficientnet_lite import (
    SIZES,
    EfficientNetLite,
    Size,
    installed_weights,
)
from dsvd_registry.evaluation.extractors.pixels import resized
from dsvd_registry.evaluation.features import cosine, distance

from .photographs import photographs

DOGS = range(151, 269)  # the classes of ImageNet that are breeds of dogs


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_as_the_reference_implementation(size: Size) -> None:
    file = installed_weights(size)
    assert file is not None
    with one_thread(), torch.no_grad():
        ours = EfficientNetLite(size, file, "cpu")
        theirs = EfficientNet.from_pretrained(size.name.lower(), weights_path=str(file)).eval()
        dogs = [one for name, ones in photographs().items() if name[:3] == "dog" for one in ones]
        for picture in dogs[:2]:
            pixels = torch.from_numpy(resized(picture, size.side).astype(np.float32))
            logits = theirs(((pixels - 127) / 128).permute(2, 0, 1)[None])[0].numpy()
            assert np.abs(ours.classes(picture) - logits).max() < 1e-3 < np.abs(logits).max()
        named = [int(np.argmax(ours.classes(picture))) in DOGS for picture in dogs[::5]]
    assert sum(named) > 0.7 * len(named)


def test_features_of_subjects() -> None:
    file = installed_weights(SIZES[0])
    assert file is not None
    known = photographs()
    with one_thread():
        extractor = EfficientNetLite(SIZES[0], file, "cpu")
        dogs, ducks = (
            list(map(extractor.features, known[name][:3])) for name in ("dog6", "duck_toy")
        )
        again = extractor.features(known["dog6"][0])
    assert cosine(dogs[0].vector, again.vector) == 1
    assert distance(dogs[0], again) == 0
    near = [cosine(dogs[0].vector, other.vector) for other in dogs[1:]]
    far = [cosine(dogs[0].vector, other.vector) for other in ducks]
    assert min(near) > max(far) + 0.1
    assert min(distance(dogs[0], other) for other in ducks) > 0.5
