"""The check of a version of another registry before it is taken in.

Everything is checked that can be told without making the result: that container and residual are what
the other catalog says, that signatures are valid, that attachments are what they are listed as. Their
bytes are hashed as they are copied.
"""

from __future__ import annotations

from ...catalog import WholeVersion
from ...errors import InvalidArgument, RegistryError
from ...signing import fingerprint
from ..describing.attached_bytes import MAX_PICTURE
from ..describing.attachments import checked_attachment
from ..repository import Repository
from ..signing import check_signature
from ..upkeep.residuals import open_residual
from ..upkeep.verify import residual_problems


def check_arrival(part: WholeVersion, source: Repository, *, is_new: bool) -> None:
    """Check the part of a version that another registry lacks, in the registry that it is from.

    `is_new`: the other lacks its container, too. Raises `RegistryError`, `ContainerError`,
    `SignatureError`, `MissingExtra`, `StorageError`.
    """
    version, problems = part.record, list[str]()
    if is_new:
        source.open_container(version).close()
    if version.residual is not None:
        with open_residual(version, version.residual, source) as residual:
            problems += residual_problems(version, residual.header)
    for attachment in part.attachments:
        try:
            if attachment.size > MAX_PICTURE:
                raise InvalidArgument(f"it has more than {MAX_PICTURE} bytes")
            data = source.objects.read(attachment.sha256)
            checked_attachment(data, attachment.name, attachment.role, attachment.media_type)
        except InvalidArgument as error:
            problems.append(f"the attachment {attachment.name}: {error}")
    if problems:
        raise RegistryError(
            f"{version.ref} of {source.home.name} is not what its catalog says: {problems[0]}",
            "Nothing of it was recorded. Run `dsvd verify --all` on that registry.",
        )
    for signature in part.signatures:
        named = f"the signature of {version.ref} by {fingerprint(signature.signer)}"
        check_signature(version, signature, source, named)
