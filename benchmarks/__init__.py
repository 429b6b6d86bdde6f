"""Figures of dsvd-registry, each with a yardstick from the same run: `python -m benchmarks`."""
