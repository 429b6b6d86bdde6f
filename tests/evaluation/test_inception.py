"""FID's Inception v3, with random weights, against the same network written out in numpy.

The real weights cannot be had here. `Written` makes each weight as its layer is met, so that the run
that says what the features are also says which names and shapes a file has.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.torch import save_file

from dsvd_registry.errors import CheckpointError
from dsvd_registry.evaluation.columns import columns
from dsvd_registry.evaluation.evaluate import evaluate
from dsvd_registry.evaluation.extractors.inception import Inception
from dsvd_registry.evaluation.extractors.judges import loaded_judges
from dsvd_registry.evaluation.live_pipeline import Settings
from dsvd_registry.evaluation.measuring import photographs_of
from dsvd_registry.evaluation.models import FINE_TUNE
from dsvd_registry.evaluation.picture_store import PictureStore
from dsvd_registry.hashing import sha256_file

from .conftest import Studio
from .photographs import photographs

PARAMETERS = 23_850_960  # torchvision's 23,834,568 of 1,000 classes, and 8 classes of 2,049 more
PICTURE = np.ascontiguousarray(photographs()["dog6"][0][:40])  # not square: nothing is cut off


def windows(x: np.ndarray, height: int, width: int, stride: int, fill: float) -> np.ndarray:
    """The windows around each place of channels x height x width, with `fill` around the whole."""
    if stride == 1:
        above, left = height // 2, width // 2
        x = np.pad(x, ((0, 0), (above, above), (left, left)), constant_values=fill)
    return sliding_window_view(x, (height, width), (1, 2))[:, ::stride, ::stride]


def halve(x: np.ndarray) -> np.ndarray:
    return windows(x, 3, 3, 2, np.nan).max((3, 4))


def largest(x: np.ndarray) -> np.ndarray:
    return windows(x, 3, 3, 1, -np.inf).max((3, 4))


def average(x: np.ndarray) -> np.ndarray:
    """The mean of the pixels of each window that are inside."""
    inside = np.ones_like(x)
    return windows(x, 3, 3, 1, 0).sum((3, 4)) / windows(inside, 3, 3, 1, 0).sum((3, 4))


class Written:
    """The network, layer by layer."""

    def __init__(self) -> None:
        self.state: dict[str, np.ndarray] = OrderedDict()
        self._draw = np.random.default_rng(0)

    def conv(
        self, x: np.ndarray, name: str, out: int, height=1, width=1, stride=1, inner=False
    ) -> np.ndarray:
        """A convolution; `inner`: without padding."""
        shape = out, len(x), height, width
        scale = np.sqrt(2 / np.prod(shape[1:])) * np.sqrt(3)
        weight = self._make(f"{name}.conv.weight", -scale, scale, shape)
        gamma = self._make(f"{name}.bn.weight", 0.5, 1.5, out)
        beta = self._make(f"{name}.bn.bias", -0.5, 0.5, out)
        mean = self._make(f"{name}.bn.running_mean", -0.5, 0.5, out)
        variance = self._make(f"{name}.bn.running_var", 0.5, 2, out)
        self.state[f"{name}.bn.num_batches_tracked"] = np.array(0)
        around = windows(x, height, width, stride, 0)
        if inner and stride == 1:
            around = sliding_window_view(x, (height, width), (1, 2))
        y = np.tensordot(weight, around, ((1, 2, 3), (0, 3, 4)))
        scale, mean, beta = (
            one[:, None, None] for one in (gamma / np.sqrt(variance + 1e-3), mean, beta)
        )
        return np.maximum((y - mean) * scale + beta, 0)

    def features(self, pixels: np.ndarray) -> np.ndarray:
        x = self.conv(pixels, "Conv2d_1a_3x3", 32, 3, 3, 2)
        x = self.conv(x, "Conv2d_2a_3x3", 32, 3, 3, inner=True)
        x = halve(self.conv(x, "Conv2d_2b_3x3", 64, 3, 3))
        x = self.conv(x, "Conv2d_3b_1x1", 80)
        x = halve(self.conv(x, "Conv2d_4a_3x3", 192, 3, 3, inner=True))
        for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = self.a(x, name, pooled)
        x = self.b(x, "Mixed_6a")
        for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = self.c(x, f"Mixed_{name}", width)
        assert x.shape == (768, 17, 17)
        x = self.e(self.e(self.d(x, "Mixed_7a"), "Mixed_7b", average), "Mixed_7c", largest)
        self._make("fc.weight", -1, 1, (1008, 2048))
        self._make("fc.bias", -1, 1, 1008)
        assert x.shape == (2048, 8, 8)
        return x.mean((1, 2))

    def a(self, x, name, pooled) -> np.ndarray:
        five = self.conv(x, f"{name}.branch5x5_1", 48)
        three = self.conv(x, f"{name}.branch3x3dbl_1", 64)
        three = self.conv(three, f"{name}.branch3x3dbl_2", 96, 3, 3)
        ends = (
            self.conv(x, f"{name}.branch1x1", 64),
            self.conv(five, f"{name}.branch5x5_2", 64, 5, 5),
            self.conv(three, f"{name}.branch3x3dbl_3", 96, 3, 3),
            self.conv(average(x), f"{name}.branch_pool", pooled),
        )
        return np.concatenate(ends)

    def b(self, x, name) -> np.ndarray:
        three = self.conv(x, f"{name}.branch3x3dbl_1", 64)
        three = self.conv(three, f"{name}.branch3x3dbl_2", 96, 3, 3)
        three = self.conv(three, f"{name}.branch3x3dbl_3", 96, 3, 3, 2)
        return np.concatenate((self.conv(x, f"{name}.branch3x3", 384, 3, 3, 2), three, halve(x)))

    def c(self, x, name, width) -> np.ndarray:
        seven = self.conv(x, f"{name}.branch7x7_1", width)
        seven = self.conv(seven, f"{name}.branch7x7_2", width, 1, 7)
        double = self.conv(x, f"{name}.branch7x7dbl_1", width)
        double = self.conv(double, f"{name}.branch7x7dbl_2", width, 7, 1)
        double = self.conv(double, f"{name}.branch7x7dbl_3", width, 1, 7)
        double = self.conv(double, f"{name}.branch7x7dbl_4", width, 7, 1)
        ends = (
            self.conv(x, f"{name}.branch1x1", 192),
            self.conv(seven, f"{name}.branch7x7_3", 192, 7, 1),
            self.conv(double, f"{name}.branch7x7dbl_5", 192, 1, 7),
            self.conv(average(x), f"{name}.branch_pool", 192),
        )
        return np.concatenate(ends)

    def d(self, x, name) -> np.ndarray:
        three = self.conv(x, f"{name}.branch3x3_1", 192)
        seven = self.conv(x, f"{name}.branch7x7x3_1", 192)
        seven = self.conv(seven, f"{name}.branch7x7x3_2", 192, 1, 7)
        seven = self.conv(seven, f"{name}.branch7x7x3_3", 192, 7, 1)
        ends = (
            self.conv(three, f"{name}.branch3x3_2", 320, 3, 3, 2),
            self.conv(seven, f"{name}.branch7x7x3_4", 192, 3, 3, 2),
            halve(x),
        )
        return np.concatenate(ends)

    def e(self, x, name, pool) -> np.ndarray:
        three = self.conv(x, f"{name}.branch3x3_1", 384)
        double = self.conv(x, f"{name}.branch3x3dbl_1", 448)
        double = self.conv(double, f"{name}.branch3x3dbl_2", 384, 3, 3)
        ends = (
            self.conv(x, f"{name}.branch1x1", 320),
            self.conv(three, f"{name}.branch3x3_2a", 384, 1, 3),
            self.conv(three, f"{name}.branch3x3_2b", 384, 3, 1),
            self.conv(double, f"{name}.branch3x3dbl_3a", 384, 1, 3),
            self.conv(double, f"{name}.branch3x3dbl_3b", 384, 3, 1),
            self.conv(pool(x), f"{name}.branch_pool", 192),
        )
        return np.concatenate(ends)

    def _make(self, name: str, low: float, high: float, shape) -> np.ndarray:
        assert name not in self.state
        self.state[name] = self._draw.uniform(low, high, shape).astype(np.float32)
        return self.state[name]


def resized_by_hand(picture: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow 1's bilinear interpolation, pixel by pixel of one row and one column at a time."""
    height, width = picture.shape[:2]
    found = np.empty((side, side, 3))
    for i in range(side):
        y = i * height / side
        top, bottom = int(y), min(int(y) + 1, height - 1)
        for j in range(side):
            x = j * width / side
            left, right = int(x), min(int(x) + 1, width - 1)
            above = picture[top, left] * (left + 1 - x) + picture[top, right] * (x - left)
            below = picture[bottom, left] * (left + 1 - x) + picture[bottom, right] * (x - left)
            found[i, j] = above * (top + 1 - y) + below * (y - top)
    return found


