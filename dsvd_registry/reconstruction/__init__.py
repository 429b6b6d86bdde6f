"""Exact reconstruction of checkpoints from containers, residuals and their bases."""
