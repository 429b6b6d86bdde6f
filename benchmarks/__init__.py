"""Figures of dsvd-registry, each beside a yardstick measured in the same run: `python -m benchmarks`."""
