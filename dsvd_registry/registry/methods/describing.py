"""Descriptions of versions: aliases, tags, notes, metadata, attachments and signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ..opening import no_passphrase
from .open_registry import OpenRegistry

if TYPE_CHECKING:
    from ...catalog import AttachmentRecord, VersionRecord
    from ..describing.attachments import AttachmentRole
    from ..signing import Signed, Signer


class DescribingMethods(OpenRegistry):
    """Descriptions of versions: aliases, tags, notes, metadata, attachments and signatures."""

    def set_alias(self, alias: str, ref: str) -> VersionRecord:
        """Set an alias for a version, or move it from another version of the model.

        Example:
            >>> registry.set_alias("prod", "subject-42@2").ref
            'subject-42@2'
        """
        version = self.version(ref)
        return self.repository.catalog.set_alias(version.model, alias, version.number)

    def remove_alias(self, model: str, alias: str) -> VersionRecord:
        """Remove an alias; returns the version that it stood for.

        Example:
            >>> registry.remove_alias("subject-42", "prod").ref
            'subject-42@1'
        """
        return self.repository.catalog.remove_alias(model, alias)

    def add_tag(self, ref: str, tag: str) -> VersionRecord:
        """Tag a version.

        Example:
            >>> registry.add_tag("subject-42", "portrait").tags
            ('portrait',)
        """
        version = self.version(ref)
        return self.repository.catalog.add_tag(version.model, version.number, tag)

    def remove_tag(self, ref: str, tag: str) -> VersionRecord:
        """Remove a tag from a version.

        Example:
            >>> registry.remove_tag("subject-42@1", "dog").tags
            ()
        """
        version = self.version(ref)
        return self.repository.catalog.remove_tag(version.model, version.number, tag)

    def set_note(self, ref: str, text: str) -> VersionRecord:
        """Replace a version's note.

        Example:
            >>> registry.set_note("subject-42", "trained on 5 photographs").note
            'trained on 5 photographs'
        """
        version = self.version(ref)
        return self.repository.catalog.set_note(version.model, version.number, text)

    def metadata(self, ref: str) -> Mapping[str, str]:
        """The metadata of a version: keys and values, sorted by key.

        Example:
            >>> dict(registry.metadata("subject-42"))
            {}
        """
        from types import MappingProxyType

        return MappingProxyType(dict(self.repository.catalog.metadata(ref)))

    def set_metadata(self, ref: str, entries: Mapping[str, str]) -> Mapping[str, str]:
        """Set keys of a version's metadata, and return all of it; other keys stay.

        Args:
            ref: The version.
            entries: Keys (letters, digits and `. _ : / -`, at most 128) with their values, texts
                without NUL.

        Raises:
            InvalidArgument: A key or value breaks its rule, or there would be more than 1,024 keys or
                196,608 characters of keys and values.

        Example:
            >>> dict(registry.set_metadata("subject-42", {"trigger": "sks dog"}))
            {'trigger': 'sks dog'}
        """
        from types import MappingProxyType

        version = self.version(ref)
        catalog = self.repository.catalog
        return MappingProxyType(
            dict(catalog.set_metadata(version.model, version.number, dict(entries)))
        )

    def remove_metadata(self, ref: str, key: str) -> Mapping[str, str]:
        """Remove a key of a version's metadata, and return what is left.

        Raises:
            NotFound: The version does not have that key.

        Example:
            >>> registry.set_metadata("subject-42", {"licence": "CC0"})["licence"]
            'CC0'
            >>> dict(registry.remove_metadata("subject-42", "licence"))
            {}
        """
        from types import MappingProxyType

        version = self.version(ref)
        catalog = self.repository.catalog
        return MappingProxyType(dict(catalog.remove_metadata(version.model, version.number, key)))

    def attachments(self, ref: str) -> tuple[AttachmentRecord, ...]:
        """The attachments of a version, oldest first: pictures and texts that tell people of it.

        Example:
            >>> registry.attachments("subject-42")
            ()
        """
        return tuple(self.repository.catalog.attachments(ref))

    def attach(
        self, ref: str, path: str | Path, *, role: AttachmentRole | None = None
    ) -> AttachmentRecord:
        """Attach a picture or a text to a version, under the name of its file.

        A picture is decoded once, to see that it is one. The same file again changes nothing.

        Args:
            ref: The version.
            path: A PNG, JPEG or WebP picture of at most 32 MiB and 67,108,864 pixels, or a text in
                UTF-8 of at most 4 MiB.
            role: "preview", "sample" or "note"; "sidecar" for a file that a tool reads beside the
                checkpoint, "report" for the page of an evaluation. Default: the preview for the first
                picture, a sample for every other, a report for a page, a note for another text.

        Raises:
            InvalidArgument: The file is neither, is too large, or does not fit the role; or the
                version would have more than 64 attachments or 256 MiB of them.
            Conflict: The version has another attachment of that name.

        Example:
            >>> registry.attach("subject-42", "notes.txt").role
            'note'
        """
        from ..describing.attachments import attach

        return attach(self.version(ref), Path(path), role, self.repository)

    def detach(self, ref: str, name: str) -> AttachmentRecord:
        """Remove an attachment of a version; `collect_garbage` removes its bytes later.

        Raises:
            NotFound: The version has no attachment of that name.

        Example:
            >>> registry.attach("subject-42", "notes.txt").name
            'notes.txt'
            >>> registry.detach("subject-42", "notes.txt").size
            21
        """
        version = self.version(ref)
        return self.repository.catalog.remove_attachment(version.model, version.number, name)

    def open_attachment(self, ref: str, name: str) -> BinaryIO:
        """Open the bytes of an attachment, after they were compared with their SHA-256.

        Args:
            ref: The version.
            name: The name of the attachment.

        Raises:
            NotFound: The version has no attachment of that name.

        Example:
            >>> registry.attach("subject-42", "notes.txt").name
            'notes.txt'
            >>> with registry.open_attachment("subject-42", "notes.txt") as file:
            ...     file.read()
            b'5 photographs of Rex\\n'
        """
        from ..describing.attachments import attachment_named, open_attachment

        record = attachment_named(self.version(ref), name, self.repository)
        return open_attachment(record, self.repository)

    def write_beside(
        self, ref: str, path: str | Path, *, replace: bool = False
    ) -> tuple[Path, ...]:
        """Write a version's preview and sidecars beside a checkpoint, under the names tools look for.

        For `models/rex.safetensors` they are `models/rex.preview.png`, `models/rex.civitai.info` and so
        on. The checkpoint itself need not be there.

        Args:
            ref: The version.
            path: The path of a checkpoint or LoRA file.
            replace: Replace files that are there. Without it they stay as they are.

        Returns:
            The paths of the files that were written.

        Example:
            >>> registry.attach("subject-42", "notes.txt", role="sidecar").role
            'sidecar'
            >>> [path.name for path in registry.write_beside("subject-42", "rex.safetensors")]
            ['rex.txt']
        """
        from ..describing.beside import write_beside
        from ..results.output import check_output

        check_output(Path(path), self.repository)
        attachments = self.repository.catalog.attachments(ref)
        return write_beside(Path(path), attachments, self.repository, replace=replace)

    def sign(
        self, ref: str, key: str | Path, *, passphrase: Callable[[], str] = no_passphrase
    ) -> Signed:
        """Sign a version: the signature covers its container, base, source and results, not its name.

        Args:
            ref: The version.
            key: The file of an Ed25519 private key, in PEM (PKCS8) or as OpenSSH writes it.
            passphrase: Called if the key is encrypted.

        Raises:
            InvalidArgument: The file is not such a key.
            MissingExtra: `cryptography` is not installed.
            ContainerError: The container is damaged.

        Example:
            >>> registry.sign("subject-42", "key.pem").created
            True
        """
        from ...signing.keys import read_private_key
        from ..signing import sign

        return sign(self.version(ref), read_private_key(Path(key), passphrase), self.repository)

    def signers(self, ref: str) -> list[Signer]:
        """List the signers of a version, oldest signature first; `verify` checks the signatures.

        Example:
            >>> registry.signers("subject-42")
            []
        """
        from ..signing import signers

        return signers(self.repository.catalog.signatures(ref))
