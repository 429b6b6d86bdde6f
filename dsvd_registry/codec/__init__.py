"""Numerical core: spectrum, rank, integer grid, exact product. No module here opens a file."""
