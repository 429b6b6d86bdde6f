import pytest

from dsvd_registry.checkpoint.layer_groups import layer_group

CASES = {
    "conv_in": [
        "conv_in.weight",
        "unet.conv_in.bias",
        "model.diffusion_model.input_blocks.0.0.weight",
    ],
    "down": [
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
        "unet.down_blocks.3.resnets.0.conv1.weight",
        "unet/down_blocks.0.resnets.0.conv1.weight",
        "model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
        "model.diffusion_model.input_blocks.10.0.emb_layers.1.weight",
    ],
    "mid": [
        "mid_block.resnets.0.conv1.weight",
        "model.diffusion_model.middle_block.1.proj_in.weight",
    ],
    "up": [
        "unet.up_blocks.1.upsamplers.0.conv.weight",
        "model.diffusion_model.output_blocks.3.0.x",
    ],
    "conv_out": ["conv_out.weight", "conv_norm_out.bias", "model.diffusion_model.out.2.weight"],
    "time embedding": [
        "time_embedding.linear_1.weight",
        "add_embedding.linear_2.bias",
        "unet.time_embedding.linear_1.weight",
        "model.diffusion_model.time_embed.0.weight",
        "model.diffusion_model.label_emb.0.0.weight",
    ],
    "transformer": [
        "transformer/transformer_blocks.0.attn.to_q.weight",
        "transformer/x_embedder.weight",
        "single_transformer_blocks.3.proj_out.weight",
        "model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
        "joint_blocks.1.x_block.attn.qkv.weight",
    ],
    "text encoder": [
        "text_encoder_2/text_model.final_layer_norm.weight",
        "text_encoder.text_model.embeddings.token_embedding.weight",
        "text_encoder_2.text_projection.weight",
        "text_model.encoder.layers.0.self_attn.k_proj.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.bias",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias",
    ],
    "VAE": [
        "vae.encoder.conv_in.weight",
        "first_stage_model.decoder.conv_out.weight",
        "encoder.down_blocks.0.resnets.0.conv1.weight",
        "decoder.mid_block.attentions.0.to_q.weight",
        "quant_conv.weight",
        "post_quant_conv.bias",
    ],
    "other": [
        "model_ema.diffusion_modelinput_blocks00weight",
        "model_ema.decay",
        "betas",
        "alphas_cumprod",
        "unet",
        "conv_inner.weight",
        "",
    ],
}


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, names in CASES.items() for n in names])
def test_group(group, name):
    assert layer_group(name) == group
