"""CLIP, DINO and DINOv2 from a folder as transformers saves it; nothing needs torchvision."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import canonical, fs
from ...errors import InvalidArgument, MissingExtra
from ...hashing import sha256, sha256_file
from ..features import Features, Vector
from ..image_similarity import Picture

MOST_CONFIGURATION = 1 << 20
MOST_SIDE = 2048


@dataclass(frozen=True)
class Preparation:
    """The steps by which a picture becomes the input of a network: its preprocessor_config.json.

    `edge`: the pixels of the shorter side, or None to make the picture `side` x `side` at once.
    """

    edge: int | None
    side: int
    resample: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def input(self, picture: Picture) -> torch.Tensor:
        """The batch of one picture: resized, cut in the middle, scaled and normalised."""
        from PIL import Image

        image = Image.fromarray(picture)
        if self.edge is None:
            image = image.resize((self.side, self.side), Image.Resampling(self.resample))
        else:
            width, height = image.size
            short = min(width, height)
            size = (self.edge * width // short, self.edge * height // short)
            image = image.resize(size, Image.Resampling(self.resample))
            left, top = (image.width - self.side) // 2, (image.height - self.side) // 2
            image = image.crop((left, top, left + self.side, top + self.side))
        pixels = np.asarray(image, dtype=np.float32) / 255
        mean, deviation = (np.array(one, np.float32) for one in (self.mean, self.deviation))
        return torch.from_numpy((pixels - mean) / deviation).permute(2, 0, 1)[None].contiguous()


class VisionExtractor:
    """A vision transformer: the output of its class token."""

    def __init__(self, name: str, folder: Path, model: Any, device: str) -> None:
        self.name, self.weights = name, _digest(folder)
        self._preparation = _preparation(folder)
        self._device = torch.device(device)
        self._model = model.eval().to(self._device)

    def features(self, picture: Picture) -> Features:
        with torch.no_grad():
            vector = self._vector(self._preparation.input(picture).to(self._device))
        return Features(_as_vector(vector))

    def _vector(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._model(pixel_values=pixels).last_hidden_state[:, 0]
        return found


class ClipExtractor(VisionExtractor):
    """CLIP: pictures and texts in one space."""

    def __init__(self, name: str, folder: Path, model: Any, device: str) -> None:
        super().__init__(name, folder, model, device)
        from transformers import AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        except Exception as error:  # of whatever class transformers raises
            raise _not_loaded(folder, error) from error

    def text(self, prompt: str) -> Vector:
        """The place of a text among pictures."""
        length = self._model.config.text_config.max_position_embeddings
        ids = self._tokenizer(prompt, truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            pooled = self._model.text_model(
                input_ids=ids.input_ids.to(self._device),
                attention_mask=ids.attention_mask.to(self._device),
            ).pooler_output
            vector = self._model.text_projection(pooled)
        return _as_vector(vector)

    def _vector(self, pixels: torch.Tensor) -> torch.Tensor:
        pooled = self._model.vision_model(pixel_values=pixels).pooler_output
        found: torch.Tensor = self._model.visual_projection(pooled)
        return found


def loaded_extractor(name: str, folder: Path, device: str) -> VisionExtractor:
    """The extractor in a folder, by the model type of its config.json.

    Raises `InvalidArgument` for another type, for weights that are no safetensors, `StorageError`.
    """
    kind = _json(folder / "config.json").get("model_type")
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(
            f"{folder} needs transformers, which is not installed",
            "Install it with `pip install 'dsvd-registry[evaluate]'`.",
        ) from error
    classes: dict[object, tuple[type[VisionExtractor], Any, dict[str, object]]] = {
        "clip": (ClipExtractor, transformers.CLIPModel, {}),
        "vit": (VisionExtractor, transformers.ViTModel, {"add_pooling_layer": False}),
        "dinov2": (VisionExtractor, transformers.Dinov2Model, {}),
    }
    if kind not in classes:
        raise InvalidArgument(
            f"{folder} holds a model of the type {kind!r}",
            f"Give one of the types {', '.join(map(str, classes))}.",
        )
    extractor, model_class, options = classes[kind]
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    try:
        model = model_class.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            **options,
        )
    except Exception as error:  # of whatever class transformers raises
        raise _not_loaded(folder, error) from error
    finally:
        if bars:
            transformers.logging.enable_progress_bar()
    return extractor(name, folder, model, device)


def _as_vector(batch: torch.Tensor) -> Vector:
    found: Vector = batch[0].double().cpu().numpy()
    return found


def _preparation(folder: Path) -> Preparation:
    found = _json(folder / "preprocessor_config.json")
    try:
        size, crop = found["size"], found.get("crop_size")
        by_edge = isinstance(size, int) or "shortest_edge" in size
        is_cut = bool(found.get("do_center_crop", by_edge)) and crop is not None
        side = _side(crop if is_cut else size)
        made = Preparation(
            edge=_side(size) if by_edge and is_cut else None,
            side=side,
            resample=int(found.get("resample", 3)),
            mean=tuple(map(float, found["image_mean"])),
            deviation=tuple(map(float, found["image_std"])),
        )
        sides = (made.side, made.edge or made.side)
        if not (0 < min(sides) <= max(sides) <= MOST_SIDE and made.side <= sides[1]):
            raise ValueError(f"sizes of {sides}")
        if (len(made.mean), len(made.deviation)) != (3, 3) or made.resample not in range(6):
            raise ValueError("means, deviations or a filter that are none")
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"{folder / 'preprocessor_config.json'} does not say how pictures are prepared: {error}",
            "Take the file from where the model was published.",
        ) from error
    return made


def _side(size: Any) -> int:
    if isinstance(size, dict):
        size = size.get("shortest_edge", size.get("height"))
    return int(size)


def _json(path: Path) -> dict[str, Any]:
    with fs.storage_errors(path), path.open("rb") as file:
        data = file.read(MOST_CONFIGURATION)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument(f"{path} is not a JSON object", "Take it from the model's publisher.")
    return found


def _digest(folder: Path) -> str:
    """The SHA-256 of the file of weights, or of the digests of several."""
    digests = [sha256_file(path) for path in sorted(folder.glob("*.safetensors"))]
    return digests[0] if len(digests) == 1 else sha256(canonical.encode(digests))


def _not_loaded(folder: Path, error: Exception) -> InvalidArgument:
    return InvalidArgument(
        f"transformers cannot load {folder}: {error}",
        "Give a whole folder whose weights are safetensors; nothing is downloaded.",
    )
