"""Reading and writing of `.dsvd` containers. Format: spec/dsvd-container-v1.md."""