@dataclass(frozen=True)
class Weights:
    """A file of random weights, its tensors, and the features of `PICTURE` by them."""

    file: Path
    state: dict[str, torch.Tensor]
    features: np.ndarray


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    written = Written()
    pixels = (resized_by_hand(PICTURE, 299).transpose(2, 0, 1) - 128) / 128
    features = written.features(pixels.astype(np.float32))
    state = OrderedDict((name, torch.from_numpy(one)) for name, one in written.state.items())
    file = tmp_path_factory.mktemp("inception") / "pt_inception-2015-12-05-6726825d.pth"
    # The published file is older than torch's zip archives.
    torch.save(state, file, _use_new_zipfile_serialization=False)
    return Weights(file, state, features)


def test_names_and_parameters(weights: Weights) -> None:
    counted = {k: v for k, v in weights.state.items() if v.ndim and "running" not in k}
    assert sum(value.numel() for value in counted.values()) == PARAMETERS
    assert len([name for name in weights.state if name.endswith(".conv.weight")]) == 94


def test_features(weights: Weights) -> None:
    extractor = Inception("inception", weights.file, "cpu")
    assert extractor.weights == sha256_file(weights.file)
    found = extractor.features(PICTURE)
    assert found.maps == () and found.vector is not None and found.vector.shape == (2048,)
    apart = np.abs(found.vector - weights.features).max()
    assert apart < 1e-5 * np.abs(weights.features).max()
    assert weights.features.std() > 0.1
    turned = extractor.features(np.ascontiguousarray(PICTURE[:, ::-1])).vector
    assert np.abs(turned - found.vector).max() > 100 * apart
    assert np.array_equal(extractor.features(PICTURE).vector, found.vector)
    # The file may be a safetensors file, and its name does not matter.
    other = weights.file.with_name("other")
    save_file(weights.state, other)
    assert np.array_equal(Inception("x", other, "cpu").features(PICTURE).vector, found.vector)
    other.unlink()


