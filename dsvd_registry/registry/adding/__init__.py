"""Additions: what a path is, which base and name it gets, and a version or base made of it."""
