"""What a version is made of, open, for the packages that stand on a registry (export, runtime)."""

from __future__ import annotations

from ..catalog import VersionRecord
from ..container.reader import Container
from ..reconstruction.base_weights import BaseWeights
from .registry import Registry
from .repository import base_of, open_base, open_container


def container_of(version: VersionRecord, registry: Registry) -> Container:
    """Its container; close it. Raises `ContainerError`, `RegistryError`, `StorageError`."""
    return open_container(version, registry._objects)


def base_weights_of(version: VersionRecord, registry: Registry) -> BaseWeights:
    """The base that it needs; close it. Raises `BaseMismatch`, `RegistryError`, `StorageError`."""
    return open_base(base_of(version, registry._catalog), registry._objects)
