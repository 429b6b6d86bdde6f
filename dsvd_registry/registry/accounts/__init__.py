"""Figures of versions: what became of each tensor, differences, sizes beside errors."""
