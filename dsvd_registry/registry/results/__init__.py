"""Full checkpoints of versions: written, cached, and read in parts."""
