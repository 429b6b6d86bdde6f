"""Encoding of a fine-tune and its base as a container: requests, matching and packing of tensors."""
