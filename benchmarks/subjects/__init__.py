"""What is measured: pairs of a base and a fine-tune, made once and cached outside the repository."""
