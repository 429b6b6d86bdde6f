"""The `.dsvdr` bytes: what a container's result lacks to be its source (spec/dsvd-residual-v1.md)."""
