"""The work of the nodes: a subject as a checkpoint, or as patches on a loaded base."""

from __future__ import annotations

import logging
import math
from typing import Any

import comfy.lora
import comfy.sd
import comfy.utils
import folder_paths

from .find_source import find_source
from .source import Advance, SubjectError, ref_of

NONE = "(none)"
_ENDINGS = (".lora_up.weight", ".lora_down.weight", ".alpha", ".diff_b", ".diff")
_TEXT_ENCODERS = ("lora_te", "text_encoders.")


def names() -> list[str]:
    """The names of all subjects, for a menu; none, and a line in the log, if they cannot be had."""
    try:
        return find_source().names()
    except SubjectError as error:
        logging.warning("dsvd: no list of subjects: %s", error)
        return []


def fingerprint(subject: str, version: str) -> str:
    """The content that a subject has now: ComfyUI runs a node again if it has changed."""
    if subject == NONE:
        return NONE
    return find_source().version(ref_of(subject, version)).container


def load_checkpoint(subject: str, version: str, tau: float) -> tuple[Any, Any, Any]:
    """Load the full checkpoint of a subject: its model, text encoders and VAE.

    `tau`: at most the stored one; 0 for that.
    """
    path = find_source().checkpoint(ref_of(subject, version), tau or None, _shown())
    return comfy.sd.load_checkpoint_guess_config(
        str(path),
        output_vae=True,
        output_clip=True,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
    )[:3]


def apply_subject(
    model: Any, clip: Any | None, subject: str, version: str, strength: float
) -> tuple[Any, Any | None]:
    """Patch a loaded base with a subject: the weights change when ComfyUI next uses them.

    The patches are ComfyUI's own, of a LoRA in fp32. Its factors are integers times powers of two, so
    that at strength 1 the sum has the bits of the full checkpoint wherever a layer's product fits the
    24 bits of fp32.

    Raises:
        SubjectError: Most of the subject does not fit the model.
    """
    if subject == NONE or strength == 0:
        return model, clip
    ref = ref_of(subject, version)
    delta = comfy.utils.load_torch_file(str(find_source().adapter(ref, _shown())), safe_load=True)
    keys = comfy.lora.model_lora_keys_unet(model.model, {})
    state = model.model.state_dict()
    if clip is None:
        delta = {key: t for key, t in delta.items() if not key.startswith(_TEXT_ENCODERS)}
    else:
        keys = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, keys)
        state = state | clip.cond_stage_model.state_dict()
    found = comfy.lora.load_lora(delta, keys)
    patches = {key: patch for key, patch in found.items() if _fits(patch, key, state)}
    unknown = {_module(key) for key in delta} - keys.keys()
    lost, total = len(unknown) + len(found) - len(patches), len(unknown) + len(found)
    if 2 * lost > total or not patches:
        raise SubjectError(
            f"{ref} does not fit this model: {lost} of the {total} tensors that it changes are"
            " missing or have other shapes. Load the base that it was made from."
        )
    if lost:
        logging.warning("dsvd: %s: left out %d of %d tensors, which do not fit", ref, lost, total)
    model = model.clone()
    model.add_patches(patches, strength)
    if clip is not None:
        clip = clip.clone()
        clip.add_patches(patches, strength)
    return model, clip


def _module(key: str) -> str:
    return next((key.removesuffix(end) for end in _ENDINGS if key.endswith(end)), key)


def _fits(patch: Any, key: Any, state: dict[str, Any]) -> bool:
    """Whether a patch has the shape of its weight. Parts of a fused weight are left to ComfyUI."""
    if not isinstance(key, str):
        return True
    if key not in state:
        return False
    shape = state[key].shape
    # An adapter; in an older ComfyUI, a tuple of its kind and tensors, as all other patches are.
    kind, tensors = patch if isinstance(patch, tuple) else (patch.name, patch.weights)
    if kind != "lora":
        return bool(tensors[0].shape == shape)
    up, down = tensors[:2]
    return len(up) == shape[0] and math.prod(down.shape[1:]) == math.prod(shape[1:])


def _shown() -> Advance:
    """A progress bar on the node that runs."""
    bar = comfy.utils.ProgressBar(100)
    return lambda done, total: bar.update_absolute(done, total)