def test_a_report_has_its_distances(weights: Weights, studio: Studio, tmp_path: Path) -> None:
    photos = studio.folder / "photographs/subject"
    request = replace(
        studio.request("subject", reference=photos, weights={"inception": weights.file}),
        settings=Settings(steps=1, guidance=1.0),
        seeds=(0,),
    )
    found = evaluate(request, studio.registry, tmp_path)
    shown = {one.key: one for one in found.columns if one.extractor == "inception"}
    assert {one.weights for one in shown.values()} == {sha256_file(weights.file)}
    assert {one.kind for one in shown.values()} == {"paired", "reference", "set"}
    # KID, from the pictures in the folder and the kernel's formula.
    extractor, store = Inception("inception", weights.file, "cpu"), PictureStore(tmp_path)
    own = [row.picture for row in found.measured.pictures if row.model == FINE_TUNE]
    x = np.stack([extractor.features(store.get(key)).vector for key in own])
    y = np.stack([extractor.features(picture).vector for picture in photographs_of(photos)])
    kernel = {
        key: (a @ b.T / 2048 + 1) ** 3 for key, a, b in (("xx", x, x), ("yy", y, y), ("xy", x, y))
    }
    n, m = len(x), len(y)
    expected = (kernel["xx"].sum() - kernel["xx"].trace()) / (n * (n - 1))
    expected += (kernel["yy"].sum() - kernel["yy"].trace()) / (m * (m - 1))
    expected -= 2 * kernel["xy"].mean()
    (row,) = (one for one in found.models if one.label == FINE_TUNE)
    assert row.cells["kid inception"].estimate.mean == pytest.approx(expected)
    assert row.cells["fid inception"].estimate.mean > 0
    (floor,) = (one for one in found.measured.floors if one.key == "fid inception")
    assert floor.photographs == (m, m) and floor.value is not None


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_is_no_inception(weights: Weights, tmp_path: Path) -> None:
    file = tmp_path / "file.pth"

    def refused(match: str) -> None:
        with pytest.raises(CheckpointError, match=match):
            loaded_judges({"inception": file}, "cpu")

    # One number for a whole tensor, as far as the reader allows it: the files are small.
    state = {
        name: one if one.numel() > 1 << 20 else torch.zeros(()).expand(one.shape)
        for name, one in weights.state.items()
    }
    lacking = "Mixed_7c.branch_pool.bn.running_var"
    torch.save({k: v for k, v in state.items() if k != lacking}, file)
    refused(f"lacks '{lacking}'")
    torch.save(state | {lacking: torch.ones(7)}, file)
    refused(r"is F32 \[7\], not F32 \[192\]")
    # torchvision's own network has the same names, other weights and 1,000 classes.
    torch.save(state | {"fc.weight": torch.zeros(1000, 2048)}, file)
    refused(r"is F32 \[1000, 2048\], not F32 \[1008, 2048\]")
    torch.save({"a": torch.zeros(1)}, file)
    refused("neither LPIPS nor Inception")
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), file)
    refused("TorchScript archive, which contains a program")


def test_without_weights_its_columns_say_why() -> None:
    shown = columns(loaded_judges({}, "cpu"), has_photographs=True)
    ones = [one for one in shown if one.extractor == "inception"]
    assert [(one.key, one.kind) for one in ones] == [
        ("kid inception", "set"),
        ("fid inception", "set"),
    ]
    assert {one.reason for one in ones} == {"no --weights inception=PATH was given"}
