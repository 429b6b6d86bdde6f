"""Versions that come from other registries and go to them."""
