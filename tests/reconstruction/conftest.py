"""Fixtures of tests/registry that the tests of reconstruction share."""

from registry.conftest import _one_thread, pair, registry, root, template, trained, trained_registry

__all__ = ["_one_thread", "pair", "registry", "root", "template", "trained", "trained_registry"]
