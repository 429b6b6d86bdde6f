"""The original layouts of the other tests: diffusers itself reads them."""

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import save_file

from .pipelines import models, with_text_model


def assert_equal(converted, state):
    assert converted.keys() == state.keys()
    for name, tensor in converted.items():
        assert tensor.shape == state[name].shape
        assert torch.equal(tensor, state[name]), name


def test_unet(model):
    unet = model.pipeline.unet
    converted = convert_ldm_unet_checkpoint(dict(model.original), unet.config)
    assert_equal(converted, unet.state_dict())


def test_vae(model):
    vae = model.pipeline.vae
    converted = convert_ldm_vae_checkpoint(dict(model.original), vae.config)
    assert_equal(converted, vae.state_dict())


def test_clip(model_of):
    for family in ("sd1", "sdxl"):
        found = model_of(family)
        state = with_text_model(found.pipeline.text_encoder.state_dict())
        assert_equal(convert_ldm_clip_checkpoint(dict(found.original)), state)


def test_open_clip(model_of):
    for family, encoder, prefix in (
        ("sd2", "text_encoder", "cond_stage_model.model."),
        ("sdxl", "text_encoder_2", "conditioner.embedders.1.model."),
        ("sdxl-refiner", "text_encoder_2", "conditioner.embedders.0.model."),
    ):
        found = model_of(family)
        text_model = getattr(found.pipeline, encoder)
        converted = convert_open_clip_checkpoint(text_model, dict(found.original), prefix)
        assert_equal(
            converted,
            with_text_model(text_model.state_dict())
            if family == "sd2"
            else text_model.state_dict(),
        )


def test_whole_file(model, tmp_path):
    """Load it as a user does; the folder's configuration replaces the hub's."""
    file = tmp_path / "model.safetensors"
    save_file(model.original, file)
    # Without a word on them `from_single_file` misses the tokenizers that these pipelines lack.
    absent = dict.fromkeys(("tokenizer", "safety_checker", "feature_extractor"))
    loaded = type(model.pipeline).from_single_file(
        str(file),
        config=str(model.path),
        local_files_only=True,
        **(absent if model.family in ("sd1", "sd2") else {}),
    )
    for name, found in models(loaded).items():
        assert_equal(found.state_dict(), models(model.pipeline)[name].state_dict())
    assert models(loaded).keys() == models(model.pipeline).keys()
