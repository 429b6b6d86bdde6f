"""State dicts of diffusers and transformers in the original layout.

They follow the tables of diffusers' `scripts/convert_diffusers_to_original_stable_diffusion.py`,
which its wheel lacks, not the code under test. In `test_original.py` diffusers reads them back.
"""

import re

import torch

State = dict[str, torch.Tensor]

RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "time_emb_proj.": "emb_layers.1.",
    "conv_shortcut.": "skip_connection.",
}
UNET_ENDS = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "class_embedding.linear_1.": "label_emb.0.0.",
    "class_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
}
MIDDLE = {"resnets.0": 0, "attentions.0": 1, "resnets.1": 2}
VAE_ATTENTION = {
    "group_norm.": "norm.",
    "to_q.": "q.",
    "to_k.": "k.",
    "to_v.": "v.",
    "to_out.0.": "proj_out.",
}
OPEN_CLIP = {
    "encoder.layers.": "transformer.resblocks.",
    "layer_norm1.": "ln_1.",
    "layer_norm2.": "ln_2.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
    "self_attn.": "attn.",
    "final_layer_norm.": "ln_final.",
    "embeddings.token_embedding.": "token_embedding.",
    "embeddings.position_embedding.weight": "positional_embedding",
}


def original_unet(state: State, layers_per_block: int) -> State:
    per_level = layers_per_block + 1

    def renamed(name: str) -> str:
        for ours, theirs in UNET_ENDS.items():
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        side, *rest = name.split(".")
        if side == "mid_block":
            return f"middle_block.{MIDDLE['.'.join(rest[:2])]}.{module('.'.join(rest[2:]))}"
        level, kind, number = int(rest[0]), rest[1], int(rest[2])
        tail = module(".".join(rest[3:]))
        place = int(kind == "attentions")
        if side == "down_blocks":
            if kind == "downsamplers":
                return f"input_blocks.{per_level * (level + 1)}.0.op.{tail.removeprefix('conv.')}"
            return f"input_blocks.{per_level * level + number + 1}.{place}.{tail}"
        if kind == "upsamplers":
            attends = any(n.startswith(f"up_blocks.{level}.attentions.") for n in state)
            return f"output_blocks.{per_level * (level + 1) - 1}.{1 + attends}.{tail}"
        return f"output_blocks.{per_level * level + number}.{place}.{tail}"

    def module(tail: str) -> str:
        for ours, theirs in RESNET.items():
            if tail.startswith(ours) and "transformer_blocks" not in tail:
                return theirs + tail.removeprefix(ours)
        return tail

    return {renamed(name): tensor for name, tensor in state.items()}


def original_vae(state: State) -> State:
    levels = 1 + max(int(name.split(".")[2]) for name in state if ".down_blocks." in name)
    found = {}
    for name, tensor in state.items():
        new = name.replace("conv_norm_out.", "norm_out.").replace("conv_shortcut.", "nin_shortcut.")
        new = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", new)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d+)\.", lambda match: f"up.{levels - 1 - int(match[1])}.", new)
        new = re.sub(r"(up\.\d+)\.resnets", r"\1.block", new)
        new = new.replace("upsamplers.0", "upsample")
        new = re.sub(
            r"mid_block\.resnets\.(\d)", lambda match: f"mid.block_{int(match[1]) + 1}", new
        )
        if "mid_block.attentions.0." in new:
            new = new.replace("mid_block.attentions.0.", "mid.attn_1.")
            for ours, theirs in VAE_ATTENTION.items():
                new = new.replace(ours, theirs)
            if tensor.ndim == 2:
                tensor = tensor[:, :, None, None].clone()
        found[new] = tensor
    return found


def original_open_clip(state: State) -> State:
    found = {}
    for name, tensor in state.items():
        new = name.removeprefix("text_model.")
        for ours, theirs in OPEN_CLIP.items():
            new = new.replace(ours, theirs)
        if new == "text_projection.weight":
            found["text_projection"] = tensor.T.contiguous()
        elif ".attn.q_proj." in new:
            parts = [
                state[name.replace("q_proj", other)] for other in ("q_proj", "k_proj", "v_proj")
            ]
            found[new.replace("q_proj.", "in_proj_")] = torch.cat(parts)
        elif not re.search(r"\.attn\.[kv]_proj\.", new):
            found[new] = tensor
    return found


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def averages(original: State) -> State:
    """The EMA copy of a U-Net as the original training code keeps it, with other numbers."""
    unet = {name: t for name, t in original.items() if name.startswith("model.diffusion_model.")}
    found = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): tensor + 1
        for name, tensor in unet.items()
    }
    numbers = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    return found | numbers
