"""Reading and writing of `.dsvdr` residuals. Format: spec/dsvd-residual-v1.md."""
