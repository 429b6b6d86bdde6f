"""A few real steps of training of a small pipeline."""

import torch
from diffusers import DiffusionPipeline


def trained(pipeline: DiffusionPipeline) -> None:
    """Train the U-Net and the first text encoder for some steps of AdamW."""
    generator = torch.Generator().manual_seed(3)
    unet = pipeline.unet
    text = pipeline.text_encoder or pipeline.text_encoder_2
    optimizer = torch.optim.AdamW([*unet.parameters(), *text.parameters()], lr=1e-4)
    for _ in range(3):
        latents = torch.randn(2, 4, 8, 8, generator=generator)
        ids = torch.randint(2, 40, (2, 7), generator=generator)
        hidden = text(ids).last_hidden_state
        width = unet.config.cross_attention_dim
        context = torch.nn.functional.pad(hidden, (0, width - hidden.shape[-1]))
        added = None
        if unet.config.addition_embed_type:
            ends = unet.config.projection_class_embeddings_input_dim
            times = 5 if pipeline.text_encoder is None else 6
            pooled = ends - times * unet.config.addition_time_embed_dim
            added = {
                "text_embeds": torch.randn(2, pooled, generator=generator),
                "time_ids": torch.ones(2, times),
            }
        made = unet(latents, 10, context, added_cond_kwargs=added).sample
        loss = (made - torch.randn(made.shape, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
