"""kohya's format, for sd-scripts, LyCORIS, A1111 and Forge, and for diffusers too.

SD 1 and 2 are trained on diffusers' U-Net and have its module names; SDXL is trained on the original
U-Net and has its names. (Nobody trains the refiner like this. diffusers mixes up its blocks 1, 10 and
11, so the file has the names that diffusers understands: the original ones for the embedded vector
only.)

Every module has the same alpha, the commonest rank: diffusers reads the alphas of attention layers
only if all are equal (0.42 looks them up under names that it has changed), and would scale a layer of
another rank wrongly. A loader multiplies by alpha / rank, so that the pair of a module of another rank
is scaled instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ..layouts.families import Family
from ..layouts.original_unet import original_unet_names
from .formats import LoraFormat, Tensors, commonest, is_encoder_linear, kohya_tensors
from .formats import text_encoder_prefix as prefix
from .layers import Layer
from .pairs import Pair

_VERSIONS: dict[Family, str] = {
    "sd1": "sd_v1",
    "sd2": "sd_v2",
    "sdxl": "sdxl_base_v1-0",
    "sdxl-refiner": "sdxl_refiner_v1-0",
}


class Kohya(LoraFormat):
    """The format of kohya.

    `unet`: the paths of all modules of the U-Net. `ranks`: the ranks that the file will have.
    """

    def __init__(
        self, family: Family, unet: Collection[str], ranks: Iterable[int], enlarged: int = 0
    ) -> None:
        super().__init__(enlarged)
        self._family = family
        self._original = original_unet_names(unet)
        self._alpha = super().alpha(commonest(ranks))

    def pair_key(self, layer: Layer) -> str | None:
        if layer.model == "unet":
            path = self._unet_path(layer.path)
            return path and f"lora_unet_{path.replace('.', '_')}"
        if not is_encoder_linear(layer.path):
            return None
        return prefix(layer.model, self._family) + layer.path.replace(".", "_")

    def _unet_path(self, path: str) -> str | None:
        if path.startswith("class_embedding."):  # diffusers would load it as the other embedding
            return None
        if self._family == "sdxl" or path.startswith("add_embedding."):
            return self._original(path)
        return path

    def alpha(self, rank: int) -> float:  # noqa: ARG002
        return self._alpha

    def tensors(self, key: str, pair: Pair) -> Tensors:
        return kohya_tensors(key, pair)

    def metadata(self, pairs: Mapping[str, Pair]) -> dict[str, str]:
        return {
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(commonest(pair.rank for pair in pairs.values())),
            "ss_network_alpha": f"{self._alpha:.17g}",
            "ss_base_model_version": _VERSIONS[self._family],
            "ss_v2": str(self._family == "sd2"),
        }
