"""The numbers: spectrum, rank, integer grid, exact reconstruction. No module here sees a file."""
