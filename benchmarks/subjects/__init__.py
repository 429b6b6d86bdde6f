"""The measured subjects: pairs of a base and a fine-tune, made once and cached."""
