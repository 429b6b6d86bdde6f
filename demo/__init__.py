"""A demonstration on a really trained, tiny Stable-Diffusion-shaped model: `python -m demo`."""
