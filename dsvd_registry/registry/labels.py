"""What can be done with the names for versions: aliases, tags, notes."""

from __future__ import annotations

from ..catalog import VersionRecord
from .opened import OpenRegistry


class Labels(OpenRegistry):
    """Names for versions, and what is written on them."""

    def alias_set(self, alias: str, ref: str) -> VersionRecord:
        """Let `alias` stand for the version that `ref` means."""
        version = self.version(ref)
        return self._catalog.set_alias(version.model, alias, version.number)

    def alias_remove(self, model: str, alias: str) -> VersionRecord:
        """Remove an alias; gives the version that it stood for."""
        return self._catalog.remove_alias(model, alias)

    def tag(self, ref: str, tag: str) -> VersionRecord:
        """Tag a version."""
        version = self.version(ref)
        return self._catalog.add_tag(version.model, version.number, tag)

    def untag(self, ref: str, tag: str) -> VersionRecord:
        """Take a tag off a version."""
        version = self.version(ref)
        return self._catalog.remove_tag(version.model, version.number, tag)

    def note(self, ref: str, text: str) -> VersionRecord:
        """Replace a version's note."""
        version = self.version(ref)
        return self._catalog.set_note(version.model, version.number, text)
