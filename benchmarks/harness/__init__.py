"""The parts that all figures share: fresh processes, checks, rows and the committed tables."""
