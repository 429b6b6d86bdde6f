"""The `.dsvd` bytes: strict header, writer, reader. Format: spec/dsvd-container-v1.md."""
